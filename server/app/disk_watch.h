// Looks every second at the free space of the volumes that the server writes to: metrics and log lines, so
// that an operator knows before senders do. The watermarks themselves are enforced where bytes are written
// (staging, archiver). Thread-safe; one thread.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "storage/fs/file_system.h"

namespace narthex::app {

class DiskWatch {
 public:
  struct Volume {
    std::string name;  // "staging", "archive", "postgres": a label of the metrics
    std::string path;
    bool low = false;
  };
  // `files` is borrowed.
  DiskWatch(fs::FileSystem& files, std::vector<Volume> volumes, uint64_t min_bytes);
  ~DiskWatch();

  void SetMinBytes(uint64_t bytes);

 private:
  void Run();
  void Look(uint64_t min_bytes);

  fs::FileSystem& files_;
  std::vector<Volume> volumes_;
  absl::Mutex mutex_;
  uint64_t min_bytes_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::app
