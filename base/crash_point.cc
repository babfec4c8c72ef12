#include "base/crash_point.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace narthex::crash_point_internal {
namespace {

constexpr useconds_t kLookEveryMicroseconds = 5000;

absl::string_view Setting(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? absl::string_view() : absl::string_view(text);
}

absl::string_view Wanted() { return Setting("NARTHEX_CRASH_POINT"); }
absl::string_view Pauses() { return Setting("NARTHEX_PAUSE_POINTS"); }

void WaitAt(absl::string_view directory, const char* name) {
  const std::string hold = absl::StrCat(directory, "/", name);
  if (::access(hold.c_str(), F_OK) != 0) return;
  const int descriptor = ::open(absl::StrCat(hold, ".reached").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor >= 0) ::close(descriptor);
  while (::access(hold.c_str(), F_OK) == 0) ::usleep(kLookEveryMicroseconds);
}

}  // namespace

const bool kArmed = !Wanted().empty() || !Pauses().empty();

void Reach(const char* name, bool may_die) {
  if (!Pauses().empty()) WaitAt(Pauses(), name);
  static std::atomic<int> reached{0};
  const absl::string_view wanted = Wanted();
  const size_t colon = wanted.find(':');
  if (!may_die || wanted.substr(0, colon) != name) return;
  int at = 1;
  if (colon != absl::string_view::npos && !absl::SimpleAtoi(wanted.substr(colon + 1), &at)) at = 1;
  if (++reached != at) return;
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();  // nothing more happens on this thread
}

}  // namespace narthex::crash_point_internal
