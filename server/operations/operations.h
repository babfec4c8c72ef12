// Long-running operations that survive a restart: each is a row in the staging index and ends exactly once.
//
//   operations.Register("build", [](const OperationRow& row, Progress& progress) { ... return result; });
//   operations.Resume();                                        // those that a crash interrupted
//   auto row = operations.Start({.kind = "build", .target = id, ...});
//
// A handler may run again after a crash, with the same operation id: it must be repeatable. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "base/clock.h"
#include "base/error.h"
#include "storage/staging/index.h"

namespace narthex::operations {

// The only kind whose target is not an id but a path of the inbox; the log does not name it.
inline constexpr char kImportInbox[] = "import-inbox";

struct Operation {
  std::string id;
  std::string kind;    // "build", "archive", "split", kImportInbox
  std::string target;  // what it works on: the id of a prearchive session, a path below the inbox
  std::map<std::string, std::string> arguments;
  std::string user;
  std::string project;  // whose members may see it; "" administrators and `user`
  absl::Time create_time;
  // Output of the handler:
  bool done = false;
  absl::Status status;     // once done
  std::string result;      // once done with OK: such as an accession id
  int64_t done_count = 0;  // progress; not kept over a restart
  int64_t total_count = 0;
  bool cancelled = false;  // somebody asked for it; the handler may not have noticed
};

// What a handler answers that must wait for something which another operation may have to do first: it is run
// again, after others had their turn. Whoever waits sees nothing of it.
absl::Status Postponed(absl::string_view why);
bool IsPostponed(const absl::Status& status);
// Whether a write to the index was refused for want of space, so that it is worth trying again. A handler
// that could not write that it failed postpones itself then: an operation that ends without that leaves its
// session as if it was still being worked on.
bool PassesByItself(const absl::Status& status);

// What a handler may tell and ask while it runs. Thread-safe.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void Report(int64_t done_count, int64_t total_count) = 0;
  virtual bool cancelled() const = 0;
  // Waits. False: the process is stopping; return UNAVAILABLE (SHUTTING_DOWN), and the next process goes on.
  virtual bool SleepFor(absl::Duration duration) = 0;
};

class Operations {
 public:
  using Handler = std::function<absl::StatusOr<std::string>(const Operation&, Progress&)>;

  // `index` and `clock` are borrowed. Runs at most `workers` operations at once.
  Operations(staging::Index& index, const Clock& clock, int workers);
  // Handlers that run are waited for; what has not begun is resumed by the next process.
  ~Operations();

  void Register(absl::string_view kind, Handler handler);

  // Puts every operation that is not done into the queue. Call it once, when all handlers are registered.
  absl::Status Resume();

  // Makes an operation durable and queues it. A repeated `request_id` (unless "") of the same user and kind
  // returns the operation of the first call; ALREADY_EXISTS (REQUEST_ID_REUSED) if that had another target.
  // `prepare` (optional) runs when the row is durable and may refuse: then the row goes again. A crash before
  // it ran leaves an operation whose handler finds that out.
  absl::StatusOr<Operation> Start(
      Operation operation, absl::string_view request_id,
      const std::function<absl::Status(const std::string& id)>& prepare = nullptr);

  // NOT_FOUND (OPERATION_NOT_FOUND).
  absl::StatusOr<Operation> Get(absl::string_view id);
  // Waits until it is done or `deadline` has come, and returns it as it is then.
  absl::StatusOr<Operation> Wait(absl::string_view id, absl::Time deadline);
  // Newest first, with id behind `after` ("" for the first page).
  absl::StatusOr<std::vector<Operation>> List(absl::string_view after, int limit,
                                              const std::function<bool(const Operation&)>& may_see);
  // Asks an operation to stop. The handler of one that is queued runs all the same, as only it can undo what
  // `prepare` did; it sees at once that it is cancelled. OK if it is done already.
  absl::Status Cancel(absl::string_view id);

 private:
  class ProgressOf;
  struct Running;

  void Work();
  // False: it wants to be run again.
  bool RunOne(const std::string& id);
  absl::Status Save(const Operation& operation);
  // As Save, again and again while there is no space, until the process stops.
  absl::Status SaveEnd(const Operation& operation);
  absl::StatusOr<Operation> Load(absl::string_view id);

  staging::Index& index_;
  const Clock& clock_;
  std::map<std::string, Handler, std::less<>> handlers_;
  absl::Mutex mutex_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::shared_ptr<Running>> running_ ABSL_GUARDED_BY(mutex_);
  // Operations whose start failed, and could not be undone: what they end with.
  absl::flat_hash_map<std::string, absl::Status> abandoned_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> starting_ ABSL_GUARDED_BY(mutex_);  // request keys that Start works on
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> workers_;
};

}  // namespace narthex::operations
