// Where an object goes, and whether it is wanted.

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/tag.h"
#include "imaging/session/builder.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/object_stream_current.h"

namespace narthex::ingest {

using prearchive::OutcomeRow;
using prearchive::Reception;

namespace {

bool IsPetPart(const dicom::HeaderFacts& facts) {
  return session::IsPetPart(facts.Get(dicom::tags::kModality), facts.Get(dicom::tags::kSeriesDescription));
}

}  // namespace

// Fills in the session that the object belongs to.
absl::Status ObjectStream::Route(const dicom::HeaderFacts& facts, prearchive::ArrivingObject& object) {
  if (upload_.receiver().empty()) {
    router_ = policy_->router;
  } else if (const ReceiverPolicy* receiver = policy_->FindReceiver(upload_.receiver());
             receiver != nullptr) {
    router_ = receiver->router;
  } else if (!router_) {
    // A receiver that binds its objects to a project must not, being gone, leave them to other rules.
    return NotFound("NOT_FOUND", "the receiver that the object came through was deleted",
                    {{"receiver", upload_.receiver()}});
  }
  identify::ArrivalContext arrival;
  arrival.called_ae = upload_.called_ae_title();
  arrival.calling_ae = upload_.calling_ae_title();
  arrival.project = upload_.destination().project();
  arrival.subject = upload_.destination().subject();
  arrival.label = upload_.destination().label();
  arrival.studies = policy_->studies;
  NX_ASSIGN_OR_RETURN(const identify::Destination to, router_->Route(facts, arrival, projects_));
  object.key.set_project(to.project);
  object.key.set_study_instance_uid(std::string(facts.study_instance_uid()));
  object.key.set_label(to.label);
  // Nobody is named: the session's label serves, so that the session can be archived.
  object.key.set_subject(to.subject.empty() ? to.label : to.subject);
  object.key.set_source(upload_.kind());
  object.key.set_auto_archive(upload_.destination().auto_archive());
  if (object.key.auto_archive() == 0 && to.auto_archive) {
    // Numbers of narthex.v1.AutoArchive.Mode: AA:true is AUTO, AA:false MANUAL.
    object.key.set_auto_archive(*to.auto_archive == identify::AutoArchive::kYes ? 2 : 1);
  }
  object.key.set_direct_archive(upload_.destination().direct_archive());
  return absl::OkStatus();
}

// Whether the site's script and profile apply to what comes on this stream.
bool ObjectStream::Anonymizes() const {
  if (dependencies_.plans == nullptr || upload_.skip_anonymization()) return false;
  const auto plan = dependencies_.plans->Site();
  return !plan.ok() || *plan != nullptr;
}

// Routes the object by its header as it came, and says where it belongs. FAILED_PRECONDITION (SERIES_FILTER):
// a filter excludes it.
absl::StatusOr<prearchive::ArrivingObject> ObjectStream::Receive(const dicom::HeaderFacts& facts,
                                                                 int64_t sequence, OutcomeRow& outcome) {
  outcome.set_upload(upload_.id());
  outcome.set_sequence(sequence);
  if (facts.study_instance_uid().empty()) {
    return InvalidArgument("MISSING_STUDY_INSTANCE_UID",
                           "the object has no Study Instance UID (0020,000D), so it belongs to no session");
  }
  prearchive::ArrivingObject object;
  NX_RETURN_IF_ERROR(Route(facts, object));
  if (policy_->filters != nullptr) {
    const identify::FilterVerdict verdict = policy_->filters->Evaluate(object.key.project(), facts);
    if (!verdict.allowed) {
      filtered_.emplace();
      filtered_->counted_in = object.key;
      filtered_->pet_part = IsPetPart(facts);
      // Outcomes are kept, so nothing may get into them that the site's script takes away.
      if (Anonymizes()) {
        filtered_->counted_in->set_study_identity(
            dependencies_.plans->Fingerprint(facts.study_instance_uid()));
      } else {
        outcome.set_sop_instance_uid(std::string(facts.sop_instance_uid()));
        outcome.set_series_instance_uid(std::string(facts.series_instance_uid()));
      }
      filtered_->outcome = outcome;
      return FailedPrecondition("SERIES_FILTER", verdict.reason);
    }
  }
  object.sop_instance_uid = std::string(facts.sop_instance_uid());
  object.series_instance_uid = std::string(facts.series_instance_uid());
  object.upload = upload_.id();
  object.sequence = sequence;
  // The upload (or its receiver) overrides the project, the project the site.
  const SessionRules rules = dependencies_.rules ? dependencies_.rules(object.key.project()) : SessionRules();
  object.idle_build = absl::Seconds(upload_.idle_build_seconds() > 0 ? upload_.idle_build_seconds()
                                                                     : rules.idle_build_seconds);
  object.duplicates = rules.duplicates;
  if (upload_.duplicates() != 0)
    object.duplicates = static_cast<prearchive::DuplicatePolicy>(upload_.duplicates());
  return object;
}

// What the object goes through on its way to the disk; null: it is kept as it comes.
absl::StatusOr<std::unique_ptr<SiteStage>> ObjectStream::NewStage(
    const prearchive::ArrivingObject& object, absl::string_view transfer_syntax_uid) const {
  if (dependencies_.plans == nullptr || upload_.skip_anonymization()) return nullptr;
  NX_ASSIGN_OR_RETURN(std::shared_ptr<const deidentify::Plan> plan, dependencies_.plans->Site());
  if (plan == nullptr) return nullptr;
  SiteStage::Options options;
  options.variables = deidentify::VariablesOf(object.key.project(), object.key.subject(), object.key.label());
  options.transfer_syntax_uid = std::string(transfer_syntax_uid);
  options.attributes = policy_->attributes;
  options.verify_only = upload_.locally_anonymized();
  return std::make_unique<SiteStage>(std::move(plan), std::move(options));
}

// Joins the object to its session as the object that `stored` says it is now. Fills in what the outcome tells
// of it.
absl::StatusOr<std::unique_ptr<Reception>> ObjectStream::Join(prearchive::ArrivingObject object,
                                                              const dicom::HeaderFacts& stored,
                                                              OutcomeRow& outcome) {
  // Originals of replaced UIDs group and recognize objects without being found anywhere.
  if (stored.study_instance_uid() != object.key.study_instance_uid()) {
    object.key.set_study_identity(dependencies_.plans->Fingerprint(object.key.study_instance_uid()));
    object.key.set_study_instance_uid(std::string(stored.study_instance_uid()));
  }
  if (stored.sop_instance_uid() != object.sop_instance_uid) {
    object.instance_identity = dependencies_.plans->Fingerprint(object.sop_instance_uid);
    object.sop_instance_uid = std::string(stored.sop_instance_uid());
  }
  object.series_instance_uid = std::string(stored.series_instance_uid());
  object.pet_part = IsPetPart(stored);
  outcome.set_sop_instance_uid(object.sop_instance_uid);
  outcome.set_series_instance_uid(object.series_instance_uid);
  return dependencies_.prearchive.Begin(std::move(object));
}

}  // namespace narthex::ingest
