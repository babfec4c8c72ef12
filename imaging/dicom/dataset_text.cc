// Text and numbers of elements, and the change of a data set to UTF-8.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "imaging/dicom/charset.h"
#include "imaging/dicom/dataset.h"
#include "imaging/dicom/element_head.h"

namespace narthex::dicom {
namespace {

constexpr absl::string_view kUtf8Term = "ISO_IR 192";

bool IsAscii(absl::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80 || c == '\x1b') return false;
  }
  return true;
}

absl::string_view TrimPadding(absl::string_view text, Vr vr) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  // Leading blanks mean something in LT, ST and UT (PS3.5 section 6.2).
  if (vr == Vr::kLT || vr == Vr::kST || vr == Vr::kUT) return text;
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

TextKind KindOf(Vr vr) {
  if (vr == Vr::kPN) return TextKind::kPersonName;
  if (vr == Vr::kLT || vr == Vr::kST || vr == Vr::kUT) return TextKind::kText;
  return TextKind::kString;
}

// The width of one value of a binary VR that is shown as numbers; 0 for others.
size_t NumberWidth(Vr vr) {
  switch (vr) {
    case Vr::kUS:
    case Vr::kSS:
      return 2;
    case Vr::kUL:
    case Vr::kSL:
    case Vr::kFL:
    case Vr::kAT:
      return 4;
    case Vr::kFD:
    case Vr::kUV:
    case Vr::kSV:
      return 8;
    default:
      return 0;
  }
}

uint64_t ReadNumber(const char* at, size_t width, bool big) {
  if (width == 2) return ReadUint16(at, big);
  if (width == 4) return ReadUint32(at, big);
  const uint64_t first = ReadUint32(at, big), second = ReadUint32(at + 4, big);
  return big ? first << 32 | second : second << 32 | first;
}

std::string FormatFloat(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end.ptr);
}

std::string FormatNumber(Vr vr, uint64_t bits) {
  switch (vr) {
    case Vr::kSS:
      return absl::StrCat(static_cast<int16_t>(bits));
    case Vr::kSL:
      return absl::StrCat(static_cast<int32_t>(bits));
    case Vr::kSV:
      return absl::StrCat(static_cast<int64_t>(bits));
    case Vr::kFD: {
      double value;
      std::memcpy(&value, &bits, sizeof value);
      return FormatFloat(value);
    }
    case Vr::kFL: {
      const auto half = static_cast<uint32_t>(bits);
      float value;
      std::memcpy(&value, &half, sizeof value);
      char buffer[40];
      const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
      return std::isfinite(value) ? std::string(buffer, end.ptr) : FormatFloat(value);
    }
    default:
      return absl::StrCat(bits);
  }
}

std::string NumbersAsText(Vr vr, absl::string_view value, bool big) {
  const size_t width = NumberWidth(vr);
  std::string text;
  for (size_t at = 0; at + width <= value.size(); at += width) {
    if (!text.empty()) text += '\\';
    if (vr == Vr::kAT) {
      absl::StrAppend(&text, absl::Hex(ReadUint16(value.data() + at, big), absl::kZeroPad4),
                      absl::Hex(ReadUint16(value.data() + at + 2, big), absl::kZeroPad4));
    } else {
      text += FormatNumber(vr, ReadNumber(value.data() + at, width, big));
    }
  }
  return text;
}

template <typename T>
bool ParseInteger(absl::string_view text, uint64_t* bits) {
  T value;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return false;
  *bits = static_cast<uint64_t>(value);
  return true;
}

bool ParseNumber(Vr vr, absl::string_view text, uint64_t* bits) {
  switch (vr) {
    case Vr::kUS:
      return ParseInteger<uint16_t>(text, bits);
    case Vr::kSS:
      return ParseInteger<int16_t>(text, bits);
    case Vr::kUL:
      return ParseInteger<uint32_t>(text, bits);
    case Vr::kSL:
      return ParseInteger<int32_t>(text, bits);
    case Vr::kUV:
      return ParseInteger<uint64_t>(text, bits);
    case Vr::kSV:
      return ParseInteger<int64_t>(text, bits);
    case Vr::kFL:
    case Vr::kFD: {
      double value;
      if (!absl::SimpleAtod(text, &value)) return false;
      if (vr == Vr::kFD) {
        std::memcpy(bits, &value, sizeof value);
      } else {
        const auto narrow = static_cast<float>(value);
        uint32_t half;
        std::memcpy(&half, &narrow, sizeof half);
        *bits = half;
      }
      return true;
    }
    case Vr::kAT: {
      const absl::StatusOr<Tag> tag = ParseTag(text);
      if (!tag.ok()) return false;
      *bits = tag->value();
      return true;
    }
    default:
      return false;
  }
}

void AppendNumber(Vr vr, uint64_t bits, bool big, std::string* out) {
  const size_t width = NumberWidth(vr);
  // The two halves of an attribute tag keep their order whatever the byte order.
  if (vr == Vr::kAT && !big) bits = bits >> 16 | (bits & 0xffff) << 16;
  for (size_t i = 0; i < width; ++i) out->push_back(static_cast<char>(bits >> 8 * (big ? width - 1 - i : i)));
}

