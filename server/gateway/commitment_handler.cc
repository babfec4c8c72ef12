#include "server/gateway/commitment_handler.h"

#include <utility>

#include "base/limits_gateway.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/gateway/commitment_dataset.h"
#include "server/gateway/negotiation.h"

namespace narthex::gateway {

void CommitmentHandler::Begin() {
  data_.clear();
  too_large_ = false;
}

void CommitmentHandler::Append(absl::string_view data) {
  too_large_ = too_large_ || data_.size() + data.size() > limits::kCommitmentMaxBytes;
  if (!too_large_) data_.append(data.data(), data.size());
}

uint16_t CommitmentHandler::Check(const Command& request) const {
  if (request.affected_sop_class_uid != kCommitmentSopClass) return kStatusNoSuchSopClass;
  if (request.affected_sop_instance_uid != kCommitmentSopInstance) return kStatusNoSuchInstance;
  if (request.action_type_id != 1) return kStatusNoSuchAction;
  if (too_large_ || unanswered_.size() >= limits::kCommitmentsOfAssociationMax)
    return kStatusResourceLimitation;
  return options_.source == nullptr ? kStatusProcessingFailure : kStatusSuccess;
}

absl::Status CommitmentHandler::End(const Command& request, uint8_t context_id,
                                    absl::string_view transfer_syntax) {
  const std::string data = std::move(data_);
  data_.clear();
  uint16_t status = Check(request);
  const bool explicit_vr = transfer_syntax != kImplicitLittleEndian;
  v1::CommitmentReport report;
  if (status == kStatusSuccess) {
    auto asked = ParseCommitmentRequest(data, explicit_vr);
    if (asked.ok()) {
      asked->set_called_ae_title(options_.called_ae_title);
      asked->set_calling_ae_title(options_.calling_ae_title);
      auto answer = options_.source->Request(*asked);
      if (answer.ok()) report = *std::move(answer);
      if (!answer.ok()) {
        Log(LogLevel::kWarning, "storage commitment failed",
            {{"calling", LoggedAeTitle(options_.calling_ae_title)}, {"status", answer.status()}});
      }
      status = answer.ok()                                  ? kStatusSuccess
               : absl::IsInvalidArgument(answer.status())   ? kStatusInvalidArgument
               : absl::IsResourceExhausted(answer.status()) ? kStatusResourceLimitation
                                                            : kStatusProcessingFailure;
    } else {
      status = kStatusInvalidArgument;
    }
  }
  Metrics::Global().Count("gateway_commitments_total", "storage commitment requests by answer", 1,
                          {{"result", status == kStatusSuccess ? "taken" : "refused"}});
  Command response = ResponseTo(request, status);
  response.action_type_id = request.action_type_id;
  if (status != kStatusSuccess) return responder_.SendCommand(context_id, response);
  // From now on the report is owed, whatever becomes of this association.
  const uint16_t message_id = next_message_id_++;
  unanswered_.emplace(message_id, report);
  NX_RETURN_IF_ERROR(responder_.SendCommand(context_id, response));
  return responder_.SendMessage(context_id, CommitmentReportCommand(report, message_id),
                                EncodeCommitmentReport(report, explicit_vr));
}

bool CommitmentHandler::OnResponse(const Command& response) {
  const auto found = unanswered_.find(response.responded_message_id);
  if (response.field != kNEventReportRsp || found == unanswered_.end()) return false;
  const bool taken = response.status == kStatusSuccess;
  options_.source
      ->Conclude(found->second,
                 taken ? CommitmentSource::Delivery::kDone : CommitmentSource::Delivery::kFailed,
                 taken ? "" : "the requester refused the report")
      .IgnoreError();  // then it is delivered twice
  unanswered_.erase(found);
  return true;
}

void CommitmentHandler::Finish() {
  for (const auto& [message_id, report] : unanswered_) {
    options_.source->Conclude(report, CommitmentSource::Delivery::kInterrupted, "").IgnoreError();
  }
  if (!unanswered_.empty() && options_.on_interrupted) options_.on_interrupted();
  unanswered_.clear();
}

}  // namespace narthex::gateway
