// The DICOM data dictionary: tag, VR, keyword and VM of every public attribute (repeating groups included)
// and of the private attributes that DCMTK knows. Generated at build time by make_dictionary.py from DCMTK's
// dicom.dic and private.dic. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/tag.h"

namespace narthex::dicom {

// Value representations (PS3.5 section 6.2), as their two letters, first letter in the low byte.
constexpr uint16_t VrCode(char first, char second) {
  return static_cast<uint16_t>(static_cast<uint8_t>(first) | static_cast<uint8_t>(second) << 8);
}
enum class Vr : uint16_t {
  kAE = VrCode('A', 'E'),
  kAS = VrCode('A', 'S'),
  kAT = VrCode('A', 'T'),
  kCS = VrCode('C', 'S'),
  kDA = VrCode('D', 'A'),
  kDS = VrCode('D', 'S'),
  kDT = VrCode('D', 'T'),
  kFD = VrCode('F', 'D'),
  kFL = VrCode('F', 'L'),
  kIS = VrCode('I', 'S'),
  kLO = VrCode('L', 'O'),
  kLT = VrCode('L', 'T'),
  kOB = VrCode('O', 'B'),
  kOD = VrCode('O', 'D'),
  kOF = VrCode('O', 'F'),
  kOL = VrCode('O', 'L'),
  kOV = VrCode('O', 'V'),
  kOW = VrCode('O', 'W'),
  kPN = VrCode('P', 'N'),
  kSH = VrCode('S', 'H'),
  kSL = VrCode('S', 'L'),
  kSQ = VrCode('S', 'Q'),
  kSS = VrCode('S', 'S'),
  kST = VrCode('S', 'T'),
  kSV = VrCode('S', 'V'),
  kTM = VrCode('T', 'M'),
  kUC = VrCode('U', 'C'),
  kUI = VrCode('U', 'I'),
  kUL = VrCode('U', 'L'),
  kUN = VrCode('U', 'N'),
  kUR = VrCode('U', 'R'),
  kUS = VrCode('U', 'S'),
  kUT = VrCode('U', 'T'),
  kUV = VrCode('U', 'V'),
};

// Whether `vr` is one of the above.
bool IsKnownVr(Vr vr);
// Explicit VR encoding: two reserved bytes and a 32-bit length follow (PS3.5 section 7.1.2), not a 16-bit
// length.
bool HasLongLength(Vr vr);
// AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT.
bool IsText(Vr vr);
// Text whose encoding SpecificCharacterSet names: LO LT PN SH ST UC UT.
bool UsesCharacterSet(Vr vr);
// "PN".
std::string VrName(Vr vr);

struct DictionaryEntry {
  Tag tag;                    // repeating groups: the first, such as (6000,3000)
  Vr vr;                      // where PS3.6 leaves a choice: US of "US or SS", OW of "OB or OW"
  absl::string_view keyword;  // "PatientName"
  absl::string_view vm;       // "1", "1-n", "2-2n"
};

struct PrivateEntry {
  absl::string_view creator;  // "SIEMENS CSA HEADER"
  uint16_t group;
  uint8_t element;  // the low byte; the high byte is the block that the creator reserved
  Vr vr;
  absl::string_view name;
};

// The public attribute `tag`, also of a repeating group (50xx, 60xx, 0020,31xx, ...); nullptr if unknown.
const DictionaryEntry* FindEntry(Tag tag);
// The public attribute with this keyword (case-sensitive; retired ones without a prefix); nullptr if unknown.
const DictionaryEntry* FindEntry(absl::string_view keyword);
// The private attribute `tag` in a block of `creator` (compared without trailing blanks); nullptr if unknown.
const PrivateEntry* FindPrivateEntry(absl::string_view creator, Tag tag);

// The VR of a public attribute, UL for group lengths, LO for private creators, UN for what is unknown.
Vr DictionaryVr(Tag tag);
// The keyword, or "(gggg,eeee)".
std::string TagName(Tag tag);
// Reads "PatientName", "(0010,0010)", "0010,0010" or "00100010". INVALID_ARGUMENT (INVALID_TAG): none of
// these.
absl::StatusOr<Tag> ParseTag(absl::string_view text);

}  // namespace narthex::dicom
