#include "server/auth/project_rules.h"

#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "storage/metadata/json.h"

namespace narthex::auth {
namespace {

constexpr char kDuplicates[] = "prearchiveDuplicates";
constexpr char kPetMr[] = "prearchivePetMr";
constexpr char kIdleBuildSeconds[] = "prearchiveIdleBuildSeconds";
constexpr char kScanTypeMapping[] = "scanTypeMapping";
constexpr char kModalityGuard[] = "archiveModalityGuard";

}  // namespace

ProjectRules RulesOf(const metadata::Project& project) {
  ProjectRules rules;
  if (project.settings_json == "{}") return rules;
  const std::map<std::string, std::string> members = metadata::ParseJsonObject(project.settings_json);
  const auto number = [&](const char* key, int64_t max) -> int64_t {
    const auto it = members.find(key);
    int64_t value = 0;
    if (it == members.end() || !absl::SimpleAtoi(it->second, &value) || value < 0 || value > max) return 0;
    return value;
  };
  rules.duplicates = static_cast<int>(number(kDuplicates, 3));
  rules.pet_mr = static_cast<int>(number(kPetMr, 3));
  rules.idle_build_seconds = number(kIdleBuildSeconds, 86'400);
  rules.scan_type_mapping = static_cast<int>(number(kScanTypeMapping, 2));
  rules.modality_guard = static_cast<int>(number(kModalityGuard, 2));
  return rules;
}

void SetRules(const ProjectRules& rules, metadata::Project& project) {
  std::map<std::string, std::string> members = metadata::RawJsonMembers(project.settings_json);
  const auto set = [&](const char* key, int64_t value) {
    if (value == 0) {
      members.erase(key);
    } else {
      members[key] = absl::StrCat(value);
    }
  };
  set(kDuplicates, rules.duplicates);
  set(kPetMr, rules.pet_mr);
  set(kIdleBuildSeconds, rules.idle_build_seconds);
  set(kScanTypeMapping, rules.scan_type_mapping);
  set(kModalityGuard, rules.modality_guard);
  project.settings_json = absl::StrCat("{",
                                       absl::StrJoin(members, ",",
                                                     [](std::string* out, const auto& member) {
                                                       absl::StrAppend(out, metadata::JsonQuote(member.first),
                                                                       ":", member.second);
                                                     }),
                                       "}");
}

}  // namespace narthex::auth
