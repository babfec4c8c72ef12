#include "server/operations/operations.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "server/operations/operation_row.pb.h"
#include "storage/metadata/access.h"

namespace narthex::operations {
namespace {

// How long an operation that must wait for another one leaves its place to others.
constexpr absl::Duration kPostponement = absl::Milliseconds(200);

using staging::Table;

// Sorts newer before older, as ids of prearchive sessions do.
std::string NewOperationId(absl::Time now) {
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuv";
  uint64_t inverted = (uint64_t{1} << 50) - 1 - static_cast<uint64_t>(absl::ToUnixMillis(now));
  std::string id(10, '0');
  for (int i = 9; i >= 0; --i, inverted >>= 5) id[i] = kDigits[inverted & 31];
  return id + NewRandomId(4).substr(0, 6);
}

OperationRow ToRow(const Operation& operation) {
  OperationRow row;
  row.set_id(operation.id);
  row.set_kind(operation.kind);
  row.set_target(operation.target);
  for (const auto& [key, value] : operation.arguments) (*row.mutable_arguments())[key] = value;
  row.set_user(operation.user);
  row.set_project(operation.project);
  row.set_create_time_us(absl::ToUnixMicros(operation.create_time));
  row.set_done(operation.done);
  row.set_code(static_cast<int>(operation.status.code()));
  row.set_reason(ErrorReason(operation.status));
  row.set_message(std::string(operation.status.message()));
  for (const auto& [key, value] : ErrorMetadataOf(operation.status)) (*row.mutable_metadata())[key] = value;
  row.set_result(operation.result);
  return row;
}

Operation FromRow(const OperationRow& row) {
  Operation operation;
  operation.id = row.id();
  operation.kind = row.kind();
  operation.target = row.target();
  operation.arguments.insert(row.arguments().begin(), row.arguments().end());
  operation.user = row.user();
  operation.project = row.project();
  operation.create_time = absl::FromUnixMicros(row.create_time_us());
  operation.done = row.done();
  if (row.code() != 0) {
    operation.status = Error(static_cast<absl::StatusCode>(row.code()), row.reason(), row.message(),
                             ErrorMetadata(row.metadata().begin(), row.metadata().end()));
  }
  operation.result = row.result();
  return operation;
}

void LogFailed(const Operation& operation) {
  // People give folders of the inbox and their files the names of patients: neither the path nor what the
  // error says of it goes into the log. Who started the operation reads both in its result.
  if (operation.kind == kImportInbox) {
    Log(LogLevel::kWarning, "operation failed",
        {{"operation", operation.id}, {"kind", operation.kind}, {"reason", ErrorReason(operation.status)}});
    return;
  }
  Log(LogLevel::kWarning, "operation failed",
      {{"operation", operation.id},
       {"kind", operation.kind},
       {"target", operation.target},
       {"error", operation.status}});
}

}  // namespace

absl::Status Postponed(absl::string_view why) {
  return Error(absl::StatusCode::kAborted, "OPERATION_POSTPONED", why);
}

bool PassesByItself(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason == "DISK_FULL" || reason == "INDEX_BUSY";
}

bool IsPostponed(const absl::Status& status) { return ErrorReason(status) == "OPERATION_POSTPONED"; }

struct Operations::Running {
  std::atomic<int64_t> done_count{0};
  std::atomic<int64_t> total_count{0};
  std::atomic<bool> cancelled{false};
};

class Operations::ProgressOf : public Progress {
 public:
  ProgressOf(Operations& owner, std::shared_ptr<Running> running)
      : owner_(owner), running_(std::move(running)) {}
  void Report(int64_t done_count, int64_t total_count) override {
    running_->done_count = done_count;
    running_->total_count = total_count;
  }
  bool cancelled() const override { return running_->cancelled; }
  bool SleepFor(absl::Duration duration) override {
    absl::MutexLock lock(&owner_.mutex_);
    return !owner_.mutex_.AwaitWithTimeout(absl::Condition(&owner_.stopping_), duration);
  }

