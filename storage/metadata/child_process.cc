#include "storage/metadata/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/error.h"

namespace narthex::metadata {
namespace {

// Everything from here to exec runs in a forked copy of a process with threads: system calls only, no
// allocation.

// The bare system calls: glibc's wrappers would try to change the (absent) other threads, too.
bool BecomeUser(const Account& account) {
  return syscall(SYS_setgroups, 0, nullptr) == 0 && syscall(SYS_setgid, account.gid) == 0 &&
         syscall(SYS_setuid, account.uid) == 0;
}

void ResetSignals() {
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void RunChild(const Command& command, char* const* arguments, char* const* environment,
                           const char* log, pid_t parent) {
  ResetSignals();
  setsid();
  const int null = open("/dev/null", O_RDONLY);
  const int out = open(log, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600);
  if (null < 0 || out < 0) _exit(126);
  dup2(null, 0);
  dup2(out, 1);
  dup2(out, 2);
  const int directory =
      command.directory.empty() ? 2 : open(command.directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (directory < 0 || chdir("/") != 0) _exit(126);
  if (directory > 3) dup2(directory, 3);
  syscall(SYS_close_range, directory == 2 ? 3 : 4, ~0u, 0);
  umask(0077);
  if (command.run_as && !BecomeUser(*command.run_as)) _exit(126);
  // After the change of user, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGINT);
  if (getppid() != parent) _exit(126);  // it died before the line above
  execve(arguments[0], arguments, environment);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Command& command) {
  std::unique_ptr<ChildProcess> child(new ChildProcess(command));
  child->supervisor_ = std::thread([raw = child.get()] { raw->Supervise(); });
  absl::MutexLock lock(&child->mutex_);
  child->mutex_.Await(absl::Condition(&child->started_));
  if (child->pid_ == 0 && child->exit_status_ == -1) {
    return Error(absl::StatusCode::kUnavailable, "POSTGRES_START", "cannot fork: out of processes or memory");
  }
  return child;
}

ChildProcess::~ChildProcess() {
  if (supervisor_.joinable()) supervisor_.join();
}

void ChildProcess::Supervise() {
  std::vector<char*> arguments, environment;
  for (const std::string& argument : command_.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  for (const std::string& variable : command_.environment)
    environment.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  const char* log = command_.log_file.empty() ? "/dev/null" : command_.log_file.c_str();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunChild(command_, arguments.data(), environment.data(), log, parent);
  {
    absl::MutexLock lock(&mutex_);
    started_ = true;
    exited_ = pid < 0;
    pid_ = pid < 0 ? 0 : pid;
    exit_status_ = pid < 0 ? -1 : 0;
  }
  if (pid < 0) return;
  // Wait without reaping first: the pid must not be given to another process while Signal may use it.
  siginfo_t info;
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  absl::MutexLock lock(&mutex_);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  exit_status_ = status;
  pid_ = 0;
  exited_ = true;
}

pid_t ChildProcess::pid() const {
  absl::MutexLock lock(&mutex_);
  return pid_;
}

void ChildProcess::Signal(int signal) {
  absl::MutexLock lock(&mutex_);
  if (pid_ != 0) kill(pid_, signal);
}

bool ChildProcess::Wait(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&exited_), timeout);
}

int ChildProcess::exit_status() const {
  absl::MutexLock lock(&mutex_);
  return exit_status_;
}

bool MayAccess(const Account& account, const std::string& path, int mode) {
  const char* const text = path.c_str();
  const pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) _exit(BecomeUser(account) && access(text, mode) == 0 ? 0 : 1);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace narthex::metadata
