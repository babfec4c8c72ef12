#include "storage/fs/faults.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "base/status.h"

namespace narthex::fs {

class FaultyBarrier : public SyncBarrier {
 public:
  FaultyBarrier(FaultInjector& owner, std::unique_ptr<SyncBarrier> target)
      : owner_(owner), target_(std::move(target)) {}

  absl::Status Sync() override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kChanges));
    return target_->Sync();
  }

 private:
  FaultInjector& owner_;
  const std::unique_ptr<SyncBarrier> target_;
};

class FaultyFile : public File {
 public:
  FaultyFile(FaultInjector& owner, std::unique_ptr<File> target)
      : owner_(owner), target_(std::move(target)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* data, size_t length) override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kReads));
    return target_->ReadAt(offset, data, length);
  }

  absl::Status WriteAt(uint64_t offset, absl::Span<const absl::string_view> pieces) override {
    const absl::Status status = owner_.Enter(FaultInjector::Kind::kChanges);
    if (status.ok()) return target_->WriteAt(offset, pieces);
    if (owner_.fault_.load() == FaultInjector::Fault::kShortWrite) WriteHalf(offset, pieces);
    return status;
  }

  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kChanges));
    return target_->Allocate(offset, length);
  }

  absl::Status Truncate(uint64_t size) override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kChanges));
    return target_->Truncate(size);
  }

  absl::Status Sync() override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kChanges));
    return target_->Sync();
  }

  absl::StatusOr<uint64_t> SizeBytes() override {
    NX_RETURN_IF_ERROR(owner_.Enter(FaultInjector::Kind::kReads));
    return target_->SizeBytes();
  }

  int descriptor() const override { return -1; }  // so that copies go through ReadAt and WriteAt

  File& target() { return *target_; }

 private:
  // The first half of the bytes, in whole blocks of 4 KiB so that O_DIRECT takes them.
  void WriteHalf(uint64_t offset, absl::Span<const absl::string_view> pieces) {
    size_t total = 0;
    for (absl::string_view piece : pieces) total += piece.size();
    size_t left = total / 2 / 4096 * 4096;
    for (absl::string_view piece : pieces) {
      if (left == 0) break;
      const absl::string_view part = piece.substr(0, left);
      target_->WriteAt(offset, part).IgnoreError();  // the caller gets the injected error anyway
      offset += part.size();
      left -= part.size();
    }
  }

  FaultInjector& owner_;
  const std::unique_ptr<File> target_;
};

FaultInjector::FaultInjector(FileSystem& target, bool count_reads)
    : target_(target), count_reads_(count_reads) {}

void FaultInjector::FailCall(uint64_t n, Fault fault) {
  fault_ = fault;
  fired_ = false;
  fail_at_ = calls_.load() + n;
}

absl::Status FaultInjector::Enter(Kind kind) {
  const Fault fault = fault_.load();
  const bool power_is_off = fired_.load() && fault == Fault::kPowerCut;
  if (!power_is_off) {
    if (kind == Kind::kReads && !count_reads_) return absl::OkStatus();
    if (calls_.fetch_add(1) + 1 != fail_at_.load()) return absl::OkStatus();
    fired_ = true;
  }
  const bool no_space = fault == Fault::kNoSpace || fault == Fault::kShortWrite;
  return ErrnoToStatus(no_space ? ENOSPC : EIO, "(injected fault) use", "a file");
}

absl::StatusOr<std::unique_ptr<File>> FaultInjector::Open(absl::string_view path,
                                                          const OpenOptions& options) {
  NX_RETURN_IF_ERROR(Enter(options.mode == OpenMode::kRead ? Kind::kReads : Kind::kChanges));
  NX_ASSIGN_OR_RETURN(std::unique_ptr<File> file, target_.Open(path, options));
  return std::unique_ptr<File>(std::make_unique<FaultyFile>(*this, std::move(file)));
}

absl::Status FaultInjector::MakeDirectories(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.MakeDirectories(path);
}

absl::Status FaultInjector::SyncDirectory(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.SyncDirectory(path);
}

absl::StatusOr<std::unique_ptr<SyncBarrier>> FaultInjector::NewSyncBarrier(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kReads));
  NX_ASSIGN_OR_RETURN(std::unique_ptr<SyncBarrier> barrier, target_.NewSyncBarrier(path));
  return std::make_unique<FaultyBarrier>(*this, std::move(barrier));
}

absl::Status FaultInjector::Rename(absl::string_view from, absl::string_view to) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.Rename(from, to);
}

absl::Status FaultInjector::Link(absl::string_view from, absl::string_view to) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.Link(from, to);
}

absl::Status FaultInjector::Remove(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.Remove(path);
}

absl::Status FaultInjector::RemoveTree(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  return target_.RemoveTree(path);
}

absl::StatusOr<FileInfo> FaultInjector::Stat(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kReads));
  return target_.Stat(path);
}

absl::StatusOr<std::vector<DirectoryEntry>> FaultInjector::List(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kReads));
  return target_.List(path);
}

absl::StatusOr<uint64_t> FaultInjector::FreeBytes(absl::string_view path) {
  NX_RETURN_IF_ERROR(Enter(Kind::kReads));
  return target_.FreeBytes(path);
}

absl::Status FaultInjector::CopyRange(File& source, uint64_t source_offset, File& target,
                                      uint64_t target_offset, uint64_t length) {
  NX_RETURN_IF_ERROR(Enter(Kind::kChanges));
  auto* from = dynamic_cast<FaultyFile*>(&source);
  auto* to = dynamic_cast<FaultyFile*>(&target);
  return target_.CopyRange(from != nullptr ? from->target() : source, source_offset,
                           to != nullptr ? to->target() : target, target_offset, length);
}

}  // namespace narthex::fs
