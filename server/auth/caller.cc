#include "server/auth/caller.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace narthex::auth {

using metadata::Accessibility;
using metadata::Role;

std::optional<Role> Caller::RoleIn(absl::string_view project) const {
  const auto it = identity_.roles.find(std::string(project));
  if (it == identity_.roles.end()) return std::nullopt;
  return it->second;
}

bool Caller::MayRead(absl::string_view project) const {
  if (is_admin() || identity_.user.all_data_admin || identity_.user.all_data_read) return true;
  if (project.empty()) return false;
  if (RoleIn(project)) return true;
  const auto known = projects_->Get(project);
  return known && known->accessibility == Accessibility::kPublic;
}

bool Caller::MayEdit(absl::string_view project) const {
  if (is_admin() || identity_.user.all_data_admin) return true;
  const auto role = RoleIn(project);
  return role && *role >= Role::kMember;
}

bool Caller::MaySeePrearchive(absl::string_view project) const {
  return MayEdit(project) || identity_.user.all_data_read;
}

bool Caller::MayOwn(absl::string_view project) const {
  if (is_admin() || identity_.user.all_data_admin) return true;
  const auto role = RoleIn(project);
  return role && *role == Role::kOwner;
}

bool Caller::MayKnow(absl::string_view project) const {
  if (MayRead(project)) return true;
  const auto known = projects_->Get(project);
  return known && known->accessibility == Accessibility::kProtected;
}

absl::Status Caller::Require(bool allowed, absl::string_view project) const {
  if (allowed) return absl::OkStatus();
  if (!MayKnow(project)) {
    return NotFound("PROJECT_NOT_FOUND",
                    absl::StrCat("there is no project ", project, "; `narthex project list` lists them"),
                    {{"project", std::string(project)}});
  }
  return Error(
      absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
      absl::StrCat("user ", user(), " may not do this in project ", project, "; ask one of its owners"),
      {{"project", std::string(project)}});
}

absl::Status Caller::RequireRead(absl::string_view project) const {
  return Require(MayRead(project), project);
}
absl::Status Caller::RequireEdit(absl::string_view project) const {
  return Require(MayEdit(project), project);
}
absl::Status Caller::RequireOwn(absl::string_view project) const { return Require(MayOwn(project), project); }

absl::Status Caller::RequireAdmin() const {
  if (is_admin()) return absl::OkStatus();
  return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
               "only a site administrator may do this");
}

absl::Status Caller::RequireUser() const {
  if (!is_guest()) return absl::OkStatus();
  return Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
               "guests may only read; send a token (narthex: --token-file or NARTHEX_TOKEN)");
}

metadata::Visibility Caller::Visible(bool with_deleted) const {
  if (is_admin() || identity_.user.all_data_admin) return metadata::Visibility::All(with_deleted);
  metadata::Visibility visible;
  visible.deleted = with_deleted;
  for (const metadata::Project& project : projects_->All()) {
    if (!MayRead(project.id)) continue;
    visible.projects.push_back(project.id);
    if (MayOwn(project.id)) visible.quarantine_projects.push_back(project.id);
  }
  return visible;
}

std::optional<std::string> Caller::Resolve(absl::string_view candidate) const {
  auto id = projects_->Resolve(candidate);
  if (id && !MayEdit(*id)) id.reset();
  return id;
}

}  // namespace narthex::auth
