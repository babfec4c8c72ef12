#include "server/app/session_rules.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/status.h"
#include "server/archive/scan_type_memory.h"
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

// Number of narthex.v1.Switch.Mode.
bool IsOn(int mode, bool site) { return mode == 0 ? site : mode == 1; }

// A setting of two words.
rpc::SettingSpec Flag(const char* key, const char* description, const char* on, const char* off,
                      std::atomic<bool>& value) {
  return {key, absl::StrCat(description, ": ", on, " or ", off), on,
          [&value, on, off](const std::string& text) {
            if (text != on && text != off)
              return rpc::InvalidField("value", absl::StrCat("expected ", on, " or ", off));
            value = text == on;
            return absl::OkStatus();
          }};
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
  if (IsOn(rules.scan_type_mapping, map_scan_types_))
    options.scan_type = archiving::ChosenScanTypes(database_, project);
  return options;
}

bool SessionRules::GuardsModality(const std::string& project) const {
  return IsOn(Of(projects_, project).modality_guard, guard_modality_);
}

bool SessionRules::AnonymizesMoved(const std::string& project) const {
  absl::MutexLock lock(&mutex_);
  auto found = anonymizes_moved_.find(project);
  if (found == anonymizes_moved_.end()) found = anonymizes_moved_.find("");
  return found != anonymizes_moved_.end() && found->second;
}

// "off", "on", "off, P1=on": of the site, and of projects.
absl::Status SessionRules::SetAnonymizesMoved(const std::string& value) {
  std::map<std::string, bool> rules;
  for (absl::string_view word : absl::StrSplit(value, absl::ByAnyChar(", "), absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(word, absl::MaxSplits('=', 1));
    const bool of_project = absl::StrContains(word, '=');
    const absl::string_view what = of_project ? parts.second : word;
    const std::string project(of_project ? parts.first : "");
    if ((what != "on" && what != "off") || (of_project && !projects_.Get(project))) {
      return rpc::InvalidField("value",
                               "expected on or off, and PROJECT=on or PROJECT=off, separated by commas");
    }
    rules[project] = what == "on";
  }
  absl::MutexLock lock(&mutex_);
  anonymizes_moved_ = std::move(rules);
  return absl::OkStatus();
}

std::vector<rpc::SettingSpec> SessionRules::Settings() {
  std::vector<rpc::SettingSpec> settings;
  settings.push_back({"anonymization.on_move",
                      "whether a project's script is applied to the files of archived sessions that move "
                      "into the project, or "
                      "whose subject or label changes: on or off, and PROJECT=on or PROJECT=off for single "
                      "projects, separated "
                      "by commas",
                      "off", [this](const std::string& value) { return SetAnonymizesMoved(value); }});
  settings.push_back(Flag("archive.modality_guard",
                          "whether images of another modality are kept out of archived sessions (code 19); "
                          "projects may say otherwise",
                          "on", "off", guard_modality_));
  settings.push_back(Flag("prearchive.claim_unassigned",
                          "whether people may claim unassigned sessions for projects that they may edit",
                          "on", "off", claim_unassigned_));
  settings.push_back(Flag("scans.use_type_mapping",
                          "whether scans are called what people called such scans before in their project; "
                          "projects may say otherwise",
                          "true", "false", map_scan_types_));
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
