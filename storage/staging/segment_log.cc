#include "storage/staging/segment_log.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/staging/segment_reader.h"
#include "storage/staging/segment_writer.h"

namespace narthex::staging {
namespace {

// A full buffer is handed to the writer threads; two are the most a log keeps back before its callers wait.
size_t WriteBehindBytes() { return limits::kSegmentBufferBytes / 2; }
size_t PendingMaxBytes() { return 2 * limits::kSegmentBufferBytes; }

// Longer than anybody waits between the end of an object and its sync.
constexpr absl::Duration kUntoldPatience = absl::Seconds(30);

uint64_t RandomNumber() {
  const std::string bytes = RandomBytes(sizeof(uint64_t));
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof(number));
  return number;
}

}  // namespace

SegmentLog::SegmentLog(std::shared_ptr<StoreCore> core, std::string session_id, uint32_t next_segment,
                       uint64_t size_bytes, const LogState* state)
    : core_(std::move(core)),
      session_id_(std::move(session_id)),
      directory_(SessionPath(core_->options.directory, session_id_)),
      number_(core_->next_log++),
      epoch_(RandomNumber()),
      first_segment_(state != nullptr ? 0 : next_segment),
      recovered_(first_segment_ == 0),
      tail_{next_segment, 0},
      size_bytes_(size_bytes) {
  if (state != nullptr) {
    tail_ = state->tail;
    durable_ = state->durable;
    failed_ = state->failed;
    size_bytes_ = state->size_bytes;
    file_segment_ = tail_.segment;
    file_exists_ = tail_.offset > 0;
    file_names_durable_ = file_exists_ && durable_ == tail_;
    allocated_end_ = tail_.offset;
  }
  written_ = tail_;
}

