// Whether the audit trail is what the server wrote.
#pragma once

#include "absl/status/status.h"

#include "storage/metadata/audit_store.h"
#include "storage/verify/report.h"

namespace narthex::verify {

// Recomputes all chains; what does not fit becomes AUDIT_CHAIN_BROKEN, at the project ("site" for the
// site's). UNAVAILABLE (DATABASE_UNAVAILABLE).
absl::Status CheckAudit(metadata::AuditStore& audit, Report& report);

}  // namespace narthex::verify
