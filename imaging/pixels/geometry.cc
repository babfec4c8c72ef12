#include "imaging/pixels/geometry.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"

namespace narthex::pixels {
namespace {

namespace tags = dicom::tags;

constexpr dicom::Tag kHighBit(0x0028, 0x0102);
// Its data set is little endian, its pixels are not.
constexpr absl::string_view kGeBigEndianPixels = "1.2.840.113619.5.2";

// The number under `tag`; `absent` if it is missing or empty.
absl::StatusOr<int64_t> Number(const dicom::DataSet& data, dicom::Tag tag, std::optional<int64_t> absent,
                               int64_t low, int64_t high) {
  const dicom::Element* element = data.Find(tag);
  const std::optional<std::string> text = element == nullptr ? std::string() : data.TextOf(*element);
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text.value_or("?"));
  int64_t value = 0;
  if (trimmed.empty()) {
    if (!absent.has_value()) return NotEditable(absl::StrCat(dicom::TagName(tag), " is missing"));
    return *absent;
  }
  if (!absl::SimpleAtoi(trimmed, &value))
    return NotEditable(absl::StrCat(dicom::TagName(tag), " is no number"));
  if (value < low || value > high) {
    return NotEditable(
        absl::StrCat(dicom::TagName(tag), " is ", value, ", not between ", low, " and ", high));
  }
  return value;
}

bool IsOneSample(absl::string_view photometric) {
  return photometric == "MONOCHROME1" || photometric == "MONOCHROME2" || photometric == "PALETTE COLOR" ||
         photometric.empty();
}

bool IsThreeSamples(absl::string_view photometric) {
  return photometric == "RGB" || photometric == "HSV" || absl::StartsWith(photometric, "YBR_");
}

absl::Status CheckSamples(const PixelGeometry& geometry) {
  const absl::string_view photometric = geometry.photometric;
  const bool fits = (geometry.samples == 1 && IsOneSample(photometric)) ||
                    (geometry.samples == 3 && IsThreeSamples(photometric)) ||
                    (geometry.samples == 4 && (photometric == "ARGB" || photometric == "CMYK"));
  if (!fits) {
    return NotEditable(
        absl::StrCat(geometry.samples, " samples a pixel do not fit the photometric interpretation"));
  }
  return absl::OkStatus();
}

absl::Status CheckBits(const PixelGeometry& geometry) {
  const int bits = geometry.bits_allocated;
  if (geometry.is_float) return absl::OkStatus();
  if (bits != 1 && bits != 8 && bits != 16 && bits != 32)
    return NotEditable(absl::StrCat(bits, " bits allocated are not supported"));
  if (bits == 1 && geometry.samples != 1) return NotEditable("one bit a sample, and several samples");
  if (geometry.bits_stored > bits || geometry.high_bit >= bits ||
      geometry.high_bit + 1 < geometry.bits_stored) {
    return NotEditable("BitsAllocated, BitsStored and HighBit contradict each other");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status NotEditable(absl::string_view why) {
  return FailedPrecondition("PIXELS_NOT_EDITABLE",
                            absl::StrCat("the pixels cannot be altered: ", why, "; the object is refused"),
                            {{"why", std::string(why)}});
}

absl::StatusOr<PixelGeometry> ReadGeometry(const dicom::ObjectHeader& header, dicom::Tag pixel_tag) {
  const dicom::DataSet& data = *header.data;
  constexpr int64_t kSideMax = 65'535;  // fixed: VR US
  PixelGeometry geometry;
  NX_ASSIGN_OR_RETURN(const int64_t rows, Number(data, tags::kRows, std::nullopt, 1, kSideMax));
  NX_ASSIGN_OR_RETURN(const int64_t columns, Number(data, tags::kColumns, std::nullopt, 1, kSideMax));
  NX_ASSIGN_OR_RETURN(const int64_t samples, Number(data, tags::kSamplesPerPixel, 1, 1, 4));
  NX_ASSIGN_OR_RETURN(const int64_t frames, Number(data, tags::kNumberOfFrames, 1, 1, INT32_MAX));
  geometry.rows = static_cast<uint32_t>(rows);
  geometry.columns = static_cast<uint32_t>(columns);
  geometry.samples = static_cast<uint32_t>(samples);
  geometry.frames = static_cast<uint64_t>(frames);
  geometry.photometric =
      std::string(absl::StripAsciiWhitespace(data.TextOrEmpty(tags::kPhotometricInterpretation)));
  NX_RETURN_IF_ERROR(CheckSamples(geometry));

  geometry.is_float = pixel_tag != tags::kPixelData;
  std::optional<int64_t> bits_default;
  if (geometry.is_float) bits_default = pixel_tag == tags::kFloatPixelData ? 32 : 64;
  NX_ASSIGN_OR_RETURN(const int64_t allocated, Number(data, tags::kBitsAllocated, bits_default, 1, 64));
  if (geometry.is_float && allocated != *bits_default)
    return NotEditable("BitsAllocated does not fit the float pixel data");
  NX_ASSIGN_OR_RETURN(const int64_t stored, Number(data, tags::kBitsStored, allocated, 1, 64));
  NX_ASSIGN_OR_RETURN(const int64_t high_bit, Number(data, kHighBit, stored - 1, 0, 63));
  NX_ASSIGN_OR_RETURN(const int64_t is_signed, Number(data, tags::kPixelRepresentation, 0, 0, 1));
  NX_ASSIGN_OR_RETURN(const int64_t planar, Number(data, tags::kPlanarConfiguration, 0, 0, 1));
  geometry.bits_allocated = static_cast<int>(allocated);
  geometry.bits_stored = static_cast<int>(stored);
  geometry.high_bit = static_cast<int>(high_bit);
  geometry.is_signed = is_signed == 1;
  geometry.planar = planar == 1 && samples > 1;
  NX_RETURN_IF_ERROR(CheckBits(geometry));
  // rows * columns * samples * bits is below 2^40, so frames may have 24 bits more.
  if (geometry.FrameBits() / 8 > limits::kObjectMaxBytes.most() / geometry.frames)
    return NotEditable("the frames together are larger than any object");
  return geometry;
}

absl::Status SettleNativeLayout(const dicom::ObjectHeader& header, const dicom::BulkHead& bulk,
                                PixelGeometry* geometry) {
  const bool big = header.syntax.big_endian;
  // In big endian, 8-bit samples in OW are swapped with their neighbour (PS3.5 annex A.3, example in 8.1.1).
  const bool bytes = bulk.vr == dicom::Vr::kOB;
  geometry->big_endian = big || header.syntax.uid == kGeBigEndianPixels;
  geometry->swapped_words = big && !bytes && geometry->bits_allocated <= 8;
  const auto fits = [&] {
    const uint64_t total = geometry->TotalBytes();
    return bulk.length == total || bulk.length == total + (total & 1);
  };
  if (absl::EndsWith(geometry->photometric, "_422") && geometry->bits_allocated == 8 &&
      geometry->columns % 2 == 0 && !geometry->planar && !geometry->swapped_words) {
    // Some writers say 422 and leave the colours of each pixel in place.
    geometry->chroma_pairs = true;
    if (fits()) return absl::OkStatus();
    geometry->chroma_pairs = false;
  } else if (absl::EndsWith(geometry->photometric, "_420")) {
    return NotEditable("uncompressed pixels with a colour for four pixels are not defined");
  }
  if (fits()) return absl::OkStatus();
  // Filled up to some block size: viewers show the frames that the header promises.
  const bool filled_up = bulk.length > geometry->TotalBytes() &&
                         (bulk.length - geometry->TotalBytes()) * 8 < geometry->FrameBits();
  if (filled_up && !absl::EndsWith(geometry->photometric, "_422")) return absl::OkStatus();
  return NotEditable(absl::StrCat("there are ", bulk.length, " bytes of pixel data where the header says ",
                                  geometry->TotalBytes()));
}

}  // namespace narthex::pixels
