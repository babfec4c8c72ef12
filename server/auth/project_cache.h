// All projects, in memory: routing asks for one with every object. Thread-safe; reading never touches the
// database unless a name is not known.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "storage/metadata/project_store.h"

namespace narthex::auth {

class ProjectCache {
 public:
  // `store` and `clock` are borrowed.
  ProjectCache(metadata::ProjectStore& store, const Clock& clock) : store_(store), clock_(clock) {}

  // Reads all projects anew. Call it after every change.
  absl::Status Refresh() const;

  // By id, exactly. A project that another server just made is found too: an unknown id refreshes the cache,
  // at most once a second.
  std::optional<metadata::Project> Get(absl::string_view id) const;
  // The id of the project with this id (exactly) or alias (in any case).
  std::optional<std::string> Resolve(absl::string_view candidate) const;
  std::vector<metadata::Project> All() const;

 private:
  struct Snapshot {
    absl::flat_hash_map<std::string, metadata::Project> by_id;
    absl::flat_hash_map<std::string, std::string> by_alias;  // lower case
  };
  std::shared_ptr<const Snapshot> Current() const;
  // The snapshot after a refresh, or null if one was made just now.
  std::shared_ptr<const Snapshot> RefreshedForMiss() const;

  metadata::ProjectStore& store_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  mutable std::shared_ptr<const Snapshot> snapshot_ ABSL_GUARDED_BY(mutex_) = std::make_shared<Snapshot>();
  mutable absl::Time refreshed_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace narthex::auth
