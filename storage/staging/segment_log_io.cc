// SegmentLog: writing runs of records to files, and reading them back.
#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/staging/segment_log.h"

namespace narthex::staging {
namespace {

constexpr size_t kRunMaxPieces = 512;                // fixed: the kernel takes 1024 at once
constexpr uint64_t kPreallocateMinBytes = 1 << 20;   // sessions below preallocate nothing
constexpr uint64_t kPreallocateMaxBytes = 64 << 20;  // fixed: space that is given back
constexpr size_t kReadPieceBytes = 1 << 20;
constexpr uint32_t kReadDirectMinBytes = 128 << 10;  // below, the kernel's reading ahead gains more

}  // namespace

// Pieces that lie behind each other in one file.
struct SegmentLog::Run {
  std::vector<Pending> pieces;
  Position end;
  // The segment that must be durable before, if this run begins another one.
  Position before;
  bool begins_segment = false;
  uint64_t failures = 0;  // of the log when the run was taken; if there are more, the run does not count
};

absl::Status SegmentLog::WriteThrough(Position target) {
  while (true) {
    NX_RETURN_IF_ERROR(FailureAt(target));
    if (written_ >= target) return absl::OkStatus();
    if (writing_) {
      progress_.Wait(&mutex_);
    } else if (pending_.empty()) {
      return absl::OkStatus();
    } else {
      WriteRun();
    }
  }
}

SegmentLog::Run SegmentLog::TakeRun() {
  Run run;
  const uint32_t segment = pending_.front().at.segment;
  run.begins_segment = segment != written_.segment;
  run.before = written_;
  run.failures = failures_;
  size_t bytes = 0;
  while (!pending_.empty() && pending_.front().at.segment == segment && run.pieces.size() < kRunMaxPieces &&
         bytes < limits::kSegmentBufferBytes) {
    bytes += pending_.front().piece.size;
    run.pieces.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  pending_bytes_ -= bytes;
  run.end = {segment, run.pieces.front().at.offset + bytes};
  return run;
}

// Writes the first run of what is pending.
void SegmentLog::WriteRun() {
  writing_ = true;
  Run run = TakeRun();
  mutex_.Unlock();
  const absl::Status status = WriteToFile(run);
  const uint64_t begin = run.pieces.front().at.offset;
  run.pieces.clear();  // gives the memory back
  if (status.ok()) core_->free_space.Wrote(run.end.offset - begin);
  mutex_.Lock();
  writing_ = false;
  if (run.failures == failures_) {
    if (status.ok()) {
      written_ = run.end;
      if (run.begins_segment) SetDurable(run.before);
    } else {
      Fail(status);
    }
  }
  progress_.SignalAll();
}

absl::Status SegmentLog::WriteToFile(const Run& run) {
  if (run.begins_segment && run.before.offset > 0) {
    std::shared_ptr<fs::File> full;
    bool names_durable = false;
    {
      absl::MutexLock lock(&mutex_);
      full = file_;
      names_durable = file_names_durable_;
    }
    if (full != nullptr) NX_RETURN_IF_ERROR(SyncFile(*full, names_durable));
  }
  NX_RETURN_IF_ERROR(OpenForWriting(run));
  NX_RETURN_IF_ERROR(Preallocate(run));
  std::vector<absl::string_view> bytes;
  bytes.reserve(run.pieces.size());
  for (const Pending& pending : run.pieces) bytes.emplace_back(pending.piece.begin, pending.piece.size);
  std::shared_ptr<fs::File> file;
  {
    absl::MutexLock lock(&mutex_);
    file = file_;
  }
  if (file == nullptr) return Removed();  // failed or removed meanwhile; the result does not count
  return file->WriteAt(run.pieces.front().at.offset, bytes);
}

absl::Status SegmentLog::OpenForWriting(const Run& run) {
  const uint32_t segment = run.end.segment;
  bool exists = false;
  {
    absl::MutexLock lock(&mutex_);
    if (file_ != nullptr && file_segment_ == segment) return absl::OkStatus();
    exists = file_exists_ && file_segment_ == segment;
  }
  std::shared_ptr<fs::File> file =
      exists ? core_->file_cache.Find({number_, segment, FileCache::Use::kWrite}) : nullptr;
  if (file == nullptr) {
    NX_ASSIGN_OR_RETURN(
        file, core_->files.Open(SegmentPath(directory_, segment),
                                {.mode = exists ? fs::OpenMode::kReadWrite : fs::OpenMode::kCreateNew,
                                 .direct = core_->options.direct_io}));
  }
  absl::MutexLock lock(&mutex_);
  if (run.failures != failures_) return absl::OkStatus();
  file_ = std::move(file);
  if (exists) return absl::OkStatus();
  file_segment_ = segment;
  file_exists_ = true;
  file_names_durable_ = false;
  allocated_end_ = 0;
  return absl::OkStatus();
}

// Reserves as much again as the session has already: large ones get large extents, small ones waste nothing.
absl::Status SegmentLog::Preallocate(const Run& run) {
  const uint64_t end = run.end.offset;
  uint64_t from = 0;
  uint64_t to = 0;
  std::shared_ptr<fs::File> file;
  {
    absl::MutexLock lock(&mutex_);
    if (file_ == nullptr || end < kPreallocateMinBytes || end <= allocated_end_) return absl::OkStatus();
    from = allocated_end_;
    to = std::min(end + std::min(end, kPreallocateMaxBytes), core_->options.segment_max_bytes);
    if (to <= from) return absl::OkStatus();
    file = file_;
  }
  absl::Status status = file->Allocate(from, to - from);
  // Near the end of the disk the bytes themselves may still fit; the write will tell.
  if (absl::IsResourceExhausted(status)) return absl::OkStatus();
  NX_RETURN_IF_ERROR(status);
  absl::MutexLock lock(&mutex_);
  if (run.failures == failures_) allocated_end_ = to;
  return absl::OkStatus();
}

// A log that nobody appends to keeps no descriptor of its own. Never before all is durable: an error that the
// kernel has yet to report would go with it.
void SegmentLog::ParkFile() {
  open_slab_ = SlabPiece();
  if (file_ == nullptr || writing_ || syncing_ || durable_ < written_) return;
  core_->file_cache.Insert({number_, file_segment_, FileCache::Use::kWrite}, std::move(file_));
  file_ = nullptr;
}

// --- Reading ----------------------------------------------------------------------------------------------

absl::StatusOr<std::shared_ptr<fs::File>> SegmentLog::FileForReading(uint32_t segment, bool direct) {
  {
    absl::MutexLock lock(&mutex_);
    const auto kept = kept_files_.find(segment);
    if (kept != kept_files_.end()) return kept->second;
    if (removed_) return Removed();
  }
  const FileCache::Key key = {number_, segment, direct ? FileCache::Use::kReadDirect : FileCache::Use::kRead};
  if (std::shared_ptr<fs::File> file = core_->file_cache.Find(key)) return file;
  NX_ASSIGN_OR_RETURN(std::shared_ptr<fs::File> file,
                      core_->files.Open(SegmentPath(directory_, segment), {.direct = direct}));
  core_->file_cache.Insert(key, file);
  return file;
}

// Memory for whole blocks, which is not filled before the file fills it.
struct SegmentLog::ReadBuffer {
  void MakeRoom(size_t wanted) {
    if (size >= wanted) return;
    bytes.reset(static_cast<char*>(::operator new(wanted, kAlignment)));
    size = wanted;
  }

  static constexpr std::align_val_t kAlignment{limits::kSegmentBlockBytes};
  struct Free {
    void operator()(char* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<char, Free> bytes;
  size_t size = 0;
};

absl::StatusOr<absl::string_view> SegmentLog::ReadExtent(const Extent& extent, uint64_t begin, uint64_t end,
                                                         ReadBuffer& buffer) {
  const auto corrupt = [&](absl::string_view what) {
    return DataLoss(
        "STAGED_BYTES_CORRUPT",
        absl::StrCat("session ", session_id_, " segment ", extent.segment, " offset ", extent.offset, ": ",
                     what, "; run the verifier and have the object sent again"));
  };
  if (extent.length > kExtentMaxBytes) return corrupt("an extent that is longer than the format allows");
  // A large extent goes past the page cache, which is cold (segments are written past it, too) and would cost
  // two copies.
  const bool direct = core_->options.direct_io && extent.length >= kReadDirectMinBytes;
  absl::StatusOr<std::shared_ptr<fs::File>> file = FileForReading(extent.segment, direct);
  if (absl::IsNotFound(file.status())) return corrupt("the segment file is missing");
  NX_RETURN_IF_ERROR(file.status());
  const uint64_t from = extent.offset + begin;
  const size_t before = from % limits::kSegmentBlockBytes;
  const size_t length = end - begin;
  const size_t wanted = RoundUpToBlock(before + length);
  buffer.MakeRoom(wanted);
  NX_ASSIGN_OR_RETURN(const size_t got, (*file)->ReadAt(from - before, buffer.bytes.get(), wanted));
  if (got < before + length) return corrupt("the file ends inside an extent");
  const absl::string_view bytes(buffer.bytes.get() + before, length);
  if (length == extent.length && Crc32c(bytes) != extent.crc32c)
    return corrupt("the payload fails its checksum");
  return bytes;
}

absl::Status SegmentLog::Read(const StoredObject& object,
                              const std::function<absl::Status(absl::string_view)>& sink) {
  return ReadRange(object, 0, object.size_bytes, sink);
}

absl::Status SegmentLog::ReadRange(const StoredObject& object, uint64_t offset, uint64_t length,
                                   const std::function<absl::Status(absl::string_view)>& sink) {
  {
    absl::MutexLock lock(&mutex_);
    NX_RETURN_IF_ERROR(FailureAt(object.position));
    if (object.position > written_ && !removed_) NX_RETURN_IF_ERROR(WriteThrough(object.position));
  }
  const uint64_t end =
      std::min(object.size_bytes, length > UINT64_MAX - offset ? UINT64_MAX : offset + length);
  ReadBuffer buffer;
  uint64_t extent_begin = 0;
  for (const Extent& extent : object.extents) {
    const uint64_t begin = std::max(extent_begin, offset);
    const uint64_t stop = std::min(extent_begin + extent.length, end);
    if (begin < stop) {
      NX_ASSIGN_OR_RETURN(absl::string_view wanted,
                          ReadExtent(extent, begin - extent_begin, stop - extent_begin, buffer));
      for (; !wanted.empty(); wanted.remove_prefix(std::min(wanted.size(), kReadPieceBytes))) {
        NX_RETURN_IF_ERROR(sink(wanted.substr(0, kReadPieceBytes)));
      }
    }
    extent_begin += extent.length;
    if (extent_begin >= end) break;
  }
  return absl::OkStatus();
}

}  // namespace narthex::staging
