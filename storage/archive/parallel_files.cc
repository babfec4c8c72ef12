#include "storage/archive/parallel_files.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "base/digest.h"
#include "base/md5_lanes.h"
#include "base/status.h"

namespace narthex::archive {
namespace {

// From so many new files on, one sync of the whole file system costs less than one of each file.
// docs/formats/archive.md has the measurement.
constexpr size_t kBarrierFiles = 16;
// Files from this size on are written past the page cache. Into it, each byte costs a copy and (on virtual
// machines that give free memory back) a page that the host has to find first; below, a file costs more than
// its bytes.
constexpr size_t kDirectMinBytes = 128 << 10;
constexpr size_t kBlockBytes = 4096;  // of direct writing
constexpr size_t kBufferBytes = 1 << 20;

// Bytes of one file on their way to the disk.
class Buffer {
 public:
  Buffer() : memory_(static_cast<char*>(::operator new(kBufferBytes, kAlignment))) {}

  absl::string_view bytes() const { return {memory_.get(), size_}; }
  bool full() const { return size_ == kBufferBytes; }
  void Clear() { size_ = 0; }
  // Takes as much as there is room for off the front of `bytes`.
  void Take(absl::string_view& bytes) {
    const size_t taken = std::min(bytes.size(), kBufferBytes - size_);
    std::memcpy(memory_.get() + size_, bytes.data(), taken);
    size_ += taken;
    bytes.remove_prefix(taken);
  }

 private:
  static constexpr std::align_val_t kAlignment{kBlockBytes};
  struct Free {
    void operator()(char* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_ = 0;
};

// The MD5 of files that fit a buffer is computed for many at once (base/md5_lanes.h): these are the bytes of
// the files that a thread has written and whose MD5 it owes.
class OwedMd5 {
 public:
  explicit OwedMd5(std::vector<WrittenFile>& written) : written_(written), buffers_(Md5LaneCount()) {}

  // For the next file.
  Buffer& Begin() {
    buffers_[files_.size()].Clear();
    return buffers_[files_.size()];
  }

  // That buffer holds all of file `index`.
  void Keep(size_t index) {
    files_.push_back(index);
    if (files_.size() == buffers_.size()) Pay();
  }

  void Pay() {
    std::vector<absl::string_view> texts;
    for (size_t i = 0; i < files_.size(); ++i) texts.push_back(buffers_[i].bytes());
    std::vector<std::string> digests = Md5Each(texts);
    for (size_t i = 0; i < files_.size(); ++i) written_[files_[i]].md5 = std::move(digests[i]);
    files_.clear();
  }

 private:
  std::vector<WrittenFile>& written_;
  std::vector<Buffer> buffers_;  // as many as lanes; their memory is used again
  std::vector<size_t> files_;
};

// One file that is being written: through a buffer, whole blocks of a large one directly.
class FileWriter {
 public:
  FileWriter(fs::FileSystem& file_system, const std::string& path, Buffer& buffer)
      : fs_(file_system),
        path_(path),
        buffer_(buffer),
        md5_(CryptoHasher::Md5()),
        sha256_(CryptoHasher::Sha256()) {}

  absl::Status Add(absl::string_view bytes) {
    sha256_.Update(bytes);
    xxh3_.Update(bytes);
    while (!bytes.empty()) {
      if (buffer_.full()) NX_RETURN_IF_ERROR(Flush());
      buffer_.Take(bytes);
    }
    return absl::OkStatus();
  }

  // Writes what is left, and syncs if `sync`.
  absl::Status Finish(bool sync) {
    NX_RETURN_IF_ERROR(Write(/*last=*/true));
    if (!sync) return absl::OkStatus();
    return (tail_ ? tail_ : direct_)->Sync();  // of the whole file
  }

  // What was written; without MD5 if the buffer still holds all of it.
  WrittenFile Describe(const std::string& path) {
    return {path, offset_, in_buffer() ? "" : md5_.Finish(), sha256_.Finish(), xxh3_.Finish()};
  }
  bool in_buffer() const { return offset_ == buffer_.bytes().size(); }

 private:
  absl::Status Flush() {
    NX_RETURN_IF_ERROR(Write(/*last=*/false));
    buffer_.Clear();
    return absl::OkStatus();
  }

