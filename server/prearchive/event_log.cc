#include "server/prearchive/event_log.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::prearchive {
namespace {

// Events older than this many are dropped. A watcher that was away for longer starts from a list.
constexpr int64_t kKeptEvents = 200'000;
// Numbers are set aside so many at a time.
constexpr int64_t kReservedEvents = 1000;

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(staging::Index& index) {
  auto log = absl::WrapUnique(new EventLog(index));
  NX_ASSIGN_OR_RETURN(const auto reserved, index.Get(staging::Table::kMeta, "next_event"));
  int64_t next = reserved ? static_cast<int64_t>(keys::LastNumber(*reserved)) : 1;
  int64_t oldest = 0;
  NX_RETURN_IF_ERROR(
      index.Scan(staging::Table::kEvents, "", "", [&](absl::string_view key, absl::string_view) {
        oldest = static_cast<int64_t>(keys::LastNumber(key));
        return false;
      }));
  NX_RETURN_IF_ERROR(index.Scan(staging::Table::kEvents, keys::Number(next), "",
                                [&](absl::string_view key, absl::string_view) {
                                  next = static_cast<int64_t>(keys::LastNumber(key)) + 1;
                                  return true;
                                }));
  absl::MutexLock lock(&log->mutex_);
  // Events that a loss of power took may have been seen: their numbers are not given out again.
  log->next_ = next;
  log->reserved_ = next;
  log->oldest_ = oldest == 0 ? next : oldest;
  return log;
}

int64_t EventLog::Add(const EventRow& row, staging::IndexBatch& batch) {
  // Of the scans only how many there are: 200,000 events are kept.
  EventRow kept = row;
  for (ScanRow& scan : *kept.mutable_row()->mutable_scans()) scan.Clear();
  kept.mutable_row()->clear_exported();
  const std::string bytes = kept.SerializeAsString();
  absl::MutexLock lock(&mutex_);
  if (next_ == reserved_) {
    // Under the lock, once in a thousand events. If it fails, so will the event's own batch.
    staging::IndexBatch reservation;
    reservation.Put(staging::Table::kMeta, "next_event", keys::Number(reserved_ + kReservedEvents));
    if (index_.Write(reservation, staging::Durability::kPowerLoss).ok()) reserved_ += kReservedEvents;
    if (next_ > kKeptEvents && next_ - kKeptEvents > oldest_) {
      oldest_ = next_ - kKeptEvents;
      batch.DeleteRange(staging::Table::kEvents, keys::Number(0), keys::Number(oldest_));
    }
  }
  const int64_t sequence = next_++;
  reserved_ = std::max(reserved_, next_);
  unpublished_.push_back(sequence);
  batch.Put(staging::Table::kEvents, keys::Number(sequence), bytes);
  return sequence;
}

absl::Status EventLog::Covers(int64_t from) const {
  absl::MutexLock lock(&mutex_);
  if (from >= oldest_ && from <= next_) return absl::OkStatus();
  return Error(absl::StatusCode::kOutOfRange, "EVENTS_UNAVAILABLE",
               absl::StrCat("events are kept from ", oldest_, " to ", next_ - 1,
                            "; list the sessions, and watch from ", "now on"),
               {{"oldest", absl::StrCat(oldest_)}, {"next", absl::StrCat(next_)}});
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