 private:
  Operations& owner_;
  const std::shared_ptr<Running> running_;
};

Operations::Operations(staging::Index& index, const Clock& clock, int workers)
    : index_(index), clock_(clock) {
  for (int i = 0; i < workers; ++i)
    workers_.emplace_back([this] {
      // Who started an operation was allowed to; what it does is the server's work.
      const metadata::SystemScope scope;
      Work();
    });
}

Operations::~Operations() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

void Operations::Register(absl::string_view kind, Handler handler) {
  handlers_.emplace(std::string(kind), std::move(handler));
}

absl::Status Operations::Resume() {
  std::vector<std::string> open;
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kOperations, "", "", [&](absl::string_view key, absl::string_view value) {
        OperationRow row;
        if (row.ParseFromArray(value.data(), static_cast<int>(value.size())) && !row.done())
          open.emplace_back(key);
        return true;
      }));
  absl::MutexLock lock(&mutex_);
  // Oldest first.
  for (auto it = open.rbegin(); it != open.rend(); ++it) {
    running_.emplace(*it, std::make_shared<Running>());
    queue_.push_back(*it);
  }
  return absl::OkStatus();
}

absl::Status Operations::Save(const Operation& operation) {
  staging::IndexBatch batch;
  batch.Put(Table::kOperations, operation.id, ToRow(operation).SerializeAsString());
  return index_.Write(batch, staging::Durability::kPowerLoss);
}

absl::StatusOr<Operation> Operations::Load(absl::string_view id) {
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kOperations, id));
  OperationRow row;
  if (!bytes || !row.ParseFromString(*bytes)) {
    return NotFound("OPERATION_NOT_FOUND", absl::StrCat("there is no operation ", id),
                    {{"operation", std::string(id)}});
  }
  return FromRow(row);
}

absl::StatusOr<Operation> Operations::Start(
    Operation operation, absl::string_view request_id,
    const std::function<absl::Status(const std::string& id)>& prepare) {
  const std::string request_key =
      absl::StrCat("operation/", operation.kind, "/", operation.user, "/", request_id);
  // Two calls with one request id at the same time: the second one waits for what the first one makes.
  const absl::Cleanup leave = [&] {
    if (request_id.empty()) return;
    absl::MutexLock lock(&mutex_);
    starting_.erase(request_key);
  };
  if (!request_id.empty()) {
    absl::MutexLock lock(&mutex_);
    const auto free = [&]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !starting_.contains(request_key); };
    mutex_.Await(absl::Condition(&free));
    starting_.insert(request_key);
  }
  if (!request_id.empty()) {
    NX_ASSIGN_OR_RETURN(const auto known, index_.Get(Table::kRequests, request_key));
    if (known) {
      NX_ASSIGN_OR_RETURN(Operation first, Get(*known));
      if (first.target == operation.target) return first;
      return Error(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
                   absl::StrCat("request id ", request_id, " was used for ", first.target));
    }
  }
  operation.id = NewOperationId(clock_.Now());
  operation.create_time = clock_.Now();
  staging::IndexBatch batch;
  batch.Put(Table::kOperations, operation.id, ToRow(operation).SerializeAsString());
  if (!request_id.empty()) batch.Put(Table::kRequests, request_key, operation.id);
  NX_RETURN_IF_ERROR(index_.Write(batch, staging::Durability::kPowerLoss));
  CrashPoint("operation.saved");
  if (const absl::Status prepared = prepare ? prepare(operation.id) : absl::OkStatus(); !prepared.ok()) {
    staging::IndexBatch undo;
    undo.Delete(Table::kOperations, operation.id);
    if (!request_id.empty()) undo.Delete(Table::kRequests, request_key);
    if (const absl::Status undone = index_.Write(undo, staging::Durability::kPowerLoss); !undone.ok()) {
      // It stays in the list, and must not be carried out by the next process: it ends as what it is.
      absl::MutexLock lock(&mutex_);
      abandoned_.emplace(operation.id, prepared);
      running_.emplace(operation.id, std::make_shared<Running>());
      queue_.push_back(operation.id);
    }
    return prepared;
  }
  {
    absl::MutexLock lock(&mutex_);
    running_.emplace(operation.id, std::make_shared<Running>());
    queue_.push_back(operation.id);
  }
  return operation;
}

