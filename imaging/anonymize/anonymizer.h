// Profile, scripts, record and check put together for one object, as an editor of headers: what ingest,
// archive and the command line use.
//
//   Anonymizer anonymizer(plan, variables, context);           // one per object; plan is shared
//   dicom::HeaderRewriter rewriter(anonymizer, output);
//   ... Add, Finish ...
//   anonymizer.outcome()
//
// AnonymizationPlan is immutable and may be shared between threads; an Anonymizer is single-threaded.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/anonymize/leftover.h"
#include "imaging/anonymize/profile.h"
#include "imaging/anonymize/script.h"
#include "imaging/dicom/rewriter.h"

namespace narthex::anonymize {

// The profile runs first, then the script, so that a script can put back what the profile emptied.
struct AnonymizationPlan {
  std::shared_ptr<const Profile> profile;  // may be null
  std::shared_ptr<const Script> script;    // may be null
  std::string secret;                      // of the project (or site): at least 16 bytes
  std::string method;                      // text for (0012,0063), such as "Narthex site script"
  bool skip_if_already_applied = false;    // only for objects of senders that are trusted to have done it
  bool check_leftovers = false;
  bool dates_by_subject = false;    // dates of one variable "subject" move alike, not those of one PatientID
  bool refuse_pixel_edits = false;  // for callers without pixel stage: alterPixels then is an error
};

struct AnonymizationOutcome {
  bool skipped = false;                             // the script was already applied
  std::optional<std::string> rejected;              // the script said reject[]: why
  std::vector<PixelEdit> pixel_edits;               // what the pixel stage has to do
  std::map<std::string, Phi<std::string>> exports;  // as Result::exports
  LeftoverReport leftovers;                         // empty unless check_leftovers
};

class Anonymizer : public dicom::HeaderEditor {
 public:
  // `plan` and `context` must outlive the anonymizer.
  Anonymizer(const AnonymizationPlan& plan, Variables variables, ApplyContext& context)
      : plan_(plan), variables_(std::move(variables)), context_(context) {}

  // A rejected object gives FAILED_PRECONDITION (REJECTED_BY_SCRIPT); edits of pixels that are refused
  // FAILED_PRECONDITION (ANONYMIZATION_FAILED).
  absl::Status EditHeader(dicom::ObjectHeader& header) override;
  // Encapsulated documents that are too large to be held cannot be de-identified by the profile:
  // FAILED_PRECONDITION (ANONYMIZATION_FAILED).
  absl::Status AllowBulk(dicom::Tag tag) override;
  // Encapsulated documents that are too large to be held are searched while they pass, with check_leftovers.
  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override;
  absl::Status EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) override;

  const AnonymizationOutcome& outcome() const { return outcome_; }

 private:
  absl::Status Edit(dicom::DataSet& data);
  std::string Variable(const char* name) const;

  const AnonymizationPlan& plan_;
  const Variables variables_;
  ApplyContext& context_;
  AnonymizationOutcome outcome_;
  std::string dates_of_;                    // as ProfileKey
  std::optional<Identifiers> identifiers_;  // with check_leftovers
};

// Makes the file meta group fit a changed data set: MediaStorageSOPInstanceUID, and no names of senders. The
// preamble is emptied to zeros.
void UpdateMeta(dicom::ObjectHeader& header);

}  // namespace narthex::anonymize
