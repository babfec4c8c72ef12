#include "storage/verify/audit_check.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "base/status.h"

namespace narthex::verify {

absl::Status CheckAudit(metadata::AuditStore& audit, Report& report) {
  NX_ASSIGN_OR_RETURN(const auto chains, audit.ListChains());
  for (const std::string& project : chains) {
    const auto chain = audit.VerifyChain(project);
    if (absl::IsDataLoss(chain.status())) {
      report.Find("AUDIT_CHAIN_BROKEN", project.empty() ? "site" : absl::StrCat("project ", project),
                  chain.status().message());
    } else if (!chain.ok()) {
      return chain.status();
    }
  }
  return absl::OkStatus();
}

}  // namespace narthex::verify
