#include "server/gateway/store_handler.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/log.h"
#include "base/metrics.h"
#include "imaging/dicom/sop_class.h"
#include "server/gateway/commitment_dataset.h"
#include "server/gateway/negotiation.h"
#include "server/gateway/part10_header.h"

namespace narthex::gateway {
namespace {

// Refusals that get a log line of their own, of each association; the rest is only counted.
constexpr int64_t kLoggedRefusalsMax = 20;  // fixed: lines of the log; all are counted
// A full window that does not move for so long: the stream is asked whether it still lives.
constexpr absl::Duration kStalled = absl::Seconds(10);

}  // namespace

StoreHandler::StoreHandler(StoreOptions options, const SinkFactory& sinks, Responder& responder)
    : options_(std::move(options)),
      responder_(responder),
      sink_(sinks({options_.destination, options_.source,
                   [this](const v1::ObjectOutcome& outcome) { OnOutcome(outcome); }, options_.window <= 1})) {
}

StoreHandler::~StoreHandler() {
  const StoreCounts counts = this->counts();
  Metrics& metrics = Metrics::Global();
  const auto count = [&metrics](absl::string_view result, int64_t by) {
    metrics.Count("gateway_objects_total", "C-STORE requests by answer", static_cast<double>(by),
                  {{"result", std::string(result)}});
  };
  count("stored", counts.stored_count);
  count("refused", counts.refused_count);
  metrics.Count("gateway_data_bytes_total", "bytes of data sets received",
                static_cast<double>(counts.data_bytes));
}

void StoreHandler::Begin(const Command& request, uint8_t context_id, absl::string_view abstract_syntax,
                         absl::string_view transfer_syntax) {
  WaitForRoom();
  current_.emplace(Current{{request, context_id}, 0, std::nullopt, UidProbe(transfer_syntax)});
  current_->refusal = StartObject(abstract_syntax, transfer_syntax);
}

std::optional<StoreStatus> StoreHandler::StartObject(absl::string_view abstract_syntax,
                                                     absl::string_view transfer_syntax) {
  const Command& request = current_->object.request;
  // Some senders put an object on the context of another storage class; it is kept as what it says it is.
  if (abstract_syntax == dicom::kVerificationSopClass || abstract_syntax == kCommitmentSopClass ||
      !IsAcceptedForStorage(request.affected_sop_class_uid)) {
    return StoreStatus{kStatusSopClassNotSupported, "SOP_CLASS_NOT_SUPPORTED"};
  }
  if (!IsUid(request.affected_sop_instance_uid)) return StoreStatus{kStatusDataSetMismatch, "INVALID_UID"};

  absl::StatusOr<int64_t> sequence = sink_->Begin();
  if (!sequence.ok()) {
    AnswerLost(StoreStatusOf(sequence.status()));
    if (absl::IsAborted(sequence.status())) sequence = sink_->Begin();
  }
  if (!sequence.ok()) {
    Log(LogLevel::kWarning, "dicom upload cannot be opened", {{"status", sequence.status()}});
    return StoreStatusOf(sequence.status());
  }
  current_->sequence = *sequence;
  {
    absl::MutexLock lock(&mutex_);
    receiving_ = *sequence;
    early_.reset();
  }
  const std::string header =
      EncodePart10Header({request.affected_sop_class_uid, request.affected_sop_instance_uid, transfer_syntax,
                          options_.calling_ae_title});
  absl::Status appended = sink_->Append(header);
  if (appended.ok()) return std::nullopt;
  AnswerLost(StoreStatusOf(appended));
  return StoreStatusOf(appended);
}

void StoreHandler::Append(absl::string_view data) {
  data_bytes_ += static_cast<int64_t>(data.size());
  if (current_->refusal) return;
  if (current_->probing) Probe(data);
  if (current_->refusal) return;
  absl::Status appended = sink_->Append(data);
  if (!appended.ok()) SinkFailed(appended);
}

void StoreHandler::Probe(absl::string_view data) {
  const Command& request = current_->object.request;
  UidProbe& probe = current_->probe;
  current_->probing = probe.Feed(data);
  const auto differs = [](absl::string_view found, absl::string_view said) {
    return !found.empty() && found != said;
  };
  absl::string_view reason;
  if (differs(probe.sop_class_uid(), request.affected_sop_class_uid)) reason = "SOP_CLASS_UID_DIFFERS";
  if (differs(probe.sop_instance_uid(), request.affected_sop_instance_uid))
    reason = "SOP_INSTANCE_UID_DIFFERS";
  if (reason.empty()) return;
  sink_->Abandon();
  current_->refusal = StoreStatus{kStatusDataSetMismatch, std::string(reason)};
}

void StoreHandler::SinkFailed(const absl::Status& status) {
  Log(LogLevel::kWarning, "dicom upload broke", {{"status", status}});
  current_->refusal = StoreStatusOf(status);
  AnswerLost(*current_->refusal);
}

absl::Status StoreHandler::End() {
  const Current current = *std::move(current_);
  current_.reset();
  if (current.refusal) return Answer(current.object, *current.refusal);
  std::optional<v1::ObjectOutcome> early;
  {
    absl::MutexLock lock(&mutex_);
    waiting_.emplace(current.sequence, current.object);
    receiving_.reset();
    early = std::exchange(early_, std::nullopt);
  }
  absl::Status ended = sink_->End();
  // Refused before its end: the answer may go out only now.
  if (early) OnOutcome(*early);
  if (!ended.ok()) AnswerLost(StoreStatusOf(ended));
  return absl::OkStatus();
}

void StoreHandler::Abandon() {
  if (current_ && !current_->refusal) sink_->Abandon();
  current_.reset();
}

bool StoreHandler::HasPending() const {
  absl::MutexLock lock(&mutex_);
  return !waiting_.empty();
}

void StoreHandler::Drain() {
  absl::Status finished = sink_->Finish();
  AnswerLost(StoreStatusOf(finished.ok() ? absl::UnavailableError("no outcome came") : finished));
}

void StoreHandler::WaitForRoom() {
  const auto has_room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiting_.size() < static_cast<size_t>(options_.window);
  };
  {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&has_room), kStalled)) return;
  }
  Drain();
}

