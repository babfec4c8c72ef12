#include "imaging/anonymize/record.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/status.h"

namespace narthex::anonymize {
namespace {

using dicom::Item;
using dicom::Sequence;
namespace tags = dicom::tags;

constexpr dicom::Tag kCodingSchemeVersion(0x0008, 0x0103);
constexpr size_t kCodeValueMax = 16;    // fixed: VR SH
constexpr size_t kMethodValueMax = 64;  // fixed: VR LO

bool HoldsCode(const Sequence& sequence, const MethodCode& code) {
  for (size_t i = 0; i < sequence.size(); ++i) {
    const Item& item = sequence.item(i);
    if (item.TextOrEmpty(tags::kCodeValue) == code.value &&
        item.TextOrEmpty(tags::kCodingSchemeDesignator) == code.scheme_designator) {
      return true;
    }
  }
  return false;
}

}  // namespace

MethodCode CodeOf(const Script& script) {
  const bool four = absl::StartsWith(script.version(), "4");
  return {script.digest().substr(0, kCodeValueMax), "XNAT", "1.0",
          absl::StrCat("XNAT DicomEdit ", four ? "4" : "6", " Script")};
}

absl::Status AppendMethodCodes(dicom::DataSet& data, const std::vector<MethodCode>& codes) {
  for (const MethodCode& code : codes) {
    const dicom::Element* present = data.Find(tags::kDeidentificationMethodCodeSequence);
    if (present != nullptr && present->sequence() != nullptr && HoldsCode(*present->sequence(), code))
      continue;
    Item& item = data.EnsureSequence(tags::kDeidentificationMethodCodeSequence).Append();
    NX_RETURN_IF_ERROR(item.SetText(tags::kCodeValue, code.value));
    NX_RETURN_IF_ERROR(item.SetText(tags::kCodingSchemeDesignator, code.scheme_designator));
    if (!code.scheme_version.empty())
      NX_RETURN_IF_ERROR(item.SetText(kCodingSchemeVersion, code.scheme_version));
    NX_RETURN_IF_ERROR(item.SetText(tags::kCodeMeaning, code.meaning));
  }
  return absl::OkStatus();
}

absl::Status RecordDeidentification(dicom::DataSet& data, absl::string_view method,
                                    const std::vector<MethodCode>& codes) {
  NX_RETURN_IF_ERROR(data.SetText(tags::kPatientIdentityRemoved, "YES"));
  std::string methods = data.TextOrEmpty(tags::kDeidentificationMethod);
  const std::string mine(method.substr(0, kMethodValueMax));
  const std::vector<absl::string_view> present = absl::StrSplit(methods, '\\');
  if (!mine.empty() && std::find(present.begin(), present.end(), mine) == present.end()) {
    methods = methods.empty() ? mine : absl::StrCat(methods, "\\", mine);
    NX_RETURN_IF_ERROR(data.SetText(tags::kDeidentificationMethod, methods));
  }
  return AppendMethodCodes(data, codes);
}

bool AlreadyApplied(const dicom::DataSet& data, const Script& script) {
  const dicom::Element* present = data.Find(tags::kDeidentificationMethodCodeSequence);
  return present != nullptr && present->sequence() != nullptr &&
         HoldsCode(*present->sequence(), CodeOf(script));
}

}  // namespace narthex::anonymize
