// Where an object goes, and whether it is wanted.

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/tag.h"
#include "imaging/identify/router.h"
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

// Of a pseudonym: 16 digits, so that two patients of a site do not get the same.
constexpr size_t kPseudonymBytes = 8;

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
  named_ = {.label_by_patient = to.label_by.stage == identify::Stage::kAttribute,
            .subject_by_patient = to.subject_by.stage == identify::Stage::kAttribute,
            .subject_is_label = to.subject.empty()};
  object.key.set_source(upload_.kind());
  object.key.set_auto_archive(upload_.destination().auto_archive());
  if (object.key.auto_archive() == 0 && to.auto_archive) {
    // Numbers of narthex.v1.AutoArchive.Mode: AA:true is AUTO, AA:false MANUAL.
    object.key.set_auto_archive(*to.auto_archive == identify::AutoArchive::kYes ? 2 : 1);
  }
  object.key.set_direct_archive(upload_.destination().direct_archive());
  return absl::OkStatus();
}

// A label that stands for the one that routing took from the patient's name or number.
std::string ObjectStream::Pseudonym(absl::string_view what, const prearchive::ArrivingObject& object,
                                    const std::string& original) const {
  // A study has a session of its own, a patient has one subject.
  const std::string of = what == "session" ? object.key.study_instance_uid() : "";
  const std::string print = dependencies_.plans->Fingerprint(absl::StrCat(what, ":", of, ":", original));
  return absl::StrCat("anon-", absl::BytesToHexString(absl::string_view(print).substr(0, kPseudonymBytes)));
}

// The labels that routing took from the patient's name and number, as `stored` has these now; null: whatever
// it has, nobody is to be recognized by them.
void ObjectStream::Rename(const dicom::HeaderFacts* stored, prearchive::ArrivingObject& object) const {
  const auto label = [&](absl::string_view what, dicom::Tag tag, const std::string& original) {
    const std::string now = stored == nullptr ? "" : identify::LabelFromAttribute(*stored, tag);
    return now.empty() ? Pseudonym(what, object, original) : now;
  };
  if (named_.subject_by_patient)
    object.key.set_subject(label("subject", dicom::tags::kPatientName, object.key.subject()));
  if (named_.label_by_patient)
    object.key.set_label(label("session", dicom::tags::kPatientID, object.key.label()));
  if (named_.subject_is_label) object.key.set_subject(object.key.label());
}

// Whether the site's script and profile apply to what comes on this stream.
bool ObjectStream::Anonymizes() const {
  if (dependencies_.plans == nullptr || upload_.skip_anonymization()) return false;
  const auto plan = dependencies_.plans->Site();
  return !plan.ok() || *plan != nullptr;
}

// Whether a profile does, which leaves neither name nor number.
bool ObjectStream::Profiles() const {
  if (!Anonymizes() || upload_.locally_anonymized()) return false;
  const auto plan = dependencies_.plans->Site();
  return plan.ok() && (*plan)->steps.profile != nullptr;
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
      if (Profiles()) Rename(nullptr, object);  // as those of the session that takes its other objects
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
absl::StatusOr<std::unique_ptr<SiteStage>> ObjectStream::NewStage(prearchive::ArrivingObject& object,
                                                                  absl::string_view transfer_syntax_uid) {
  const Named named = std::exchange(named_, {});
  if (dependencies_.plans == nullptr || upload_.skip_anonymization()) return nullptr;
  NX_ASSIGN_OR_RETURN(std::shared_ptr<const deidentify::Plan> plan, dependencies_.plans->Site());
  if (plan == nullptr) return nullptr;
  if (!upload_.locally_anonymized()) {
    named_ = named;
    // A profile puts the subject's label into what it empties: that must not be the patient's name.
    if (plan->steps.profile != nullptr) {
      Rename(nullptr, object);
      named_ = {};
    }
  }
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
  Rename(&stored, object);
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
  NX_ASSIGN_OR_RETURN(auto reception, dependencies_.prearchive.Begin(std::move(object)));
  at_hand_ = reception->KeepAtHand();
  return reception;
}

}  // namespace narthex::ingest
