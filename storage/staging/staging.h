// Where the bytes of objects wait until they are archived: append-only segment files, one set per prearchive
// session, each object a self-describing record (docs/formats/segment.md). Staging knows bytes and sessions'
// ids; what an object is, its owner says in the opaque `meta` that is stored with it.
//
//   auto log = staging.OpenSession("abc");                      // creates it if needed
//   auto writer = (*log)->StartObject();
//   (*writer)->Append(bytes) ...                                // from the stream, in pieces
//   auto stored = (*writer)->Finish(meta);                      // complete, but not yet durable
//   (*log)->Sync(stored->position);                             // durable: now it may be acknowledged
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limits_storage.h"
#include "storage/fs/file_system.h"

namespace narthex::staging {

// A run of payload bytes of one object inside one segment file.
struct Extent {
  uint32_t segment = 0;  // number of the session's segment file, from 0
  uint64_t offset = 0;   // of the first payload byte in that file
  uint64_t length = 0;   // payload bytes
  uint32_t crc32c = 0;   // of the payload bytes

  friend bool operator==(const Extent&, const Extent&) = default;
};

// A point in a session's log. Sync(p) makes everything up to and including p durable.
struct Position {
  uint32_t segment = 0;
  uint64_t offset = 0;

  friend auto operator<=>(const Position&, const Position&) = default;
};

struct StoredObject {
  std::vector<Extent> extents;  // in payload order
  uint64_t size_bytes = 0;      // payload bytes in all
  Position position;            // end of the object's last record
};

// One object being appended. Destroyed without Finish: the object does not exist and never will, also after a
// crash. Single-threaded; several writers of one session may be in use at once (their records interleave).
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;

  // Adds payload bytes, which are copied. Blocks while the session's buffers are full (back-pressure).
  // RESOURCE_EXHAUSTED (DISK_FULL): below the free-space watermark or no space left.
  // DATA_LOSS (SEGMENT_FAILED): an earlier write or sync of this segment failed; the object must be sent
  // again.
  virtual absl::Status Append(absl::string_view bytes) = 0;

  // Completes the object. `meta` (at most 1 MiB) is kept with it and returned by recovery. Not durable yet.
  virtual absl::StatusOr<StoredObject> Finish(absl::string_view meta) = 0;
};

// The log of one session. Thread-safe.
class SessionLog {
 public:
  virtual ~SessionLog() = default;

  // RESOURCE_EXHAUSTED (DISK_FULL): fewer than Options::free_space_min_bytes are free.
  virtual absl::StatusOr<std::unique_ptr<ObjectWriter>> StartObject() = 0;

  // Blocks until everything up to `position` is on the disk (group commit: concurrent callers share one
  // fdatasync; one of them does the work on its own thread). After an error nothing of the failed segment
  // that was not durable before may be acknowledged; the log goes on in a new segment file, and a failed
  // fsync is never retried. Returns at once if already durable.
  //
  // Several objects may be synced by the largest of their positions. So after a failure that lost finished
  // objects later positions fail too, for 30 seconds or until each lost position has been synced (and so
  // learnt of).
  virtual absl::Status Sync(Position position) = 0;

  // Gives the payload of `object` to `sink`, in order, in pieces of at most 1 MiB, each verified against its
  // CRC-32C before the sink sees any byte of its extent (extents are at most 2 MiB, see
  // docs/formats/segment.md). The object need not be durable yet. Stops at the sink's first error and returns
  // it. DATA_LOSS (STAGED_BYTES_CORRUPT): the bytes on disk fail their checksum.
  virtual absl::Status Read(const StoredObject& object,
                            const std::function<absl::Status(absl::string_view)>& sink) = 0;

  // As Read, but only payload bytes [offset, offset + length) (clipped to the object's size). Extents of
  // which only a part is wanted are read in that part and not verified: for what is only looked at, or Read
  // later.
  virtual absl::Status ReadRange(const StoredObject& object, uint64_t offset, uint64_t length,
                                 const std::function<absl::Status(absl::string_view)>& sink) = 0;

