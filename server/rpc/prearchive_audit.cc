#include "server/rpc/prearchive_audit.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/metadata/access.h"
#include "storage/metadata/json.h"

namespace narthex::rpc {

absl::Status PrearchiveAudit::Note(const auth::Caller& caller, const prearchive::SessionRow& session,
                                   const Deed& deed) const {
  std::map<std::string, std::string> details = deed.details;
  const std::string& project = session.key().project();
  const bool moves = !deed.to_project.empty() && deed.to_project != project;
  if (moves) {
    details["from_project"] = project;
    details["to_project"] = deed.to_project;
  }
  metadata::AuditEvent event;
  event.project = project;
  event.user = caller.user();
  event.action = deed.action;
  event.object = absl::StrCat("prearchiveSessions/", session.id());
  event.details_json = metadata::JsonObject(details);
  const metadata::SystemScope scope;  // everybody's deeds are written, nobody's right to read the trail asked
  NX_RETURN_IF_ERROR(audit_.Append(event).status());
  if (!moves) return absl::OkStatus();
  event.project = deed.to_project;
  return audit_.Append(event).status();
}

void PrearchiveAudit::NoteFailure(const auth::Caller& caller, const prearchive::SessionRow& session,
                                  Deed deed, const absl::Status& why) const {
  const std::string reason = ErrorReason(why);
  deed.details["failed"] = reason.empty() ? "INTERNAL" : reason;
  if (const absl::Status noted = Note(caller, session, deed); !noted.ok()) {
    Log(LogLevel::kWarning, "that a change did not happen is not in the audit trail",
        {{"session", session.id()}, {"action", deed.action}, {"error", noted}});
  }
}

}  // namespace narthex::rpc
