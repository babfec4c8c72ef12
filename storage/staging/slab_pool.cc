#include "storage/staging/slab_pool.h"

#include <cstdlib>
#include <new>

#include <sys/mman.h>

namespace narthex::staging {

SlabPool::SlabPool(size_t bytes) : slab_count_(bytes / kSlabBytes) {
  void* const region = ::mmap(nullptr, slab_count_ * kSlabBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) std::abort();  // out of address space at start: nothing can run
  region_ = static_cast<char*>(region);
  // Large pages make pinning for O_DIRECT cheap. Only advice.
  ::madvise(region_, slab_count_ * kSlabBytes, MADV_HUGEPAGE);
  absl::MutexLock lock(&mutex_);
  free_.reserve(slab_count_);
  for (size_t i = slab_count_; i > 0; --i) free_.push_back(region_ + (i - 1) * kSlabBytes);
}

SlabPool::~SlabPool() { ::munmap(region_, slab_count_ * kSlabBytes); }

bool SlabPool::TryTake(size_t count, std::vector<Slab>& taken) {
  absl::MutexLock lock(&mutex_);
  return TakeLocked(count, taken);
}

bool SlabPool::TakeWithin(size_t count, absl::Duration timeout, std::vector<Slab>& taken) {
  const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_.size() >= count; };
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&enough), timeout);
  return TakeLocked(count, taken);
}

bool SlabPool::TakeLocked(size_t count, std::vector<Slab>& taken) {
  if (free_.size() < count) return false;
  for (size_t i = 0; i < count; ++i) {
    taken.emplace_back(free_.back(), [this](char* slab) { GiveBack(slab); });
    free_.pop_back();
  }
  return true;
}

void SlabPool::GiveBack(char* slab) {
  absl::MutexLock lock(&mutex_);
  free_.push_back(slab);
}

}  // namespace narthex::staging
