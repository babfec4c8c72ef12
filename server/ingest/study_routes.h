// The study routing table in memory: every arriving object asks it. Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "imaging/identify/router.h"
#include "storage/metadata/settings_store.h"

namespace narthex::ingest {

class StudyRoutes : public identify::StudyRoutingTable {
 public:
  // `store` is borrowed.
  explicit StudyRoutes(metadata::StudyRouteStore& store) : store_(store) {}

  // Reads the whole table. Errors of the database; what was known stays then.
  absl::Status Load();

  // Durable when they return. Errors as the store's.
  absl::Status Set(const metadata::StudyRoute& route, const metadata::Visibility& by,
                   const metadata::Change& change);
  absl::Status Forget(absl::string_view study_instance_uid, const metadata::Change& change);

  // identify::StudyRoutingTable.
  std::optional<identify::StudyRoute> Find(absl::string_view study_instance_uid) const override;

 private:
  metadata::StudyRouteStore& store_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, identify::StudyRoute> routes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::ingest
