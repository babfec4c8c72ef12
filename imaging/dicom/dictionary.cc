#include "imaging/dicom/dictionary.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace narthex::dicom {
namespace {

// An attribute of every even group in [group_begin, group_end] and every element in [element_begin,
// element_end].
struct RepeatingEntry {
  uint16_t group_begin, group_end, element_begin, element_end;
  DictionaryEntry entry;
};

#include "dictionary_tables.inc"

constexpr Vr kAllVrs[] = {Vr::kAE, Vr::kAS, Vr::kAT, Vr::kCS, Vr::kDA, Vr::kDS, Vr::kDT, Vr::kFD, Vr::kFL,
                          Vr::kIS, Vr::kLO, Vr::kLT, Vr::kOB, Vr::kOD, Vr::kOF, Vr::kOL, Vr::kOV, Vr::kOW,
                          Vr::kPN, Vr::kSH, Vr::kSL, Vr::kSQ, Vr::kSS, Vr::kST, Vr::kSV, Vr::kTM, Vr::kUC,
                          Vr::kUI, Vr::kUL, Vr::kUN, Vr::kUR, Vr::kUS, Vr::kUT, Vr::kUV};

absl::string_view WithoutTrailingBlanks(absl::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool IsKnownVr(Vr vr) { return std::find(std::begin(kAllVrs), std::end(kAllVrs), vr) != std::end(kAllVrs); }

bool HasLongLength(Vr vr) {
  switch (vr) {
    case Vr::kOB:
    case Vr::kOD:
    case Vr::kOF:
    case Vr::kOL:
    case Vr::kOV:
    case Vr::kOW:
    case Vr::kSQ:
    case Vr::kSV:
    case Vr::kUC:
    case Vr::kUN:
    case Vr::kUR:
    case Vr::kUT:
    case Vr::kUV:
      return true;
    default:
      return false;
  }
}

bool IsText(Vr vr) {
  switch (vr) {
    case Vr::kAE:
    case Vr::kAS:
    case Vr::kCS:
    case Vr::kDA:
    case Vr::kDS:
    case Vr::kDT:
    case Vr::kIS:
    case Vr::kTM:
    case Vr::kUI:
    case Vr::kUR:
      return true;
    default:
      return UsesCharacterSet(vr);
  }
}

bool UsesCharacterSet(Vr vr) {
  switch (vr) {
    case Vr::kLO:
    case Vr::kLT:
    case Vr::kPN:
    case Vr::kSH:
    case Vr::kST:
    case Vr::kUC:
    case Vr::kUT:
      return true;
    default:
      return false;
  }
}

std::string VrName(Vr vr) {
  const auto code = static_cast<uint16_t>(vr);
  return {static_cast<char>(code & 0xff), static_cast<char>(code >> 8)};
}

const DictionaryEntry* FindEntry(Tag tag) {
  const auto* found =
      std::lower_bound(std::begin(kPublic), std::end(kPublic), tag,
                       [](const DictionaryEntry& entry, Tag wanted) { return entry.tag < wanted; });
  if (found != std::end(kPublic) && found->tag == tag) return found;
  if (tag.is_private()) return nullptr;
  for (const RepeatingEntry& repeating : kRepeating) {
    if (tag.group() >= repeating.group_begin && tag.group() <= repeating.group_end &&
        tag.element() >= repeating.element_begin && tag.element() <= repeating.element_end) {
      return &repeating.entry;
    }
  }
  return nullptr;
}

const DictionaryEntry* FindEntry(absl::string_view keyword) {
  const auto* found = std::lower_bound(
      std::begin(kByKeyword), std::end(kByKeyword), keyword,
      [](uint16_t index, absl::string_view wanted) { return kPublic[index].keyword < wanted; });
  if (found != std::end(kByKeyword) && kPublic[*found].keyword == keyword) return &kPublic[*found];
  for (const RepeatingEntry& repeating : kRepeating) {
    if (repeating.entry.keyword == keyword) return &repeating.entry;
  }
  return nullptr;
}

const PrivateEntry* FindPrivateEntry(absl::string_view creator, Tag tag) {
  const auto wanted =
      std::make_tuple(WithoutTrailingBlanks(creator), tag.group(), uint8_t(tag.element() & 0xff));
  const auto key = [](const PrivateEntry& entry) {
    return std::make_tuple(entry.creator, entry.group, entry.element);
  };
  const auto* found =
      std::lower_bound(std::begin(kPrivate), std::end(kPrivate), wanted,
                       [&](const PrivateEntry& entry, const auto& value) { return key(entry) < value; });
  return found != std::end(kPrivate) && key(*found) == wanted ? found : nullptr;
}

Vr DictionaryVr(Tag tag) {
  if (const DictionaryEntry* entry = FindEntry(tag)) return entry->vr;
  if (tag.is_group_length()) return Vr::kUL;
  return tag.is_private_creator() ? Vr::kLO : Vr::kUN;
}

std::string TagName(Tag tag) {
  const DictionaryEntry* entry = FindEntry(tag);
  return entry != nullptr ? std::string(entry->keyword) : tag.ToString();
}

absl::StatusOr<Tag> ParseTag(absl::string_view text) {
  if (const DictionaryEntry* entry = FindEntry(text)) return entry->tag;
  absl::string_view digits = text;
  if (digits.size() > 2 && digits.front() == '(' && digits.back() == ')')
    digits = digits.substr(1, digits.size() - 2);
  const std::string hex = digits.size() == 9 && digits[4] == ','
                              ? absl::StrCat(digits.substr(0, 4), digits.substr(5))
                              : std::string(digits);
  uint32_t value = 0;
  const bool all_hex = hex.size() == 8 && std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit);
  if (!all_hex || !absl::SimpleHexAtoi(hex, &value)) {
    return InvalidArgument("INVALID_TAG",
                           absl::StrCat("\"", text,
                                        "\" is no DICOM attribute; write a keyword such as "
                                        "PatientName or a tag such as (0010,0010)"),
                           {{"tag", std::string(text)}});
  }
  return Tag(value);
}

}  // namespace narthex::dicom
