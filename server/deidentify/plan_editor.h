// A plan at work on one object, as an editor of headers: anonymization, then the pixels that the script
// blanks. Single-threaded.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/pixel_editor.h"
#include "server/deidentify/plans.h"

namespace narthex::deidentify {

class PlanEditor : public dicom::HeaderEditor {
 public:
  struct Options {
    anonymize::Variables variables;
    std::string seed;              // as ApplyContext's
    bool honour_record = false;    // an object that says that all of this was done passes as it is
    bool keep_data_sets = false;   // before() and after() are wanted
    bool check_leftovers = false;  // if the plan wants that
  };

  PlanEditor(std::shared_ptr<const Plan> plan, Options options);

  // Errors as those of Anonymizer and PixelEditor.
  absl::Status EditHeader(dicom::ObjectHeader& header) override;
  absl::Status AllowBulk(dicom::Tag tag) override { return pixels_.AllowBulk(tag); }
  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override;
  absl::Status EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) override;

  bool header_done() const { return header_done_; }
  const anonymize::AnonymizationOutcome& outcome() const { return anonymizer_.outcome(); }
  // Of the header, with keep_data_sets.
  const dicom::DataSet* before() const { return before_.get(); }
  const dicom::DataSet* after() const { return after_.get(); }

 private:
  const std::shared_ptr<const Plan> plan_;
  const Options options_;
  const anonymize::AnonymizationPlan steps_;
  anonymize::ApplyContext context_;
  anonymize::Anonymizer anonymizer_;
  pixels::PixelEditor pixels_;
  bool skipped_ = false;
  bool header_done_ = false;
  std::unique_ptr<dicom::DataSet> before_, after_;
};

// What ScanOptions and RewriteOptions must be told of an object's transfer syntax: nothing, if it tells
// itself.
std::string UntoldSyntax(const dicom::HeaderFacts& facts);

// Runs `editor` over the header of an object; `head` is its beginning up to some bytes behind the header, or
// all of it. Returns the facts of the result; nothing of its bulk data is among them. Errors as
// HeaderRewriter and the editor; what the scanner cannot keep any more is ANONYMIZATION_FAILED.
absl::StatusOr<dicom::HeaderFacts> EditHead(PlanEditor& editor, absl::string_view head,
                                            const dicom::ScanOptions& options);

}  // namespace narthex::deidentify
