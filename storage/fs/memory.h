// A file system in memory, for tests. It forgets on LosePower() what a disk may forget: file bytes that were
// not Sync()ed, and names that were not SyncDirectory()ed.
#pragma once

#include <cstdint>
#include <memory>

#include "storage/fs/file_system.h"

namespace narthex::fs {

class InMemoryFileSystem : public FileSystem {
 public:
  // Goes back to what is durable. Files that are open stay open but every call on them fails from now on
  // (DATA_LOSS, IO_ERROR). With `seed` 0 everything that is not durable is lost; with another seed each 4 KiB
  // block and each name survives or not at random, as on a real disk.
  virtual void LosePower(uint64_t seed = 0) = 0;

  // Writes that need more than this fail with DISK_FULL. Unlimited at first.
  virtual void SetCapacity(uint64_t bytes) = 0;

  // Flips a bit of the durable and the current content. For tests of checksums.
  virtual absl::Status FlipBit(absl::string_view path, uint64_t offset, int bit) = 0;
};

std::unique_ptr<InMemoryFileSystem> NewInMemory();

}  // namespace narthex::fs
