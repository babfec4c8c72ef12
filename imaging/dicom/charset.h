// DICOM text to UTF-8 (PS3.3 C.12.1.1.2, PS3.5 section 6.1). Never fails: bytes that mean nothing become
// U+FFFD.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imaging/dicom/dictionary.h"

namespace narthex::dicom {

// What ends the reach of an ISO 2022 escape sequence (PS3.5 section 6.1.2.5.3).
enum class TextKind {
  kText,        // LT ST UT: line ends
  kString,      // LO SH UC: also backslash
  kPersonName,  // PN: also '^' and '='
};

// The kind of text that values of `vr` are.
TextKind KindOfText(Vr vr);

// A value of SpecificCharacterSet made ready. Thread-compatible.
class CharacterSet {
 public:
  // `terms` is the raw value, such as "ISO_IR 100" or "\ISO 2022 IR 87". Misspelt terms are read as what they
  // most likely mean ("ISO-IR 100", "ISO IR 100", "iso_ir 192"); an unknown one counts as ISO_IR 100 if it is
  // the first, is ignored else, and makes known() false. "" is ASCII (PS3.3), read as Latin 1 where it is
  // not.
  explicit CharacterSet(absl::string_view terms = {});

  bool known() const { return known_; }

  // `bytes` as UTF-8. Control characters other than TAB, LF, FF and CR are dropped with escape sequences.
  std::string ToUtf8(absl::string_view bytes, TextKind kind = TextKind::kString) const;

  // One code element, as a defined term or an escape sequence selects it.
  enum class Code : unsigned char {
    kAscii,
    kLatin1,
    kLatin2,
    kLatin3,
    kLatin4,
    kCyrillic,
    kArabic,
    kGreek,
    kHebrew,
    kLatin5,
    kLatin9,
    kThai,
    kKatakana,
    kJisX0208,
    kJisX0212,
    kKsX1001,
    kGb2312,
    kUtf8,
    kGb18030,
    kGbk,
  };

 private:
  bool known_ = true;
  Code first_ = Code::kLatin1;  // in force at the start and after each delimiter
};

// The same in one call.
std::string ToUtf8(absl::string_view bytes, absl::string_view specific_character_set,
                   TextKind kind = TextKind::kString);

}  // namespace narthex::dicom
