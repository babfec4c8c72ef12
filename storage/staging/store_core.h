// What the store and its open logs share; it lives until the last of them is gone. Internal to
// storage/staging.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "storage/fs/file_system.h"
#include "storage/staging/segment_format.h"
#include "storage/staging/slab_pool.h"
#include "storage/staging/staging.h"

namespace narthex::staging {

class SegmentLog;

// A range (after `from`, up to and including `to`) of a log that a failed write or sync made worthless.
struct FailedRange {
  Position from;
  Position to;
  absl::Status status;
  // Objects in it that were finished and whose position nobody has synced since, and until when later
  // positions fail for their sake: a caller may sync only the last of several objects.
  std::vector<Position> untold = {};
  absl::Time untold_until = absl::InfinitePast();
};

// How far a log has come. Kept in memory for closed logs, so that reopening one goes on in the same segment.
struct LogState {
  Position tail;
  Position durable;
  uint64_t size_bytes = 0;
  std::vector<FailedRange> failed;
};

// The free-space watermark, asking the file system a few times a second only. Thread-safe.
class FreeSpace {
 public:
  FreeSpace(fs::FileSystem& files, std::string path, uint64_t min_bytes)
      : files_(files), path_(std::move(path)), min_bytes_(min_bytes) {}

  // RESOURCE_EXHAUSTED (DISK_FULL): fewer than the minimum are free, or a write found no space and there
  // still is little.
  absl::Status Check();
  // A write found no space, whatever the minimum. Until there is room again nothing more is tried; one line
  // of the log tells of that, and one of its end.
  void Full();
  // Bytes were written since.
  void Wrote(uint64_t bytes) { written_.fetch_add(bytes, std::memory_order_relaxed); }
  void SetMin(uint64_t bytes) {
    min_bytes_ = bytes;
    Refresh();
  }
  // Space was released; ask again.
  void Refresh() {
    next_refresh_ns_ = 0;
    next_look_ns_ = 0;
  }

 private:
  fs::FileSystem& files_;
  const std::string path_;
  std::atomic<uint64_t> min_bytes_;
  std::atomic<int64_t> next_refresh_ns_{0};
  std::atomic<uint64_t> free_{0};
  std::atomic<uint64_t> written_{0};

  // OK if it is full no more.
  absl::Status CheckFull();
  std::atomic<bool> full_{false};
  std::atomic<int64_t> next_look_ns_{0};
  absl::Mutex full_mutex_;
  int64_t room_again_ns_ ABSL_GUARDED_BY(full_mutex_) = 0;  // when it last ended
  uint64_t refused_count_ ABSL_GUARDED_BY(full_mutex_) = 0;
};

// Open files, the least recently used closed first. Thread-safe.
class FileCache {
 public:
  enum class Use : uint8_t { kRead, kReadDirect, kWrite };
  struct Key {
    uint64_t log = 0;
    uint32_t segment = 0;
    Use use = Use::kRead;
    friend bool operator==(const Key&, const Key&) = default;
  };

  explicit FileCache(size_t max_files) : max_files_(max_files) {}

  std::shared_ptr<fs::File> Find(const Key& key);
  void Insert(const Key& key, std::shared_ptr<fs::File> file);
  void EraseLog(uint64_t log);

 private:
  const size_t max_files_;
  absl::Mutex mutex_;
  std::deque<std::pair<Key, std::shared_ptr<fs::File>>> files_ ABSL_GUARDED_BY(mutex_);  // newest last
};

struct StoreCore {
  StoreCore(const StagingStore::Options& options, fs::FileSystem& files);

  // Takes `count` slabs for `log`, whose calling writer must hold none. When there are none left, writes out
  // what this and other logs have pending and ends the records that idle writers have begun; waits if need
  // be.
  std::vector<Slab> TakeSlabs(size_t count, SegmentLog& log);

  // Lets a writer thread write what `log` has pending, soon.
  void QueueWrite(std::weak_ptr<SegmentLog> log);

  // Every open log.
  std::vector<std::shared_ptr<SegmentLog>> OpenLogs();

  const StagingStore::Options options;
  fs::FileSystem& files;
  SlabPool slabs;
  FreeSpace free_space;
  FileCache file_cache;
  std::atomic<uint64_t> next_log{1};
  std::array<std::atomic<bool>, 256> shard_durable =
      {};  // folders of sessions whose name this process synced

  absl::Mutex mutex;
  struct Entry {
    std::weak_ptr<SegmentLog> log;
    uint64_t log_number = 0;  // 0 while it is being opened
  };
  absl::flat_hash_map<std::string, Entry> open ABSL_GUARDED_BY(mutex);  // also those just opening or closing
  absl::flat_hash_map<std::string, LogState> closed ABSL_GUARDED_BY(mutex);

  absl::Mutex queue_mutex;
  std::deque<std::weak_ptr<SegmentLog>> queue ABSL_GUARDED_BY(queue_mutex);
  bool stopping ABSL_GUARDED_BY(queue_mutex) = false;
};

}  // namespace narthex::staging
