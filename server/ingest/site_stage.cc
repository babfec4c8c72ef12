#include "server/ingest/site_stage.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"

namespace narthex::ingest {
namespace {

constexpr size_t kBorrowedMinBytes = 4096;  // less is copied sooner

dicom::ScanOptions ScanOptionsOf(const SiteStage::Options& options) {
  dicom::ScanOptions scan;
  scan.attributes = options.attributes.get();
  scan.transfer_syntax_uid = options.transfer_syntax_uid;
  return scan;
}

}  // namespace

// Looks at the header and leaves it as it is.
class SiteStage::Verifier : public dicom::HeaderEditor {
 public:
  explicit Verifier(const deidentify::Plan& plan) : plan_(plan) {}
  absl::Status EditHeader(dicom::ObjectHeader& header) override {
    if (plan_.IsRecorded(*header.data)) return absl::OkStatus();
    return FailedPrecondition(
        "NOT_ANONYMIZED",
        "the upload says that its objects were de-identified by their sender, but the site's script and "
        "profile, as "
        "they are now, are not recorded in this one; de-identify it again, or send it without saying so");
  }

 private:
  const deidentify::Plan& plan_;
};

SiteStage::SiteStage(std::shared_ptr<const deidentify::Plan> plan, Options options)
    : plan_(std::move(plan)),
      options_(std::move(options)),
      context_(plan_->NewContext("")),
      anonymizer_(plan_->steps, options_.variables, context_),
      pixels_(anonymizer_),
      verifier_(std::make_unique<Verifier>(*plan_)),
      rewriter_(options_.verify_only ? *verifier_ : static_cast<dicom::HeaderEditor&>(pixels_),
                [this](absl::string_view piece) { return Take(piece); }, {options_.transfer_syntax_uid}),
      scanner_(ScanOptionsOf(options_)) {}

// What was made of the object is ours: a header that cannot be read any more is the script's fault.
absl::Status SiteStage::Scanned(const absl::Status& status) const {
  if (status.ok() || options_.verify_only) return status;
  return FailedPrecondition(
      "ANONYMIZATION_FAILED",
      absl::StrCat("what the site's script leaves of the object cannot be kept: ", status.message()));
}

absl::Status SiteStage::Take(absl::string_view piece) {
  size_bytes_ += piece.size();
  xxh3_.Update(piece);
  if (!facts_.has_value()) {
    const auto state = scanner_.Feed(piece);
    NX_RETURN_IF_ERROR(Scanned(state.status()));
    if (*state == dicom::ScanState::kHeaderDone) {
      auto facts = scanner_.Finish();
      NX_RETURN_IF_ERROR(Scanned(facts.status()));
      facts_ = *std::move(facts);
    }
  }
  if (output_) return output_(piece);
  if (IsBorrowed(piece)) {
    let_through_.push_back(piece);
    return absl::OkStatus();
  }
  Own();
  held_.append(piece.data(), piece.size());
  return absl::OkStatus();
}

bool SiteStage::IsBorrowed(absl::string_view piece) const {
  const std::less_equal<const char*> not_behind;  // also of pointers into different memory
  return piece.size() >= kBorrowedMinBytes && not_behind(borrowed_.data(), piece.data()) &&
         not_behind(piece.data() + piece.size(), borrowed_.data() + borrowed_.size());
}

// Copies what was let through, because something stands behind it.
void SiteStage::Own() {
  for (const absl::string_view piece : let_through_) held_.append(piece.data(), piece.size());
  let_through_.clear();
}

std::vector<absl::string_view> SiteStage::pieces() const {
  std::vector<absl::string_view> pieces = {held_};
  pieces.insert(pieces.end(), let_through_.begin(), let_through_.end());
  return pieces;
}

std::string SiteStage::Front(size_t bytes) const {
  std::string front;
  for (const absl::string_view piece : pieces())
    absl::StrAppend(&front, piece.substr(0, bytes - front.size()));
  return front;
}

absl::Status SiteStage::Add(absl::string_view piece) { return rewriter_.Add(piece); }

absl::Status SiteStage::Finish() {
  NX_RETURN_IF_ERROR(rewriter_.Finish());
  if (facts_.has_value()) return absl::OkStatus();
  auto facts = scanner_.Finish();
  NX_RETURN_IF_ERROR(Scanned(facts.status()));
  facts_ = *std::move(facts);
  return absl::OkStatus();
}

absl::Status SiteStage::PassOn(Output output) {
  output_ = std::move(output);
  Own();
  NX_RETURN_IF_ERROR(output_(held_));
  std::string().swap(held_);
  return absl::OkStatus();
}

}  // namespace narthex::ingest
