#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "imaging/dicom/dataset.h"
#include "imaging/dicom/element_head.h"
#include "imaging/dicom/element_scanner.h"

namespace narthex::dicom {

bool ReadElementHead(absl::string_view bytes, Encoding encoding, ElementHead* head) {
  if (bytes.size() < 8) return false;
  const bool big = encoding.big_endian;
  head->tag = Tag(ReadUint16(bytes.data(), big), ReadUint16(bytes.data() + 2, big));
  head->vr = Vr::kUN;
  head->vr_read = false;
  head->bytes = 8;
  const char first = bytes[4], second = bytes[5];
  const bool letters = first >= 'A' && first <= 'Z' && second >= 'A' && second <= 'Z';
  if (!encoding.explicit_vr || head->tag.group() == 0xfffe || !letters) {
    head->length = ReadUint32(bytes.data() + 4, big);
    return true;
  }
  head->vr = static_cast<Vr>(VrCode(first, second));
  head->vr_read = true;
  const bool long_length =
      HasLongLength(head->vr) || (!IsKnownVr(head->vr) && bytes[6] == 0 && bytes[7] == 0);
  if (!long_length) {
    head->length = ReadUint16(bytes.data() + 6, big);
    return true;
  }
  if (bytes.size() < 12) return false;
  head->length = ReadUint32(bytes.data() + 8, big);
  head->bytes = 12;
  return true;
}

bool ShowsExplicitVr(absl::string_view inside, Encoding encoding) {
  // The head of an item, then tag and VR of its first element.
  if (inside.size() < kUnknownLookBytes) return false;
  const bool big = encoding.big_endian;
  const Tag first(ReadUint16(inside.data(), big), ReadUint16(inside.data() + 2, big));
  return first == tags::kItem && IsKnownVr(static_cast<Vr>(VrCode(inside[12], inside[13])));
}

bool HoldsFragments(const ElementHead& head) {
  if (head.vr == Vr::kOB || head.vr == Vr::kOW || head.vr == Vr::kOF || head.vr == Vr::kOD ||
      head.vr == Vr::kOL || head.vr == Vr::kOV) {
    return true;
  }
  return head.tag == tags::kPixelData;
}

namespace {

// Whether the first elements in `bytes` make sense in `encoding`: growing tags, VRs that exist, lengths that
// are not absurd where they can be followed.
bool Plausible(absl::string_view bytes, Encoding encoding) {
  constexpr int kElements = 3;
  constexpr uint32_t kLengthMax =
      1 << 20;  // fixed: a guess at the encoding; of what stands at the beginning of a header
  constexpr uint16_t kFirstGroupMax = 0x0050;  // fixed: a guess at the encoding
  Tag former;
  for (int i = 0; i < kElements && bytes.size() >= 12; ++i) {
    ElementHead head;
    if (!ReadElementHead(bytes, encoding, &head)) return false;
    if (head.tag.group() == 0xfffe || head.tag < former) return false;
    if (i == 0 && head.tag.group() > kFirstGroupMax) return false;
    if (encoding.explicit_vr != (head.vr_read && IsKnownVr(head.vr))) return false;
    if (head.length == kUndefinedLength || (i > 0 && IsBulk(head))) return true;
    if (head.length > kLengthMax) return false;
    former = head.tag;
    bytes.remove_prefix(std::min<size_t>(bytes.size(), size_t{head.bytes} + head.length));
  }
  return true;
}

}  // namespace

Encoding DetectEncoding(absl::string_view bytes, Encoding declared) {
  bytes = bytes.substr(0, kDetectBytes);
  if (Plausible(bytes, declared)) return declared;
  for (const Encoding other :
       {Encoding{true, false}, Encoding{false, false}, Encoding{true, true}, Encoding{false, true}}) {
    if (Plausible(bytes, other)) return other;
  }
  return declared;
}

namespace {

absl::Status ParseError(absl::string_view what, size_t offset, Tag tag) {
  return InvalidArgument("MALFORMED_HEADER",
                         absl::StrCat("element ", tag.ToString(), " at byte ", offset, " of the data set: ",
                                      what, "; the object is damaged, send it again or repair it"),
                         {{"offset", absl::StrCat(offset)}, {"tag", tag.ToString()}});
}

absl::Status TooMuch(absl::string_view reason, absl::string_view what) {
  return ResourceExhausted(reason, absl::StrCat("the data set has ", what, "; it is refused"));
}

constexpr absl::string_view kLittleItemTag("\xfe\xff\x00\xe0", 4);

}  // namespace

// Cuts bytes into elements. Recursion is bounded by kSequenceMaxDepth.
class DataSetParser {
 public:
  explicit DataSetParser(DataSet& root)
      : root_(root),
        bytes_(root.bytes_),
        depth_max_(limits::kSequenceMaxDepth.For(root.origin_)),
        elements_max_(limits::kHeaderMaxElements.For(root.origin_)) {}

