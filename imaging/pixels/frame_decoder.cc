#include "imaging/pixels/frame_decoder.h"

#include <memory>
#include <new>

#include "absl/strings/match.h"
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcdeftag.h"
#include "dcmtk/dcmdata/dcfilefo.h"
#include "dcmtk/dcmdata/dcpixel.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#include "dcmtk/dcmdata/dcxfer.h"
#include "dcmtk/dcmjpeg/djdecode.h"
#include "dcmtk/dcmjpls/djdecode.h"
#include "dcmtk/oflog/oflog.h"

namespace narthex::pixels {
namespace {

// The precision in the frame header of a JPEG stream (ITU-T T.81 B.2.2); 0: no stream, or its segments do not
// lead to a frame header. DCMTK 3.6.7 walks the same way and can go round for ever in such a one.
int JpegPrecision(absl::string_view stream) {
  const auto byte = [stream](size_t at) { return static_cast<uint8_t>(stream[at]); };
  if (stream.size() < 4 || byte(0) != 0xff || byte(1) != 0xd8) return 0;
  size_t at = 2;
  while (at + 5 <= stream.size() && byte(at) == 0xff) {
    const uint8_t marker = byte(at + 1);
    const bool frame_header =
        (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) ||
        marker == 0xf7;
    const size_t length = byte(at + 2) * size_t{256} + byte(at + 3);
    // Tables, application data and comments may come before it; nothing else.
    const bool before_it = marker == 0xc4 || marker == 0xcc || (marker >= 0xda && marker <= 0xfe);
    if (frame_header) return byte(at + 4);
    if (!before_it || length < 2) return 0;
    at += 2 + length;
  }
  return 0;
}

const char* Photometric(const FrameJob& job) {
  if (job.samples == 1) return "MONOCHROME2";
  return job.colours == Colours::kYbrToRgb ? "YBR_FULL" : "RGB";
}

// A data set with the frame alone. The VRs are given, so DCMTK needs no dictionary.
bool Fill(const FrameJob& job, uint16_t allocated, E_TransferSyntax syntax, absl::string_view compressed,
          DcmDataset* data) {
  const uint16_t stored = std::min(job.bits_stored, allocated);
  const auto put = [data](const DcmTagKey& key, Uint16 value) {
    return data->putAndInsertUint16(DcmTag(key, EVR_US), value).good();
  };
  bool ok =
      put(DCM_Rows, static_cast<Uint16>(job.rows)) && put(DCM_Columns, static_cast<Uint16>(job.columns)) &&
      put(DCM_SamplesPerPixel, job.samples) && put(DCM_BitsAllocated, allocated) &&
      put(DCM_BitsStored, stored) && put(DCM_HighBit, static_cast<Uint16>(stored - 1)) &&
      put(DCM_PixelRepresentation, job.is_signed ? 1 : 0) &&
      data->putAndInsertString(DcmTag(DCM_PhotometricInterpretation, EVR_CS), Photometric(job)).good() &&
      data->putAndInsertString(DcmTag(DCM_NumberOfFrames, EVR_IS), "1").good();
  if (job.samples > 1) ok = ok && put(DCM_PlanarConfiguration, 0);
  if (!ok) return false;
  // Both belong to what they are put into.
  auto* sequence = new DcmPixelSequence(DcmTag(DCM_PixelSequenceTag, EVR_pixelSQ));
  auto* pixels = new DcmPixelData(DcmTag(DCM_PixelData, EVR_OW));
  sequence->insert(new DcmPixelItem(DcmTag(DCM_PixelItemTag, EVR_OB)));
  auto* item = new DcmPixelItem(DcmTag(DCM_PixelItemTag, EVR_OB));
  std::string even(compressed);
  even.resize(even.size() + (even.size() & 1), '\0');
  ok = item->putUint8Array(reinterpret_cast<const Uint8*>(even.data()), static_cast<Uint32>(even.size()))
           .good();
  sequence->insert(item);
  pixels->putOriginalRepresentation(syntax, nullptr, sequence);
  return data->insert(pixels).good() && ok;
}

DecodeResult DecodeWithDcmtk(const FrameJob& job, absl::string_view compressed, std::string* frame) {
  const E_TransferSyntax syntax = DcmXfer(job.transfer_syntax_uid.c_str()).getXfer();
  if (syntax == EXS_Unknown) return DecodeResult::kUnsupported;
  // Streams of at most 8 bits in cells of 16: decode small, widen afterwards.
  uint16_t allocated = job.bits_allocated;
  const int precision = JpegPrecision(compressed);
  if (precision == 0) return DecodeResult::kUnreadable;
  if (precision > job.bits_allocated) return DecodeResult::kWrongForm;
  if (precision <= 8) allocated = 8;
  DcmDataset data;
  if (!Fill(job, allocated, syntax, compressed, &data)) return DecodeResult::kBadRequest;
  DcmElement* element = nullptr;
  if (data.findAndGetElement(DCM_PixelData, element).bad()) return DecodeResult::kBadRequest;
  auto* pixels = dynamic_cast<DcmPixelData*>(element);
  if (pixels == nullptr) return DecodeResult::kBadRequest;

  const uint64_t small = job.FrameBytes() / (job.bits_allocated / allocated);
  // Even, as DCMTK wants it; the rest tells whether a codec wrote too little.
  std::string out(static_cast<size_t>(small + (small & 1)), '\0');
  Uint32 fragment = 1;
  OFString colours;
  const OFCondition decoded =
      pixels->getUncompressedFrame(&data, 0, fragment, out.data(), static_cast<Uint32>(out.size()), colours);
  if (decoded == EC_CannotChangeRepresentation) return DecodeResult::kUnsupported;
  if (decoded.bad()) return DecodeResult::kUnreadable;
  if (job.colours == Colours::kYbrToRgb && colours != "RGB") return DecodeResult::kUnsupported;
  out.resize(static_cast<size_t>(small));
  if (allocated == job.bits_allocated) {
    *frame = std::move(out);
    return DecodeResult::kOk;
  }
  frame->assign(static_cast<size_t>(job.FrameBytes()), '\0');
  for (size_t i = 0; i < out.size(); ++i) {
    (*frame)[2 * i] = out[i];
    const bool negative = job.is_signed && (static_cast<uint8_t>(out[i]) & 0x80) != 0;
    if (negative) (*frame)[2 * i + 1] = '\xff';
  }
  return DecodeResult::kOk;
}

bool IsJpeg2000(absl::string_view uid) {
  return uid == "1.2.840.10008.1.2.4.90" || uid == "1.2.840.10008.1.2.4.91" ||
         absl::StartsWith(uid, "1.2.840.10008.1.2.4.20");
}

}  // namespace

void RegisterCodecs() {
  OFLog::configure(OFLogger::OFF_LOG_LEVEL);
  DJDecoderRegistration::registerCodecs(EDC_photometricInterpretation, EUC_never, EPC_colorByPixel);
  DJLSDecoderRegistration::registerCodecs(EJLSUC_never, EJLSPC_colorByPixel);
}

DecodeResult DecodeFrame(const FrameJob& job, absl::string_view compressed, std::string* frame) {
  // DCMTK and OpenJPEG throw nothing themselves; CharLS and the standard library may.
  try {
    if (job.transfer_syntax_uid == "1.2.840.10008.1.2.1.98") {
      if (compressed.size() < job.FrameBytes()) return DecodeResult::kWrongForm;
      frame->assign(compressed.data(), static_cast<size_t>(job.FrameBytes()));
      return DecodeResult::kOk;
    }
    if (job.transfer_syntax_uid == "1.2.840.10008.1.2.5") return DecodeRle(job, compressed, frame);
    if (job.bits_allocated > 16) return DecodeResult::kUnsupported;
    const DecodeResult result = IsJpeg2000(job.transfer_syntax_uid) ? DecodeJpeg2000(job, compressed, frame)
                                                                    : DecodeWithDcmtk(job, compressed, frame);
    if (result == DecodeResult::kOk && frame->size() != job.FrameBytes()) return DecodeResult::kWrongForm;
    return result;
  } catch (const std::bad_alloc&) {
    return DecodeResult::kNoMemory;
  } catch (...) {
    return DecodeResult::kUnreadable;
  }
}

}  // namespace narthex::pixels
