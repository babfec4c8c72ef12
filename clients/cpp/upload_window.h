// What an upload stream has sent without outcome so far, and how it ended. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

#include "narthex/v1/resources.pb.h"

namespace narthex::client {

class UploadWindow {
 public:
  UploadWindow(size_t max_bytes, size_t max_objects) : max_bytes_(max_bytes), max_objects_(max_objects) {}

  // Blocks until `bytes` more of object `sequence` may be sent, and counts them. An object that alone exceeds
  // the window goes on when nothing else waits, so whatever else was reserved must have been sent. False: the
  // stream has ended. `first`: these are the object's first bytes; later ones are not counted once it has its
  // outcome, which may come before its end.
  bool Reserve(int64_t sequence, int64_t bytes, bool first);
  // As Reserve for an object's first bytes, without waiting; false if it would have to wait or the stream has
  // ended.
  bool TryReserve(int64_t sequence, int64_t bytes);

  // The outcome shall be kept for WaitFor; call before the object's first byte is sent.
  void Expect(int64_t sequence);
  // It shall not, after all.
  void Forget(int64_t sequence);
  // Blocks until the outcome of an expected object came; nullopt: the stream ended without it.
  std::optional<v1::ObjectOutcome> WaitFor(int64_t sequence);

  // From the reading thread: an outcome came; no more will come.
  void Settle(const v1::ObjectOutcome& outcome);
  void End();

  // Blocks until End was called.
  void WaitForEnd();
  bool ended() const;

  int64_t objects() const;
  int64_t bytes() const;

 private:
  struct Wish {
    UploadWindow* window;
    int64_t sequence;
    int64_t bytes;
    bool first;
  };
  static bool MayReserve(Wish* wish);
  bool Fits(int64_t sequence, int64_t bytes, bool first) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_bytes_;
  const size_t max_objects_;
  mutable absl::Mutex mutex_;
  // Bytes of each object without outcome, by sequence.
  absl::flat_hash_map<int64_t, int64_t> sent_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int64_t, std::optional<v1::ObjectOutcome>> expected_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace narthex::client
