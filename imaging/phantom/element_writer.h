// Appends data elements in explicit VR little endian. The caller keeps tags ascending. Internal.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/bytes.h"
#include "imaging/dicom/tag.h"

namespace narthex::phantom {

// Single-threaded.
class ElementWriter {
 public:
  explicit ElementWriter(std::string* out) : out_(out) {}

  // A value of a VR with 16-bit length; padded to even length.
  ElementWriter& Text(dicom::Tag tag, const char (&vr)[3], absl::string_view value) {
    const size_t padding = value.size() & 1;
    Head(tag, vr);
    Put<uint16_t>(static_cast<uint16_t>(value.size() + padding));
    out_->append(value.data(), value.size());
    if (padding != 0) out_->push_back(vr[0] == 'U' && vr[1] == 'I' ? '\0' : ' ');
    return *this;
  }
  ElementWriter& Us(dicom::Tag tag, uint16_t value) {
    Head(tag, "US");
    Put<uint16_t>(2);
    Put<uint16_t>(value);
    return *this;
  }
  ElementWriter& Ul(dicom::Tag tag, uint32_t value) {
    Head(tag, "UL");
    Put<uint16_t>(4);
    Put<uint32_t>(value);
    return *this;
  }
  // The head of a value with 32-bit length, which the caller appends.
  ElementWriter& Long(dicom::Tag tag, const char (&vr)[3], uint32_t length) {
    Head(tag, vr);
    Put<uint16_t>(0);
    Put<uint32_t>(length);
    return *this;
  }
  ElementWriter& Bytes(dicom::Tag tag, const char (&vr)[3], absl::string_view value) {
    const size_t padding = value.size() & 1;
    Long(tag, vr, static_cast<uint32_t>(value.size() + padding));
    out_->append(value.data(), value.size());
    out_->append(padding, '\0');
    return *this;
  }
  // A sequence of one item.
  ElementWriter& Sequence(dicom::Tag tag, absl::string_view item) {
    Long(tag, "SQ", static_cast<uint32_t>(item.size() + 8));
    Put<uint16_t>(dicom::tags::kItem.group());
    Put<uint16_t>(dicom::tags::kItem.element());
    Put<uint32_t>(static_cast<uint32_t>(item.size()));
    out_->append(item.data(), item.size());
    return *this;
  }

 private:
  void Head(dicom::Tag tag, const char (&vr)[3]) {
    Put<uint16_t>(tag.group());
    Put<uint16_t>(tag.element());
    out_->append(vr, 2);
  }
  template <typename T>
  void Put(T value) {
    char bytes[sizeof value];
    dicom::StoreLittle(bytes, value);
    out_->append(bytes, sizeof bytes);
  }

  std::string* out_;
};

}  // namespace narthex::phantom
