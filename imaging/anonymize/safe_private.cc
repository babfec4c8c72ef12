#include "imaging/anonymize/safe_private.h"

#include <cstdint>

namespace narthex::anonymize {
namespace {

struct SafeRange {
  absl::string_view creator;
  uint16_t group;
  uint8_t first, last;  // of the element's low byte
};

// What PS3.15 section E.3.10 names, as far as it concerns the images that are seen in research.
constexpr SafeRange kSafe[] = {
    {"ELSCINT1", 0x00e1, 0x21, 0x21},                   // DLP
    {"ELSCINT1", 0x01e1, 0x26, 0x26},                   // phantom type
    {"ELSCINT1", 0x01e1, 0x50, 0x50},                   // acquisition duration
    {"ELSCINT1", 0x01f1, 0x01, 0x01},                   // acquisition type
    {"ELSCINT1", 0x01f1, 0x07, 0x07},                   // table velocity
    {"ELSCINT1", 0x01f1, 0x26, 0x27},                   // pitch, rotation time
    {"GEIIS PACS", 0x0903, 0x10, 0x12},                 // reject, significant, confidential flags
    {"GEMS_ACQU_01", 0x0019, 0x23, 0x24},               // table speed, mid scan time
    {"GEMS_ACQU_01", 0x0019, 0x27, 0x27},               // rotation speed
    {"GEMS_ACQU_01", 0x0019, 0x9e, 0x9e},               // internal pulse sequence name
    {"GEMS_HELIOS_01", 0x0045, 0x01, 0x02},             // detector macro rows and width
    {"GEMS_PARM_01", 0x0043, 0x27, 0x27},               // scan pitch ratio
    {"GEMS_PARM_01", 0x0043, 0x39, 0x39},               // b value
    {"GEMS_PARM_01", 0x0043, 0x6f, 0x6f},               // table position and gradient coil
    {"GEMS_SERS_01", 0x0025, 0x07, 0x07},               // images in series
    {"HOLOGIC, Inc.", 0x7e01, 0x01, 0x02},              // codec version and content type
    {"HOLOGIC, Inc.", 0x7e01, 0x10, 0x12},              // codec data
    {"Philips Imaging DD 001", 0x2001, 0x03, 0x04},     // diffusion b factor and direction
    {"Philips MR Imaging DD 001", 0x2005, 0x0d, 0x0e},  // scale intercept and slope
    {"Philips PET Private Group", 0x7053, 0x00, 0x00},  // SUV factor
    {"Philips PET Private Group", 0x7053, 0x09, 0x09},  // activity concentration factor
    {"SIEMENS MR HEADER", 0x0019, 0x0c, 0x0e},          // b value, directionality, gradient direction
    {"SIEMENS MR HEADER", 0x0019, 0x27, 0x27},          // b matrix
};

}  // namespace

bool IsSafePrivate(absl::string_view creator, dicom::Tag tag) {
  const uint8_t low = static_cast<uint8_t>(tag.element() & 0xff);
  for (const SafeRange& safe : kSafe) {
    if (safe.group == tag.group() && low >= safe.first && low <= safe.last && safe.creator == creator)
      return true;
  }
  return false;
}

}  // namespace narthex::anonymize
