#include "imaging/pixels/pixel_editor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "base/status.h"
#include "imaging/dicom/element_head.h"
#include "imaging/pixels/decoding_plan.h"
#include "imaging/pixels/fragment_filter.h"
#include "imaging/pixels/rectangle_filler.h"

namespace narthex::pixels {
namespace {

namespace tags = dicom::tags;

constexpr dicom::Tag kIconImageSequence(0x0088, 0x0200);
constexpr dicom::Tag kExtendedOffsetTable(0x7fe0, 0x0001);
constexpr dicom::Tag kExtendedOffsetTableLengths(0x7fe0, 0x0002);

// Uncompressed pixels, blanked while they pass.
class NativeFilter : public dicom::BulkFilter {
 public:
  NativeFilter(std::string head, const PixelGeometry& geometry,
               const std::vector<anonymize::PixelEdit>& edits)
      : head_(std::move(head)), filler_(geometry, edits) {}

  absl::Status Add(absl::string_view bytes, Put put) override {
    constexpr size_t kPieceBytes = 64 << 10;
    NX_RETURN_IF_ERROR(PutHead(put));
    while (!bytes.empty()) {
      piece_.assign(bytes.data(), std::min(bytes.size(), kPieceBytes));
      bytes.remove_prefix(piece_.size());
      filler_.Fill(offset_, piece_.data(), piece_.size());
      offset_ += piece_.size();
      NX_RETURN_IF_ERROR(put(piece_));
    }
    return absl::OkStatus();
  }
  absl::Status Finish(Put put) override { return PutHead(put); }

 private:
  absl::Status PutHead(Put put) {
    const std::string head = std::exchange(head_, "");
    return head.empty() ? absl::OkStatus() : put(head);
  }

  std::string head_;
  const RectangleFiller filler_;
  std::string piece_;
  uint64_t offset_ = 0;
};

absl::Status SetUnlessSame(dicom::DataSet& data, dicom::Tag tag, absl::string_view text) {
  const dicom::Element* present = data.Find(tag);
  if (present != nullptr && data.TextOf(*present) == text) return absl::OkStatus();
  return data.SetText(tag, text);
}

}  // namespace

absl::Status PixelEditor::AllowBulk(dicom::Tag tag) {
  NX_RETURN_IF_ERROR(next_.AllowBulk(tag));
  if (IsPixels(tag) && !pixel_tag_.has_value()) pixel_tag_ = tag;
  return absl::OkStatus();
}

absl::Status PixelEditor::EditHeader(dicom::ObjectHeader& header) {
  NX_RETURN_IF_ERROR(next_.EditHeader(header));
  wanted_ = edits_();
  if (wanted_.empty() || !pixel_tag_.has_value()) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(geometry_, ReadGeometry(header, *pixel_tag_));
  if (RectangleFiller(*geometry_, wanted_).empty()) {
    geometry_.reset();
    return absl::OkStatus();
  }
  header.data->Remove(kIconImageSequence);
  return header.syntax.encapsulated ? PrepareDecoding(header) : absl::OkStatus();
}

absl::Status PixelEditor::PrepareDecoding(dicom::ObjectHeader& header) {
  // Without a place that names the new transfer syntax, whoever keeps the object would go on with the old
  // one.
  if (header.meta == nullptr) return NotEditable("they are compressed, and there is no file meta group");
  const absl::string_view uid = header.syntax.uid;
  PixelGeometry& geometry = *geometry_;
  NX_ASSIGN_OR_RETURN(FrameJob job, PlanDecoding(header.syntax, &geometry));
  constexpr uint64_t kValueMaxBytes = 0xfffffffe;  // fixed: lengths have 32 bits
  if (geometry.TotalBytes() > kValueMaxBytes)
    return NotEditable("decoded, they are larger than DICOM or this program can hold");

  dicom::DataSet& data = *header.data;
  data.Remove(kExtendedOffsetTable);
  data.Remove(kExtendedOffsetTableLengths);
  if (geometry.samples > 1) {
    NX_RETURN_IF_ERROR(SetUnlessSame(data, tags::kPhotometricInterpretation, geometry.photometric));
    NX_RETURN_IF_ERROR(SetUnlessSame(data, tags::kPlanarConfiguration, "0"));
  }
  if (header.syntax.lossy && data.TextOrEmpty(tags::kLossyImageCompression) != "01" &&
      uid != "1.2.840.10008.1.2.4.91" && uid != "1.2.840.10008.1.2.4.203") {
    NX_RETURN_IF_ERROR(data.SetText(tags::kLossyImageCompression, "01"));
  }
  header.syntax = dicom::FindTransferSyntax(dicom::kExplicitVrLittleEndian);
  header.meta->SetBytes(tags::kTransferSyntaxUID, dicom::Vr::kUI, dicom::kExplicitVrLittleEndian);
  job_ = std::move(job);
  outcome_.decoded = true;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> PixelEditor::FilterBulk(
    const dicom::BulkHead& bulk, const dicom::ObjectHeader& header) {
  if (!geometry_.has_value() || bulk.length == 0) return next_.FilterBulk(bulk, header);
  if (!IsPixels(bulk.tag)) return next_.FilterBulk(bulk, header);
  if (bulk.tag != *pixel_tag_ || outcome_.frames > 0) return NotEditable("there are two kinds of pixel data");
  outcome_.frames = geometry_->frames;
  const bool encapsulated = bulk.length == dicom::kUndefinedLength;
  if (encapsulated != job_.has_value()) {
    return NotEditable(encapsulated ? "they are compressed, but the transfer syntax is not"
                                    : "they are not compressed, but the transfer syntax is");
  }
  if (!encapsulated) NX_RETURN_IF_ERROR(SettleNativeLayout(header, bulk, &*geometry_));
  outcome_.edited = true;
  if (encapsulated) return std::make_unique<FragmentFilter>(*geometry_, *job_, wanted_, options_);
  return std::make_unique<NativeFilter>(std::string(bulk.head_bytes), *geometry_, wanted_);
}

}  // namespace narthex::pixels
