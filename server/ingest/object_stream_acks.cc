// What was decided becomes durable, and is told.

#include <map>
#include <utility>

#include "base/crash_point.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/object_stream_current.h"

namespace narthex::ingest {

using prearchive::Arrived;
using prearchive::Outcome;
using prearchive::OutcomeRow;

namespace {

// What a sender knows an object by.
std::vector<OutcomeRow> WhichObjects(const std::vector<Arrived>& batch) {
  std::vector<OutcomeRow> objects;
  objects.reserve(batch.size());
  for (const Arrived& arrived : batch) {
    OutcomeRow& object = objects.emplace_back();
    object.set_upload(arrived.outcome.upload());
    object.set_sequence(arrived.outcome.sequence());
    object.set_digest(arrived.outcome.digest());
    object.set_size_bytes(arrived.outcome.size_bytes());
  }
  return objects;
}

}  // namespace

void ObjectStream::Reject(int64_t sequence, const absl::Status& why, uint64_t size_bytes,
                          absl::string_view digest) {
  const std::string reason = ErrorReason(why);
  Arrived arrived;
  if (IsFiltered(why) && filtered_) arrived = *std::move(filtered_);
  filtered_.reset();
  arrived.outcome.set_upload(upload_.id());
  arrived.outcome.set_sequence(sequence);
  arrived.outcome.set_outcome(static_cast<int>(IsFiltered(why) ? Outcome::kFiltered : Outcome::kRejected));
  arrived.outcome.set_reason(reason.empty() ? "INTERNAL" : reason);
  arrived.outcome.set_detail(std::string(why.message()));
  arrived.outcome.set_digest(std::string(digest));
  arrived.outcome.set_size_bytes(size_bytes);
  Settle(std::move(arrived), 0);
}

void ObjectStream::Settle(Arrived arrived, uint64_t size_bytes) {
  if (!acks_.joinable()) {
    if (!Failed().ok()) return;
    std::vector<Arrived> one;
    one.push_back(std::move(arrived));
    return Commit(std::move(one));
  }
  absl::MutexLock lock(&mutex_);
  const auto room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return (waiting_bytes_ < limits::kUploadUnackedMaxBytes &&
            waiting_.size() < limits::kUploadUnackedMaxObjects) ||
           !status_.ok();
  };
  mutex_.Await(absl::Condition(&room));
  waiting_.push_back(std::move(arrived));
  waiting_bytes_ += size_bytes;
}

void ObjectStream::RunAcks() {
  while (true) {
    std::vector<Arrived> batch;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [&]()
                             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return finished_ || !waiting_.empty(); };
      mutex_.Await(absl::Condition(&awake));
      if (waiting_.empty()) return;
      batch.swap(waiting_);
      waiting_bytes_ = 0;
    }
    // After an error nothing is acknowledged.
    if (const absl::Status failed = Failed(); !failed.ok()) {
      TellNotKept(WhichObjects(batch), failed);
    } else {
      Commit(std::move(batch));
    }
  }
}

// Tells that these objects are not kept. That is not written down, as it is the index that could not be
// written: whoever sends them again, in this upload or another, learns what became of them.
void ObjectStream::TellNotKept(std::vector<OutcomeRow> objects, const absl::Status& why) {
  const std::string reason = ErrorReason(why);
  for (OutcomeRow& object : objects) {
    object.set_outcome(static_cast<int>(Outcome::kRejected));
    object.set_reason(reason.empty() ? "INTERNAL" : reason);
    object.set_detail(std::string(why.message()));
  }
  sink_(objects);
}

// Makes the objects durable and tells their outcomes.
void ObjectStream::Commit(std::vector<Arrived> batch) {
  CrashPoint("ingest.appended");
  // With kAtOnce the call that completed the object returns the error.
  std::vector<OutcomeRow> objects;
  if (acks_.joinable()) objects = WhichObjects(batch);
  auto outcomes = dependencies_.prearchive.Commit(std::move(batch));
  if (!outcomes.ok()) {
    Log(LogLevel::kError, "objects could not be committed",
        {{"upload", upload_.id()}, {"error", outcomes.status()}});
    {
      absl::MutexLock lock(&mutex_);
      status_ = outcomes.status();
    }
    if (!objects.empty()) TellNotKept(std::move(objects), outcomes.status());
    return;
  }
  std::map<int, int> counts;
  for (const OutcomeRow& outcome : *outcomes) ++counts[outcome.outcome()];
  for (const auto& [outcome, count] : counts) {
    Metrics::Global().Count("objects_total", "Objects received, by outcome.", count,
                            {{"outcome", std::string(OutcomeName(static_cast<Outcome>(outcome)))}});
  }
  // If the sender is gone, what it sent is kept all the same.
  sink_(*outcomes);
  CrashPoint("ingest.answered");
  dependencies_.prearchive.Settle();
  CrashPoint("ingest.indexed");
}

absl::Status ObjectStream::Finish() {
  if (current_) {
    const int64_t sequence = current_->sequence;
    const uint64_t received = current_->received;
    current_.reset();
    Reject(sequence,
           Error(absl::StatusCode::kAborted, "OBJECT_ABANDONED", "the stream ended within the object"),
           received, "");
  }
  {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
  }
  if (acks_.joinable()) acks_.join();
  absl::MutexLock lock(&mutex_);
  return status_;
}

}  // namespace narthex::ingest
