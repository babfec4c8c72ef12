// Child processes of another user: for PostgreSQL, which refuses to run as root. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include <sys/types.h>

namespace narthex::metadata {

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
};

// Whom a child process runs as: nobody set means as this process.
using RunAs = std::optional<Account>;

struct Command {
  std::vector<std::string> arguments;  // [0] is the absolute path of the program
  // Stays open in the child as descriptor 3, so that /proc/self/fd/3 names it also where its user may not go
  // the way there; "": none. The child's working directory is /.
  std::string directory;
  std::string log_file;  // gets standard output and error, appended; "": /dev/null
  RunAs run_as;
  std::vector<std::string> environment;  // NAME=VALUE, before this process's own
};

// A running child. It is in a session of its own (Ctrl-C does not reach it), inherits no descriptors, and
// gets SIGINT when this process dies: the thread that forks it waits for it, because PR_SET_PDEATHSIG is
// about threads.
class ChildProcess {
 public:
  // UNAVAILABLE (POSTGRES_START): fork or exec failed.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const Command& command);
  // The child must have exited: call Stop or Wait before.
  ~ChildProcess();

  pid_t pid() const;  // 0 once it has exited
  bool running() const { return pid() != 0; }
  void Signal(int signal);
  // True if it exited within `timeout`; its wait status is then in exit_status().
  bool Wait(absl::Duration timeout);
  int exit_status() const;

 private:
  explicit ChildProcess(Command command) : command_(std::move(command)) {}
  void Supervise();

  const Command command_;
  mutable absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool exited_ ABSL_GUARDED_BY(mutex_) = false;
  pid_t pid_ ABSL_GUARDED_BY(mutex_) = 0;
  int exit_status_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread supervisor_;
};

// Whether `account` may use `path` in the sense of access(2).
bool MayAccess(const Account& account, const std::string& path, int mode);

}  // namespace narthex::metadata