// Latin 1 of `utf8`; nullopt if it needs more.
std::optional<std::string> ToLatin1(absl::string_view utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    if (c < 0x80) {
      out.push_back(utf8[i]);
    } else if ((c == 0xc2 || c == 0xc3) && i + 1 < utf8.size()) {
      out.push_back(static_cast<char>((c & 3) << 6 | (static_cast<unsigned char>(utf8[++i]) & 0x3f)));
    } else {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace

absl::string_view Item::SpecificCharacterSet() const {
  for (const Item* item = this; item != nullptr; item = item->parent()) {
    if (const Element* element = item->Find(tags::kSpecificCharacterSet))
      return TrimPadding(element->value(), Vr::kCS);
  }
  return {};
}

std::optional<std::string> Item::TextOf(const Element& element) const {
  if (element.sequence() != nullptr || element.is_fragments() || element.vr() == Vr::kSQ) return std::nullopt;
  const Vr vr = element.vr();
  if (NumberWidth(vr) != 0) return NumbersAsText(vr, element.value(), encoding_.big_endian);
  const bool unknown = vr == Vr::kUN || !IsKnownVr(vr);
  if (!IsText(vr) && !unknown) return std::nullopt;
  const absl::string_view text = TrimPadding(element.value(), vr);
  if (IsAscii(text)) {
    if (unknown && !std::all_of(text.begin(), text.end(),
                                [](char c) { return absl::ascii_isprint(c) || absl::ascii_isspace(c); }))
      return std::nullopt;
    return std::string(text);
  }
  if (unknown && text.find('\0') != absl::string_view::npos) return std::nullopt;
  return ToUtf8(text, SpecificCharacterSet(), KindOf(vr));
}

std::optional<std::string> Item::GetText(Tag tag) const {
  const Element* element = Find(tag);
  return element == nullptr ? std::nullopt : TextOf(*element);
}

Item& Item::CharsetScope() {
  Item* scope = this;
  while (scope->parent() != nullptr && !scope->Has(tags::kSpecificCharacterSet)) scope = scope->parent();
  return *scope;
}

std::string Item::EncodeText(absl::string_view utf8) {
  if (IsAscii(utf8)) return std::string(utf8);
  const std::string term(SpecificCharacterSet());
  if (term == kUtf8Term) return std::string(utf8);
  if (term == "ISO_IR 100" || term == "ISO 2022 IR 100") {
    if (std::optional<std::string> latin1 = ToLatin1(utf8)) return *std::move(latin1);
  }
  Item& scope = CharsetScope();
  scope.ConvertToUtf8(term);
  scope.SetBytes(tags::kSpecificCharacterSet, Vr::kCS, kUtf8Term);
  return std::string(utf8);
}

// Recursion is bounded by the nesting that the parser allows.
void Item::ConvertToUtf8(const std::string& former) {
  const CharacterSet charset(former);
  bool any = false;
  for (Element& element : elements_) {
    if (element.sequence_ != nullptr) {
      for (size_t i = 0; i < element.sequence_->size(); ++i) {
        Item& item = element.sequence_->item(i);
        if (!item.Has(tags::kSpecificCharacterSet)) item.ConvertToUtf8(former);
      }
      continue;
    }
    if (!UsesCharacterSet(element.vr_) || element.fragments_ || IsAscii(element.value_)) continue;
    std::string text = charset.ToUtf8(TrimPadding(element.value_, element.vr_), KindOf(element.vr_));
    if (text.size() % 2 != 0) text.push_back(' ');
    element.value_ = root_->Keep(text);
    element.raw_ = {};
    any = true;
  }
  if (any) MarkChanged();
}

absl::Status Item::SetText(Tag tag, absl::string_view utf8) {
  const Element* present = Find(tag);
  const DictionaryEntry* entry = tag.is_private() ? nullptr : FindEntry(tag);
  Vr vr = present != nullptr ? present->vr() : Vr::kUN;
  if (tag.is_private_creator()) vr = Vr::kLO;
  // Where the dictionary has a choice (US or SS, OB or OW) it says OW or US: then what is there knows better.
  if (entry != nullptr &&
      (present == nullptr || IsText(entry->vr) || entry->vr == Vr::kSQ || vr == Vr::kUN)) {
    vr = entry->vr;
  }
  if (vr == Vr::kSQ && utf8.empty()) {
    EnsureSequence(tag).Clear();
    return absl::OkStatus();
  }
  if (const size_t width = NumberWidth(vr); width != 0 && !utf8.empty()) {
    std::string bytes;
    for (absl::string_view one : absl::StrSplit(utf8, '\\')) {
      uint64_t bits;
      if (!ParseNumber(vr, absl::StripAsciiWhitespace(one), &bits)) {
        return InvalidArgument("ANONYMIZATION_FAILED",
                               absl::StrCat("the value for ", tag.ToString(), " is no ", VrName(vr)),
                               {{"tag", tag.ToString()}});
      }
      AppendNumber(vr, bits, encoding_.big_endian, &bytes);
    }
    SetBytes(tag, vr, bytes);
    return absl::OkStatus();
  }
  const bool plain = vr == Vr::kUN || !IsKnownVr(vr);
  if (!plain && !IsText(vr) && !utf8.empty()) {
    return InvalidArgument("ANONYMIZATION_FAILED",
                           absl::StrCat(tag.ToString(), " has VR ", VrName(vr), ", which holds no text"),
                           {{"tag", tag.ToString()}});
  }
  const std::string bytes = UsesCharacterSet(vr) || plain ? EncodeText(utf8) : std::string(utf8);
  SetBytes(tag, vr, bytes);
  return absl::OkStatus();
}

}  // namespace narthex::dicom
