// narthexd.

#include <csignal>
#include <cstdio>

#include "absl/synchronization/mutex.h"

#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "server/app/application.h"
#include "server/app/config.h"
#include "server/app/heap.h"

namespace {

constexpr int kExitInternal = 70;
constexpr int kExitConfig = 78;

// Debian's Abseil looks for lock cycles at every lock, also in release builds; Dev builds keep that, they
// have found one.
void TuneLocks() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

narthex::LogLevel LevelOf(const std::string& name) {
  if (name == "debug") return narthex::LogLevel::kDebug;
  if (name == "warning") return narthex::LogLevel::kWarning;
  if (name == "error") return narthex::LogLevel::kError;
  return narthex::LogLevel::kInfo;
}

}  // namespace

int main(int argc, char** argv) {
  narthex::app::TuneHeap();
  TuneLocks();
  narthex::GuardProcess();
  const narthex::app::ParsedConfig parsed = narthex::app::ParseConfig(argc, argv);
  if (parsed.exit_code >= 0) return parsed.exit_code;
  narthex::SetLogLevel(LevelOf(parsed.config.log_level));

  // Blocked here, so that all threads inherit it and only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  auto application = narthex::app::Application::Start(parsed.config);
  if (!application.ok()) {
    std::fprintf(stderr, "narthexd: %s\n", std::string(application.status().message()).c_str());
    const bool settable = absl::IsFailedPrecondition(application.status()) ||
                          absl::IsInvalidArgument(application.status()) ||
                          absl::IsUnavailable(application.status());
    return settable ? kExitConfig : kExitInternal;
  }
  const narthex::app::HeapWatch heap;
  int signal = 0;
  sigwait(&signals, &signal);
  (*application)->Stop();
  narthex::FlushLog();
  return 0;
}
