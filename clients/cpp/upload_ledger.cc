#include "clients/cpp/upload_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace narthex::client {
namespace {

constexpr int kRetriesMax = 2;  // fixed: tries of the client

bool IsProblem(const v1::ObjectOutcome& outcome) {
  return outcome.outcome() == v1::ObjectOutcome::REJECTED || outcome.outcome() == v1::ObjectOutcome::CONFLICT;
}

using Range = std::pair<int64_t, int64_t>;

std::vector<Range> DurableRanges(const v1::Upload& upload) {
  std::vector<Range> ranges;
  for (const v1::SequenceRange& range : upload.durable()) ranges.emplace_back(range.first(), range.last());
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

bool Contains(const std::vector<Range>& ranges, int64_t sequence) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), sequence,
                                [](int64_t value, const Range& range) { return value < range.first; });
  return after != ranges.begin() && std::prev(after)->second >= sequence;
}

}  // namespace

UploadLedger::UploadLedger(std::vector<ResumeEntry> entries) : last_settled_(absl::Now()) {
  rows_.resize(entries.size());
  by_sequence_.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    by_sequence_[entries[i].sequence] = i;
    next_sequence_ = std::max(next_sequence_, entries[i].sequence + 1);
    progress_.total_bytes += entries[i].file.size_bytes;
    waiting_.push_back(i);
    rows_[i].entry = std::move(entries[i]);
  }
  progress_.object_count = static_cast<int64_t>(rows_.size());
}

std::vector<UploadTask> UploadLedger::Take(size_t max_count, int64_t max_bytes) {
  absl::MutexLock lock(&mutex_);
  std::vector<UploadTask> tasks;
  int64_t bytes = 0;
  while (!stopped_ && !waiting_.empty() && tasks.size() < max_count) {
    const Row& row = rows_[waiting_.front()];
    bytes += row.entry.file.size_bytes;
    if (!tasks.empty() && bytes > max_bytes) break;
    waiting_.pop_front();
    if (!row.settled) tasks.push_back({row.entry.sequence, &row.entry.file});
  }
  return tasks;
}

void UploadLedger::Return(const std::vector<int64_t>& sequences) {
  absl::MutexLock lock(&mutex_);
  for (auto it = sequences.rbegin(); it != sequences.rend(); ++it) {
    Row* row = Find(*it);
    if (row == nullptr || row->settled) continue;
    progress_.sent_bytes -= std::exchange(row->sent_bytes, 0);
    waiting_.push_front(by_sequence_[*it]);
  }
}

bool UploadLedger::HasWaiting() const {
  absl::MutexLock lock(&mutex_);
  return !stopped_ && !waiting_.empty();
}

UploadLedger::Row* UploadLedger::Find(int64_t sequence) {
  auto it = by_sequence_.find(sequence);
  return it == by_sequence_.end() ? nullptr : &rows_[it->second];
}

void UploadLedger::CountSent(int64_t sequence, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(sequence);
  if (row == nullptr) return;
  row->sent_bytes += bytes;
  progress_.sent_bytes += bytes;
}

void UploadLedger::MarkSettled(Row& row) {
  row.settled = true;
  last_settled_ = absl::Now();
  ++progress_.acknowledged_count;
  progress_.acknowledged_bytes += row.entry.file.size_bytes;
}

// A sequence's outcome is final; a second attempt needs another one.
void UploadLedger::Renumber(Row& row) {
  const size_t index = by_sequence_[row.entry.sequence];
  by_sequence_.erase(row.entry.sequence);
  row.entry.sequence = next_sequence_++;
  by_sequence_[row.entry.sequence] = index;
  ++row.retries;
  progress_.sent_bytes -= std::exchange(row.sent_bytes, 0);
  waiting_.push_front(index);
}

