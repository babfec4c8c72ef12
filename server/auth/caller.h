// Who is asking, and what they may do: the one place where rights are decided.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "imaging/identify/router.h"
#include "server/auth/project_cache.h"
#include "storage/metadata/access.h"
#include "storage/metadata/records.h"

namespace narthex::auth {

// The name of callers without a token. No user has it.
inline constexpr char kGuest[] = "guest";

// An authenticated user with the roles they had when the call began. XNAT's rights: collaborators read,
// members read, create and edit, owners also delete, activate and manage members; everybody reads public
// projects and knows of protected ones. Site administrators and all-data roles stand above projects.
// Thread-compatible.
class Caller : public identify::ProjectDirectory {
 public:
  Caller(metadata::Identity identity, const ProjectCache& projects)
      : identity_(std::move(identity)), projects_(&projects) {}

  const std::string& user() const { return identity_.user.name; }
  const metadata::Identity& identity() const { return identity_; }
  bool is_admin() const { return identity_.user.site_admin; }
  // Without a token, where the site lets guests in: reads public projects and makes nothing.
  bool is_guest() const { return identity_.user.name == kGuest; }

  // Of a project id; "" is Unassigned, which belongs to administrators.
  bool MayRead(absl::string_view project) const;
  bool MayEdit(absl::string_view project) const;
  // Of what waits in the prearchive, which is not yet anonymized for its project: who may edit, and who may
  // read everything.
  bool MaySeePrearchive(absl::string_view project) const;
  bool MayOwn(absl::string_view project) const;
  // Whether the caller may know that the project exists.
  bool MayKnow(absl::string_view project) const;

  // NOT_FOUND (PROJECT_NOT_FOUND) if the caller may not know of it, PERMISSION_DENIED if they may not do
  // this.
  absl::Status RequireRead(absl::string_view project) const;
  absl::Status RequireEdit(absl::string_view project) const;
  absl::Status RequireOwn(absl::string_view project) const;
  absl::Status RequireAdmin() const;
  // UNAUTHENTICATED for guests.
  absl::Status RequireUser() const;

  // What the archive's stores may show.
  metadata::Visibility Visible(bool with_deleted = false) const;

  // identify::ProjectDirectory: the project of that id or alias, if the caller may send to it.
  std::optional<std::string> Resolve(absl::string_view candidate) const override;

 private:
  std::optional<metadata::Role> RoleIn(absl::string_view project) const;
  absl::Status Require(bool allowed, absl::string_view project) const;

  metadata::Identity identity_;
  const ProjectCache* projects_;
};

// For the time of a call, the database works for its caller: it decides a second time what they may see and
// change. For the thread that makes it.
class CallScope {
 public:
  explicit CallScope(const Caller& caller) {
    if (caller.identity().internal) {
      system_.emplace();
    } else {
      user_.emplace(caller.user());
    }
  }

 private:
  std::optional<metadata::SystemScope> system_;
  std::optional<metadata::UserScope> user_;
};

}  // namespace narthex::auth
