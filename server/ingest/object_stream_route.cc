// Where an object goes, and whether it is wanted.

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/object_stream_current.h"

namespace narthex::ingest {

using prearchive::OutcomeRow;
using prearchive::Reception;

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

// Routes the object and joins it to its session. Fills in what the outcome tells of the object.
// FAILED_PRECONDITION (SERIES_FILTER): a filter excludes it.
absl::StatusOr<std::unique_ptr<Reception>> ObjectStream::Receive(const dicom::HeaderFacts& facts,
                                                                 int64_t sequence, OutcomeRow& outcome) {
  outcome.set_upload(upload_.id());
  outcome.set_sequence(sequence);
  outcome.set_sop_instance_uid(std::string(facts.sop_instance_uid()));
  outcome.set_series_instance_uid(std::string(facts.series_instance_uid()));
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
      filtered_->outcome = outcome;
      filtered_->counted_in = object.key;
      return FailedPrecondition("SERIES_FILTER", verdict.reason);
    }
  }
  object.sop_instance_uid = std::string(facts.sop_instance_uid());
  object.series_instance_uid = std::string(facts.series_instance_uid());
  object.upload = upload_.id();
  object.sequence = sequence;
  object.idle_build = absl::Seconds(upload_.idle_build_seconds());
  return dependencies_.prearchive.Begin(std::move(object));
}

}  // namespace narthex::ingest
