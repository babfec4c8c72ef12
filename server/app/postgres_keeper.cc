#include "server/app/postgres_keeper.h"

#include "base/log.h"
#include "base/metrics.h"

namespace narthex::app {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

}  // namespace

PostgresKeeper::PostgresKeeper(metadata::ManagedPostgres& postgres)
    : postgres_(postgres), thread_([this] { Run(); }) {}

PostgresKeeper::~PostgresKeeper() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void PostgresKeeper::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
    }
    if (postgres_.pid() != 0) continue;
    Log(LogLevel::kError, "postgres died; starting it again");
    Metrics::Global().Count("postgres_restarts_total", "How often the managed PostgreSQL died.");
    if (const absl::Status restarted = postgres_.Restart(); !restarted.ok()) {
      Log(LogLevel::kError, "postgres not started", {{"error", restarted}});
    }
  }
}

}  // namespace narthex::app
