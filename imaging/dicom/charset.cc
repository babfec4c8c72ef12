#include "imaging/dicom/charset.h"

#include <iconv.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace narthex::dicom {
namespace {

using Code = CharacterSet::Code;

constexpr char kEscape = '\x1b';
constexpr char32_t kReplacement = 0xfffd;

void AppendUtf8(char32_t c, std::string* out) {
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
    out->push_back(static_cast<char>(0xf0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

bool IsDroppedControl(unsigned char c) {
  return (c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r') || c == 0x7f;
}

// The length of the well-formed UTF-8 sequence at the start of `bytes` (RFC 3629: no surrogates, nothing
// overlong), 0 if there is none.
size_t Utf8SequenceLength(absl::string_view bytes) {
  const auto at = [&](size_t i) -> unsigned {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0;
  };
  const auto trail = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return at(i) >= low && at(i) <= high;
  };
  const unsigned lead = at(0);
  if (bytes.empty()) return 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return trail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const unsigned low = lead == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = lead == 0xed ? 0x9f : 0xbf;
    return trail(1, low, high) && trail(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const unsigned low = lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xf4 ? 0x8f : 0xbf;
    return trail(1, low, high) && trail(2) && trail(3) ? 4 : 0;
  }
  return 0;
}

bool IsValidUtf8(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = Utf8SequenceLength(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string CleanUtf8(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = Utf8SequenceLength(bytes);
    if (length == 0) {
      AppendUtf8(kReplacement, &out);
      bytes.remove_prefix(1);
      continue;
    }
    if (length > 1 || !IsDroppedControl(static_cast<unsigned char>(bytes[0])))
      out.append(bytes.data(), length);
    bytes.remove_prefix(length);
  }
  return out;
}

// Converts with iconv; what it refuses becomes U+FFFD, byte by byte.
class Converter {
 public:
  explicit Converter(const char* from) : handle_(iconv_open("UTF-8", from)) {}
  ~Converter() {
    if (ok()) iconv_close(handle_);
  }
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;

  bool ok() const { return handle_ != reinterpret_cast<iconv_t>(-1); }

  void Append(absl::string_view bytes, std::string* out) {
    if (!ok()) {
      for (size_t i = 0; i < bytes.size(); ++i) AppendUtf8(kReplacement, out);
      return;
    }
    char* in = const_cast<char*>(bytes.data());  // iconv's prototype; it does not write there
    size_t left = bytes.size();
    while (left > 0) {
      char piece[512];
      char* to = piece;
      size_t room = sizeof piece;
      const size_t result = iconv(handle_, &in, &left, &to, &room);
      out->append(piece, static_cast<size_t>(to - piece));
      if (result != static_cast<size_t>(-1) || errno == E2BIG) continue;
      AppendUtf8(kReplacement, out);
      ++in;
      --left;
      iconv(handle_, nullptr, nullptr, nullptr, nullptr);
    }
  }

 private:
  iconv_t handle_;
};

const char* IconvName(Code code) {
  switch (code) {
    case Code::kLatin2:
      return "ISO-8859-2";
    case Code::kLatin3:
      return "ISO-8859-3";
    case Code::kLatin4:
      return "ISO-8859-4";
    case Code::kCyrillic:
      return "ISO-8859-5";
    case Code::kArabic:
      return "ISO-8859-6";
    case Code::kGreek:
      return "ISO-8859-7";
    case Code::kHebrew:
      return "ISO-8859-8";
    case Code::kLatin5:
      return "ISO-8859-9";
    case Code::kLatin9:
      return "ISO-8859-15";
    case Code::kThai:
      return "TIS-620";
    case Code::kJisX0208:
    case Code::kJisX0212:
      return "EUC-JP";
    case Code::kKsX1001:
      return "EUC-KR";
    case Code::kGb2312:
    case Code::kGbk:
      return "GBK";  // GBK contains GB 2312, whose users do not stay inside it
    case Code::kGb18030:
      return "GB18030";
    default:
      return "ISO-8859-1";
  }
}

bool IsDoubleByte(Code code) {
  return code == Code::kJisX0208 || code == Code::kJisX0212 || code == Code::kKsX1001 ||
         code == Code::kGb2312;
}

// What the bytes 0x80 to 0xff of a single-byte code mean, as UTF-8.
using UpperHalf = std::array<std::string, 128>;

const UpperHalf& UpperHalfOf(Code code) {
  static const auto* const kTables = [] {
    auto* tables = new std::array<UpperHalf, 20>;
    for (size_t i = 0; i < tables->size(); ++i) {
      Converter converter(IconvName(static_cast<Code>(i)));
      for (int c = 0; c < 128; ++c) {
        const char byte = static_cast<char>(0x80 + c);
        converter.Append(absl::string_view(&byte, 1), &(*tables)[i][c]);
      }
    }
    for (int c = 0; c < 128; ++c) {  // JIS X 0201: half-width katakana
      std::string& to = (*tables)[static_cast<size_t>(Code::kKatakana)][c];
      to.clear();
      AppendUtf8(c >= 0x21 && c <= 0x5f ? 0xff61 + (c - 0x21) : kReplacement, &to);
    }
    return tables;
  }();
  return (*kTables)[static_cast<size_t>(code)];
}

struct EscapeSequence {
  absl::string_view bytes;  // after ESC
  Code code;
  bool to_g1;
};
constexpr EscapeSequence kEscapes[] = {
    {"(B", Code::kAscii, false},    {"(J", Code::kAscii, false},     {"$B", Code::kJisX0208, false},
    {"$@", Code::kJisX0208, false}, {"$(D", Code::kJisX0212, false}, {")I", Code::kKatakana, true},
    {"-A", Code::kLatin1, true},    {"-B", Code::kLatin2, true},     {"-C", Code::kLatin3, true},
    {"-D", Code::kLatin4, true},    {"-L", Code::kCyrillic, true},   {"-G", Code::kArabic, true},
    {"-F", Code::kGreek, true},     {"-H", Code::kHebrew, true},     {"-M", Code::kLatin5, true},
    {"-b", Code::kLatin9, true},    {"-T", Code::kThai, true},       {"$)C", Code::kKsX1001, true},
    {"$)A", Code::kGb2312, true},
};

// Decodes text in which escape sequences may switch codes. G0 means the bytes below 0x80, G1 those above.
class Iso2022Decoder {
 public:
  Iso2022Decoder(Code first, TextKind kind) : first_g1_(first), kind_(kind), g1_(first) {}

  std::string Decode(absl::string_view bytes) {
    while (!bytes.empty()) {
      const auto c = static_cast<unsigned char>(bytes[0]);
      if (bytes[0] == kEscape) {
        bytes.remove_prefix(Switch(bytes.substr(1)) + 1);
      } else if (c >= 0x80) {
        bytes.remove_prefix(Upper(bytes));
      } else if (c > 0x20 && c < 0x7f && IsDoubleByte(g0_)) {
        bytes.remove_prefix(Pairs(bytes, g0_, 0));
      } else {
        if (!IsDroppedControl(c)) out_.push_back(bytes[0]);
        if (EndsReach(bytes[0])) Reset();
        bytes.remove_prefix(1);
      }
    }
    return std::move(out_);
  }

 private:
  void Reset() {
    g0_ = Code::kAscii;
    g1_ = first_g1_;
  }

  bool EndsReach(char c) const {
    if (c == '\n' || c == '\r' || c == '\f' || c == '\t') return true;
    if (kind_ == TextKind::kText) return false;
    return c == '\\' || (kind_ == TextKind::kPersonName && (c == '^' || c == '='));
  }

  // Obeys the escape sequence; its length without ESC, 0 for an unknown one (ESC alone is dropped then).
  size_t Switch(absl::string_view bytes) {
    for (const EscapeSequence& escape : kEscapes) {
      if (bytes.substr(0, escape.bytes.size()) != escape.bytes) continue;
      (escape.to_g1 ? g1_ : g0_) = escape.code;
      return escape.bytes.size();
    }
    return 0;
  }

  size_t Upper(absl::string_view bytes) {
    if (IsDoubleByte(g1_)) return Pairs(bytes, g1_, 0x80);
    out_ += UpperHalfOf(g1_)[static_cast<unsigned char>(bytes[0]) - 0x80];
    return 1;
  }

  // Decodes the run of bytes of the half that begins at `base` (0 or 0x80).
  size_t Pairs(absl::string_view bytes, Code code, unsigned char base) {
    size_t length = 0;
    std::string euc;
    while (length < bytes.size()) {
      const auto c = static_cast<unsigned char>(bytes[length]);
      if (c < base + 0x21 || c > base + 0x7e) break;
      // JIS X 0212 is EUC-JP's third code set: each character begins with 0x8f.
      if (code == Code::kJisX0212 && length % 2 == 0) euc.push_back('\x8f');
      euc.push_back(static_cast<char>(c | 0x80));
      ++length;
    }
    if (length == 0) {  // 0x80 to 0xa0 or 0xff: no code of two bytes has them
      AppendUtf8(kReplacement, &out_);
      return 1;
    }
    Converter(IconvName(code)).Append(euc, &out_);
    return length;
  }

  const Code first_g1_;
  const TextKind kind_;
  Code g0_ = Code::kAscii;
  Code g1_;
  std::string out_;
};

struct Registration {
  int number;  // of ISO_IR n, also used by ISO 2022 IR n
  Code code;
};
constexpr Registration kRegistrations[] = {
    {6, Code::kAscii},    {13, Code::kKatakana}, {58, Code::kGb2312},    {87, Code::kJisX0208},
    {100, Code::kLatin1}, {101, Code::kLatin2},  {109, Code::kLatin3},   {110, Code::kLatin4},
    {126, Code::kGreek},  {127, Code::kArabic},  {138, Code::kHebrew},   {144, Code::kCyrillic},
    {148, Code::kLatin5}, {149, Code::kKsX1001}, {159, Code::kJisX0212}, {166, Code::kThai},
    {192, Code::kUtf8},   {203, Code::kLatin9},
};

// True and the code of a defined term or of what looks like one.
bool ParseTerm(absl::string_view term, Code* code) {
  const std::string upper = absl::AsciiStrToUpper(absl::StripAsciiWhitespace(term));
  if (upper.empty()) {
    *code = Code::kAscii;
    return true;
  }
  if (upper == "GB18030" || upper == "GBK") {
    *code = upper == "GBK" ? Code::kGbk : Code::kGb18030;
    return true;
  }
  if (upper == "UTF-8" || upper == "UTF8") {
    *code = Code::kUtf8;
    return true;
  }
  if (upper.compare(0, 3, "ISO") != 0 || upper.find("IR") == std::string::npos) return false;
  const size_t digits = upper.find_last_not_of("0123456789") + 1;
  int number = 0;
  if (!absl::SimpleAtoi(absl::string_view(upper).substr(digits), &number)) return false;
  for (const Registration& registration : kRegistrations) {
    if (registration.number != number) continue;
    *code = registration.code;
    return true;
  }
  return false;
}

}  // namespace

TextKind KindOfText(Vr vr) {
  if (vr == Vr::kPN) return TextKind::kPersonName;
  return vr == Vr::kLT || vr == Vr::kST || vr == Vr::kUT ? TextKind::kText : TextKind::kString;
}

CharacterSet::CharacterSet(absl::string_view terms) : first_(Code::kAscii) {
  bool is_first = true;
  for (absl::string_view term : absl::StrSplit(terms, '\\')) {
    Code code = Code::kLatin1;
    if (!ParseTerm(term, &code)) known_ = false;
    if (is_first) first_ = code;
    is_first = false;
  }
  // Codes that only escape sequences may select: what precedes the first escape sequence is then JIS X 0201.
  if (first_ == Code::kJisX0208 || first_ == Code::kJisX0212) first_ = Code::kKatakana;
}

std::string CharacterSet::ToUtf8(absl::string_view bytes, TextKind kind) const {
  bool plain = true;
  for (char c : bytes) plain = plain && c >= 0x20 && c < 0x7f;
  if (plain) return std::string(bytes);
  switch (first_) {
    case Code::kUtf8:
      return CleanUtf8(bytes);
    case Code::kGb18030:
    case Code::kGbk: {
      std::string out;
      Converter(IconvName(first_)).Append(bytes, &out);
      return CleanUtf8(out);
    }
    case Code::kAscii:
      // Nothing was declared. UTF-8 is hardly ever well-formed by chance; else Latin 1 is the best guess.
      if (bytes.find(kEscape) == absl::string_view::npos && IsValidUtf8(bytes)) return CleanUtf8(bytes);
      return Iso2022Decoder(Code::kLatin1, kind).Decode(bytes);
    default:
      return Iso2022Decoder(first_, kind).Decode(bytes);
  }
}

std::string ToUtf8(absl::string_view bytes, absl::string_view specific_character_set, TextKind kind) {
  return CharacterSet(specific_character_set).ToUtf8(bytes, kind);
}

}  // namespace narthex::dicom
