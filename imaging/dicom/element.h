// The first bytes of a data element, item or delimiter, and what a value looks like as text. For the scanner;
// internal.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/bytes.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/tag.h"

namespace narthex::dicom {

inline constexpr uint32_t kUndefinedLength = 0xffffffff;

inline bool IsExplicit(DataSetEncoding encoding) {
  return encoding == DataSetEncoding::kExplicitLittle || encoding == DataSetEncoding::kExplicitBig;
}
inline bool IsBig(DataSetEncoding encoding) {
  return encoding == DataSetEncoding::kExplicitBig || encoding == DataSetEncoding::kImplicitBig;
}

struct ScanHead {
  Tag tag;
  Vr vr = Vr::kUN;        // as encoded; in implicit encoding kUN
  bool vr_known = false;  // an explicit VR of the standard
  uint32_t length = 0;    // or kUndefinedLength
  uint32_t size = 0;      // bytes of the head itself: 8 or 12
};

enum class VrForm : uint8_t { kUnknown, kShort, kLong };

namespace internal {
constexpr std::array<VrForm, 1024> MakeVrForms() {
  std::array<VrForm, 1024> forms{};
  const char* kShort = "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS";
  const char* kLong = "OBODOFOLOVOWSQSVUCUNURUTUV";
  for (const char* p = kShort; *p != 0; p += 2) forms[(p[0] - 'A') * 32 + (p[1] - 'A')] = VrForm::kShort;
  for (const char* p = kLong; *p != 0; p += 2) forms[(p[0] - 'A') * 32 + (p[1] - 'A')] = VrForm::kLong;
  return forms;
}
inline constexpr std::array<VrForm, 1024> kVrForms = MakeVrForms();
}  // namespace internal

inline VrForm FormOfVr(uint8_t first, uint8_t second) {
  const unsigned a = first - 'A', b = second - 'A';
  return a < 26 && b < 26 ? internal::kVrForms[a * 32 + b] : VrForm::kUnknown;
}

// Reads the head of an element whose VR is none of the standard's; `p` points to at least 12 bytes.
ScanHead ReadOddHead(const char* p, Tag tag, bool big);

// Reads the head at `p`, of which `available` bytes can be read. False: more bytes are needed (12 always
// suffice).
inline bool ReadHead(const char* p, size_t available, DataSetEncoding encoding, ScanHead* head) {
  if (available < 8) return false;
  const bool big = IsBig(encoding);
  head->tag = Tag(LoadEither<uint16_t>(p, big), LoadEither<uint16_t>(p + 2, big));
  head->size = 8;
  if (!IsExplicit(encoding) || head->tag.group() == 0xfffe) {
    head->vr = Vr::kUN;
    head->vr_known = false;
    head->length = LoadEither<uint32_t>(p + 4, big);
    return true;
  }
  const VrForm form = FormOfVr(static_cast<uint8_t>(p[4]), static_cast<uint8_t>(p[5]));
  head->vr = static_cast<Vr>(LoadLittle<uint16_t>(p + 4));
  head->vr_known = true;
  if (form == VrForm::kShort) {
    head->length = LoadEither<uint16_t>(p + 6, big);
    return true;
  }
  if (available < 12) return false;
  if (form == VrForm::kLong) {
    head->length = LoadEither<uint32_t>(p + 8, big);
    head->size = 12;
    return true;
  }
  *head = ReadOddHead(p, head->tag, big);
  return true;
}

// Whether `bytes`, the beginning of a data set, make sense in `encoding`: some elements with ascending tags
// and possible values. `object_size` 0: unknown.
bool LooksLikeDataSet(absl::string_view bytes, DataSetEncoding encoding, uint64_t object_size);

// A value without its padding: leading and trailing blanks and NULs; of LT, ST and UT trailing ones only.
inline absl::string_view TrimValue(absl::string_view value, Vr vr) {
  const auto is_padding = [](char c) { return c == ' ' || c == '\0'; };
  size_t end = value.size();
  while (end > 0 && is_padding(value[end - 1])) --end;
  size_t begin = 0;
  if (vr != Vr::kLT && vr != Vr::kST && vr != Vr::kUT) {
    while (begin < end && is_padding(value[begin])) ++begin;
  }
  return value.substr(begin, end - begin);
}

// Whether values of `vr` are numbers in binary, which RenderNumbers makes readable.
inline bool IsBinaryNumber(Vr vr) {
  switch (vr) {
    case Vr::kUS:
    case Vr::kSS:
    case Vr::kUL:
    case Vr::kSL:
    case Vr::kFL:
    case Vr::kAT:
    case Vr::kFD:
    case Vr::kUV:
    case Vr::kSV:
      return true;
    default:
      return false;
  }
}

// US SS UL SL UV SV FL FD as decimals (shortest that reads back the same), AT as "(gggg,eeee)"; several
// separated by backslashes. What is left over after the last whole number is ignored.
std::string RenderNumbers(absl::string_view value, Vr vr, bool big);

}  // namespace narthex::dicom
