#include "storage/archive/parallel_files.h"

#include <fcntl.h>

#include <atomic>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "base/digest.h"
#include "base/status.h"

namespace narthex::archive {
namespace {

// Files that one thread keeps open until it syncs them together: the first sync commits the file system's
// journal for all. docs/formats/archive.md has the measurement.
constexpr size_t kSyncBatchFiles = 128;
constexpr uint64_t kSyncBatchBytes = 64 << 20;

class Crew {
 public:
  Crew(absl::Span<const FileSource> sources, absl::Span<const std::string> paths, fs::FileSystem& file_system,
       std::vector<WrittenFile>& written)
      : sources_(sources), paths_(paths), fs_(file_system), written_(written) {}

  // One thread's work.
  void Work() {
    std::vector<std::unique_ptr<fs::File>> open;
    uint64_t open_bytes = 0;
    for (size_t i = next_++; i < sources_.size() && !failed_; i = next_++) {
      absl::StatusOr<std::unique_ptr<fs::File>> file = WriteOne(i);
      if (!file.ok()) return Fail(file.status());
      open.push_back(*std::move(file));
      open_bytes += written_[i].size_bytes;
      if (open.size() < kSyncBatchFiles && open_bytes < kSyncBatchBytes) continue;
      if (!SyncAll(open)) return;
      open_bytes = 0;
    }
    SyncAll(open);
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

  bool SyncAll(std::vector<std::unique_ptr<fs::File>>& open) {
    for (const std::unique_ptr<fs::File>& file : open) {
      if (const absl::Status status = file->Sync(); !status.ok()) {
        Fail(status);
        return false;
      }
    }
    open.clear();
    return true;
  }

  absl::StatusOr<std::unique_ptr<fs::File>> Create(const std::string& path) {
    absl::StatusOr<std::unique_ptr<fs::File>> file = fs_.Open(path, {.mode = fs::OpenMode::kCreateNew});
    if (!absl::IsAlreadyExists(file.status())) return file;
    // Not written over: the kernel may have dropped pages of it that failed to sync.
    NX_RETURN_IF_ERROR(fs_.Remove(path));
    return fs_.Open(path, {.mode = fs::OpenMode::kCreateNew});
  }

  absl::StatusOr<std::unique_ptr<fs::File>> WriteOne(size_t index) {
    NX_ASSIGN_OR_RETURN(std::unique_ptr<fs::File> file, Create(paths_[index]));
    WrittenFile& entry = written_[index];
    CryptoHasher md5 = CryptoHasher::Md5(), sha256 = CryptoHasher::Sha256();
    Xxh3Hasher xxh3;
    uint64_t offset = 0;
    NX_RETURN_IF_ERROR(sources_[index].read([&](absl::string_view bytes) -> absl::Status {
      if (failed_) return absl::CancelledError("another file failed");
      NX_RETURN_IF_ERROR(file->WriteAt(offset, bytes));
      // The disk works while the digests are computed.
      if (file->descriptor() >= 0) {
        (void)sync_file_range(file->descriptor(), static_cast<off64_t>(offset),
                              static_cast<off64_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
      }
      offset += bytes.size();
      md5.Update(bytes);
      sha256.Update(bytes);
      xxh3.Update(bytes);
      return absl::OkStatus();
    }));
    entry = {sources_[index].path, offset, md5.Finish(), sha256.Finish(), xxh3.Finish()};
    return file;
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
  Crew crew(sources, paths, file_system, written);
  std::vector<std::thread> others;
  for (int i = 1; i < threads && static_cast<size_t>(i) < sources.size(); ++i) {
    others.emplace_back([&crew] { crew.Work(); });
  }
  crew.Work();
  for (std::thread& thread : others) thread.join();
  return crew.status();
}

}  // namespace narthex::archive