void StoreHandler::OnOutcome(const v1::ObjectOutcome& outcome) {
  std::optional<Waiting> object;
  {
    absl::MutexLock lock(&mutex_);
    auto found = waiting_.find(outcome.sequence());
    if (found == waiting_.end()) {
      if (receiving_ == outcome.sequence()) early_ = outcome;
      return;  // or it was abandoned, or answered as lost
    }
    object = std::move(found->second);
    waiting_.erase(found);
  }
  // If it fails the association's thread finds its connection broken, too.
  // The probe has compared the UIDs; the outcome has the one that the site's script may have put there.
  Answer(*object, StoreStatusOf(outcome, "", options_.refuses_filtered)).IgnoreError();
}

void StoreHandler::AnswerLost(const StoreStatus& status) {
  std::map<int64_t, Waiting> lost;
  {
    absl::MutexLock lock(&mutex_);
    lost.swap(waiting_);
  }
  for (const auto& [sequence, object] : lost) Answer(object, status).IgnoreError();
}

absl::Status StoreHandler::Answer(const Waiting& object, const StoreStatus& status) {
  int64_t refused_count = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (status.code == kStatusSuccess) {
      ++counts_.stored_count;
    } else {
      refused_count = ++counts_.refused_count;
    }
  }
  if (refused_count > 0 && refused_count <= kLoggedRefusalsMax) {
    Log(LogLevel::kWarning, "dicom object refused",
        {{"reason", status.comment},
         {"dimse_status", absl::StrCat("0x", absl::Hex(status.code, absl::kZeroPad4))},
         {"source", options_.source.address()}});
  }
  return responder_.SendCommand(object.context_id, ResponseTo(object.request, status.code, status.comment));
}

StoreCounts StoreHandler::counts() const {
  absl::MutexLock lock(&mutex_);
  StoreCounts counts = counts_;
  counts.data_bytes = data_bytes_;
  return counts;
}

}  // namespace narthex::gateway
