#include "server/app/session_rules.h"

#include "base/status.h"
#include "server/auth/project_rules.h"
#include "server/rpc/convert.h"

namespace narthex::app {
namespace {

auth::ProjectRules Of(const auth::ProjectCache& projects, const std::string& id) {
  const auto project = id.empty() ? std::nullopt : projects.Get(id);
  return project ? auth::RulesOf(*project) : auth::ProjectRules();
}

// Numbers of narthex.v1.PetMr.Mode.
session::PetMr ToPetMr(int mode) {
  return mode == 1 ? session::PetMr::kSeparate : mode == 2 ? session::PetMr::kPet : session::PetMr::kPetMr;
}

}  // namespace

ingest::SessionRules SessionRules::ForObjects(const std::string& project) const {
  const auth::ProjectRules rules = Of(projects_, project);
  ingest::SessionRules found;
  found.duplicates =
      rules.duplicates == 0 ? duplicates_.load() : static_cast<prearchive::DuplicatePolicy>(rules.duplicates);
  found.idle_build_seconds = rules.idle_build_seconds;
  return found;
}

session::BuildOptions SessionRules::ForBuilds(const std::string& project) const {
  const auth::ProjectRules rules = Of(projects_, project);
  session::BuildOptions options;
  options.pet_mr = rules.pet_mr == 0 ? pet_mr_.load() : ToPetMr(rules.pet_mr);
  return options;
}

std::vector<rpc::SettingSpec> SessionRules::Settings() {
  std::vector<rpc::SettingSpec> settings;
  settings.push_back(
      {"prearchive.claim_unassigned",
       "whether people may claim unassigned sessions for projects that they may edit: on or off", "on",
       [this](const std::string& value) {
         if (value != "on" && value != "off") return rpc::InvalidField("value", "expected on or off");
         claim_unassigned_ = value == "on";
         return absl::OkStatus();
       }});
  settings.push_back(
      {"prearchive.duplicates",
       "what becomes of other content under a SOP Instance UID that is there already: keep, replace or "
       "conflict; projects and uploads may say otherwise",
       "keep", [this](const std::string& value) {
         if (value == "keep") {
           duplicates_ = prearchive::DuplicatePolicy::kKeep;
         } else if (value == "replace") {
           duplicates_ = prearchive::DuplicatePolicy::kReplace;
         } else if (value == "conflict") {
           duplicates_ = prearchive::DuplicatePolicy::kConflict;
         } else {
           return rpc::InvalidField("value", "expected keep, replace or conflict");
         }
         return absl::OkStatus();
       }});
  settings.push_back(
      {"prearchive.pet_mr",
       "what becomes of studies of PET and MR: separate, pet or petmr; projects may say otherwise", "petmr",
       [this](const std::string& value) -> absl::Status {
         NX_ASSIGN_OR_RETURN(const session::PetMr pet_mr, session::ParsePetMr(value));
         pet_mr_ = pet_mr;
         return absl::OkStatus();
       }});
  return settings;
}

}  // namespace narthex::app
