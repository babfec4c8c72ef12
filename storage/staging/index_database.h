// One open RocksDB with the index's tables: what index.cc opens, uses and, after a full disk, opens again.
// Internal to storage/staging.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "storage/fs/file_system.h"
#include "storage/staging/index.h"

namespace narthex::staging {

// What an index stands on. Tests give others.
struct IndexGround {
  std::shared_ptr<rocksdb::FileSystem> files;  // null: the operating system's
  // Bytes that may still be written to the file system of a folder.
  std::function<absl::StatusOr<uint64_t>(const std::string&)> free_bytes = [](const std::string& folder) {
    return fs::Posix().FreeBytes(folder);
  };
  size_t table_write_buffer_bytes = 8 << 20;
};

// RocksDB names files and keys in its messages; keys may hold labels, so only its kind of error is passed on.
absl::Status Translate(const rocksdb::Status& status, absl::string_view what);

// Thread-safe. Closed, in order, by its destructor: what was written is as after a crash of the process.
class IndexDatabase {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  // `failed` is called, also from RocksDB's threads, for each error of its own work (flushing, compacting,
  // its lists). It never tries by itself to go on after one: Debian's RocksDB 7.8 would use the failed files
  // again, and end the process by an assertion.
  //
  // In read-only mode nothing is written, not even at opening; rows of the log are seen.
  // DATA_DIR_IN_USE, DISK_FULL, INDEX_CORRUPT, IO_ERROR.
  static absl::StatusOr<std::unique_ptr<IndexDatabase>> Open(
      const std::string& directory, const IndexGround& ground, Mode mode,
      std::function<void(const rocksdb::Status&)> failed);
  ~IndexDatabase();

  rocksdb::DB& rocksdb() { return *database_; }
  rocksdb::ColumnFamilyHandle* table(Table table) const { return handles_[static_cast<size_t>(table) + 1]; }

  // Whether a sync of the log has failed. Then it is unknown which rows of the log are on the disk, and rows
  // whose write was refused may be in it.
  bool log_unsure() const { return *log_unsure_; }

 private:
  IndexDatabase() = default;

  std::shared_ptr<std::atomic<bool>> log_unsure_ = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<rocksdb::Env> environment_;
  std::unique_ptr<rocksdb::DB> database_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // the first is RocksDB's "default", unused
};

}  // namespace narthex::staging
