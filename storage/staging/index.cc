#include "storage/staging/index.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "storage/fs/file_system.h"
#include "storage/staging/index_behind.h"
#include "storage/staging/index_rocksdb.h"

namespace narthex::staging {
namespace {

// Opening writes what the log holds into tables, and begins new files.
constexpr uint64_t kReopenFreeBytes = 32 << 20;               // besides as much as the log has
constexpr absl::Duration kReopenPatience = absl::Seconds(2);  // for the calls that use the database
constexpr absl::Duration kReopenInterval = absl::Seconds(1);  // after an attempt in vain

rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// How many calls of this thread use an index: one within a Scan must not wait for that Scan to end.
thread_local int uses_of_this_thread = 0;

void ShowFailed(bool failed) {
  Metrics::Global().Set("staging_index_failed", "1: the staging index refuses writes.", failed ? 1 : 0);
}

}  // namespace

RocksDbIndex::Use::Use(const RocksDbIndex& index) : index_(index) {
  absl::MutexLock lock(&index_.mutex_);
  const auto may_begin = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_.mutex_) { return !index_.reopening_; };
  if (uses_of_this_thread == 0) index_.mutex_.Await(absl::Condition(&may_begin));
  ++uses_of_this_thread;
  ++index_.users_;
  database_ = index_.database_.get();
}

RocksDbIndex::Use::~Use() {
  absl::MutexLock lock(&index_.mutex_);
  --uses_of_this_thread;
  --index_.users_;
}

absl::Status RocksDbIndex::Use::Check() const {
  if (database_ != nullptr) return absl::OkStatus();
  return Error(absl::StatusCode::kUnavailable, "INDEX_BUSY",
               "the staging index could not be opened again after its disk was full; try again later");
}

RocksDbIndex::RocksDbIndex(std::string directory, const IndexGround& ground)
    : directory_(std::move(directory)), ground_(ground) {}

RocksDbIndex::~RocksDbIndex() {
  std::unique_ptr<IndexDatabase> closing;
  absl::MutexLock lock(&mutex_);
  closing = std::move(database_);  // outlives the lock, which its threads may want
}

absl::StatusOr<std::unique_ptr<RocksDbIndex>> RocksDbIndex::Open(const std::string& directory,
                                                                 const IndexGround& ground) {
  NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(fs::Posix(), directory));
  auto index = std::unique_ptr<RocksDbIndex>(new RocksDbIndex(directory, ground));
  NX_ASSIGN_OR_RETURN(std::unique_ptr<IndexDatabase> database,
                      index->OpenDatabase(IndexDatabase::Mode::kReadWrite));
  absl::MutexLock lock(&index->mutex_);
  index->database_ = std::move(database);
  return index;
}

absl::StatusOr<std::unique_ptr<IndexDatabase>> RocksDbIndex::OpenDatabase(IndexDatabase::Mode mode) {
  return IndexDatabase::Open(directory_, ground_, mode,
                             [this](const rocksdb::Status& status) { Failed(status); });
}

// --- Failing and going on ---------------------------------------------------------------------------------

void RocksDbIndex::Failed(const rocksdb::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (failed_) return;
  failure_ = Translate(status, "be written");
  needs_start_ = !status.IsNoSpace() || (database_ != nullptr && database_->log_unsure());
  refused_count_ = 0;
  failed_ = true;
  ShowFailed(true);
  Log(LogLevel::kError, "the staging index refuses writes",
      {{"cause", ErrorReason(failure_)},
       {"until", needs_start_ ? "the server is restarted" : "space is back"}});
}

absl::Status RocksDbIndex::Refusal() {
  ++refused_count_;
  return failure_;
}

absl::Status RocksDbIndex::Writable() {
  if (!failed_) return absl::OkStatus();
  const bool has_space = HasSpace();
  {
    absl::MutexLock lock(&mutex_);
    if (!failed_) return absl::OkStatus();
    const bool may_try =
        has_space && !needs_start_ && !reopening_ && uses_of_this_thread == 0 && absl::Now() >= next_try_;
    if (!may_try) return Refusal();
    reopening_ = true;
    const auto unused = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return users_ == 0; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&unused), kReopenPatience)) {
      reopening_ = false;
      next_try_ = absl::Now() + kReopenInterval;
      return Refusal();
    }
  }
  Reopen();
  absl::MutexLock lock(&mutex_);
  reopening_ = false;
  return failed_ ? Refusal() : absl::OkStatus();
}

