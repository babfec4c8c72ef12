// The index of staging: ordered tables of bytes in one RocksDB. Its owner encodes keys and rows. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::staging {

// Tables are column families; their names on disk are part of the format (docs/formats/index.md).
enum class Table : uint8_t {
  kMeta,           // format version, counters
  kSessions,       // session id -> session row
  kSessionKeys,    // project, study, label -> session id
  kObjects,        // session id, object number -> object row
  kInstances,      // session id, SOP Instance UID -> object number
  kOutcomes,       // session id or upload id, number -> outcome row
  kDigests,        // project, digest -> session id, object number
  kUploads,        // upload id -> upload row
  kUploadObjects,  // upload id, sequence -> outcome summary
  kTimers,         // due time, session id -> nothing
  kOperations,     // operation id -> operation row
  kRequests,       // method, request id -> answer
  kEvents,         // sequence number -> event row
};
inline constexpr int kTableCount = 13;

enum class Durability {
  // May be written after the call returns, though before anything else is read or written: a crash may lose
  // it. For rows that can be made again from the segments.
  kBehind,
  kProcessCrash,  // survives kill -9, not a power loss
  kPowerLoss,     // on the disk when the call returns
};

// Changes that happen together or not at all. Single-threaded.
class IndexBatch {
 public:
  struct Change {
    enum class Kind : uint8_t { kPut, kDelete, kDeleteRange } kind;
    Table table;
    std::string key;
    std::string value;  // kPut: the row; kDeleteRange: the end key, excluded
  };

  void Put(Table table, absl::string_view key, absl::string_view value) {
    changes_.push_back({Change::Kind::kPut, table, std::string(key), std::string(value)});
  }
  void Delete(Table table, absl::string_view key) {
    changes_.push_back({Change::Kind::kDelete, table, std::string(key), {}});
  }
  // Deletes all keys in [begin, end).
  void DeleteRange(Table table, absl::string_view begin, absl::string_view end) {
    changes_.push_back({Change::Kind::kDeleteRange, table, std::string(begin), std::string(end)});
  }
  // Adds the changes of `later` behind those of this batch.
  void Append(const IndexBatch& later) {
    changes_.insert(changes_.end(), later.changes_.begin(), later.changes_.end());
  }
  bool empty() const { return changes_.empty(); }
  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

class Index {
 public:
  virtual ~Index() = default;

  // Opens (or creates) the RocksDB below `directory`. FAILED_PRECONDITION (DATA_DIR_IN_USE): another process
  // has it open. DATA_LOSS: it is damaged.
  static absl::StatusOr<std::unique_ptr<Index>> OpenRocksDb(const std::string& directory);
  // The twin for tests: keeps everything in memory, forgets what was not kPowerLoss on LosePower().
  static std::unique_ptr<Index> NewInMemory();

  // Applies `batch` atomically. Concurrent kPowerLoss writers share one sync.
  virtual absl::Status Write(const IndexBatch& batch, Durability durability) = 0;

  // Writes what was written kBehind and is still held, if there is any. Who writes so calls it as soon as his
  // caller waits no longer. Errors as Write; then it stays held.
  virtual absl::Status Settle() const { return absl::OkStatus(); }

  // The row, or nullopt.
  virtual absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const = 0;

  // Calls `visit` for each row with key in [begin, end) in key order (end "" means to the end of the table)
  // until it returns false. Sees the state at the moment of the call.
  virtual absl::Status Scan(
      Table table, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) const = 0;

  // Makes everything written so far durable against power loss.
  virtual absl::Status SyncAll() = 0;

  // Makes `directory`, which must not exist, a copy of the index as it is now (hard links where it can);
  // OpenRocksDb opens it. UNIMPLEMENTED in the in-memory twin.
  virtual absl::Status Checkpoint(const std::string& directory) = 0;

  // In the in-memory twin: forgets all that was not synced. In RocksDB: does nothing.
  virtual void LosePower() {}
};

}  // namespace narthex::staging
