// Enumerations as the database writes them, and the rules for names. Pure functions.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

absl::string_view ToText(Accessibility value);
absl::string_view ToText(AutoArchive value);
absl::string_view ToText(Role value);
absl::string_view ToText(SessionStatus value);

// The first value for text that is none.
Accessibility ParseAccessibility(absl::string_view text);
AutoArchive ParseAutoArchive(absl::string_view text);
Role ParseRole(absl::string_view text);
SessionStatus ParseSessionStatus(absl::string_view text);

// INVALID_ARGUMENT with a reason of their own.
absl::Status CheckProject(const Project& project);
absl::Status CheckUserName(absl::string_view name);
absl::Status CheckReceiver(const Receiver& receiver);
absl::Status CheckSetting(absl::string_view key, absl::string_view value_json);
absl::Status CheckAuditEvent(const AuditEvent& event);
bool IsLabel(absl::string_view text);  // [A-Za-z0-9_.-]{1,64}

absl::Status ProjectNotFound(absl::string_view project);
// ALREADY_EXISTS (STUDY_ROUTED). Does not say whose it is.
absl::Status StudyRouted();
absl::Status LastAdministrator(absl::string_view name);
absl::Status UserNotFound(absl::string_view user);
// NOT_FOUND (USER_NOT_FOUND).
absl::Status NoMember(absl::string_view project, absl::string_view user);

}  // namespace narthex::metadata