absl::StatusOr<Operation> Operations::Get(absl::string_view id) {
  NX_ASSIGN_OR_RETURN(Operation operation, Load(id));
  absl::MutexLock lock(&mutex_);
  if (const auto it = running_.find(id); it != running_.end()) {
    operation.done_count = it->second->done_count;
    operation.total_count = it->second->total_count;
    operation.cancelled = it->second->cancelled;
  }
  return operation;
}

absl::StatusOr<Operation> Operations::Wait(absl::string_view id, absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    const std::string key(id);
    const auto ended = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !running_.contains(key);
    };
    mutex_.AwaitWithDeadline(absl::Condition(&ended), deadline);
  }
  return Get(id);
}

absl::StatusOr<std::vector<Operation>> Operations::List(
    absl::string_view after, int limit, const std::function<bool(const Operation&)>& may_see) {
  std::vector<Operation> operations;
  const std::string begin = after.empty() ? "" : absl::StrCat(after, absl::string_view("\0", 1));
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kOperations, begin, "", [&](absl::string_view, absl::string_view value) {
        OperationRow row;
        if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) return true;
        Operation operation = FromRow(row);
        if (may_see(operation)) operations.push_back(std::move(operation));
        return static_cast<int>(operations.size()) < limit;
      }));
  return operations;
}

absl::Status Operations::Cancel(absl::string_view id) {
  NX_RETURN_IF_ERROR(Load(id).status());
  absl::MutexLock lock(&mutex_);
  if (const auto it = running_.find(id); it != running_.end()) it->second->cancelled = true;
  return absl::OkStatus();
}

void Operations::Work() {
  while (true) {
    std::string id;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&awake));
      if (stopping_) return;
      id = std::move(queue_.front());
      queue_.pop_front();
    }
    if (RunOne(id)) continue;
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kPostponement)) queue_.push_back(std::move(id));
  }
}

bool Operations::RunOne(const std::string& id) {
  std::shared_ptr<Running> running;
  absl::Status abandoned;
  {
    absl::MutexLock lock(&mutex_);
    running = running_[id];
    if (const auto it = abandoned_.find(id); it != abandoned_.end()) abandoned = it->second;
  }
  auto operation = Load(id);
  if (!operation.ok() && !absl::IsNotFound(operation.status())) return false;
  if (operation.ok() && !operation->done) {
    absl::StatusOr<std::string> result;
    const auto handler = handlers_.find(operation->kind);
    if (!abandoned.ok()) {
      result = abandoned;
    } else if (handler == handlers_.end()) {
      result = Internal("INTERNAL", absl::StrCat("nothing handles operations of kind ", operation->kind));
    } else {
      ProgressOf progress(*this, running);
      result = handler->second(*operation, progress);
      if (IsPostponed(result.status())) return false;
    }
    // Stopped, not ended: the next process goes on with it.
    const bool interrupted = !result.ok() && ErrorReason(result.status()) == "SHUTTING_DOWN";
    if (!interrupted) {
      operation->done = true;
      if (result.ok()) operation->result = *std::move(result);
      if (!result.ok()) operation->status = result.status();
      if (const absl::Status saved = SaveEnd(*operation); !saved.ok()) {
        Log(LogLevel::kError, "operation's end not saved", {{"operation", id}, {"error", saved}});
      }
      if (!operation->status.ok()) LogFailed(*operation);
    }
  }
  absl::MutexLock lock(&mutex_);
  running_.erase(id);
  abandoned_.erase(id);
  return true;
}

absl::Status Operations::SaveEnd(const Operation& operation) {
  while (true) {
    absl::Status saved = Save(operation);
    if (!PassesByItself(saved)) return saved;
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kPostponement)) return saved;
  }
}

}  // namespace narthex::operations
