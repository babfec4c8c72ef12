// How much may be received at once, and how it is shared out: what is too much is refused at once with
// OVERLOADED, so that a sender tries again later and what was let in goes on at full speed. Thread-safe.
//
//   NX_ASSIGN_OR_RETURN(Admission::Place place, admission.Enter(caller.user()));
//   ... receive; the place is free again when it is destroyed
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "base/limits.h"

namespace narthex::ingest {

class Admission {
 public:
  // The right to one stream. Movable; given back when destroyed.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), user_(std::move(other.user_)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (owner_ != nullptr) owner_->Leave(user_);
    }

   private:
    friend class Admission;
    Place(Admission* owner, std::string user) : owner_(owner), user_(std::move(user)) {}
    Admission* owner_ = nullptr;
    std::string user_;
  };

  // RESOURCE_EXHAUSTED (OVERLOADED): too many streams at once, of all or of this user: one user's bulk import
  // leaves places for the others.
  absl::StatusOr<Place> Enter(absl::string_view user);

  // Takes `bytes` of the memory for objects that cannot be written yet, as their headers are not complete.
  // RESOURCE_EXHAUSTED (OVERLOADED): there is too little; nothing was taken.
  absl::Status Hold(uint64_t bytes);
  void Release(uint64_t bytes) { held_bytes_.fetch_sub(bytes); }

  // New limits hold for what comes; nobody is thrown out.
  void SetStreamsMax(int count);
  void SetStreamsPerUserMax(int count);
  void SetHeldBytesMax(uint64_t bytes) { held_bytes_max_ = bytes; }

  int stream_count() const;
  uint64_t held_bytes() const { return held_bytes_; }

 private:
  void Leave(const std::string& user);

  mutable absl::Mutex mutex_;
  int streams_max_ ABSL_GUARDED_BY(mutex_) = limits::kUploadStreamsMax;
  int streams_per_user_max_ ABSL_GUARDED_BY(mutex_) = limits::kUploadStreamsPerUserMax;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, int> by_user_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> held_bytes_{0};
  std::atomic<uint64_t> held_bytes_max_{limits::kHeldBytesMax};
};

}  // namespace narthex::ingest
