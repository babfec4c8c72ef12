// Index over RocksDB, and what it does when its disk is full. Internal to storage/staging.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "storage/staging/index.h"
#include "storage/staging/index_database.h"

namespace narthex::staging {

// A RocksDB whose log failed once must never be written to again (docs/durability.md, "A full index"). So
// after the first error that concerns writing, every write is refused at once; reads go on. If it was want of
// space, and space is there again, the next write closes the database, opens it again and goes on: a row
// whose write was acknowledged is in its log or tables, one that was refused is not (only a part of its
// record can be in the log). After any other error, and after a sync that failed, only opening the index anew
// (a start of the server) helps.
class RocksDbIndex : public Index {
 public:
  static absl::StatusOr<std::unique_ptr<RocksDbIndex>> Open(const std::string& directory,
                                                            const IndexGround& ground);
  ~RocksDbIndex() override;

  absl::Status Write(const IndexBatch& batch, Durability durability) override;
  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override;
  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override;
  absl::Status SyncAll() override;
  absl::Status Checkpoint(const std::string& directory) override;

 private:
  // Keeps the database open while a call uses it.
  class Use {
   public:
    explicit Use(const RocksDbIndex& index);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    IndexDatabase* operator->() const { return database_; }
    // UNAVAILABLE (INDEX_BUSY): it could not be opened again yet.
    absl::Status Check() const;

   private:
    const RocksDbIndex& index_;
    IndexDatabase* database_ = nullptr;
  };

  RocksDbIndex(std::string directory, const IndexGround& ground);

  absl::StatusOr<std::unique_ptr<IndexDatabase>> OpenDatabase(IndexDatabase::Mode mode);
  // A write, or work that writes depend on, ended with `status`.
  void Failed(const rocksdb::Status& status);
  // OK if writing is possible, perhaps because it is again.
  absl::Status Writable();
  absl::Status Refusal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether there is space enough to open the database again.
  bool HasSpace() const;
  void Reopen();

  const std::string directory_;
  const IndexGround ground_;
  std::atomic<bool> failed_{false};

  mutable absl::Mutex mutex_;
  std::unique_ptr<IndexDatabase> database_ ABSL_GUARDED_BY(mutex_);  // null: could not be opened again
  mutable int users_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reopening_ ABSL_GUARDED_BY(mutex_) = false;  // nobody begins to use it
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);    // why writes are refused
  bool needs_start_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time next_try_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  uint64_t refused_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace narthex::staging
