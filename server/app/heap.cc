#include "server/app/heap.h"

#include <malloc.h>

#include "absl/time/time.h"

#include "base/metrics.h"

namespace narthex::app {
namespace {

constexpr absl::Duration kLookInterval = absl::Minutes(1);
constexpr size_t kFreeBytesMuch = 32 << 20;

}  // namespace

void TuneHeap() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 128 << 20);
  mallopt(M_TOP_PAD, 4 << 20);
  mallopt(M_ARENA_MAX, 4);
}

HeapWatch::HeapWatch() : thread_([this] { Run(); }) {}

HeapWatch::~HeapWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void HeapWatch::Run() {
  while (true) {
    const struct mallinfo2 heap = mallinfo2();
    Metrics::Global().Set("heap_used_bytes", "Memory that the process allocated and did not free.",
                          static_cast<double>(heap.uordblks + heap.hblkhd));
    if (heap.fordblks > kFreeBytesMuch) malloc_trim(0);
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
  }
}

}  // namespace narthex::app
