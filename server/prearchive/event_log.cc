#include "server/prearchive/event_log.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"

#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::prearchive {
namespace {

// Events older than this many are dropped. A watcher that was away for longer starts from a list.
constexpr int64_t kKeptEvents = 200'000;

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(staging::Index& index) {
  auto log = absl::WrapUnique(new EventLog(index));
  NX_ASSIGN_OR_RETURN(const auto next, index.Get(staging::Table::kMeta, "next_event"));
  int64_t from = next ? static_cast<int64_t>(keys::LastNumber(*next)) : 1;
  // The counter is written every thousand events; the rest is found here.
  NX_RETURN_IF_ERROR(index.Scan(staging::Table::kEvents, keys::Number(from), "",
                                [&](absl::string_view key, absl::string_view) {
                                  from = static_cast<int64_t>(keys::LastNumber(key)) + 1;
                                  return true;
                                }));
  absl::MutexLock lock(&log->mutex_);
  log->next_ = from;
  return log;
}

int64_t EventLog::Add(const EventRow& row, staging::IndexBatch& batch) {
  int64_t sequence;
  {
    absl::MutexLock lock(&mutex_);
    sequence = next_++;
    unpublished_.push_back(sequence);
  }
  batch.Put(staging::Table::kEvents, keys::Number(sequence), row.SerializeAsString());
  if (sequence % 1000 == 0) {
    batch.Put(staging::Table::kMeta, "next_event", keys::Number(sequence));
    if (sequence > kKeptEvents) {
      batch.DeleteRange(staging::Table::kEvents, keys::Number(0), keys::Number(sequence - kKeptEvents));
    }
  }
  return sequence;
}

void EventLog::Publish(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  unpublished_.erase(std::remove(unpublished_.begin(), unpublished_.end(), sequence), unpublished_.end());
}

int64_t EventLog::VisibleEnd() const {
  return unpublished_.empty() ? next_ : *std::min_element(unpublished_.begin(), unpublished_.end());
}

int64_t EventLog::NextSequence() const {
  absl::MutexLock lock(&mutex_);
  return next_;
}

absl::StatusOr<std::vector<EventLog::Entry>> EventLog::Read(int64_t from, int limit,
                                                            absl::Time deadline) const {
  int64_t end;
  {
    absl::MutexLock lock(&mutex_);
    const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || VisibleEnd() > from; };
    mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
    end = VisibleEnd();
  }
  std::vector<Entry> entries;
  if (end <= from) return entries;
  NX_RETURN_IF_ERROR(index_.Scan(staging::Table::kEvents, keys::Number(from), keys::Number(end),
                                 [&](absl::string_view key, absl::string_view value) {
                                   Entry entry{static_cast<int64_t>(keys::LastNumber(key)), {}};
                                   entry.row.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   entries.push_back(std::move(entry));
                                   return static_cast<int>(entries.size()) < limit;
                                 }));
  return entries;
}

void EventLog::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace narthex::prearchive
