// What holds for arriving objects, made of the settings and replaced as a whole when one changes.
// Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

#include "imaging/session/types.h"
#include "server/ingest/object_stream.h"

namespace narthex::app {

class LivePolicy : public ingest::PolicySource {
 public:
  // `types` is borrowed.
  explicit LivePolicy(const session::TypeRegistry& types) : types_(types) {}

  // Builds the policy anew from the routing rules. INVALID_ARGUMENT: they do not parse; the old policy stays.
  absl::Status SetRouting(const identify::RoutingConfig& routing);

  std::shared_ptr<const ingest::Policy> Current() const override;
  identify::RoutingConfig routing() const;

 private:
  const session::TypeRegistry& types_;
  mutable absl::Mutex mutex_;
  identify::RoutingConfig routing_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ingest::Policy> policy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::app
