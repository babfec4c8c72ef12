#include "storage/metadata/names.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_storage.h"
#include "storage/metadata/json.h"

namespace narthex::metadata {
namespace {

constexpr std::array<absl::string_view, 3> kAccessibilities = {"PRIVATE", "PROTECTED", "PUBLIC"};
constexpr std::array<absl::string_view, 3> kAutoArchives = {"MANUAL", "AUTO", "OVERWRITE"};
constexpr std::array<absl::string_view, 3> kRoles = {"COLLABORATOR", "MEMBER", "OWNER"};
constexpr std::array<absl::string_view, 4> kStatuses = {"ACTIVE", "QUARANTINE", "LOCKED", "DELETED"};

template <typename Enum, size_t N>
Enum Parse(const std::array<absl::string_view, N>& names, absl::string_view text) {
  const auto found = std::find(names.begin(), names.end(), text);
  return found == names.end() ? Enum{} : static_cast<Enum>(found - names.begin());
}

bool IsName(absl::string_view text, absl::string_view punctuation, size_t max) {
  return !text.empty() && text.size() <= max && std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isalnum(c) || punctuation.find(c) != absl::string_view::npos;
  });
}

}  // namespace

absl::string_view ToText(Accessibility value) { return kAccessibilities[static_cast<size_t>(value)]; }
absl::string_view ToText(AutoArchive value) { return kAutoArchives[static_cast<size_t>(value)]; }
absl::string_view ToText(Role value) { return kRoles[static_cast<size_t>(value)]; }
absl::string_view ToText(SessionStatus value) { return kStatuses[static_cast<size_t>(value)]; }

Accessibility ParseAccessibility(absl::string_view text) {
  return Parse<Accessibility>(kAccessibilities, text);
}
AutoArchive ParseAutoArchive(absl::string_view text) { return Parse<AutoArchive>(kAutoArchives, text); }
Role ParseRole(absl::string_view text) { return Parse<Role>(kRoles, text); }
SessionStatus ParseSessionStatus(absl::string_view text) { return Parse<SessionStatus>(kStatuses, text); }

bool IsLabel(absl::string_view text) { return IsName(text, "_.-", limits::kLabelMaxBytes); }

absl::Status CheckProject(const Project& project) {
  if (!IsName(project.id, "_-", limits::kLabelMaxBytes)) {
    return InvalidArgument("PROJECT_ID_INVALID", "a project id is 1 to 64 of letters, digits, _ and -", {});
  }
  if (project.aliases.size() > limits::kProjectAliasesMax) {
    return InvalidArgument(
        "PROJECT_ALIAS_INVALID",
        absl::StrCat("a project has at most ", limits::kProjectAliasesMax.get(), " aliases"), {});
  }
  for (const std::string& alias : project.aliases) {
    if (alias.empty() || alias.size() > limits::kLabelMaxBytes) {
      return InvalidArgument("PROJECT_ALIAS_INVALID", "an alias is 1 to 64 bytes", {});
    }
  }
  if (project.name.size() > limits::kProjectTextMaxBytes ||
      project.description.size() > limits::kProjectTextMaxBytes) {
    return InvalidArgument("PROJECT_TEXT_TOO_LONG", "name and description are at most 64 KiB each", {});
  }
  if (project.settings_json.size() > (1 << 20) || !IsJsonObject(project.settings_json)) {
    return InvalidArgument("SETTINGS_INVALID", "project settings are a JSON object of at most 1 MiB", {});
  }
  return absl::OkStatus();
}

absl::Status CheckUserName(absl::string_view name) {
  const bool lower = std::none_of(name.begin(), name.end(), absl::ascii_isupper);
  if (lower && IsName(name, "._@-", 64)) return absl::OkStatus();
  return InvalidArgument("USER_NAME_INVALID",
                         "a user name is 1 to 64 of lower-case letters, digits and . _ @ -", {});
}

absl::Status CheckReceiver(const Receiver& receiver) {
  const absl::string_view title = receiver.ae_title;
  const bool printable =
      std::all_of(title.begin(), title.end(), [](char c) { return c >= ' ' && c <= '~' && c != '\\'; });
  if (title.empty() || title.size() > 16 || !printable || absl::StripAsciiWhitespace(title) != title) {
    return InvalidArgument("RECEIVER_INVALID",
                           "an AE title is 1 to 16 printable characters without backslash (PS3.5 6.2)", {});
  }
  if (receiver.port < 0 || receiver.port > 65535)
    return InvalidArgument("RECEIVER_INVALID", "a port is 0 to 65535", {});
  if (!IsJsonObject(receiver.settings_json))
    return InvalidArgument("RECEIVER_INVALID", "settings are a JSON object", {});
  return absl::OkStatus();
}

absl::Status CheckSetting(absl::string_view key, absl::string_view value_json) {
  if (!IsName(key, "._-", 128)) {
    return InvalidArgument("SETTING_INVALID", "a setting's key is 1 to 128 of letters, digits and . _ -", {});
  }
  if (value_json.size() > (4 << 20) || !IsJson(value_json)) {
    return InvalidArgument("SETTING_INVALID", "a setting's value is JSON of at most 4 MiB",
                           {{"key", std::string(key)}});
  }
  return absl::OkStatus();
}

absl::Status CheckAuditEvent(const AuditEvent& event) {
  if (IsName(event.action, "_", 64) && event.user.size() <= 256 && event.object.size() <= 1024 &&
      event.details_json.size() <= (64 << 10) && IsJsonObject(event.details_json)) {
    return absl::OkStatus();
  }
  return InvalidArgument("AUDIT_EVENT_INVALID",
                         "an audit event needs an action of letters and _, and details as JSON object", {});
}

absl::Status StudyRouted() {
  return Error(absl::StatusCode::kAlreadyExists, "STUDY_ROUTED",
               "this study is routed to another project; its owners or an administrator change that");
}

absl::Status ProjectNotFound(absl::string_view project) {
  return NotFound("PROJECT_NOT_FOUND",
                  absl::StrCat("there is no project ", project, "; `narthex project list` lists them"),
                  {{"project", std::string(project)}});
}

absl::Status LastAdministrator(absl::string_view name) {
  return FailedPrecondition(
      "LAST_ADMINISTRATOR",
      absl::StrCat("user ", name, " is the last site administrator; make another one first"),
      {{"user", std::string(name)}});
}

absl::Status NoMember(absl::string_view project, absl::string_view user) {
  return NotFound(
      "USER_NOT_FOUND",
      absl::StrCat(user, " is no member of project ", project, "; `narthex project member list` lists them"),
      {{"project", std::string(project)}, {"user", std::string(user)}});
}

absl::Status UserNotFound(absl::string_view user) {
  return NotFound("USER_NOT_FOUND",
                  absl::StrCat("there is no user ", user, "; `narthex user list` lists them"),
                  {{"user", std::string(user)}});
}

}  // namespace narthex::metadata
