// What holds for prearchive sessions: each project's rules over the site's settings. Thread-safe.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "imaging/session/builder.h"
#include "server/auth/project_cache.h"
#include "server/ingest/policy.h"
#include "server/rpc/settings_service.h"

namespace narthex::app {

class SessionRules {
 public:
  // `projects` is borrowed.
  explicit SessionRules(const auth::ProjectCache& projects) : projects_(projects) {}

  // For arriving objects.
  ingest::SessionRules ForObjects(const std::string& project) const;
  // For builds.
  session::BuildOptions ForBuilds(const std::string& project) const;
  // Whether people who are no administrators may claim unassigned sessions.
  bool claim_unassigned() const { return claim_unassigned_; }

  // The site's settings.
  std::vector<rpc::SettingSpec> Settings();

 private:
  const auth::ProjectCache& projects_;
  std::atomic<prearchive::DuplicatePolicy> duplicates_{prearchive::DuplicatePolicy::kKeep};
  std::atomic<session::PetMr> pet_mr_{session::PetMr::kPetMr};
  std::atomic<bool> claim_unassigned_{true};
};

}  // namespace narthex::app
