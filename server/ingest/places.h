// Places that calls take for as long as they last: so many in all, and so many of one user, so that no one
// user takes them all. Thread-safe.
//
//   NX_ASSIGN_OR_RETURN(const Places::Place place, places.Enter(caller.user()));
//   ... the place is free again when it is destroyed
#pragma once

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace narthex::ingest {

// RESOURCE_EXHAUSTED (OVERLOADED), counted in refused_total under `limit`. `what` is the text for people.
absl::Status Overloaded(absl::string_view limit, absl::string_view what);

class Places {
 public:
  // The right to one call. Movable; given back when destroyed.
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
    friend class Places;
    Place(Places* owner, std::string user) : owner_(owner), user_(std::move(user)) {}
    Places* owner_ = nullptr;
    std::string user_;
  };

  // `limit`: what refusals call it, "upload_streams"; a user's share is "upload_streams_per_user". `what`:
  // the same for people, "upload streams".
  Places(std::string limit, std::string what, int max, int per_user_max)
      : limit_(std::move(limit)), what_(std::move(what)), max_(max), per_user_max_(per_user_max) {}

  // RESOURCE_EXHAUSTED (OVERLOADED): too many at once, of all or of this user.
  absl::StatusOr<Place> Enter(absl::string_view user);

  // New limits hold for what comes; nobody is thrown out.
  void SetMax(int count);
  void SetPerUserMax(int count);

  int count() const;

 private:
  void Leave(const std::string& user);

  const std::string limit_;
  const std::string what_;
  mutable absl::Mutex mutex_;
  int max_ ABSL_GUARDED_BY(mutex_);
  int per_user_max_ ABSL_GUARDED_BY(mutex_);
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, int> by_user_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::ingest
