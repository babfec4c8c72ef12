#include "storage/staging/index_database.h"

#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/staging/index_log.h"

namespace narthex::staging {
namespace {

// Names on disk, in the order of Table. Part of the format (docs/formats/index.md): never change one.
constexpr std::array<const char*, kTableCount> kTableNames = {
    "meta",    "sessions",       "session_keys", "objects",    "instances", "outcomes", "digests",
    "uploads", "upload_objects", "timers",       "operations", "requests",  "events"};

// All tables stay open, of 64 MiB each. RocksDB as Debian builds it frees a range of deleted rows twice, and
// so ends the process, when a table cannot be opened for a scan that follows one with such a range.
constexpr int kOpenFilesMax = -1;  // fixed: RocksDB's word for all
constexpr int kBloomBitsPerKey = 10;

// Tells of errors, and keeps RocksDB from going on by itself.
class ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(std::function<void(const rocksdb::Status&)> failed) : failed_(std::move(failed)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override { failed_(*error); }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recover) override {
    *recover = false;
  }

 private:
  const std::function<void(const rocksdb::Status&)> failed_;
};

// Any file, watched for syncs of the log that fail. RocksDB is not told of those: it would sync that file
// again, and end the process by an assertion. Instead it can write nothing else any more, and Write asks
// log_unsure().
class WatchedFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WatchedFile(std::unique_ptr<rocksdb::FSWritableFile> target, bool is_log,
              std::shared_ptr<std::atomic<bool>> unsure)
      : FSWritableFileOwnerWrapper(std::move(target)), is_log_(is_log), unsure_(std::move(unsure)) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    if (!is_log_ && *unsure_) return rocksdb::IOStatus::IOError("the log is unsure");
    return FSWritableFileOwnerWrapper::Append(data, options, debug);
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return Watch(FSWritableFileOwnerWrapper::Sync(options, debug));
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return Watch(FSWritableFileOwnerWrapper::Fsync(options, debug));
  }

 private:
  rocksdb::IOStatus Watch(rocksdb::IOStatus status) {
    if (status.ok() || !is_log_) return status;
    *unsure_ = true;
    return rocksdb::IOStatus::OK();
  }

  const bool is_log_;
  const std::shared_ptr<std::atomic<bool>> unsure_;
};

// A folder, watched in the same way: the name of a new file of the log may be missing.
class WatchedDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  WatchedDirectory(std::unique_ptr<rocksdb::FSDirectory> target, std::shared_ptr<std::atomic<bool>> unsure)
      : FSDirectoryWrapper(std::move(target)), unsure_(std::move(unsure)) {}

  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return Watch(FSDirectoryWrapper::Fsync(options, debug));
  }
  rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug,
                                        const rocksdb::DirFsyncOptions& how) override {
    return Watch(FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how));
  }

 private:
  rocksdb::IOStatus Watch(rocksdb::IOStatus status) {
    if (!status.ok()) *unsure_ = true;
    return status;
  }

  const std::shared_ptr<std::atomic<bool>> unsure_;
};

// A file of the log that could not be created; it tells so at the first write. RocksDB forgets to release
// tables when it cannot begin a new log for several of them at once, and then ends the process when it is
// closed.
class MissingLogFile : public rocksdb::FSWritableFile {
 public:
  explicit MissingLogFile(rocksdb::IOStatus status) : status_(std::move(status)) {}

