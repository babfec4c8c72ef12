#include "storage/staging/index.h"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>

#include "base/error.h"
#include "base/status.h"
#include "storage/fs/file_system.h"
#include "storage/staging/index_behind.h"

namespace narthex::staging {
namespace {

// Names on disk, in the order of Table. Part of the format (docs/formats/index.md): never change one.
constexpr std::array<const char*, kTableCount> kTableNames = {
    "meta",    "sessions",       "session_keys", "objects",    "instances", "outcomes", "digests",
    "uploads", "upload_objects", "timers",       "operations", "requests",  "events"};

constexpr size_t kBlockCacheBytes = 32 << 20;    // shared by all tables
constexpr size_t kWriteBuffersBytes = 32 << 20;  // of all tables together
constexpr size_t kTableWriteBufferBytes = 8 << 20;
constexpr uint64_t kWalMaxBytes =
    128 << 20;  // then the oldest memtables are flushed, so that opening stays quick
constexpr int kOpenFilesMax = 256;
constexpr int kBloomBitsPerKey = 10;

rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// RocksDB names files and keys in its messages; keys may hold labels, so only its kind of error is passed on.
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

rocksdb::DBOptions DatabaseOptions() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  options.db_write_buffer_size = kWriteBuffersBytes;
  options.max_total_wal_size = kWalMaxBytes;
  options.max_open_files = kOpenFilesMax;
  options.max_background_jobs = 2;
  options.bytes_per_sync = 1 << 20;
  options.keep_log_file_num = 3;
  options.max_log_file_size = 4 << 20;
  options.max_manifest_file_size = 16 << 20;
  // After a power loss the unsynced end of the log may have holes with good rows behind: recovery stops at
  // the first.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  return options;
}

rocksdb::ColumnFamilyOptions TableOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = kTableWriteBufferBytes;
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

// The database with its column families, closed in order.
class RocksDbIndex : public Index {
 public:
  static absl::StatusOr<std::unique_ptr<Index>> Open(const std::string& directory) {
    NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(fs::Posix(), directory));
    auto index = std::make_unique<RocksDbIndex>();
    const rocksdb::ColumnFamilyOptions options = TableOptions(rocksdb::NewLRUCache(kBlockCacheBytes));
    std::vector<rocksdb::ColumnFamilyDescriptor> tables = {{rocksdb::kDefaultColumnFamilyName, options}};
    for (const char* name : kTableNames) tables.emplace_back(name, options);
    rocksdb::DB* database = nullptr;
    const rocksdb::Status status =
        rocksdb::DB::Open(DatabaseOptions(), directory, tables, &index->handles_, &database);
    if (status.IsIOError() && absl::StrContains(status.ToString(), "lock")) {
      return FailedPrecondition("DATA_DIR_IN_USE",
                                absl::StrCat("another process uses the data directory ", directory,
                                             "; stop it or configure another directory"),
                                {{"directory", directory}});
    }
    NX_RETURN_IF_ERROR(Translate(status, "be opened"));
    index->database_.reset(database);
    return std::unique_ptr<Index>(std::move(index));
  }

  ~RocksDbIndex() override {
    if (database_ == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* handle : handles_) database_->DestroyColumnFamilyHandle(handle);
    database_->Close().PermitUncheckedError();  // unsynced rows are as after a crash; nothing to report to
  }

  absl::Status Checkpoint(const std::string& directory) override {
    rocksdb::Checkpoint* made = nullptr;
    rocksdb::Status status = rocksdb::Checkpoint::Create(database_.get(), &made);
    const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
    if (status.ok()) status = checkpoint->CreateCheckpoint(directory);
    return Translate(status, "be copied");
  }

  absl::Status Write(const IndexBatch& batch, Durability durability) override {
    rocksdb::WriteBatch changes;
    for (const IndexBatch::Change& change : batch.changes()) {
      rocksdb::ColumnFamilyHandle* const handle = HandleOf(change.table);
      rocksdb::Status status;
      switch (change.kind) {
        case IndexBatch::Change::Kind::kPut:
          status = changes.Put(handle, change.key, change.value);
          break;
        case IndexBatch::Change::Kind::kDelete:
          status = changes.Delete(handle, change.key);
          break;
        case IndexBatch::Change::Kind::kDeleteRange:
          if (change.key < change.value) status = changes.DeleteRange(handle, change.key, change.value);
          break;
      }
      NX_RETURN_IF_ERROR(Translate(status, "be written"));
    }
    rocksdb::WriteOptions options;
    options.sync = durability == Durability::kPowerLoss;
    return Translate(database_->Write(options, &changes), "be written");
  }

  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override {
    std::string value;
    const rocksdb::Status status =
        database_->Get(rocksdb::ReadOptions(), HandleOf(table), ToSlice(key), &value);
    if (status.IsNotFound()) return std::nullopt;
    NX_RETURN_IF_ERROR(Translate(status, "be read"));
    return std::optional<std::string>(std::move(value));
  }

  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    rocksdb::ReadOptions options;
    const rocksdb::Slice upper = ToSlice(end);
    if (!end.empty()) options.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> rows(database_->NewIterator(options, HandleOf(table)));
    for (rows->Seek(ToSlice(begin)); rows->Valid(); rows->Next()) {
      if (!visit(ToView(rows->key()), ToView(rows->value()))) return absl::OkStatus();
    }
    return Translate(rows->status(), "be read");
  }

  absl::Status SyncAll() override { return Translate(database_->FlushWAL(/*sync=*/true), "be synced"); }

 private:
  rocksdb::ColumnFamilyHandle* HandleOf(Table table) const {
    return handles_[static_cast<size_t>(table) + 1];
  }

  std::unique_ptr<rocksdb::DB> database_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // the first is RocksDB's "default", unused
};

}  // namespace

absl::StatusOr<std::unique_ptr<Index>> Index::OpenRocksDb(const std::string& directory) {
  NX_ASSIGN_OR_RETURN(std::unique_ptr<Index> index, RocksDbIndex::Open(directory));
  return NewIndexBehind(std::move(index));
}

}  // namespace narthex::staging