void UploadLedger::Settle(const v1::ObjectOutcome& outcome) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(outcome.sequence());
  if (row == nullptr) return;
  if (row->failed) {  // The server's answer to an abandoned object.
    ++acknowledged_count_;
    return;
  }
  const bool known = row->outcome.outcome() != v1::ObjectOutcome::OUTCOME_UNSPECIFIED;
  if (row->settled && known) return;
  if (!row->settled) {
    ++acknowledged_count_;
    if (outcome.reason() == "DIGEST_MISMATCH" && row->retries < kRetriesMax) return Renumber(*row);
    MarkSettled(*row);
  }
  row->outcome = outcome;
  row->entry.state = outcome.outcome();
  if (IsProblem(outcome)) ++progress_.problem_count;
}

void UploadLedger::SettleDurable(const v1::Upload& upload) {
  const std::vector<Range> ranges = DurableRanges(upload);
  absl::MutexLock lock(&mutex_);
  for (Row& row : rows_) {
    if (row.settled || !Contains(ranges, row.entry.sequence)) continue;
    ++acknowledged_count_;
    MarkSettled(row);
  }
}

void UploadLedger::SettleKnown(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(sequence);
  if (row == nullptr || row->settled) return;
  MarkSettled(*row);
  row->outcome.set_sequence(sequence);
  row->outcome.set_outcome(v1::ObjectOutcome::DUPLICATE);
  row->outcome.set_reason("SAME_BYTES");
  row->outcome.set_detail("the server has these bytes already; they were not sent");
  row->outcome.set_size_bytes(row->entry.file.size_bytes);
  row->entry.state = row->outcome.outcome();
}

void UploadLedger::Fail(int64_t sequence, absl::string_view detail, bool sent) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(sequence);
  if (row == nullptr || row->settled) return;
  MarkSettled(*row);
  row->failed = true;
  row->outcome.set_sequence(sequence);
  row->outcome.set_outcome(v1::ObjectOutcome::REJECTED);
  row->outcome.set_reason("FILE_UNREADABLE");
  row->outcome.set_detail(std::string(detail));
  ++progress_.problem_count;
}

void UploadLedger::Stop(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  status_.Update(status);
  stopped_ = true;
}

absl::Status UploadLedger::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

bool UploadLedger::stopped() const {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

bool UploadLedger::WaitForStop(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&stopped_), duration);
}

UploadProgress UploadLedger::progress() const {
  absl::MutexLock lock(&mutex_);
  return progress_;
}

void UploadLedger::SetReconnecting(bool reconnecting) {
  absl::MutexLock lock(&mutex_);
  progress_.reconnecting = reconnecting;
}

absl::Time UploadLedger::last_settled() const {
  absl::MutexLock lock(&mutex_);
  return last_settled_;
}

int64_t UploadLedger::acknowledged_count() const {
  absl::MutexLock lock(&mutex_);
  return acknowledged_count_;
}

bool UploadLedger::outcomes_missing() const {
  absl::MutexLock lock(&mutex_);
  return std::any_of(rows_.begin(), rows_.end(), [](const Row& row) {
    return row.settled && row.outcome.outcome() == v1::ObjectOutcome::OUTCOME_UNSPECIFIED;
  });
}

std::vector<ResumeEntry> UploadLedger::entries() const {
  absl::MutexLock lock(&mutex_);
  std::vector<ResumeEntry> entries;
  entries.reserve(rows_.size());
  for (const Row& row : rows_) entries.push_back(row.entry);
  return entries;
}

std::vector<FileOutcome> UploadLedger::outcomes() const {
  absl::MutexLock lock(&mutex_);
  std::vector<FileOutcome> outcomes;
  outcomes.reserve(rows_.size());
  for (const Row& row : rows_) {
    outcomes.push_back({row.entry.file.path, row.outcome});
    if (row.outcome.outcome() == v1::ObjectOutcome::OUTCOME_UNSPECIFIED) {
      outcomes.back().outcome.set_sequence(row.entry.sequence);
    }
  }
  return outcomes;
}

}  // namespace narthex::client