absl::Status SegmentLog::Removed() const {
  return FailedPrecondition("SESSION_REMOVED",
                            absl::StrCat("the staged files of session ", session_id_, " were removed"));
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> SegmentLog::StartObject() {
  NX_RETURN_IF_ERROR(core_->free_space.Check());
  NX_RETURN_IF_ERROR(Recover());
  absl::MutexLock lock(&mutex_);
  if (removed_) return Removed();
  auto writer = std::make_unique<SegmentWriter>(shared_from_this(), next_object_++);
  writers_.insert(writer.get());
  return std::unique_ptr<ObjectWriter>(std::move(writer));
}

void SegmentLog::Forget(SegmentWriter* writer) {
  absl::MutexLock lock(&mutex_);
  writers_.erase(writer);
  if (writers_.empty() && pending_.empty()) ParkFile();
}

// Before the first append to a session that an earlier process left: finds the end of what counts, cuts the
// rest off and makes it durable, since that process may have died before its sync. New records go into a new
// segment, so that no position is ever used twice.
absl::Status SegmentLog::Recover() {
  absl::MutexLock lock(&recover_mutex_);
  if (recovered_) return absl::OkStatus();
  SegmentReader reader(core_->files, directory_, session_id_);
  NX_ASSIGN_OR_RETURN(const Position end, reader.CutTail(first_segment_ - 1));
  absl::MutexLock state_lock(&mutex_);
  durable_ = end;
  failed_.push_back(
      {end,
       {first_segment_ - 1, UINT64_MAX},
       DataLoss("SEGMENT_FAILED", absl::StrCat("these bytes of session ", session_id_,
                                               " did not survive a crash; send the object again"))});
  recovered_ = true;
  return absl::OkStatus();
}

// --- Memory -----------------------------------------------------------------------------------------------

std::vector<SlabPiece> SegmentLog::TryTakeMemory(size_t bytes) {
  std::vector<SlabPiece> pieces;
  {
    absl::MutexLock lock(&mutex_);
    if (open_slab_.size >= bytes && open_slab_.slab != nullptr) {
      pieces.push_back(std::exchange(open_slab_, SlabPiece()));
      return pieces;
    }
  }
  std::vector<Slab> slabs;
  core_->slabs.TryTake((bytes + kSlabBytes - 1) / kSlabBytes, slabs);
  for (Slab& slab : slabs) {
    char* const begin = slab.get();
    pieces.push_back({std::move(slab), begin, kSlabBytes});
  }
  return pieces;
}

std::vector<SlabPiece> SegmentLog::TakeMemory(size_t bytes) {
  std::vector<SlabPiece> pieces;
  for (Slab& slab : core_->TakeSlabs((bytes + kSlabBytes - 1) / kSlabBytes, *this)) {
    char* const begin = slab.get();
    pieces.push_back({std::move(slab), begin, kSlabBytes});
  }
  return pieces;
}

void SegmentLog::GiveBackLocked(SlabPiece rest) {
  // Only worth keeping while somebody will use it soon; an idle log holds no memory.
  const bool busy = !writers_.empty() && !removed_;
  if (busy && rest.size >= limits::kSegmentBlockBytes && rest.size > open_slab_.size)
    open_slab_ = std::move(rest);
}

void SegmentLog::ReleaseMemory() {
  absl::MutexLock lock(&mutex_);
  for (SegmentWriter* writer : writers_) writer->TrySpill();
  open_slab_ = SlabPiece();
  while (!writing_ && !pending_.empty()) WriteRun();
}

// --- Appending --------------------------------------------------------------------------------------------

absl::Status SegmentLog::SealLocked(RecordHead& head, std::vector<SlabPiece> pieces) {
  if (removed_) return Removed();
  uint64_t bytes = 0;
  for (const SlabPiece& piece : pieces) bytes += piece.size;
  head.durable = durable_;
  if (tail_.offset > 0 && tail_.offset + bytes > core_->options.segment_max_bytes) {
    // Kept by WriteToFile: the full segment is synced before anything is written to the next.
    head.durable = tail_;
    tail_ = {tail_.segment + 1, 0};
  }
  head.epoch = epoch_;
  head.session_id = session_id_;
  head.at = tail_;
  EncodeHead(head, pieces[0].begin);
  for (SlabPiece& piece : pieces) {
    const uint64_t size = piece.size;
    pending_.push_back({tail_, std::move(piece)});
    tail_.offset += size;
  }
  pending_bytes_ += bytes;
  size_bytes_ += bytes;
  if (head.completes) unsynced_objects_.push_back(tail_);
  return absl::OkStatus();
}

absl::Status SegmentLog::PushBack() {
  absl::MutexLock lock(&mutex_);
  if (pending_bytes_ >= WriteBehindBytes() && !queued_ && core_->options.writer_threads > 0) {
    queued_ = true;
    core_->QueueWrite(weak_from_this());
  }
  while (pending_bytes_ >= PendingMaxBytes()) {
    if (writing_) {
      progress_.Wait(&mutex_);
    } else {
      WriteRun();
    }
  }
  return absl::OkStatus();
}

void SegmentLog::WriteBehind() {
  absl::MutexLock lock(&mutex_);
  queued_ = false;
  while (!writing_ && pending_bytes_ >= WriteBehindBytes()) WriteRun();
}

absl::Status SegmentLog::WriteAll() {
  absl::MutexLock lock(&mutex_);
  return WriteThrough(tail_);
}

uint64_t SegmentLog::SizeBytes() const {
  absl::MutexLock lock(&mutex_);
  return size_bytes_;
}

// --- Syncing ----------------------------------------------------------------------------------------------

absl::Status SegmentLog::Sync(Position position) {
  if (position.segment < first_segment_) NX_RETURN_IF_ERROR(Recover());
  absl::MutexLock lock(&mutex_);
  while (true) {
    if (removed_) return Removed();
    NX_RETURN_IF_ERROR(SyncFailure(position));
    if (durable_ >= position) return absl::OkStatus();
    // Without a file and without anything pending, nothing awaits a sync (a log that began after a failure).
    if (file_ == nullptr && pending_.empty() && !writing_ && position <= written_) return absl::OkStatus();
    if (position > tail_) {
      return InvalidArgument("BAD_POSITION", absl::StrCat("position ", position.segment, ":", position.offset,
                                                          " lies behind the end of the log"));
    }
    if (syncing_) {
      progress_.Wait(&mutex_);
    } else {
      SyncGroup();
    }
  }
}

// Writes and syncs everything that is in the log now. Failures show in failed_.
void SegmentLog::SyncGroup() {
  syncing_ = true;
  absl::Status status = WriteThrough(tail_);
  const std::shared_ptr<fs::File> file = file_;
  if (status.ok() && file != nullptr) {
    const uint64_t failures = failures_;
    // More than what was asked for may have been written meanwhile; all of it is in this file, because a full
    // segment is synced before the next is opened.
    const Position target = written_;
    const bool names_durable = file_names_durable_;
    mutex_.Unlock();
    status = SyncFile(*file, names_durable);
    mutex_.Lock();
    if (failures == failures_) {
      if (status.ok()) {
        if (file_ == file) file_names_durable_ = true;
        SetDurable(target);
      } else {
        Fail(status);
      }
    }
  }
  syncing_ = false;
  if (writers_.empty() && pending_.empty()) ParkFile();
  progress_.SignalAll();
}

absl::Status SegmentLog::SyncFile(fs::File& file, bool names_durable) {
  NX_RETURN_IF_ERROR(file.Sync());
  if (names_durable) return absl::OkStatus();
  NX_RETURN_IF_ERROR(core_->files.SyncDirectory(directory_));
  return core_->files.SyncDirectory(fs::ParentPath(directory_));
}

absl::Status SegmentLog::FailureAt(Position position) const {
  for (const FailedRange& range : failed_) {
    if (position > range.from && position <= range.to) return range.status;
  }
  return absl::OkStatus();
}

absl::Status SegmentLog::SyncFailure(Position position) {
  for (FailedRange& range : failed_) {
    if (position > range.from && position <= range.to) {
      range.untold.erase(std::remove(range.untold.begin(), range.untold.end(), position), range.untold.end());
      return range.status;
    }
    if (position > range.to && !range.untold.empty()) {
      if (absl::Now() < range.untold_until) return range.status;
      range.untold.clear();
    }
  }
  return absl::OkStatus();
}

void SegmentLog::SetDurable(Position position) {
  durable_ = std::max(durable_, position);
  while (!unsynced_objects_.empty() && unsynced_objects_.front() <= durable_) unsynced_objects_.pop_front();
}

// What is not durable is lost: nothing of it may be acknowledged, and a failed sync is never tried again.
void SegmentLog::Fail(const absl::Status& cause) {
  const bool full = absl::IsResourceExhausted(cause);
  absl::Status status =
      full ? cause
           : DataLoss("SEGMENT_FAILED",
                      absl::StrCat("writing or syncing segment ", tail_.segment, " of session ", session_id_,
                                   " failed; send the objects again"));
  if (full) {
    core_->free_space.Full();
  } else {
    Log(LogLevel::kError, "staging segment failed",
        {{"session", session_id_}, {"segment", tail_.segment}, {"cause", ErrorReason(cause)}});
  }
  FailedRange range = {durable_, tail_, std::move(status)};
  range.untold.assign(unsynced_objects_.begin(), unsynced_objects_.end());
  range.untold_until = absl::Now() + kUntoldPatience;
  failed_.push_back(std::move(range));
  unsynced_objects_.clear();
  ++failures_;
  pending_.clear();
  pending_bytes_ = 0;
  open_slab_ = SlabPiece();
  // So that recovery does not meet what was never acknowledged. The next segment's first head says it, too.
  if (file_ != nullptr && !writing_) {
    file_->Truncate(durable_.segment == file_segment_ ? durable_.offset : 0).IgnoreError();
  }
  file_.reset();
  file_exists_ = false;
  tail_ = {std::max(tail_.segment, file_segment_) + 1, 0};
  written_ = tail_;
  progress_.SignalAll();
}

// --- Closing and removing ---------------------------------------------------------------------------------

void SegmentLog::MarkRemoved() {
  absl::MutexLock lock(&mutex_);
  WriteThrough(tail_).IgnoreError();  // best effort for those who read objects that were never synced
  removed_ = true;
  while (writing_ || syncing_) progress_.Wait(&mutex_);
  pending_.clear();
  pending_bytes_ = 0;
  open_slab_ = SlabPiece();
  file_.reset();
  for (uint32_t segment = 0; segment <= tail_.segment; ++segment) {
    auto file = core_->files.Open(SegmentPath(directory_, segment), {});
    if (file.ok()) kept_files_[segment] = std::move(*file);
  }
  core_->file_cache.EraseLog(number_);
  progress_.SignalAll();
}

std::optional<LogState> SegmentLog::Close() {
  bool recovered = false;
  {
    absl::MutexLock lock(&recover_mutex_);
    recovered = recovered_;
  }
  absl::MutexLock lock(&mutex_);
  if (!removed_) {
    if (durable_ < tail_ && tail_.offset > 0) SyncGroup();
    if (file_ == nullptr) file_ = core_->file_cache.Find({number_, file_segment_, FileCache::Use::kWrite});
    if (file_ != nullptr && allocated_end_ > tail_.offset && file_segment_ == tail_.segment) {
      file_->Truncate(tail_.offset).IgnoreError();  // only gives preallocated space back
    }
  }
  file_.reset();
  core_->file_cache.EraseLog(number_);
  if (removed_ || !recovered) return std::nullopt;
  return LogState{tail_, durable_, size_bytes_, failed_};
}

}  // namespace narthex::staging