  absl::Status ParseAll() {
    size_t pos = 0;
    return ParseElements(root_, &pos, bytes_.size(), /*delimited=*/false, 0);
  }

 private:
  absl::Status ParseElements(Item& item, size_t* pos, size_t end, bool delimited, int depth);
  absl::Status ParseValue(Item& item, const ElementHead& head, Element& element, size_t start, size_t* pos,
                          size_t end, int depth);
  absl::Status ParseUndefined(Item& item, const ElementHead& head, Element& element, size_t* pos, size_t end,
                              int depth);
  absl::Status ParseItems(Sequence& sequence, Tag tag, size_t* pos, size_t end, bool delimited, int depth);
  absl::Status ParseItem(Sequence& sequence, const ElementHead& head, size_t* pos, size_t end, int depth);
  absl::Status SkipFragments(Tag tag, size_t* pos, size_t end);
  void TryUnknownAsSequence(Item& item, Element& element, size_t begin, size_t end, int depth);
  std::unique_ptr<Sequence> NewSequence(Item& item, Encoding inside, bool undefined, bool in_un);
  absl::Status Count() {
    if (++root_.element_count_ > elements_max_) {
      return TooMuch("HEADER_TOO_LARGE", absl::StrCat("more than ", elements_max_, " elements"));
    }
    return absl::OkStatus();
  }

