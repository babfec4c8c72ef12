#include "server/deidentify/plan_editor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/element_head.h"

namespace narthex::deidentify {
namespace {

// Fed at once: behind the header nothing is to be looked at.
constexpr size_t kSliceBytes = 16 << 10;

anonymize::AnonymizationPlan StepsOf(const Plan& plan, const PlanEditor::Options& options) {
  anonymize::AnonymizationPlan steps = plan.steps;
  steps.check_leftovers = steps.check_leftovers && options.check_leftovers;
  return steps;
}

}  // namespace

PlanEditor::PlanEditor(std::shared_ptr<const Plan> plan, Options options)
    : plan_(std::move(plan)),
      options_(std::move(options)),
      steps_(StepsOf(*plan_, options_)),
      context_(plan_->NewContext(options_.seed)),
      anonymizer_(steps_, options_.variables, context_),
      pixels_(anonymizer_) {}

absl::Status PlanEditor::EditHeader(dicom::ObjectHeader& header) {
  if (options_.keep_data_sets) {
    NX_ASSIGN_OR_RETURN(before_, header.data->Clone());
  }
  const bool recorded =
      (options_.honour_record || options_.repeat_recorded) && plan_->IsRecorded(*header.data);
  skipped_ = options_.honour_record && recorded;
  if (options_.repeat_recorded && recorded) NX_RETURN_IF_ERROR(Repeat(*header.data));
  if (!skipped_) NX_RETURN_IF_ERROR(pixels_.EditHeader(header));
  if (options_.keep_data_sets) {
    NX_ASSIGN_OR_RETURN(after_, header.data->Clone());
  }
  header_done_ = true;
  return absl::OkStatus();
}

// A profile is not applied again, but for the patient's number, which is the subject's label.
absl::Status PlanEditor::Repeat(dicom::DataSet& data) {
  context_.repeats = true;
  if (steps_.profile == nullptr) return absl::OkStatus();
  steps_.profile = nullptr;
  const auto subject = options_.variables.find("subject");
  if (subject == options_.variables.end() || data.TextOrEmpty(dicom::tags::kPatientID).empty())
    return absl::OkStatus();
  return data.SetText(dicom::tags::kPatientID, subject->second);
}

absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> PlanEditor::FilterBulk(const dicom::BulkHead& bulk,
                                                                          const dicom::ObjectHeader& header) {
  if (bulk_tag_ == dicom::Tag()) {
    bulk_tag_ = bulk.tag;
    if (bulk.length != dicom::kUndefinedLength) bulk_bytes_ = bulk.head_bytes.size() + bulk.length;
  }
  if (skipped_) return nullptr;
  auto filter =
      options_.pass_pixels ? anonymizer_.FilterBulk(bulk, header) : pixels_.FilterBulk(bulk, header);
  searches_bulk_ = searches_bulk_ || (filter.ok() && *filter != nullptr && (*filter)->only_looks());
  return filter;
}

bool PlanEditor::EndsWithBulk(const dicom::HeaderFacts& facts, uint64_t size_bytes) const {
  // Where the scanner takes other bulk data for the first, its offset is of no use.
  return bulk_bytes_.has_value() && !searches_bulk_ && bulk_tag_ == facts.bulk_tag() &&
         !facts.is_deflated() && facts.header_bytes() + *bulk_bytes_ >= size_bytes;
}

absl::Status PlanEditor::EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) {
  if (skipped_) return absl::OkStatus();
  return pixels_.EditTrailing(trailing, header);
}

std::string UntoldSyntax(const dicom::HeaderFacts& facts) {
  return facts.has_meta_group() ? "" : std::string(facts.transfer_syntax_uid());
}

absl::StatusOr<dicom::HeaderFacts> EditHead(PlanEditor& editor, absl::string_view head,
                                            const dicom::ScanOptions& options, const ObjectRest* rest) {
  std::string out;
  bool keep = true;
  dicom::HeaderRewriter rewriter(editor,
                                 [&](absl::string_view piece) {
                                   if (keep) out.append(piece.data(), piece.size());
                                   return absl::OkStatus();
                                 },
                                 {options.transfer_syntax_uid, options.origin});
  const size_t head_bytes = head.size();
  // A deflated header comes out only with the whole object.
  while (!head.empty() && (!editor.header_done() || rewriter.header().syntax.deflated)) {
    const absl::string_view piece = head.substr(0, kSliceBytes);
    const absl::Status added = rewriter.Add(piece);
    // What the pixels reveal is for who has all of them.
    if (!added.ok() && rest == nullptr && editor.header_done() && !rewriter.header().syntax.deflated) break;
    NX_RETURN_IF_ERROR(added);
    head.remove_prefix(piece.size());
  }
  const bool finished = !editor.header_done() || rewriter.header().syntax.deflated;
  if (finished) NX_RETURN_IF_ERROR(rewriter.Finish());
  keep = false;
  if (rest != nullptr && !finished && editor.looks_behind() &&
      !editor.EndsWithBulk(rest->facts, rest->size_bytes)) {
    NX_RETURN_IF_ERROR(rewriter.Add(head));
    const auto add = [&](absl::string_view piece) { return rewriter.Add(piece); };
    if (head_bytes < rest->size_bytes) NX_RETURN_IF_ERROR(rest->read(head_bytes, add));
    NX_RETURN_IF_ERROR(rewriter.Finish());
  }
  dicom::HeaderScanner scanner(options);
  auto state = scanner.Feed(out);
  auto facts = state.ok() ? scanner.Finish() : absl::StatusOr<dicom::HeaderFacts>(state.status());
  if (facts.ok()) return facts;
  return FailedPrecondition(
      "ANONYMIZATION_FAILED",
      absl::StrCat("what the script leaves of the object cannot be kept: ", facts.status().message()));
}

}  // namespace narthex::deidentify
