// What was done to an object, written into the object: (0012,0062), (0012,0063), (0012,0064). Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "imaging/anonymize/script.h"
#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

// An item of De-identification Method Code Sequence.
struct MethodCode {
  std::string value;              // "113100", or the first 16 digits of a script's digest
  std::string scheme_designator;  // "DCM", "XNAT"
  std::string scheme_version;     // "" for none
  std::string meaning;
};

// XNAT's item for a DicomEdit script, with the start of the script's digest as its code.
MethodCode CodeOf(const Script& script);

// Appends `codes` to De-identification Method Code Sequence; what is there stays, and nothing is written
// twice.
absl::Status AppendMethodCodes(dicom::DataSet& data, const std::vector<MethodCode>& codes);

// Sets PatientIdentityRemoved to YES, appends `method` to DeidentificationMethod and `codes` to the code
// sequence; what is there already stays, and nothing is written twice.
absl::Status RecordDeidentification(dicom::DataSet& data, absl::string_view method,
                                    const std::vector<MethodCode>& codes);

// The script's code is recorded in `data`. Whoever sent the object may have written it, so this proves
// nothing about objects of untrusted senders.
bool AlreadyApplied(const dicom::DataSet& data, const Script& script);

}  // namespace narthex::anonymize
