// Names of SOP classes, from DCMTK's tables. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narthex::dicom {

// The keyword of the SOP class, such as "MRImageStorage"; "" if it is unknown.
absl::string_view SopClassName(absl::string_view uid);
// Whether it is a storage SOP class that is known to be one.
bool IsStorageSopClass(absl::string_view uid);
// The UIDs of all known storage SOP classes, retired ones included: what the gateway offers to accept.
const std::vector<std::string>& StorageSopClasses();

inline constexpr absl::string_view kMediaStorageDirectoryStorage = "1.2.840.10008.1.3.10";
inline constexpr absl::string_view kVerificationSopClass = "1.2.840.10008.1.1";

}  // namespace narthex::dicom
