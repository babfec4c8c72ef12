// Audit events as other systems read them, one line each. Pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::rpc {

// A DICOM audit message, DICOM PS3.15 A.5.1, in XML. `site`: the audit source.
std::string ToAtna(const metadata::AuditEvent& event, absl::string_view site);

// A FHIR R4 AuditEvent in JSON.
std::string ToFhir(const metadata::AuditEvent& event, absl::string_view site);

}  // namespace narthex::rpc