  // Bytes that the session's segment files occupy.
  virtual uint64_t SizeBytes() const = 0;
};

// An object whose record is in a segment. Recovery and verification report these.
struct FoundObject {
  std::string session_id;
  StoredObject object;
  std::string meta;
};

// What VerifySession found. Nothing here is a patient value.
struct SessionReport {
  // A place whose bytes fail a check although they were durable.
  struct Damage {
    uint32_t segment = 0;
    uint64_t offset = 0;  // of the record, or of the first unreadable block
    std::string what;     // e.g. "payload checksum"
  };

  uint64_t segment_count = 0;
  uint64_t record_count = 0;             // good ones
  uint64_t object_count = 0;             // complete and good in all their records
  uint64_t object_bytes = 0;             // their payload
  uint64_t unfinished_record_count = 0;  // good, but of objects that were never completed
  uint64_t torn_bytes = 0;               // behind the end of the log: never acknowledged, ignored by recovery
  uint64_t damage_count = 0;
  std::vector<Damage> damages;  // the first 1000
};

class StagingStore {
 public:
  struct Options {
    std::string directory;                                       // created if missing
    uint64_t free_space_min_bytes = limits::kFreeSpaceMinBytes;  // watermark
    bool direct_io = true;  // falls back by itself where the file system refuses O_DIRECT
    uint64_t segment_max_bytes = limits::kSegmentMaxBytes;
    size_t buffer_pool_bytes =
        limits::kSegmentPoolBytes;  // shared by all sessions, at least 4 MiB; memory is touched as needed
    int writer_threads = 2;         // write full buffers while more is received; 0: the callers do it
  };

  virtual ~StagingStore() = default;

  // Opens the store. Truncated and torn records at the end of segments are cut off. Costs no time for
  // sessions that are not opened.
  static absl::StatusOr<std::unique_ptr<StagingStore>> Open(const Options& options,
                                                            fs::FileSystem& file_system);

  // Opens the log of `session_id` ([a-z0-9]+, at most 64), creating it if needed. Calls while it is open
  // return the same log; it is closed when the last reference is gone. New objects go behind what is there.
  virtual absl::StatusOr<std::shared_ptr<SessionLog>> OpenSession(absl::string_view session_id) = 0;

  // All sessions that have a folder in the store, in no order.
  virtual absl::StatusOr<std::vector<std::string>> ListSessions() = 0;

  // Reports every complete object of a session that lies behind `after` (a zero Position: all), in log order,
  // reading record heads only. Used at start for what the index may not know yet.
  virtual absl::Status Scan(absl::string_view session_id, Position after,
                            const std::function<absl::Status(FoundObject)>& found) = 0;

  // The end of the session's log on disk, from the files' sizes alone (no record is read). NOT_FOUND: no
  // such.
  virtual absl::StatusOr<Position> EndOf(absl::string_view session_id) = 0;

  // Reads every record of a session completely, checks all checksums and fills `report`. Damage is reported,
  // not an error; errors are those of the file system. NOT_FOUND: no such session. For storage/verify; reads
  // at the speed of the disk.
  virtual absl::Status VerifySession(absl::string_view session_id, SessionReport& report) = 0;

  // Makes `directory` (which must not exist; on the same file system) show every segment as it is, by hard
  // links, and runs `also` meanwhile. No session is removed from its beginning until it returns; writing goes
  // on, so files may grow behind what `also` saw. Durable when it returns. WRONG_FILE_TYPE and
  // OTHER_FILE_SYSTEM as fs.
  virtual absl::Status Snapshot(absl::string_view directory, const std::function<absl::Status()>& also) = 0;

  // Another watermark, from now on.
  virtual void SetFreeSpaceMin(uint64_t bytes) = 0;

  // Removes a session's segment files. Readers that are open keep reading. OK if there is none. Durable when
  // it returns.
  virtual absl::Status Remove(absl::string_view session_id) = 0;
};

}  // namespace narthex::staging
