// What people do in the prearchive, in the audit trail. Thread-safe.
//
// The prearchive lies in the index and the trail in PostgreSQL, and no transaction spans both. So the event
// is written before its change: there is no change without its event. If the change then does not happen, a
// second event says so ("failed", with the reason). Details name what was changed, never to which words:
// those of the prearchive may still say who the patient is (invariant 6).
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/auth/caller.h"
#include "server/prearchive/rows.pb.h"
#include "storage/metadata/audit_store.h"

namespace narthex::rpc {

// One thing that somebody is about to do.
struct Deed {
  std::string action;                          // "PREARCHIVE_..."
  std::map<std::string, std::string> details;  // ids, counts and names of fields only
  std::string to_project;  // if it is another than the session's: both trails get the event
};

class PrearchiveAudit {
 public:
  // `audit` is borrowed.
  explicit PrearchiveAudit(metadata::AuditStore& audit) : audit_(audit) {}

  // Notes the deed, runs `change`, and returns what it returns: absl::Status or absl::StatusOr. Errors of the
  // database, and then nothing was changed.
  template <typename Change>
  auto Run(const auth::Caller& caller, const prearchive::SessionRow& session, Deed deed, Change change) const
      -> decltype(change()) {
    if (const absl::Status noted = Note(caller, session, deed); !noted.ok()) return noted;
    auto result = change();
    if (!result.ok()) NoteFailure(caller, session, std::move(deed), StatusOf(result));
    return result;
  }

 private:
  static const absl::Status& StatusOf(const absl::Status& status) { return status; }
  template <typename T>
  static const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
    return result.status();
  }

  absl::Status Note(const auth::Caller& caller, const prearchive::SessionRow& session,
                    const Deed& deed) const;
  // As well as it can: the caller hears of the failure itself.
  void NoteFailure(const auth::Caller& caller, const prearchive::SessionRow& session, Deed deed,
                   const absl::Status& why) const;

  metadata::AuditStore& audit_;
};

}  // namespace narthex::rpc
