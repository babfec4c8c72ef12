#include "storage/verify/staging_check.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/status.h"

namespace narthex::verify {

absl::Status CheckSegments(staging::StagingStore& store, Report& report) {
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> ids, store.ListSessions());
  for (const std::string& id : ids) {
    staging::SessionReport session;
    NX_RETURN_IF_ERROR(store.VerifySession(id, session));
    ++report.staged_session_count;
    report.staged_object_count += session.object_count;
    report.staged_bytes += session.object_bytes;
    for (const staging::SessionReport::Damage& damage : session.damages) {
      report.Find("SEGMENT_DAMAGED", id,
                  absl::StrCat("segment ", damage.segment, ", offset ", damage.offset, ": ", damage.what));
    }
    if (session.damage_count > session.damages.size()) {
      report.Find("SEGMENT_DAMAGED", id,
                  absl::StrCat(session.damage_count - session.damages.size(), " more places are damaged"));
    }
  }
  return absl::OkStatus();
}

}  // namespace narthex::verify
