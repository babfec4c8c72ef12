// What holds for sessions in the prearchive and on their way into the archive: each project's rules over the
// site's settings. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

#include "imaging/session/builder.h"
#include "server/auth/project_cache.h"
#include "server/ingest/policy.h"
#include "server/rpc/settings_service.h"
#include "storage/metadata/database.h"

namespace narthex::app {

class SessionRules {
 public:
  // Both are borrowed.
  SessionRules(const auth::ProjectCache& projects, metadata::Database& database)
      : projects_(projects), database_(database) {}

  // For arriving objects.
  ingest::SessionRules ForObjects(const std::string& project) const;
  // For builds.
  session::BuildOptions ForBuilds(const std::string& project) const;
  // Whether images of another modality are kept out of archived sessions.
  bool GuardsModality(const std::string& project) const;
  // Whether the project's script is applied to archived sessions that get into it or get other names there.
  bool AnonymizesMoved(const std::string& project) const;
  // Whether people who are no administrators may claim unassigned sessions.
  bool claim_unassigned() const { return claim_unassigned_; }

  // The site's settings.
  std::vector<rpc::SettingSpec> Settings();

 private:
  absl::Status SetAnonymizesMoved(const std::string& value);

  const auth::ProjectCache& projects_;
  metadata::Database& database_;
  std::atomic<prearchive::DuplicatePolicy> duplicates_{prearchive::DuplicatePolicy::kKeep};
  std::atomic<session::PetMr> pet_mr_{session::PetMr::kPetMr};
  std::atomic<bool> claim_unassigned_{true};
  std::atomic<bool> map_scan_types_{true};
  std::atomic<bool> guard_modality_{true};
  mutable absl::Mutex mutex_;
  std::map<std::string, bool> anonymizes_moved_ ABSL_GUARDED_BY(mutex_);  // by project; "": all others
};

}  // namespace narthex::app
