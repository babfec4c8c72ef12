// A plan at work on one object, as an editor of headers: anonymization, then the pixels that the script
// blanks. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
    bool repeat_recorded = false;  // of such an object only what depends on the variables is made anew
    bool keep_data_sets = false;   // before() and after() are wanted
    bool check_leftovers = false;  // if the plan wants that
    bool pass_pixels = false;      // they are not blanked: for who only looks at the rest
  };

  PlanEditor(std::shared_ptr<const Plan> plan, Options options);

  // Errors as those of Anonymizer and PixelEditor.
  absl::Status EditHeader(dicom::ObjectHeader& header) override;
  absl::Status AllowBulk(dicom::Tag tag) override { return pixels_.AllowBulk(tag); }
  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override;
  absl::Status EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) override;

  bool header_done() const { return header_done_; }
  // With repeat_recorded: the object said so.
  bool repeated() const { return context_.repeats; }
  const anonymize::AnonymizationOutcome& outcome() const { return anonymizer_.outcome(); }
  // What stands behind the bulk data is searched, too.
  bool looks_behind() const { return steps_.check_leftovers && !skipped_; }
  // Whether the object of `size_bytes`, of which `facts` are known, ends with its bulk data, and nobody wants
  // to see them.
  bool EndsWithBulk(const dicom::HeaderFacts& facts, uint64_t size_bytes) const;
  // Of the header, with keep_data_sets.
  const dicom::DataSet* before() const { return before_.get(); }
  const dicom::DataSet* after() const { return after_.get(); }

 private:
  absl::Status Repeat(dicom::DataSet& data);

  const std::shared_ptr<const Plan> plan_;
  const Options options_;
  anonymize::AnonymizationPlan steps_;
  anonymize::ApplyContext context_;
  anonymize::Anonymizer anonymizer_;
  pixels::PixelEditor pixels_;
  bool skipped_ = false;
  bool header_done_ = false;
  dicom::Tag bulk_tag_;                 // of the first bulk element
  std::optional<uint64_t> bulk_bytes_;  // its head and value; nullopt: none came, or it does not say
  bool searches_bulk_ = false;
  std::unique_ptr<dicom::DataSet> before_, after_;
};

// What ScanOptions and RewriteOptions must be told of an object's transfer syntax: nothing, if it tells
// itself.
std::string UntoldSyntax(const dicom::HeaderFacts& facts);

// An object of which only the head was read so far.
struct ObjectRest {
  const dicom::HeaderFacts& facts;
  uint64_t size_bytes = 0;  // of all of it
  // Reads from `offset` to the end, in order; stops at the sink's first error and returns it.
  std::function<absl::Status(uint64_t offset, const std::function<absl::Status(absl::string_view)>& sink)>
      read;
};

// Runs `editor` over the header of an object; `head` is its beginning up to some bytes behind the header, or
// all of it. Returns the facts of the result; nothing of its bulk data is among them. With `rest`, and an
// editor that looks for leftovers and passes pixels, what stands behind the bulk data goes through it, too:
// the object is read to its end, unless its bulk data say that they are the end. Errors as HeaderRewriter,
// the editor and `rest`; what the scanner cannot keep any more is ANONYMIZATION_FAILED.
absl::StatusOr<dicom::HeaderFacts> EditHead(PlanEditor& editor, absl::string_view head,
                                            const dicom::ScanOptions& options,
                                            const ObjectRest* rest = nullptr);

}  // namespace narthex::deidentify
