// An index over RocksDB whose calls to the operating system fail on demand. For tests; see
// storage/fs/faults.h for the same over segments and archived files.
//
//   for (uint64_t n = 1;; ++n) {
//     IndexFaults faults;
//     auto index = faults.OpenRocksDb(directory);
//     faults.FailCall(n, IndexFaults::Fault::kNoSpace);
//     ... run the scenario and check what it promised ...
//     if (!faults.fired()) break;   // every call has failed once
//   }
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "storage/staging/index.h"

namespace narthex::staging {

// Counts the calls of RocksDB that change something: creating, writing, syncing, cutting, renaming, linking
// and removing files, and syncing folders. Thread-safe.
class IndexFaults {
 public:
  enum class Fault : uint8_t {
    kIoError,     // nothing was done
    kNoSpace,     // nothing was done
    kShortWrite,  // a write does its first half, then as kNoSpace; other calls as kNoSpace
    kFullDisk,    // from here on nothing can be created, and of a write only the first half is done, until
                  // Heal()
  };
  struct Options {
    size_t table_write_buffer_bytes = 8 << 20;  // small: tables are flushed and compacted often
  };

  IndexFaults();

  // As Index::OpenRocksDb.
  absl::StatusOr<std::unique_ptr<Index>> OpenRocksDb(const std::string& directory);
  absl::StatusOr<std::unique_ptr<Index>> OpenRocksDb(const std::string& directory, const Options& options);

  // The `n`-th counted call from now on (1 is the next) fails.
  void FailCall(uint64_t n, Fault fault);
  // Nothing fails any more.
  void Heal();

  uint64_t call_count() const;  // counted calls so far
  bool fired() const;           // whether the fault has happened

  struct State;  // what the files ask, which outlive this

  const std::shared_ptr<State> state_;
};

}  // namespace narthex::staging
