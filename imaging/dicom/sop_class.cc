#include "imaging/dicom/sop_class.h"

#include "dcmtk/config/osconfig.h"  // DCMTK demands to be first
#include "dcmtk/dcmdata/dcuid.h"

namespace narthex::dicom {

absl::string_view SopClassName(absl::string_view uid) {
  const char* name = dcmFindNameOfUID(std::string(uid).c_str(), "");
  return name == nullptr ? absl::string_view() : absl::string_view(name);
}

bool IsStorageSopClass(absl::string_view uid) {
  return dcmIsaStorageSOPClassUID(std::string(uid).c_str(), ESSC_All);
}

const std::vector<std::string>& StorageSopClasses() {
  static const auto* const kClasses = [] {
    auto* classes = new std::vector<std::string>;
    for (int i = 0; i < numberOfDcmAllStorageSOPClassUIDs; ++i)
      classes->emplace_back(dcmAllStorageSOPClassUIDs[i]);
    return classes;
  }();
  return *kClasses;
}

}  // namespace narthex::dicom
