#include <string>

#include "imaging/dicom/dataset.h"
#include "imaging/dicom/element_head.h"

namespace narthex::dicom {

// Puts elements into bytes. Recursion is bounded by what the parser and Append allow.
class DataSetWriter {
 public:
  explicit DataSetWriter(std::string& out) : out_(out) {}

  void WriteElements(const Item& item) {
    for (const Element& element : item.elements_) {
      // Lengths of groups (retired) would be wrong now; nobody needs them but group 0002.
      if (item.changed_ && element.tag_.is_group_length()) {
        if (element.tag_.group() == 0x0002) WriteMetaLength(item);
        continue;
      }
      WriteElement(item, element);
    }
  }

 private:
  void WriteElement(const Item& item, const Element& element);
  void WriteSequence(const Item& item, const Element& element);
  void WriteItem(const Item& item);
  void WriteMetaLength(const Item& item);
  // Everything before the length; the returned width of the length is 2 or 4.
  int WriteTagAndVr(Encoding encoding, Tag tag, Vr vr, size_t length);

  void Put16(uint16_t value, bool big) {
    const char low = static_cast<char>(value & 0xff), high = static_cast<char>(value >> 8);
    out_.push_back(big ? high : low);
    out_.push_back(big ? low : high);
  }
  void Put32(uint32_t value, bool big) {
    Put16(static_cast<uint16_t>(big ? value >> 16 : value & 0xffff), big);
    Put16(static_cast<uint16_t>(big ? value & 0xffff : value >> 16), big);
  }
  void PutTag(Tag tag, bool big) {
    Put16(tag.group(), big);
    Put16(tag.element(), big);
  }
  // Writes `value` over the four bytes at `at`.
  void Patch32(size_t at, uint32_t value, bool big) {
    for (int i = 0; i < 4; ++i) out_[at + i] = static_cast<char>(value >> 8 * (big ? 3 - i : i));
  }

  std::string& out_;
};

int DataSetWriter::WriteTagAndVr(Encoding encoding, Tag tag, Vr vr, size_t length) {
  PutTag(tag, encoding.big_endian);
  if (!encoding.explicit_vr) return 4;
  const bool long_length = HasLongLength(vr) || !IsKnownVr(vr);
  // PS3.5 section 6.2.2, note: what is too long for the VR's length field is written as UN.
  if (!long_length && length > 0xffff) vr = Vr::kUN;
  out_.push_back(static_cast<char>(static_cast<uint16_t>(vr) & 0xff));
  out_.push_back(static_cast<char>(static_cast<uint16_t>(vr) >> 8));
  if (!long_length && length <= 0xffff) return 2;
  Put16(0, false);
  return 4;
}

void DataSetWriter::WriteElement(const Item& item, const Element& element) {
  if (!element.changed()) {
    out_.append(element.raw_.data(), element.raw_.size());
    return;
  }
  if (element.sequence_ != nullptr) return WriteSequence(item, element);
  const Encoding encoding = item.encoding_;
  const size_t size = element.value_.size();
  if (WriteTagAndVr(encoding, element.tag_, element.vr_, size) == 2) {
    Put16(static_cast<uint16_t>(size), encoding.big_endian);
  } else {
    Put32(static_cast<uint32_t>(size), encoding.big_endian);
  }
  out_.append(element.value_.data(), size);
}

void DataSetWriter::WriteSequence(const Item& item, const Element& element) {
  const Sequence& sequence = *element.sequence_;
  const bool big = item.encoding_.big_endian;
  WriteTagAndVr(item.encoding_, element.tag_, sequence.in_un_ ? Vr::kUN : Vr::kSQ, 0);
  const size_t length_at = out_.size();
  Put32(kUndefinedLength, big);
  for (const auto& inner : sequence.items_) WriteItem(*inner);
  if (sequence.undefined_length_) {
    PutTag(tags::kSequenceDelimitationItem, sequence.items_big_);
    Put32(0, false);
  } else {
    Patch32(length_at, static_cast<uint32_t>(out_.size() - length_at - 4), big);
  }
}

void DataSetWriter::WriteItem(const Item& item) {
  if (!item.changed_ && !item.raw_.empty()) {
    out_.append(item.raw_.data(), item.raw_.size());
    return;
  }
  const bool big = item.encoding_.big_endian;
  PutTag(tags::kItem, big);
  const size_t length_at = out_.size();
  Put32(kUndefinedLength, big);
  WriteElements(item);
  if (item.undefined_length_) {
    PutTag(tags::kItemDelimitationItem, big);
    Put32(0, false);
  } else {
    Patch32(length_at, static_cast<uint32_t>(out_.size() - length_at - 4), big);
  }
}

void DataSetWriter::WriteMetaLength(const Item& item) {
  std::string rest;
  DataSetWriter writer(rest);
  for (const Element& element : item.elements_) {
    if (element.tag_.group() == 0x0002 && !element.tag_.is_group_length()) writer.WriteElement(item, element);
  }
  WriteTagAndVr(item.encoding_, Tag(0x0002, 0x0000), Vr::kUL, 4);
  if (item.encoding_.explicit_vr) {
    Put16(4, item.encoding_.big_endian);
  } else {
    Put32(4, item.encoding_.big_endian);
  }
  Put32(static_cast<uint32_t>(rest.size()), item.encoding_.big_endian);
}

std::string DataSet::Write() const {
  std::string out;
  out.reserve(bytes_.size() + 1024);
  DataSetWriter(out).WriteElements(*this);
  return out;
}

absl::StatusOr<std::unique_ptr<DataSet>> DataSet::Clone() const {
  return Parse(Write(), encoding(), origin_);
}

}  // namespace narthex::dicom
