#include "server/rpc/session_view.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {

absl::StatusOr<metadata::Session> FindSession(metadata::SessionReader& reader, const auth::Caller& caller,
                                              absl::string_view name, SessionRight right, bool with_deleted) {
  NX_ASSIGN_OR_RETURN(const std::string ref, SessionRef(name, "name"));
  auto session = reader.Get(ref, caller.Visible(with_deleted));
  // Who sees it through a share does not know how it is called at home, nor whether somebody guessed it
  // right.
  const size_t slash = ref.find('/');
  if (session.ok() && slash != std::string::npos && !caller.MayRead(ref.substr(0, slash))) {
    session = absl::NotFoundError("");
  }
  if (absl::IsNotFound(session.status())) {
    return NotFound(
        "SESSION_NOT_FOUND",
        absl::StrCat("there is no session ", ref, " in the archive; `narthex session search` lists them"),
        {{"session", ref}});
  }
  if (!session.ok() || right == SessionRight::kRead) return session;
  if (SeesThroughShare(caller, *session)) {
    return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                 absl::StrCat("session ", session->accession_id,
                              " is shared with your project to be read; only its own project changes it"),
                 {{"session", session->accession_id}});
  }
  NX_RETURN_IF_ERROR(right == SessionRight::kOwn ? caller.RequireOwn(session->project)
                                                 : caller.RequireEdit(session->project));
  return session;
}

bool SeesThroughShare(const auth::Caller& caller, const metadata::Session& session) {
  return !caller.MayRead(session.project);
}

metadata::Session AsSeen(const auth::Caller& caller, const metadata::Session& session) {
  metadata::Session seen = session;
  std::vector<metadata::Share> shares;
  bool named = !SeesThroughShare(caller, session);
  if (!named) {
    seen.subject.clear();
    seen.subject_id.clear();
  }
  for (const metadata::Share& share : session.shares) {
    if (!caller.MayRead(share.project)) continue;
    if (named) {
      shares.push_back(share);
    } else {
      seen.project = share.project;
      seen.label = share.label;
      named = true;
    }
  }
  seen.shares = std::move(shares);
  return seen;
}

v1::Session View(const auth::Caller& caller, const metadata::Session& session) {
  v1::Session view = ToProto(AsSeen(caller, session));
  view.set_shared(SeesThroughShare(caller, session));
  return view;
}

}  // namespace narthex::rpc