  using FSWritableFile::Append;
  rocksdb::IOStatus Append(const rocksdb::Slice&, const rocksdb::IOOptions&,
                           rocksdb::IODebugContext*) override {
    return status_;
  }
  rocksdb::IOStatus Truncate(uint64_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Close(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Flush(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::OK();  // of nothing
  }
  bool IsSyncThreadSafe() const override { return true; }

 private:
  const rocksdb::IOStatus status_;
};

class WatchedFiles : public rocksdb::FileSystemWrapper {
 public:
  WatchedFiles(const std::shared_ptr<rocksdb::FileSystem>& target, std::shared_ptr<std::atomic<bool>> unsure)
      : FileSystemWrapper(target), unsure_(std::move(unsure)) {}

  const char* Name() const override { return "NarthexWatchedFiles"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    const bool is_log = absl::EndsWith(path, ".log");
    rocksdb::IOStatus status = FileSystemWrapper::NewWritableFile(path, options, file, debug);
    if (status.ok()) {
      *file = std::make_unique<WatchedFile>(std::move(*file), is_log, unsure_);
    } else if (is_log) {
      *file = std::make_unique<MissingLogFile>(std::move(status));
    } else {
      return status;
    }
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override {
    rocksdb::IOStatus status = FileSystemWrapper::NewDirectory(path, options, directory, debug);
    if (status.ok()) *directory = std::make_unique<WatchedDirectory>(std::move(*directory), unsure_);
    return status;
  }

 private:
  const std::shared_ptr<std::atomic<bool>> unsure_;
};

rocksdb::DBOptions DatabaseOptions() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;  // also: no write goes to a log that failed once
  options.db_write_buffer_size = limits::kIndexWriteBuffersBytes;
  options.max_total_wal_size = limits::kIndexLogMaxBytes;
  options.max_open_files = kOpenFilesMax;
  options.max_background_jobs = 2;
  options.bytes_per_sync = 1 << 20;
  options.max_manifest_file_size = 16 << 20;
  options.max_bgerror_resume_count = 0;
  // After a power loss the unsynced end of the log may have holes with good rows behind: recovery stops at
  // the first.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  return options;
}

rocksdb::ColumnFamilyOptions TableOptions(const std::shared_ptr<rocksdb::Cache>& cache,
                                          size_t write_buffer_bytes) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 3;
  options.compression = rocksdb::kNoCompression;
  options.level_compaction_dynamic_level_bytes = true;
  options.paranoid_file_checks = true;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 4096;  // rows are small and read one by one
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

absl::Status Translate(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string where = absl::StrCat("the staging index cannot ", what, ": ");
  if (status.IsNoSpace()) {
    return ResourceExhausted("DISK_FULL", absl::StrCat(where, "no space left on the device; free some"));
  }
  if (status.IsCorruption()) {
    return DataLoss("INDEX_CORRUPT",
                    absl::StrCat(where, "it is damaged; restore it or rebuild it from the segments"));
  }
  if (status.IsBusy() || status.IsTryAgain() || status.IsTimedOut()) {
    return Error(absl::StatusCode::kUnavailable, "INDEX_BUSY", absl::StrCat(where, "it is busy; try again"));
  }
  if (status.IsIOError()) {
    return DataLoss("IO_ERROR", absl::StrCat(where, "input/output error; see the kernel's log"));
  }
  return Internal("INDEX_ERROR", absl::StrCat(where, "RocksDB error ", static_cast<int>(status.code()), "/",
                                              static_cast<int>(status.subcode())));
}

absl::StatusOr<std::unique_ptr<IndexDatabase>> IndexDatabase::Open(
    const std::string& directory, const IndexGround& ground, Mode mode,
    std::function<void(const rocksdb::Status&)> failed) {
  auto opened = std::unique_ptr<IndexDatabase>(new IndexDatabase());
  opened->environment_ = rocksdb::NewCompositeEnv(std::make_shared<WatchedFiles>(
      ground.files != nullptr ? ground.files : rocksdb::FileSystem::Default(), opened->log_unsure_));
  rocksdb::DBOptions database_options = DatabaseOptions();
  database_options.env = opened->environment_.get();
  database_options.listeners.push_back(std::make_shared<ErrorListener>(std::move(failed)));
  database_options.info_log = std::make_shared<IndexLog>(directory, limits::kIndexMessagesMaxBytes);
  const rocksdb::ColumnFamilyOptions options =
      TableOptions(rocksdb::NewLRUCache(limits::kIndexCacheBytes), ground.table_write_buffer_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> tables = {{rocksdb::kDefaultColumnFamilyName, options}};
  for (const char* name : kTableNames) tables.emplace_back(name, options);
  rocksdb::DB* database = nullptr;
  const rocksdb::Status status =
      mode == Mode::kReadOnly
          ? rocksdb::DB::OpenForReadOnly(database_options, directory, tables, &opened->handles_, &database)
          : rocksdb::DB::Open(database_options, directory, tables, &opened->handles_, &database);
  if (status.IsIOError() && absl::StrContains(status.ToString(), "lock")) {
    return FailedPrecondition("DATA_DIR_IN_USE",
                              absl::StrCat("another process uses the data directory ", directory,
                                           "; stop it or configure another directory"),
                              {{"directory", directory}});
  }
  NX_RETURN_IF_ERROR(Translate(status, "be opened"));
  opened->database_.reset(database);
  return opened;
}

IndexDatabase::~IndexDatabase() {
  if (database_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) database_->DestroyColumnFamilyHandle(handle);
  database_->Close().PermitUncheckedError();  // unsynced rows are as after a crash; nothing to report to
}

}  // namespace narthex::staging
