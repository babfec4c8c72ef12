// A file system whose calls fail on demand, around another one. For tests.
//
//   for (uint64_t n = 1;; ++n) {
//     FaultInjector faults(*memory);
//     faults.FailCall(n, FaultInjector::Fault::kIoError);
//     ... run the scenario on `faults` and check what it promised ...
//     if (!faults.fired()) break;   // every call has failed once
//   }
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "storage/fs/file_system.h"

namespace narthex::fs {

// Counts the calls that change something (open for writing, write, allocate, truncate, sync, rename, ...);
// with Options::count_reads also those that only read. Thread-safe.
class FaultInjector : public FileSystem {
 public:
  enum class Fault : uint8_t {
    kIoError,     // DATA_LOSS (IO_ERROR), nothing was done
    kNoSpace,     // RESOURCE_EXHAUSTED (DISK_FULL), nothing was done
    kShortWrite,  // a write does its first half, then as kNoSpace; other calls as kNoSpace
    kPowerCut,    // this and every later call, reads too, fail with kIoError: the machine is off
  };

  explicit FaultInjector(FileSystem& target, bool count_reads = false);

  // The `n`-th counted call from now on (1 is the next) fails.
  void FailCall(uint64_t n, Fault fault);

  uint64_t call_count() const { return calls_.load(); }  // counted calls so far
  bool fired() const { return fired_.load(); }           // whether the fault has happened

  absl::StatusOr<std::unique_ptr<File>> Open(absl::string_view path, const OpenOptions& options) override;
  absl::Status MakeDirectories(absl::string_view path) override;
  absl::Status SyncDirectory(absl::string_view path) override;
  absl::StatusOr<std::unique_ptr<SyncBarrier>> NewSyncBarrier(absl::string_view path) override;
  absl::Status Rename(absl::string_view from, absl::string_view to) override;
  absl::Status Link(absl::string_view from, absl::string_view to) override;
  absl::Status Remove(absl::string_view path) override;
  absl::Status RemoveTree(absl::string_view path) override;
  absl::StatusOr<FileInfo> Stat(absl::string_view path) override;
  absl::StatusOr<std::vector<DirectoryEntry>> List(absl::string_view path) override;
  absl::StatusOr<uint64_t> FreeBytes(absl::string_view path) override;
  absl::Status CopyRange(File& source, uint64_t source_offset, File& target, uint64_t target_offset,
                         uint64_t length) override;

 private:
  friend class FaultyFile;
  friend class FaultyBarrier;
  enum class Kind : uint8_t { kReads, kChanges };

  // OK, or the error that this call must fail with.
  absl::Status Enter(Kind kind);

  FileSystem& target_;
  const bool count_reads_;
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> fail_at_{0};
  std::atomic<Fault> fault_{Fault::kIoError};
  std::atomic<bool> fired_{false};
};

}  // namespace narthex::fs
