// One object being appended to a SegmentLog. Internal to storage/staging.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "storage/staging/segment_log.h"

namespace narthex::staging {

class SegmentWriter : public ObjectWriter {
 public:
  SegmentWriter(std::shared_ptr<SegmentLog> log, uint64_t object) : log_(std::move(log)), object_(object) {}
  ~SegmentWriter() override;

  absl::Status Append(absl::string_view bytes) override;
  absl::StatusOr<StoredObject> Finish(absl::string_view meta) override;

  // Ends the record that was begun, if its owner is not using the writer right now, so that its memory can be
  // written out. Called by other threads, which hold log_->mutex_ (the analysis does not see that it is the
  // same).
  void TrySpill() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  friend class SegmentLog;

  size_t RoomLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return end_ - cursor_; }
  absl::Status MakeRoom(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddPieces(std::vector<SlabPiece> pieces) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Copy(absl::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EndRecord(absl::string_view meta, bool completes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EndRecordLocked(bool completes, uint32_t meta_length, uint32_t meta_crc)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_, log_->mutex_);
  void DropRecord() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<SegmentLog> log_;
  const uint64_t object_;

  // Uncontended but for TrySpill. Acquired before the log's mutex.
  absl::Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  StoredObject stored_ ABSL_GUARDED_BY(mutex_);
  Position last_record_ ABSL_GUARDED_BY(mutex_);
  uint32_t record_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failures_seen_ ABSL_GUARDED_BY(mutex_) = 0;  // of the log, when the first record ended

  // The record that was begun: its head's place is left free at the beginning of the first piece.
  std::vector<SlabPiece> pieces_ ABSL_GUARDED_BY(mutex_);
  size_t piece_ ABSL_GUARDED_BY(mutex_) = 0;  // which piece cursor_ is in
  char* cursor_ ABSL_GUARDED_BY(mutex_) = nullptr;
  char* end_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint32_t payload_length_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t payload_crc_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace narthex::staging
