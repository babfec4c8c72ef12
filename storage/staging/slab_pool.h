// The memory that objects are received into: equal, aligned slabs of one region, shared by all sessions. The
// region is reserved at once and touched as needed; slabs that were used last are used first. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace narthex::staging {

inline constexpr size_t kSlabBytes = 128 << 10;

// kSlabBytes bytes, aligned to 4 KiB or better; back in the pool when the last reference is gone, which must
// be before the pool is destroyed.
using Slab = std::shared_ptr<char>;

class SlabPool {
 public:
  // `bytes` is rounded down to whole slabs.
  explicit SlabPool(size_t bytes);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  size_t slab_count() const { return slab_count_; }

  // Takes `count` slabs or, if there are fewer, none and returns false. Does not block.
  bool TryTake(size_t count, std::vector<Slab>& taken);

  // As TryTake, but waits until there are enough or `timeout` is over.
  bool TakeWithin(size_t count, absl::Duration timeout, std::vector<Slab>& taken);

 private:
  bool TakeLocked(size_t count, std::vector<Slab>& taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(char* slab);

  const size_t slab_count_;
  char* region_ = nullptr;
  absl::Mutex mutex_;
  std::vector<char*> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::staging
