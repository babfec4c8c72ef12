// The memory that malloc holds for this process. Thread-safe; one thread.
#pragma once

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace narthex::app {

// Large messages come and go: without this glibc maps and unmaps them each time (measured: 1.6 to 2.4 times
// slower). Before the first thread.
void TuneHeap();

// What is freed stays with the process after that, spread over its heaps. Once a minute, if that is much, it
// goes back to the system; and metrics tell what is used (docs/operations.md). Without it the resident memory
// of a server that used 34 MB grew for an hour.
class HeapWatch {
 public:
  HeapWatch();
  ~HeapWatch();

 private:
  void Run();

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::app
