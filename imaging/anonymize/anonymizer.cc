#include "imaging/anonymize/anonymizer.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/record.h"
#include "imaging/dicom/element_head.h"

namespace narthex::anonymize {

namespace tags = dicom::tags;

namespace {

// Of the file meta group: who sent, who received, and what they added.
constexpr dicom::Tag kNamesInMeta[] = {
    dicom::Tag(0x0002, 0x0016), dicom::Tag(0x0002, 0x0017), dicom::Tag(0x0002, 0x0018),
    dicom::Tag(0x0002, 0x0026), dicom::Tag(0x0002, 0x0027), dicom::Tag(0x0002, 0x0028),
    dicom::Tag(0x0002, 0x0100), dicom::Tag(0x0002, 0x0102),
};

// UIDs of the original that the result has replaced must not be left anywhere either.
void AddReplacedUids(const dicom::DataSet& before, const dicom::DataSet& after, Identifiers* identifiers) {
  for (const dicom::Tag tag : {tags::kStudyInstanceUID, tags::kSeriesInstanceUID, tags::kSOPInstanceUID}) {
    const std::string uid = before.TextOrEmpty(tag);
    if (!uid.empty() && after.TextOrEmpty(tag) != uid) identifiers->Add(dicom::TagName(tag), uid);
  }
}

// Lets a document pass and searches it.
class DocumentSearch : public dicom::BulkFilter {
 public:
  DocumentSearch(const dicom::BulkHead& bulk, const Identifiers& identifiers, LeftoverReport* report)
      : tag_(bulk.tag), head_(bulk.head_bytes), search_(identifiers), report_(report) {}

  absl::Status Add(absl::string_view bytes, Put put) override {
    NX_RETURN_IF_ERROR(PutHead(put));
    search_.Add(bytes);
    return put(bytes);
  }
  absl::Status Finish(Put put) override {
    search_.Finish(tag_.ToString(), dicom::TagName(tag_), report_);
    return PutHead(put);
  }
  bool only_looks() const override { return true; }

 private:
  absl::Status PutHead(Put put) {
    const std::string head = std::exchange(head_, "");
    return head.empty() ? absl::OkStatus() : put(head);
  }

