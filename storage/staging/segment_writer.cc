#include "storage/staging/segment_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/status.h"

namespace narthex::staging {

SegmentWriter::~SegmentWriter() {
  absl::MutexLock lock(&mutex_);
  DropRecord();
  log_->Forget(this);
}

absl::Status SegmentWriter::Append(absl::string_view bytes) {
  absl::MutexLock lock(&mutex_);
  if (finished_) return FailedPrecondition("OBJECT_FINISHED", "the object is complete; start another one");
  while (!bytes.empty()) {
    if (payload_length_ == kExtentMaxBytes) NX_RETURN_IF_ERROR(EndRecord("", /*completes=*/false));
    NX_RETURN_IF_ERROR(MakeRoom(1));
    const size_t n = std::min({bytes.size(), RoomLocked(), size_t{kExtentMaxBytes} - payload_length_});
    Copy(bytes.substr(0, n));
    // Of the copy, which is in the cache now.
    payload_crc_ = Crc32c(absl::string_view(cursor_ - n, n), payload_crc_);
    payload_length_ += static_cast<uint32_t>(n);
    bytes.remove_prefix(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredObject> SegmentWriter::Finish(absl::string_view meta) {
  absl::MutexLock lock(&mutex_);
  if (finished_) return FailedPrecondition("OBJECT_FINISHED", "the object is complete; start another one");
  if (meta.size() > kMetaMaxBytes) {
    return InvalidArgument("META_TOO_LARGE", absl::StrCat("meta has ", meta.size(), " bytes, at most ",
                                                          kMetaMaxBytes, " are kept"));
  }
  NX_RETURN_IF_ERROR(MakeRoom(meta.size()));
  NX_RETURN_IF_ERROR(EndRecord(meta, /*completes=*/true));
  finished_ = true;
  return stored_;
}

// Makes sure that a record is begun and that its pieces hold `bytes` more.
absl::Status SegmentWriter::MakeRoom(size_t bytes) {
  const bool fresh = pieces_.empty();
  const size_t room = fresh ? 0 : RoomLocked();
  if (!fresh && room >= bytes) return absl::OkStatus();
  if (fresh) {
    NX_RETURN_IF_ERROR(log_->core_->free_space.Check());
    bytes += kHeadBytes;
  }
  std::vector<SlabPiece> pieces = log_->TryTakeMemory(bytes - room);
  if (pieces.empty()) {
    // No memory without waiting, and who waits must hold none: end the record here and go on with a new one.
    if (!fresh) {
      bytes += kHeadBytes;
      if (payload_length_ > 0) {
        NX_RETURN_IF_ERROR(EndRecord("", /*completes=*/false));
      } else {
        DropRecord();
      }
    }
    pieces = log_->TakeMemory(bytes);
  }
  AddPieces(std::move(pieces));
  return absl::OkStatus();
}

void SegmentWriter::AddPieces(std::vector<SlabPiece> pieces) {
  const bool fresh = pieces_.empty();
  for (SlabPiece& piece : pieces) pieces_.push_back(std::move(piece));
  if (fresh) {
    piece_ = 0;
    payload_length_ = 0;
    payload_crc_ = 0;
    cursor_ = pieces_[0].begin + kHeadBytes;
    end_ = pieces_[0].begin + pieces_[0].size;
  } else if (cursor_ == end_ && piece_ + 1 < pieces_.size()) {
    ++piece_;
    cursor_ = pieces_[piece_].begin;
    end_ = cursor_ + pieces_[piece_].size;
  }
}

// The pieces have room for it.
void SegmentWriter::Copy(absl::string_view bytes) {
  while (!bytes.empty()) {
    if (cursor_ == end_) {
      ++piece_;
      cursor_ = pieces_[piece_].begin;
      end_ = cursor_ + pieces_[piece_].size;
    }
    const size_t n = std::min(bytes.size(), RoomLocked());
    std::memcpy(cursor_, bytes.data(), n);
    cursor_ += n;
    bytes.remove_prefix(n);
  }
}

absl::Status SegmentWriter::EndRecord(absl::string_view meta, bool completes) {
  Copy(meta);
  {
    absl::MutexLock lock(&log_->mutex_);
    NX_RETURN_IF_ERROR(EndRecordLocked(completes, static_cast<uint32_t>(meta.size()), Crc32c(meta)));
  }
  return log_->PushBack();
}

absl::Status SegmentWriter::EndRecordLocked(bool completes, uint32_t meta_length, uint32_t meta_crc) {
  if (record_count_ > 0 && failures_seen_ != log_->failures_) {
    return DataLoss("SEGMENT_FAILED",
                    "an earlier part of the object could not be written; send the object again");
  }
  RecordHead head;
  head.completes = completes;
  head.object = object_;
  head.extent_index = record_count_;
  head.previous = last_record_;
  head.object_offset = stored_.size_bytes;
  head.payload_length = payload_length_;
  head.payload_crc32c = payload_crc_;
  head.meta_length = meta_length;
  head.meta_crc32c = meta_crc;

  // Zeros up to the block's end: what an earlier object left in the slab must not reach the disk.
  const size_t used = RoundUpToBlock(static_cast<size_t>(cursor_ - pieces_[piece_].begin));
  char* const record_end = pieces_[piece_].begin + used;
  std::memset(cursor_, 0, static_cast<size_t>(record_end - cursor_));
  SlabPiece rest = pieces_[piece_];
  rest.begin = record_end;
  rest.size -= used;
  pieces_.resize(piece_ + 1);
  pieces_[piece_].size = used;

  NX_RETURN_IF_ERROR(log_->SealLocked(head, std::exchange(pieces_, {})));
  log_->GiveBackLocked(std::move(rest));
  failures_seen_ = log_->failures_;
  ++record_count_;
  last_record_ = head.at;
  if (payload_length_ > 0) stored_.extents.push_back(head.PayloadExtent());
  stored_.size_bytes += payload_length_;
  stored_.position = head.End();
  payload_length_ = 0;
  payload_crc_ = 0;
  return absl::OkStatus();
}

void SegmentWriter::DropRecord() {
  if (pieces_.empty()) return;
  SlabPiece first = std::move(pieces_[0]);
  pieces_.clear();
  payload_length_ = 0;
  absl::MutexLock lock(&log_->mutex_);
  log_->GiveBackLocked(std::move(first));
}

void SegmentWriter::TrySpill() {
  if (!mutex_.TryLock()) return;
  // An error shows at the owner's next call, by failures_seen_ or by the log's state.
  if (!finished_ && !pieces_.empty()) {
    if (payload_length_ > 0) {
      EndRecordLocked(/*completes=*/false, 0, 0).IgnoreError();
    } else {
      pieces_.clear();
    }
  }
  mutex_.Unlock();
}

}  // namespace narthex::staging