  DataSet& root_;
  const absl::string_view bytes_;
  const int depth_max_;
  const size_t elements_max_;
};

absl::Status DataSetParser::ParseElements(Item& item, size_t* pos, size_t end, bool delimited, int depth) {
  while (*pos < end) {
    ElementHead head;
    if (!ReadElementHead(bytes_.substr(*pos, end - *pos), item.encoding_, &head)) {
      return ParseError("ends in the middle of its head", *pos, Tag());
    }
    if (head.tag == tags::kItemDelimitationItem && delimited) {
      *pos += head.bytes;
      return absl::OkStatus();
    }
    NX_RETURN_IF_ERROR(Count());
    const size_t start = *pos;
    *pos += head.bytes;
    Element element;
    element.tag_ = head.tag;
    element.vr_ = head.vr_read ? head.vr : DictionaryVr(head.tag);
    NX_RETURN_IF_ERROR(ParseValue(item, head, element, start, pos, end, depth));
    element.raw_ = bytes_.substr(start, *pos - start);
    if (!item.elements_.empty() && !(item.elements_.back().tag_ < element.tag_)) item.sorted_ = false;
    item.elements_.push_back(std::move(element));
  }
  if (delimited) return ParseError("an item without end", *pos, tags::kItem);
  return absl::OkStatus();
}

absl::Status DataSetParser::ParseValue(Item& item, const ElementHead& head, Element& element, size_t start,
                                       size_t* pos, size_t end, int depth) {
  if (head.length == kUndefinedLength) return ParseUndefined(item, head, element, pos, end, depth);
  if (head.length > end - *pos) return ParseError("its value ends beyond what contains it", start, head.tag);
  const size_t value_end = *pos + head.length;
  if (head.tag.group() == 0xfffe && head.length != 0)
    return ParseError("an item outside of a sequence", start, head.tag);
  if (element.vr_ == Vr::kSQ) {
    element.sequence_ = NewSequence(item, item.encoding_, false, false);
    NX_RETURN_IF_ERROR(ParseItems(*element.sequence_, head.tag, pos, value_end, false, depth + 1));
    *pos = value_end;
    return absl::OkStatus();
  }
  element.value_ = bytes_.substr(*pos, head.length);
  if (element.vr_ == Vr::kUN && absl::string_view(element.value_).substr(0, 4) == kLittleItemTag) {
    TryUnknownAsSequence(item, element, *pos, value_end, depth);
  }
  *pos = value_end;
  return absl::OkStatus();
}

absl::Status DataSetParser::ParseUndefined(Item& item, const ElementHead& head, Element& element, size_t* pos,
                                           size_t end, int depth) {
  if (head.tag.group() == 0xfffe) return ParseError("an item outside of a sequence", *pos, head.tag);
  if (HoldsFragments(head)) {
    const size_t begin = *pos;
    NX_RETURN_IF_ERROR(SkipFragments(head.tag, pos, end));
    element.fragments_ = true;
    element.value_ = bytes_.substr(begin, *pos - begin);
    return absl::OkStatus();
  }
  if (head.vr_read && head.vr != Vr::kSQ && head.vr != Vr::kUN && IsKnownVr(head.vr)) {
    return ParseError("undefined length is not allowed for its VR", *pos, head.tag);
  }
  const bool in_un = item.encoding_.explicit_vr && head.vr == Vr::kUN;
  Encoding inside = item.encoding_;
  if (in_un && !ShowsExplicitVr(bytes_.substr(*pos, end - *pos), inside)) inside = Encoding::ImplicitLittle();
  element.sequence_ = NewSequence(item, inside, true, in_un);
  if (!in_un) element.vr_ = Vr::kSQ;
  return ParseItems(*element.sequence_, head.tag, pos, end, true, depth + 1);
}

std::unique_ptr<Sequence> DataSetParser::NewSequence(Item& item, Encoding inside, bool undefined,
                                                     bool in_un) {
  auto sequence = std::make_unique<Sequence>();
  sequence->container_ = &item;
  sequence->undefined_length_ = undefined;
  sequence->in_un_ = in_un;
  sequence->items_explicit_ = inside.explicit_vr;
  sequence->items_big_ = inside.big_endian;
  return sequence;
}

void DataSetParser::TryUnknownAsSequence(Item& item, Element& element, size_t begin, size_t end, int depth) {
  const size_t counted = root_.element_count_;
  auto sequence = NewSequence(item, Encoding::ImplicitLittle(), false, item.encoding_.explicit_vr);
  size_t pos = begin;
  if (ParseItems(*sequence, element.tag_, &pos, end, false, depth + 1).ok() && sequence->size() > 0) {
    element.sequence_ = std::move(sequence);
    element.value_ = {};
  } else {
    root_.element_count_ = counted;
  }
}

absl::Status DataSetParser::ParseItems(Sequence& sequence, Tag tag, size_t* pos, size_t end, bool delimited,
                                       int depth) {
  if (depth > depth_max_) {
    return TooMuch("HEADER_TOO_DEEP", absl::StrCat("sequences nested deeper than ", depth_max_));
  }
  const Encoding encoding{sequence.items_explicit_, sequence.items_big_};
  while (*pos < end) {
    ElementHead head;
    if (!ReadElementHead(bytes_.substr(*pos, end - *pos), encoding, &head)) {
      return ParseError("the sequence ends in the middle of an item", *pos, tag);
    }
    if (head.tag == tags::kSequenceDelimitationItem) {
      *pos += head.bytes;
      if (!delimited && *pos != end)
        return ParseError("a delimiter before the end of the sequence", *pos, tag);
      return absl::OkStatus();
    }
    if (head.tag != tags::kItem) return ParseError("the sequence holds something that is no item", *pos, tag);
    NX_RETURN_IF_ERROR(Count());
    NX_RETURN_IF_ERROR(ParseItem(sequence, head, pos, end, depth));
  }
  if (delimited) return ParseError("the sequence has no end", *pos, tag);
  return absl::OkStatus();
}

absl::Status DataSetParser::ParseItem(Sequence& sequence, const ElementHead& head, size_t* pos, size_t end,
                                      int depth) {
  const size_t start = *pos;
  *pos += head.bytes;
  const bool undefined = head.length == kUndefinedLength;
  if (!undefined && head.length > end - *pos)
    return ParseError("an item ends beyond its sequence", start, head.tag);
  Item& item = sequence.AppendUnmarked();
  item.undefined_length_ = undefined;
  const size_t item_end = undefined ? end : *pos + head.length;
  NX_RETURN_IF_ERROR(ParseElements(item, pos, item_end, undefined, depth));
  item.raw_ = bytes_.substr(start, *pos - start);
  return absl::OkStatus();
}

absl::Status DataSetParser::SkipFragments(Tag tag, size_t* pos, size_t end) {
  while (*pos < end) {
    ElementHead head;
    if (!ReadElementHead(bytes_.substr(*pos, end - *pos), Encoding::ExplicitLittle(), &head)) break;
    *pos += head.bytes;
    if (head.tag == tags::kSequenceDelimitationItem) return absl::OkStatus();
    if (head.tag != tags::kItem || head.length > end - *pos) return ParseError("a bad fragment", *pos, tag);
    *pos += head.length;
  }
  return ParseError("fragments without end", *pos, tag);
}

absl::StatusOr<std::unique_ptr<DataSet>> DataSet::Parse(std::string bytes, Encoding encoding, Origin origin) {
  std::unique_ptr<DataSet> data(new DataSet(encoding));
  data->origin_ = origin;
  data->bytes_ = std::move(bytes);
  NX_RETURN_IF_ERROR(DataSetParser(*data).ParseAll());
  return data;
}

}  // namespace narthex::dicom
