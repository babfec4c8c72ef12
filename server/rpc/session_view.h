// Archived sessions as one caller may see them: found, or not there; by their own name, or by that of a
// share.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "narthex/v1/resources.pb.h"
#include "server/auth/caller.h"
#include "storage/metadata/session_store.h"

namespace narthex::rpc {

enum class SessionRight { kRead, kEdit, kOwn };

// The session that `name` (sessions/ID or projects/P/sessions/LABEL) means. NOT_FOUND (SESSION_NOT_FOUND):
// the caller may not see it. PERMISSION_DENIED: they may see it and not do this; through a share one may only
// read.
absl::StatusOr<metadata::Session> FindSession(metadata::SessionReader& reader, const auth::Caller& caller,
                                              absl::string_view name, SessionRight right,
                                              bool with_deleted = false);

// Whether the caller sees the session only because it is shared.
bool SeesThroughShare(const auth::Caller& caller, const metadata::Session& session);

// With project, label and shares as the caller may know them.
metadata::Session AsSeen(const auth::Caller& caller, const metadata::Session& session);
v1::Session View(const auth::Caller& caller, const metadata::Session& session);

}  // namespace narthex::rpc
