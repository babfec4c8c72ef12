// Small objects for the tests of this folder.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "imaging/dicom/rewriter.h"
#include "imaging/dicom/transfer_syntax.h"
#include "imaging/pixels/pixel_editor.h"

namespace narthex::pixels {

// What a made-up image is like.
struct Picture {
  std::string syntax = std::string(dicom::kExplicitVrLittleEndian);
  int rows = 4, columns = 6, samples = 1, frames = 1, allocated = 8, stored = 8, planar = 0;
  bool is_signed = false;
  std::string photometric = "MONOCHROME2";
};

inline void AppendNumber(uint64_t value, int bytes, bool big, std::string* out) {
  for (int i = 0; i < bytes; ++i) *out += static_cast<char>(value >> 8 * (big ? bytes - 1 - i : i) & 0xff);
}

// An element with a value, or, with 0xffffffff for `length`, only its head.
inline std::string RawElement(const dicom::Encoding& encoding, dicom::Tag tag, const std::string& vr,
                              const std::string& value, uint32_t length) {
  std::string out;
  const bool big = encoding.big_endian;
  AppendNumber(tag.group(), 2, big, &out);
  AppendNumber(tag.element(), 2, big, &out);
  if (encoding.explicit_vr) out += vr;
  const bool wide = vr[0] == 'O' || vr == "SQ" || vr == "UN";
  if (encoding.explicit_vr && wide) out += std::string(2, '\0');
  AppendNumber(length, encoding.explicit_vr && !wide ? 2 : 4, big, &out);
  return out + value;
}

// A Part 10 object around `pixel_element`.
inline std::string ObjectAround(const Picture& picture, const std::string& pixel_element,
                                const std::string& behind = "") {
  using dicom::Tag;
  namespace tags = dicom::tags;
  const auto encoding = dicom::Encoding::Of(dicom::FindTransferSyntax(picture.syntax));
  auto meta = dicom::DataSet::Empty(dicom::Encoding::ExplicitLittle());
  meta->SetBytes(Tag(0x00020002), dicom::Vr::kUI, "1.2.840.10008.5.1.4.1.1.7");
  meta->SetBytes(tags::kMediaStorageSOPInstanceUID, dicom::Vr::kUI, "1.2.3");
  meta->SetBytes(tags::kTransferSyntaxUID, dicom::Vr::kUI, picture.syntax);
  auto data = dicom::DataSet::Empty(encoding);
  const auto set = [&](Tag tag, const std::string& text) { EXPECT_TRUE(data->SetText(tag, text).ok()); };
  set(tags::kSOPInstanceUID, "1.2.3");
  set(tags::kPatientName, "Doe^John");
  set(tags::kSamplesPerPixel, std::to_string(picture.samples));
  set(tags::kPhotometricInterpretation, picture.photometric);
  if (picture.samples > 1) set(tags::kPlanarConfiguration, std::to_string(picture.planar));
  if (picture.frames > 1) set(tags::kNumberOfFrames, std::to_string(picture.frames));
  set(tags::kRows, std::to_string(picture.rows));
  set(tags::kColumns, std::to_string(picture.columns));
  set(tags::kBitsAllocated, std::to_string(picture.allocated));
  set(tags::kBitsStored, std::to_string(picture.stored));
  set(Tag(0x00280102), std::to_string(picture.stored - 1));
  set(tags::kPixelRepresentation, picture.is_signed ? "1" : "0");
  std::string object(128, '\0');
  object += "DICM";  // not with +, of which GCC 12 warns wrongly once it is inlined
  return object + meta->Write() + data->Write() + pixel_element + behind;
}

// The same with uncompressed pixels.
inline std::string NativeObject(const Picture& picture, const std::string& pixels,
                                const std::string& vr = "OW", const std::string& behind = "") {
  const auto encoding = dicom::Encoding::Of(dicom::FindTransferSyntax(picture.syntax));
  return ObjectAround(
      picture,
      RawElement(encoding, dicom::tags::kPixelData, vr, pixels, static_cast<uint32_t>(pixels.size())),
      behind);
}

// With compressed ones.
inline std::string EncapsulatedObject(const Picture& picture, const std::vector<std::string>& fragments,
                                      const std::string& offset_table = "", const std::string& behind = "") {
  const auto encoding = dicom::Encoding::ExplicitLittle();
  std::string value = RawElement(encoding, dicom::tags::kPixelData, "OB", "", 0xffffffff);
  const auto item = [&](const std::string& bytes) {
    value += std::string("\xfe\xff\x00\xe0", 4);
    AppendNumber(bytes.size(), 4, false, &value);
    value += bytes;
  };
  item(offset_table);
  for (const std::string& fragment : fragments) item(fragment);
  value += std::string("\xfe\xff\xdd\xe0\0\0\0\0", 8);
  return ObjectAround(picture, value, behind);
}

// Edits nothing else.
class KeepHeader : public dicom::HeaderEditor {
 public:
  absl::Status EditHeader(dicom::ObjectHeader&) override { return absl::OkStatus(); }
};

inline DecoderOptions TestDecoder() {
  DecoderOptions options;
  options.frame_timeout = absl::Seconds(30);
  return options;  // the program lies beside the test
}

// `bytes` with `edits` carried out, fed in pieces of `piece` bytes.
inline absl::StatusOr<std::string> Edited(const std::string& bytes,
                                          const std::vector<anonymize::PixelEdit>& edits,
                                          size_t piece = size_t{1} << 30, PixelOutcome* outcome = nullptr,
                                          DecoderOptions options = TestDecoder()) {
  KeepHeader keep;
  PixelEditor editor(
      keep, [&]() -> const auto& { return edits; }, std::move(options));
  std::string out;
  dicom::HeaderRewriter rewriter(editor, [&](absl::string_view put) {
    out.append(put.data(), put.size());
    return absl::OkStatus();
  });
  for (absl::string_view rest = bytes; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
    const absl::Status added = rewriter.Add(rest.substr(0, piece));
    if (!added.ok()) return added;
  }
  const absl::Status finished = rewriter.Finish();
  if (!finished.ok()) return finished;
  if (outcome != nullptr) *outcome = editor.outcome();
  return out;
}

}  // namespace narthex::pixels
