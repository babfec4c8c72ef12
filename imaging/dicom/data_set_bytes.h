// Writes data elements byte by byte, so that tests can make sound and broken objects alike. For tests only.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

#include "imaging/dicom/element.h"
#include "imaging/dicom/tag.h"

namespace narthex::dicom {

class DataSetBytes {
 public:
  explicit DataSetBytes(DataSetEncoding encoding = DataSetEncoding::kExplicitLittle) : encoding_(encoding) {}

  // An element with this value as it is (no padding).
  DataSetBytes& Add(Tag tag, absl::string_view vr, absl::string_view value) {
    return Head(tag, vr, static_cast<uint32_t>(value.size())).Raw(value);
  }
  // The head alone; `length` need not be true.
  DataSetBytes& Head(Tag tag, absl::string_view vr, uint32_t length) {
    Put16(tag.group());
    Put16(tag.element());
    if (!IsExplicit(encoding_) || tag.group() == 0xfffe) {
      Put32(length);
      return *this;
    }
    bytes_.append(vr.data(), 2);
    if (FormOfVr(static_cast<uint8_t>(vr[0]), static_cast<uint8_t>(vr[1])) == VrForm::kShort) {
      Put16(static_cast<uint16_t>(length));
    } else {
      bytes_.append(2, '\0');
      Put32(length);
    }
    return *this;
  }
  DataSetBytes& Item(uint32_t length = kUndefinedLength) { return Head(tags::kItem, "", length); }
  DataSetBytes& EndItem() { return Head(tags::kItemDelimitationItem, "", 0); }
  DataSetBytes& EndSequence() { return Head(tags::kSequenceDelimitationItem, "", 0); }
  DataSetBytes& Us(Tag tag, uint16_t value) {
    Head(tag, "US", 2);
    Put16(value);
    return *this;
  }
  DataSetBytes& Raw(absl::string_view bytes) {
    bytes_.append(bytes.data(), bytes.size());
    return *this;
  }
  // The four UIDs that every object needs; the study's and series' follow with Series().
  DataSetBytes& SopUids() {
    return Add(tags::kSOPClassUID, "UI", "1.2.840.10008.5.1.4.1.1.4")
        .Add(tags::kSOPInstanceUID, "UI", "1.2.3.4");
  }
  DataSetBytes& SeriesUids() {
    return Add(tags::kStudyInstanceUID, "UI", "1.2.3").Add(tags::kSeriesInstanceUID, "UI", "1.2.3.1");
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void Put16(uint16_t value) {
    if (IsBig(encoding_)) value = SwapBytes(value);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Put32(uint32_t value) {
    if (IsBig(encoding_)) value = SwapBytes(value);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  DataSetEncoding encoding_;
  std::string bytes_;
};

// Preamble, magic and a meta group that names `transfer_syntax_uid` ("": that does not).
inline std::string Part10(absl::string_view transfer_syntax_uid, absl::string_view data_set) {
  DataSetBytes meta;
  meta.Add(tags::kFileMetaInformationVersion, "OB", absl::string_view("\0\1", 2));
  if (!transfer_syntax_uid.empty()) meta.Add(tags::kTransferSyntaxUID, "UI", transfer_syntax_uid);
  std::string object(128, '\0');
  object.append("DICM").append(meta.bytes()).append(data_set.data(), data_set.size());
  return object;
}

}  // namespace narthex::dicom