  absl::Status Write(bool last) {
    const absl::string_view bytes = buffer_.bytes();
    const bool whole = offset_ == 0 && last;
    size_t direct = bytes.size() / kBlockBytes * kBlockBytes;
    if (whole && bytes.size() < kDirectMinBytes) direct = 0;
    if (direct > 0) {
      if (!direct_) {
        NX_ASSIGN_OR_RETURN(direct_, Create({.mode = fs::OpenMode::kCreateNew, .direct = true}));
      }
      NX_RETURN_IF_ERROR(direct_->WriteAt(offset_, bytes.substr(0, direct)));
    }
    if (direct < bytes.size() || (whole && !direct_)) {
      NX_RETURN_IF_ERROR(WriteTail(offset_ + direct, bytes.substr(direct)));
    }
    if (!whole) md5_.Update(bytes);
    offset_ += bytes.size();
    return absl::OkStatus();
  }

  absl::Status WriteTail(uint64_t offset, absl::string_view bytes) {
    if (direct_) {
      NX_ASSIGN_OR_RETURN(tail_, fs_.Open(path_, {.mode = fs::OpenMode::kReadWrite}));
    } else {
      NX_ASSIGN_OR_RETURN(tail_, Create({.mode = fs::OpenMode::kCreateNew}));
    }
    NX_RETURN_IF_ERROR(tail_->WriteAt(offset, bytes));
    if (tail_->descriptor() >= 0) {
      // The disk begins while the digests are computed.
      (void)sync_file_range(tail_->descriptor(), static_cast<off64_t>(offset),
                            static_cast<off64_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<fs::File>> Create(const fs::OpenOptions& options) {
    absl::StatusOr<std::unique_ptr<fs::File>> file = fs_.Open(path_, options);
    if (!absl::IsAlreadyExists(file.status())) return file;
    // Not written over: the kernel may have dropped pages of it that failed to sync.
    NX_RETURN_IF_ERROR(fs_.Remove(path_));
    return fs_.Open(path_, options);
  }

  fs::FileSystem& fs_;
  const std::string& path_;
  Buffer& buffer_;
  CryptoHasher md5_, sha256_;
  Xxh3Hasher xxh3_;
  std::unique_ptr<fs::File> direct_, tail_;
  uint64_t offset_ = 0;
};

class Crew {
 public:
  Crew(absl::Span<const FileSource> sources, absl::Span<const std::string> paths, fs::FileSystem& file_system,
       std::vector<WrittenFile>& written)
      : sources_(sources), paths_(paths), fs_(file_system), written_(written) {}

  // One thread's work. `sync_each`: each file is durable when it is done.
  void Work(bool sync_each) {
    OwedMd5 owed(written_);
    for (size_t i = next_++; i < sources_.size() && !failed_; i = next_++) {
      const absl::Status status = WriteOne(i, sync_each, owed);
      if (!status.ok()) return Fail(status);
    }
    owed.Pay();
  }

  absl::Status status() {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  void Fail(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) status_ = status;
    failed_ = true;
  }

  absl::Status WriteOne(size_t index, bool sync, OwedMd5& owed) {
    FileWriter writer(fs_, paths_[index], owed.Begin());
    NX_RETURN_IF_ERROR(sources_[index].read([&](absl::string_view bytes) -> absl::Status {
      return failed_ ? absl::CancelledError("another file failed") : writer.Add(bytes);
    }));
    NX_RETURN_IF_ERROR(writer.Finish(sync));
    written_[index] = writer.Describe(sources_[index].path);
    if (writer.in_buffer()) owed.Keep(index);
    return absl::OkStatus();
  }

  const absl::Span<const FileSource> sources_;
  const absl::Span<const std::string> paths_;
  fs::FileSystem& fs_;
  std::vector<WrittenFile>& written_;  // each thread writes its own elements
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status WriteInParallel(absl::Span<const FileSource> sources, absl::Span<const std::string> paths,
                             int threads, fs::FileSystem& file_system, std::vector<WrittenFile>& written) {
  written.assign(sources.size(), {});
  if (sources.empty()) return absl::OkStatus();
  std::unique_ptr<fs::SyncBarrier> barrier;
  if (sources.size() >= kBarrierFiles) {
    NX_ASSIGN_OR_RETURN(barrier, file_system.NewSyncBarrier(fs::ParentPath(paths.front())));
  }
  Crew crew(sources, paths, file_system, written);
  std::vector<std::thread> others;
  for (int i = 1; i < threads && static_cast<size_t>(i) < sources.size(); ++i) {
    others.emplace_back([&] { crew.Work(barrier == nullptr); });
  }
  crew.Work(barrier == nullptr);
  for (std::thread& thread : others) thread.join();
  NX_RETURN_IF_ERROR(crew.status());
  return barrier ? barrier->Sync() : absl::OkStatus();
}

}  // namespace narthex::archive
