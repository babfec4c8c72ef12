#include "imaging/pixels/decoding_plan.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/limits_pixels.h"
#include "base/status.h"

namespace narthex::pixels {
namespace {

constexpr absl::string_view kRleLossless = "1.2.840.10008.1.2.5";

bool IsJpeg2000(absl::string_view uid) {
  for (const absl::string_view end : {"90", "91", "201", "202", "203"}) {
    if (uid == absl::StrCat("1.2.840.10008.1.2.4.", end)) return true;
  }
  return false;
}

bool IsJpegLs(absl::string_view uid) {
  return uid == "1.2.840.10008.1.2.4.80" || uid == "1.2.840.10008.1.2.4.81";
}

bool IsJpegLossless(absl::string_view uid) {
  return uid == "1.2.840.10008.1.2.4.57" || uid == "1.2.840.10008.1.2.4.70";
}

bool IsJpegLossy(absl::string_view uid) {
  return uid == "1.2.840.10008.1.2.4.50" || uid == "1.2.840.10008.1.2.4.51" ||
         uid == "1.2.840.10008.1.2.4.53" || uid == "1.2.840.10008.1.2.4.55";
}

bool CanBeDecoded(absl::string_view uid) {
  return IsJpegLossy(uid) || IsJpegLossless(uid) || IsJpegLs(uid) || IsJpeg2000(uid) || uid == kRleLossless ||
         uid == "1.2.840.10008.1.2.1.98";
}

// What colours the decoded pixels have, and how the decoder gets there.
absl::Status PlanColours(absl::string_view uid, PixelGeometry* geometry, FrameJob* job) {
  if (geometry->samples == 1) return absl::OkStatus();
  if (geometry->samples != 3) return NotEditable("compressed pixels of four samples are not supported");
  const std::string& photometric = geometry->photometric;
  if (photometric == "RGB") return absl::OkStatus();
  if (IsJpegLossy(uid) && absl::StartsWith(photometric, "YBR_FULL")) {
    job->colours = Colours::kYbrToRgb;
    geometry->photometric = "RGB";
    return absl::OkStatus();
  }
  // JPEG 2000 decoders undo these by themselves.
  if (IsJpeg2000(uid) && (photometric == "YBR_ICT" || photometric == "YBR_RCT")) {
    geometry->photometric = "RGB";
    return absl::OkStatus();
  }
  if (photometric == "YBR_FULL" || (IsJpeg2000(uid) && photometric == "YBR_FULL_422")) {
    geometry->photometric = "YBR_FULL";
    return absl::OkStatus();
  }
  return NotEditable("the photometric interpretation does not fit the transfer syntax");
}

}  // namespace

bool IsPixels(dicom::Tag tag) {
  return tag == dicom::tags::kPixelData || tag == dicom::tags::kFloatPixelData ||
         tag == dicom::tags::kDoubleFloatPixelData;
}

absl::StatusOr<FrameJob> PlanDecoding(const dicom::TransferSyntax& syntax, PixelGeometry* geometry) {
  const absl::string_view uid = syntax.uid;
  if (!CanBeDecoded(uid)) {
    return NotEditable(absl::StrCat("pixels of the transfer syntax ", syntax.name, " cannot be decoded"));
  }
  FrameJob job;
  job.transfer_syntax_uid = std::string(uid);
  NX_RETURN_IF_ERROR(PlanColours(uid, geometry, &job));
  const bool wide = geometry->bits_allocated == 32 && uid == kRleLossless;
  if (geometry->bits_allocated != 8 && geometry->bits_allocated != 16 && !wide)
    return NotEditable(absl::StrCat(geometry->bits_allocated, " bits allocated and compressed"));
  job.rows = geometry->rows;
  job.columns = geometry->columns;
  job.samples = static_cast<uint16_t>(geometry->samples);
  job.bits_allocated = static_cast<uint16_t>(geometry->bits_allocated);
  job.bits_stored = static_cast<uint16_t>(geometry->bits_stored);
  job.is_signed = geometry->is_signed;
  geometry->planar = false;
  if (job.FrameBytes() > limits::kFrameMaxBytes)
    return NotEditable("decoded, they are larger than DICOM or this program can hold");
  return job;
}

}  // namespace narthex::pixels
