#include "storage/archive/in_place.h"

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace narthex::archive {
namespace {

struct Traffic {
  absl::Mutex mutex;
  int changes ABSL_GUARDED_BY(mutex) = 0;
  bool closed ABSL_GUARDED_BY(mutex) = false;
};

Traffic& TheTraffic() {
  static auto* traffic = new Traffic;
  return *traffic;
}

}  // namespace

InPlaceChange::InPlaceChange() {
  Traffic& traffic = TheTraffic();
  const auto open = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(traffic.mutex) { return !traffic.closed; };
  absl::MutexLock lock(&traffic.mutex);
  traffic.mutex.Await(absl::Condition(&open));
  ++traffic.changes;
}

InPlaceChange::~InPlaceChange() {
  Traffic& traffic = TheTraffic();
  absl::MutexLock lock(&traffic.mutex);
  --traffic.changes;
}

NoInPlaceChanges::NoInPlaceChanges() {
  Traffic& traffic = TheTraffic();
  const auto open = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(traffic.mutex) { return !traffic.closed; };
  const auto idle = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(traffic.mutex) { return traffic.changes == 0; };
  absl::MutexLock lock(&traffic.mutex);
  traffic.mutex.Await(absl::Condition(&open));
  traffic.closed = true;
  traffic.mutex.Await(absl::Condition(&idle));
}

NoInPlaceChanges::~NoInPlaceChanges() {
  Traffic& traffic = TheTraffic();
  absl::MutexLock lock(&traffic.mutex);
  traffic.closed = false;
}

}  // namespace narthex::archive
