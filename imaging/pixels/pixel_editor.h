// Blanks rectangles of pixels (alterPixels) while an object passes the header rewriter:
//
//   anonymize::Anonymizer anonymizer(plan, variables, context);
//   pixels::PixelEditor editor(anonymizer);
//   dicom::HeaderRewriter rewriter(editor, output);
//   ... Add, Finish ...
//   anonymizer.outcome(); editor.outcome(); rewriter.header().syntax
//
// Objects without edits pass as without this editor. Of others the header's IconImageSequence is removed: it
// is a small picture of the pixels as they were. Uncompressed pixels are changed in the stream and keep their
// transfer syntax. Compressed ones are decoded frame by frame by another process (decoder_process.h) and
// written as Explicit VR Little Endian; then rewriter.header().syntax and TransferSyntaxUID say so,
// PhotometricInterpretation and PlanarConfiguration follow, and LossyImageCompression is set where something
// was lost. Every other byte stays. Single-threaded; blocks while a frame is decoded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/script.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/decoder_process.h"
#include "imaging/pixels/geometry.h"

namespace narthex::pixels {

struct PixelOutcome {
  bool edited = false;   // pixels lay in a rectangle
  bool decoded = false;  // the object was compressed and is no more
  uint64_t frames = 0;   // that went through
};

// Adds the blanking of pixels to another editor. Beside that editor's errors, EditHeader and FilterBulk give
// FAILED_PRECONDITION (PIXELS_NOT_EDITABLE: form not supported, or the header contradicts the pixels;
// PIXEL_DECODING_FAILED: damaged or hostile) and UNAVAILABLE (PIXEL_DECODER_UNAVAILABLE: try again). All but
// those that only the pixels themselves reveal come before anything has been put out.
class PixelEditor : public dicom::HeaderEditor {
 public:
  // The edits of the object; asked once, after the other editor's EditHeader. Valid until the next call.
  using Edits = std::function<const std::vector<anonymize::PixelEdit>&()>;

  // `next` must outlive the editor.
  PixelEditor(dicom::HeaderEditor& next, Edits edits, DecoderOptions options = {})
      : next_(next), edits_(std::move(edits)), options_(std::move(options)) {}
  // Does what the script of `anonymizer` wants.
  explicit PixelEditor(anonymize::Anonymizer& anonymizer, DecoderOptions options = {})
      : PixelEditor(
            anonymizer, [&anonymizer]() -> const auto& { return anonymizer.outcome().pixel_edits; },
            std::move(options)) {}

  absl::Status EditHeader(dicom::ObjectHeader& header) override;
  absl::Status AllowBulk(dicom::Tag tag) override;
  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override;
  absl::Status EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) override {
    return next_.EditTrailing(trailing, header);
  }

  const PixelOutcome& outcome() const { return outcome_; }

 private:
  absl::Status PrepareDecoding(dicom::ObjectHeader& header);

  dicom::HeaderEditor& next_;
  const Edits edits_;
  const DecoderOptions options_;
  PixelOutcome outcome_;
  std::optional<dicom::Tag> pixel_tag_;  // the first bulk element, if it holds pixels
  std::vector<anonymize::PixelEdit> wanted_;
  std::optional<PixelGeometry> geometry_;  // as they are put out, if there are edits
  std::optional<FrameJob> job_;            // how to decode a frame, if the pixels are compressed
};

}  // namespace narthex::pixels
