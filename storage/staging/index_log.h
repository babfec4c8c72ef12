// RocksDB's own messages, in the file LOG beside its tables. RocksDB's logger ends the process (by an
// assertion) when it writes a second line after one that found no space; this one drops what it cannot write.
// Internal to storage/staging.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include <rocksdb/env.h>

namespace narthex::staging {

// Thread-safe. Nothing of it is durable.
class IndexLog : public rocksdb::Logger {
 public:
  // Begins a new LOG in `directory`, which must exist; the one of before becomes LOG.old. So it does again
  // when the file has `max_bytes`.
  IndexLog(const std::string& directory, size_t max_bytes);
  ~IndexLog() override;

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override;
  size_t GetLogFileSize() const override;

 private:
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const size_t max_bytes_;
  mutable absl::Mutex mutex_;
  std::FILE* file_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: it cannot be opened
  size_t size_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace narthex::staging
