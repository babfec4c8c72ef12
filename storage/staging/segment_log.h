// The log of one session: collects records in memory, writes them in order, syncs them in groups. Internal to
// storage/staging.
//
// Life of a record: a SegmentWriter fills slabs, SealLocked() gives the record its place at the tail
// and queues its slabs (pending_); one thread at a time writes a run of them with one write (writing_); one
// thread at a time syncs (syncing_). tail_ >= written_ >= durable_. A failed write or sync makes everything
// between durable_ and tail_ worthless (failed_); the log goes on in a new segment file.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"

#include "storage/staging/segment_format.h"
#include "storage/staging/store_core.h"

namespace narthex::staging {

class SegmentWriter;

// Memory of a slab from `begin` to `begin + size`, kept alive by `slab`.
struct SlabPiece {
  Slab slab;
  char* begin = nullptr;
  size_t size = 0;
};

class SegmentLog : public SessionLog, public std::enable_shared_from_this<SegmentLog> {
 public:
  // `next_segment`: first segment number that is not in use. `state`: of a log that this process closed.
  SegmentLog(std::shared_ptr<StoreCore> core, std::string session_id, uint32_t next_segment,
             uint64_t size_bytes, const LogState* state);

  absl::StatusOr<std::unique_ptr<ObjectWriter>> StartObject() override;
  absl::Status Sync(Position position) override;
  absl::Status Read(const StoredObject& object,
                    const std::function<absl::Status(absl::string_view)>& sink) override;
  absl::Status ReadRange(const StoredObject& object, uint64_t offset, uint64_t length,
                         const std::function<absl::Status(absl::string_view)>& sink) override;
  uint64_t SizeBytes() const override;

  // Writes everything pending; does not sync. For those who read the files.
  absl::Status WriteAll();
  // Frees what memory it can: ends records that idle writers have begun and writes what is pending.
  void ReleaseMemory();
  // Writes until less than a buffer is pending. For the writer threads.
  void WriteBehind();
  // Nothing can be appended or synced any more; what is written stays readable.
  void MarkRemoved();
  // Writes, syncs, releases preallocated space. Returns the state for reopening, if there is any to keep.
  // Nobody else uses the log any more.
  std::optional<LogState> Close();

  uint64_t number() const { return number_; }

 private:
  friend class SegmentWriter;

  // --- used by writers ---
  // Memory for `bytes` more of a record: the open slab's rest, or new slabs; nothing if there are none right
  // now.
  std::vector<SlabPiece> TryTakeMemory(size_t bytes);
  // The same, waiting. The caller holds no memory.
  std::vector<SlabPiece> TakeMemory(size_t bytes);
  // Memory behind a sealed or abandoned record, for the next one.
  void GiveBackLocked(SlabPiece rest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Places the record at the tail, completes and encodes its head, and queues its pieces.
  absl::Status SealLocked(RecordHead& head, std::vector<SlabPiece> pieces)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // After SealLocked, without the lock: hands full buffers to the writer threads, holds the caller back when
  // they lag.
  absl::Status PushBack();
  void Forget(SegmentWriter* writer);

  // --- writing and syncing; these unlock mutex_ during I/O ---
  absl::Status WriteThrough(Position target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SyncGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  struct Run;
  struct ReadBuffer;
  Run TakeRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteToFile(const Run& run);     // by the thread that set writing_
  absl::Status OpenForWriting(const Run& run);  // by the thread that set writing_
  absl::Status Preallocate(const Run& run);     // by the thread that set writing_
  absl::Status SyncFile(fs::File& file, bool names_durable);
  void Fail(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The failure that `position` lies in, or OK.
  absl::Status FailureAt(Position position) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same for a position that is to be synced: also fails for lost objects before it that nobody asked
  // for.
  absl::Status SyncFailure(Position position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetDurable(Position position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ParkFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Recover() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Removed() const;

  // --- reading ---
  absl::StatusOr<absl::string_view> ReadExtent(const Extent& extent, uint64_t begin, uint64_t end,
                                               ReadBuffer& buffer);
  absl::StatusOr<std::shared_ptr<fs::File>> FileForReading(uint32_t segment, bool direct);

  const std::shared_ptr<StoreCore> core_;
  const std::string session_id_;
  const std::string directory_;
  const uint64_t number_;         // of this log in the process
  const uint64_t epoch_;          // random; see RecordHead
  const uint32_t first_segment_;  // lower ones were written by an earlier process

  absl::Mutex recover_mutex_;
  bool recovered_ ABSL_GUARDED_BY(recover_mutex_);

  mutable absl::Mutex mutex_;
  absl::CondVar progress_;  // writing_, syncing_, written_, durable_ or failed_ changed
  Position tail_ ABSL_GUARDED_BY(mutex_);
  Position written_ ABSL_GUARDED_BY(mutex_);
  Position durable_ ABSL_GUARDED_BY(mutex_);
  uint64_t size_bytes_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_object_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<FailedRange> failed_ ABSL_GUARDED_BY(mutex_);
  std::deque<Position> unsynced_objects_ ABSL_GUARDED_BY(mutex_);  // positions of finished ones, ascending
  bool removed_ ABSL_GUARDED_BY(mutex_) = false;

  struct Pending {
    Position at;
    SlabPiece piece;
  };
  std::deque<Pending> pending_ ABSL_GUARDED_BY(mutex_);
  size_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  SlabPiece open_slab_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<SegmentWriter*> writers_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool syncing_ ABSL_GUARDED_BY(mutex_) = false;
  bool queued_ ABSL_GUARDED_BY(mutex_) = false;

  // The file being written. Changed by the thread that set writing_, with mutex_ held.
  std::shared_ptr<fs::File> file_;
  uint32_t file_segment_ = 0;
  bool file_exists_ = false;         // the segment's file was created
  bool file_names_durable_ = false;  // and its name synced
  uint64_t allocated_end_ = 0;       // of that file

  std::map<uint32_t, std::shared_ptr<fs::File>> kept_files_ ABSL_GUARDED_BY(mutex_);  // of a removed session
};

}  // namespace narthex::staging
