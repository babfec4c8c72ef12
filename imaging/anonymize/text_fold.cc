#include "imaging/anonymize/text_fold.h"

namespace narthex::anonymize {
namespace {

uint32_t Lower(uint32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c < 0xc0) return c;
  if (c <= 0xde) return c == 0xd7 ? c : c + 32;                // Latin 1
  if (c >= 0x100 && c <= 0x177 && c != 0x130 && c != 0x131) {  // Latin Extended-A: pairs
    const bool odd_upper = c >= 0x139 && c <= 0x148;
    return (c & 1) == (odd_upper ? 1u : 0u) ? c + 1 : c;
  }
  if (c == 0x178) return 0xff;
  if (c >= 0x179 && c <= 0x17e) return (c & 1) != 0 ? c + 1 : c;
  if (c >= 0x391 && c <= 0x3a9) return c + 32;  // Greek
  if (c >= 0x410 && c <= 0x42f) return c + 32;  // Cyrillic
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  return c;
}

uint32_t Upper(uint32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if (c < 0xe0) return c;
  if (c <= 0xfe) return c == 0xf7 ? c : c - 32;
  if (c == 0xff) return 0x178;
  if (c >= 0x100 && c <= 0x177 && c != 0x130 && c != 0x131) {
    const bool odd_upper = c >= 0x139 && c <= 0x148;
    return (c & 1) == (odd_upper ? 0u : 1u) ? c - 1 : c;
  }
  if (c >= 0x179 && c <= 0x17e) return (c & 1) == 0 ? c - 1 : c;
  if (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) return c - 32;
  if (c >= 0x430 && c <= 0x44f) return c - 32;
  if (c >= 0x450 && c <= 0x45f) return c - 80;
  return c;
}

template <typename Fold>
std::string FoldEach(absl::string_view text, Fold fold) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text[0]);
    if (first < 0x80) {
      out.push_back(static_cast<char>(fold(first)));
      text.remove_prefix(1);
    } else {
      const absl::string_view before = text;
      const uint32_t c = TakeCodePoint(&text);
      if (before.size() - text.size() == 1) {
        out.push_back(before[0]);  // malformed: as it is
      } else {
        AppendCodePoint(fold(c), &out);
      }
    }
  }
  return out;
}

}  // namespace

uint32_t TakeCodePoint(absl::string_view* text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>((*text)[i]); };
  const unsigned char first = byte(0);
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (length == 1 || text->size() < length) {
    text->remove_prefix(1);
    return first;
  }
  uint32_t c = first & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      text->remove_prefix(1);
      return first;
    }
    c = c << 6 | (byte(i) & 0x3f);
  }
  text->remove_prefix(length);
  return c;
}

void AppendCodePoint(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | (c >> 18 & 0x07)));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

std::string LowerUtf8(absl::string_view text) { return FoldEach(text, Lower); }
std::string UpperUtf8(absl::string_view text) { return FoldEach(text, Upper); }

}  // namespace narthex::anonymize