  const dicom::Tag tag_;
  std::string head_;  // not put out yet
  StreamSearch search_;
  LeftoverReport* const report_;
};

}  // namespace

void UpdateMeta(dicom::ObjectHeader& header) {
  // The preamble may hold a TIFF header with texts of its own.
  if (!header.preamble.empty()) header.preamble.assign(header.preamble.size(), '\0');
  if (header.meta == nullptr) return;
  for (const dicom::Tag tag : kNamesInMeta) header.meta->Remove(tag);
  const std::string uid = header.data->TextOrEmpty(tags::kSOPInstanceUID);
  if (!uid.empty() && header.meta->TextOrEmpty(tags::kMediaStorageSOPInstanceUID) != uid) {
    header.meta->SetBytes(tags::kMediaStorageSOPInstanceUID, dicom::Vr::kUI, uid);
  }
}

absl::Status Anonymizer::AllowBulk(dicom::Tag tag) {
  if (tag != tags::kEncapsulatedDocument || plan_.profile == nullptr) return absl::OkStatus();
  return FailedPrecondition(
      "ANONYMIZATION_FAILED",
      absl::StrCat("an encapsulated document above ", dicom::kEncapsulatedInlineMaxBytes,
                   " bytes cannot be de-identified; the object is refused"));
}

std::string Anonymizer::Variable(const char* name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? std::string() : found->second;
}

absl::Status Anonymizer::Edit(dicom::DataSet& data) {
  std::vector<MethodCode> codes;
  if (plan_.profile != nullptr) {
    // Behind the pixels, where the patient's ID does not stand, dates must move by the same days.
    dates_of_ = plan_.dates_by_subject ? Variable("subject") : data.TextOrEmpty(tags::kPatientID);
    NX_RETURN_IF_ERROR(
        plan_.profile->Apply(data, {plan_.secret, Variable("subject"), Variable("subject"), dates_of_}));
  }
  if (plan_.script == nullptr) return absl::OkStatus();
  if (context_.key.empty()) context_.key = plan_.secret;
  NX_ASSIGN_OR_RETURN(Result result, plan_.script->Apply(data, variables_, context_));
  if (result.outcome == Result::Outcome::kRejected) {
    outcome_.rejected = result.reject_reason;
    return FailedPrecondition("REJECTED_BY_SCRIPT", result.reject_reason);
  }
  if (!result.pixel_edits.empty() && plan_.refuse_pixel_edits) {
    return FailedPrecondition("ANONYMIZATION_FAILED",
                              "the script alters pixels, which cannot be done here; the object is refused");
  }
  outcome_.pixel_edits = std::move(result.pixel_edits);
  outcome_.exports = std::move(result.exports);
  codes.push_back(CodeOf(*plan_.script));
  const std::string method = plan_.method.empty() ? codes.back().meaning : plan_.method;
  return RecordDeidentification(data, method, codes);
}

absl::Status Anonymizer::EditHeader(dicom::ObjectHeader& header) {
  if (plan_.profile == nullptr && plan_.script == nullptr) return absl::OkStatus();
  dicom::DataSet& data = *header.data;
  if (plan_.skip_if_already_applied && plan_.script != nullptr && AlreadyApplied(data, *plan_.script)) {
    outcome_.skipped = true;
    return absl::OkStatus();
  }
  if (!plan_.check_leftovers) {
    NX_RETURN_IF_ERROR(Edit(data));
    UpdateMeta(header);
    return absl::OkStatus();
  }
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<dicom::DataSet> original, data.Clone());
  NX_RETURN_IF_ERROR(Edit(data));
  UpdateMeta(header);
  identifiers_ = Identifiers::Collect(*original);
  AddReplacedUids(*original, data, &*identifiers_);
  for (const auto& [name, value] : variables_) identifiers_->Allow(value);
  outcome_.leftovers = FindLeftovers(data, *identifiers_);
  // What the script takes out of the object and keeps beside it is as much a patient's.
  for (const auto& [target, value] : outcome_.exports) {
    for (std::string& source : IdentifiersIn(value.Reveal(), *identifiers_)) {
      const std::string place = absl::StrCat("export ", target);
      outcome_.leftovers.found.push_back({place, place, std::move(source), 1});
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> Anonymizer::FilterBulk(const dicom::BulkHead& bulk,
                                                                          const dicom::ObjectHeader& header) {
  if (bulk.tag != tags::kEncapsulatedDocument || bulk.length == dicom::kUndefinedLength ||
      !identifiers_.has_value()) {
    return nullptr;
  }
  return std::make_unique<DocumentSearch>(bulk, *identifiers_, &outcome_.leftovers);
}

absl::Status Anonymizer::EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) {
  if (outcome_.skipped) return absl::OkStatus();
  if (identifiers_.has_value()) {
    identifiers_->CollectMore(trailing);
    for (const auto& [name, value] : variables_) identifiers_->Allow(value);
  }
  if (plan_.profile != nullptr) {
    NX_RETURN_IF_ERROR(
        plan_.profile->ApplyTrailing(trailing, *header.data, {plan_.secret, "", "", dates_of_}));
  }
  if (plan_.script != nullptr) {
    NX_RETURN_IF_ERROR(plan_.script->ApplyTrailing(trailing, *header.data, variables_, context_));
  }
  // A signature over what was changed is worth nothing, and names its signer.
  if (plan_.profile != nullptr || plan_.script != nullptr) trailing.Remove(tags::kDigitalSignaturesSequence);
  if (!identifiers_.has_value()) return absl::OkStatus();
  const LeftoverReport report = FindLeftovers(trailing, *identifiers_);
  outcome_.leftovers.searched_bytes += report.searched_bytes;
  outcome_.leftovers.found.insert(outcome_.leftovers.found.end(), report.found.begin(), report.found.end());
  return absl::OkStatus();
}

}  // namespace narthex::anonymize
