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

// From so many new files on, one sync of the whole file system costs less than one of each file.
// docs/formats/archive.md has the measurement.
constexpr size_t kBarrierFiles = 16;

class Crew {
 public:
  Crew(absl::Span<const FileSource> sources, absl::Span<const std::string> paths, fs::FileSystem& file_system,
       std::vector<WrittenFile>& written)
      : sources_(sources), paths_(paths), fs_(file_system), written_(written) {}

  // One thread's work. `sync_each`: each file is durable when it is done.
  void Work(bool sync_each) {
    for (size_t i = next_++; i < sources_.size() && !failed_; i = next_++) {
      absl::StatusOr<std::unique_ptr<fs::File>> file = WriteOne(i);
      absl::Status status = file.status();
      if (status.ok() && sync_each) status = (*file)->Sync();
      if (!status.ok()) return Fail(status);
    }
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
