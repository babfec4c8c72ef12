// What the site's script and profile make of one object while it passes: bytes as they came go in, bytes that
// may be stored come out. Only the header is held; what was not yet anonymized is never handed on.
// Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/pixel_editor.h"
#include "server/deidentify/plans.h"

namespace narthex::ingest {

class SiteStage {
 public:
  struct Options {
    anonymize::Variables variables;
    std::string transfer_syntax_uid;  // as dicom::RewriteOptions
    std::shared_ptr<const dicom::AttributeSet> attributes;
    // Changes nothing: the sender says that the plan was carried out, and may; only looks whether it is
    // recorded.
    bool verify_only = false;
  };
  using Output = std::function<absl::Status(absl::string_view)>;

  SiteStage(std::shared_ptr<const deidentify::Plan> plan, Options options);
  SiteStage(const SiteStage&) = delete;
  SiteStage& operator=(const SiteStage&) = delete;

  // Pieces of `whole`, which outlives the stage, are not copied when they come out as they went in (pixel
  // data mostly). Before Add.
  void Borrow(absl::string_view whole) { borrowed_ = whole; }

  // The next bytes of the object. ANONYMIZATION_FAILED, REJECTED_BY_SCRIPT, NOT_ANONYMIZED and what
  // HeaderRewriter and HeaderScanner say: the object must be refused, and the stage not be used any more.
  absl::Status Add(absl::string_view piece);
  // The object is complete. Errors as Add.
  absl::Status Finish();

  // facts() is valid: the header came out, or Finish was called.
  bool header_done() const { return facts_.has_value(); }
  // Of the object as it comes out.
  const dicom::HeaderFacts& facts() const { return *facts_; }

  // What came out so far, in pieces that live as long as the stage and what it borrowed; empty after PassOn.
  std::vector<absl::string_view> pieces() const;
  // The first `bytes` of them.
  std::string Front(size_t bytes) const;
  // Hands what came out to `output`, and from now on everything at once.
  absl::Status PassOn(Output output);

  // After Finish: of all that came out.
  uint64_t size_bytes() const { return size_bytes_; }
  std::string xxh3() const { return xxh3_.Finish(); }
  const anonymize::AnonymizationOutcome& outcome() const { return anonymizer_.outcome(); }
  const deidentify::Plan& plan() const { return *plan_; }
  bool verify_only() const { return options_.verify_only; }

 private:
  class Verifier;
  absl::Status Take(absl::string_view piece);
  bool IsBorrowed(absl::string_view piece) const;
  void Own();
  absl::Status Scanned(const absl::Status& status) const;

  const std::shared_ptr<const deidentify::Plan> plan_;
  const Options options_;
  anonymize::ApplyContext context_;
  anonymize::Anonymizer anonymizer_;
  pixels::PixelEditor pixels_;  // what the script blanks
  std::unique_ptr<dicom::HeaderEditor> verifier_;
  dicom::HeaderRewriter rewriter_;
  dicom::HeaderScanner scanner_;
  std::optional<dicom::HeaderFacts> facts_;
  // Not passed on: what was made, and behind it what of `borrowed_` was let through.
  std::string held_;
  std::vector<absl::string_view> let_through_;
  absl::string_view borrowed_;
  Output output_;
  uint64_t size_bytes_ = 0;
  Xxh3Hasher xxh3_;
};

}  // namespace narthex::ingest