bool RocksDbIndex::HasSpace() const {
  uint64_t wanted = kReopenFreeBytes;
  if (const auto entries = fs::Posix().List(directory_); entries.ok()) {
    for (const fs::DirectoryEntry& entry : *entries) {
      if (!absl::EndsWith(entry.name, ".log")) continue;
      const auto info = fs::Posix().Stat(fs::JoinPath(directory_, entry.name));
      if (info.ok()) wanted += info->size_bytes;
    }
  }
  const auto free = ground_.free_bytes(directory_);
  return free.ok() && *free >= wanted;
}

// Nobody uses the database, and nobody begins to.
void RocksDbIndex::Reopen() {
  std::unique_ptr<IndexDatabase> database;
  {
    absl::MutexLock lock(&mutex_);
    database = std::move(database_);
  }
  database.reset();  // a log that failed is closed without being written or synced
  absl::StatusOr<std::unique_ptr<IndexDatabase>> opened = OpenDatabase(IndexDatabase::Mode::kReadWrite);
  const bool writable = opened.ok();
  if (!writable) opened = OpenDatabase(IndexDatabase::Mode::kReadOnly);
  absl::MutexLock lock(&mutex_);
  if (opened.ok()) database_ = *std::move(opened);
  if (!writable) {
    next_try_ = absl::Now() + kReopenInterval;
    return;
  }
  failed_ = false;
  failure_ = absl::OkStatus();
  ShowFailed(false);
  Log(LogLevel::kInfo, "the staging index goes on", {{"refused_writes", refused_count_}});
}

// --- Using it ---------------------------------------------------------------------------------------------

absl::Status RocksDbIndex::Write(const IndexBatch& batch, Durability durability) {
  NX_RETURN_IF_ERROR(Writable());
  const Use database(*this);
  NX_RETURN_IF_ERROR(database.Check());
  rocksdb::WriteBatch changes;
  for (const IndexBatch::Change& change : batch.changes()) {
    rocksdb::ColumnFamilyHandle* const handle = database->table(change.table);
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
  rocksdb::Status status = database->rocksdb().Write(options, &changes);
  if (status.ok() && options.sync && database->log_unsure()) status = rocksdb::Status::IOError("sync");
  if (status.IsIOError() || status.IsCorruption()) Failed(status);
  return Translate(status, "be written");
}

absl::StatusOr<std::optional<std::string>> RocksDbIndex::Get(Table table, absl::string_view key) const {
  const Use database(*this);
  NX_RETURN_IF_ERROR(database.Check());
  std::string value;
  const rocksdb::Status status =
      database->rocksdb().Get(rocksdb::ReadOptions(), database->table(table), ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  NX_RETURN_IF_ERROR(Translate(status, "be read"));
  return std::optional<std::string>(std::move(value));
}

absl::Status RocksDbIndex::Scan(
    Table table, absl::string_view begin, absl::string_view end,
    const std::function<bool(absl::string_view, absl::string_view)>& visit) const {
  const Use database(*this);
  NX_RETURN_IF_ERROR(database.Check());
  rocksdb::ReadOptions options;
  const rocksdb::Slice upper = ToSlice(end);
  if (!end.empty()) options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> rows(
      database->rocksdb().NewIterator(options, database->table(table)));
  for (rows->Seek(ToSlice(begin)); rows->Valid(); rows->Next()) {
    if (!visit(ToView(rows->key()), ToView(rows->value()))) return absl::OkStatus();
  }
  return Translate(rows->status(), "be read");
}

// A synced write of nothing, and not RocksDB's SyncWAL: that one does not ask whether the log has failed.
absl::Status RocksDbIndex::SyncAll() { return Write(IndexBatch(), Durability::kPowerLoss); }

absl::Status RocksDbIndex::Checkpoint(const std::string& directory) {
  NX_RETURN_IF_ERROR(Writable());
  const Use database(*this);
  NX_RETURN_IF_ERROR(database.Check());
  rocksdb::Checkpoint* made = nullptr;
  rocksdb::Status status = rocksdb::Checkpoint::Create(&database->rocksdb(), &made);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  if (status.ok()) status = checkpoint->CreateCheckpoint(directory);
  return Translate(status, "be copied");
}

absl::StatusOr<std::unique_ptr<Index>> Index::OpenRocksDb(const std::string& directory) {
  NX_ASSIGN_OR_RETURN(std::unique_ptr<Index> index, RocksDbIndex::Open(directory, {}));
  return NewIndexBehind(std::move(index));
}

}  // namespace narthex::staging
