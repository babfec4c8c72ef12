#include "storage/metadata/audit_store.h"

#include "absl/strings/str_cat.h"

#include "base/digest.h"

namespace narthex::metadata {

std::string AuditHash(absl::string_view previous, const AuditEvent& event) {
  std::string text(previous);
  for (const std::string& field :
       {event.project, absl::StrCat(event.sequence), absl::StrCat(absl::ToUnixMicros(event.time)), event.user,
        event.action, event.object, event.details_json}) {
    absl::StrAppend(&text, field.size(), ":", field);
  }
  return Sha256(text);
}

}  // namespace narthex::metadata
