#include "server/gateway/association.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/limits_gateway.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/gateway/negotiation.h"

namespace narthex::gateway {
namespace {

// From our last word until the peer hangs up. Longer helps nobody; the ARTIM timer may be shorter.
// With answers outstanding and nothing coming in for so long, the upload's stream is closed, which waits for
// the outcomes, or finds out that it is broken.
constexpr absl::Duration kPendingPatience = absl::Milliseconds(500);
constexpr size_t kRequestPieceBytes = 16 << 10;

std::string DescribeReject(const Reject& reject) {
  if (reject == kRejectProtocolVersion) return "protocol version not supported";
  if (reject == kRejectApplicationContext) return "application context name not supported";
  if (reject == kRejectCalledAe) return "called AE title not recognized";
  if (reject == kRejectCallingAe) return "calling AE title not recognized";
  return "local limit exceeded";
}

}  // namespace

Association::Association(Socket socket, uint16_t local_port, bool over_limit,
                         const AssociationEnvironment& environment)
    : environment_(environment),
      socket_(std::move(socket)),
      local_port_(local_port),
      over_limit_(over_limit),
      peer_address_(socket_.PeerAddress()),
      reader_(socket_, environment.stop),
      responder_(socket_, environment.progress_timeout) {}

void Association::Run() {
  if (const absl::Status agreed =
          socket_.Handshake(absl::Now() + environment_.artim_timeout, &environment_.stop);
      !agreed.ok()) {
    Log(LogLevel::kWarning, "dicom tls handshake failed",
        {{"source", peer_address_}, {"end", agreed.message()}});
    Metrics::Global().Count("gateway_rejected_total", "associations rejected", 1, {{"reason", "TLS"}});
    return;
  }
  absl::StatusOr<bool> accepted = Establish();
  absl::Status end = accepted.status();
  if (accepted.ok() && *accepted) {
    end = Serve();
    store_->Abandon();
    store_->Drain();
    commitment_->Finish();
  }
  Conclude(end);
  const bool rejected = accepted.ok() && !*accepted;
  // Who connects and says nothing is a port scan or somebody's health check.
  if (!rejected && reader_.received_bytes() > 0) LogEnd(end);
}

absl::StatusOr<bool> Association::Establish() {
  NX_ASSIGN_OR_RETURN(Associate request, ReceiveRequest());
  called_ae_title_ = LoggedAeTitle(request.called_ae_title);
  calling_ae_title_ = LoggedAeTitle(request.calling_ae_title);
  if (const std::optional<Refusal> refusal = Decide(request)) {
    const Reject& reject = refusal->reject;
    Log(LogLevel::kWarning, "dicom association rejected",
        {{"reason", DescribeReject(reject)},
         {"detail", refusal->detail},
         {"called", called_ae_title_},
         {"calling", calling_ae_title_},
         {"source", peer_address_}});
    Metrics::Global().Count("gateway_rejected_total", "associations rejected", 1,
                            {{"reason", DescribeReject(reject)}});
    NX_RETURN_IF_ERROR(responder_.SendPdu(EncodeReject(reject)));
    return false;
  }
  Accept(request);
  return true;
}

absl::StatusOr<Associate> Association::ReceiveRequest() {
  reader_.ExpectWithin(environment_.artim_timeout);
  NX_ASSIGN_OR_RETURN(absl::string_view head, reader_.Peek(kPduHeaderBytes));
  const PduHeader pdu = ParsePduHeader(head);
  reader_.Consume(kPduHeaderBytes);
  if (pdu.type == static_cast<uint8_t>(PduType::kAbort)) return absl::AbortedError("the peer aborted");
  if (pdu.type != static_cast<uint8_t>(PduType::kAssociateRq)) {
    const bool known = pdu.type >= 1 && pdu.type <= 7;
    return Violation(known ? kAbortUnexpectedPdu : kAbortUnrecognizedPdu,
                     absl::StrCat("PDU type ", pdu.type, " before the association"));
  }
  if (pdu.length > limits::kAssociateMaxBytes) {
    return Violation(kAbortInvalidParameter,
                     absl::StrCat("an association request of ", pdu.length, " bytes"));
  }
  // It grows with what really comes, not with what was announced.
  std::string body;
  while (body.size() < pdu.length) {
    NX_ASSIGN_OR_RETURN(absl::string_view piece,
                        reader_.Read(std::min<uint64_t>(pdu.length - body.size(), kRequestPieceBytes)));
    body.append(piece.data(), piece.size());
  }
  absl::StatusOr<Associate> request = ParseAssociate(PduType::kAssociateRq, body);
  if (!request.ok()) return Violation(kAbortInvalidParameter, request.status().message());
  return request;
}

std::optional<Refusal> Association::Decide(const Associate& request) {
  if (over_limit_) return Refusal{kRejectLocalLimit, "as many associations as there may be are open"};
  if (const std::optional<Reject> reject = CheckProtocol(request)) return Refusal{*reject};
  auto admitted = environment_.admit(request, peer_address_, local_port_, socket_.PeerCertificateName());
  if (Refusal* refusal = std::get_if<Refusal>(&admitted)) return std::move(*refusal);
  admission_ = std::get<Admission>(std::move(admitted));
  return std::nullopt;
}

void Association::Accept(const Associate& request) {
  const Associate answer = Negotiate(request);
  for (size_t i = 0; i < answer.contexts.size(); ++i) {
    const PresentationContext& context = answer.contexts[i];
    if (context.result != ContextResult::kAccepted) continue;
    contexts_[context.id] = {request.contexts[i].abstract_syntax, context.transfer_syntaxes.front()};
  }
  responder_.set_peer_max_pdu_bytes(request.max_pdu_bytes);

  StoreOptions options;
  options.calling_ae_title = request.calling_ae_title;
  options.destination = admission_.destination;
  options.refuses_filtered = admission_.refuses_filtered;
  options.source.set_kind("dicom");
  options.source.set_called_ae_title(request.called_ae_title);
  options.source.set_calling_ae_title(request.calling_ae_title);
  options.source.set_address(peer_address_);
  options.window = answer.async_window ? answer.async_window->invoked : 1;
  store_ = std::make_unique<StoreHandler>(std::move(options), environment_.sinks, responder_);
  CommitmentHandler::Options committing;
  committing.source = environment_.commitments.get();
  committing.called_ae_title = request.called_ae_title;
  committing.calling_ae_title = request.calling_ae_title;
  committing.on_interrupted = environment_.on_interrupted_report;
  commitment_ = std::make_unique<CommitmentHandler>(std::move(committing), responder_);
  // If it cannot be sent, receiving will say so.
  responder_.SendPdu(EncodeAssociate(PduType::kAssociateAc, answer)).IgnoreError();
}

absl::Status Association::Serve() {
  while (true) {
    NX_ASSIGN_OR_RETURN(PduHeader pdu, NextPdu());
    switch (static_cast<PduType>(pdu.type)) {
      case PduType::kPData:
        NX_RETURN_IF_ERROR(ReceiveData(pdu.length));
        break;
      case PduType::kReleaseRq:
        return OnReleaseRequest(pdu.length);
      case PduType::kAbort:
        return absl::AbortedError("the peer aborted");
      case PduType::kAssociateRq:
      case PduType::kAssociateAc:
      case PduType::kAssociateRj:
      case PduType::kReleaseRp:
        return Violation(kAbortUnexpectedPdu, absl::StrCat("PDU type ", pdu.type, " in an association"));
      default:
        return Violation(kAbortUnrecognizedPdu, absl::StrCat("PDU type ", pdu.type));
    }
  }
}

absl::StatusOr<PduHeader> Association::NextPdu() {
  // Within a message the expectation of progress goes on.
  if (!message_) {
    if (environment_.stop.IsSet()) return absl::CancelledError("the gateway is stopping");
    if (store_->HasPending()) {
      reader_.ExpectWithin(kPendingPatience);
      absl::Status head = reader_.Peek(kPduHeaderBytes).status();
      if (absl::IsDeadlineExceeded(head)) store_->Drain();
    }
    reader_.ExpectWithin(environment_.idle_timeout);
  }
  NX_ASSIGN_OR_RETURN(absl::string_view head, reader_.Peek(kPduHeaderBytes));
  const PduHeader pdu = ParsePduHeader(head);
  reader_.Consume(kPduHeaderBytes);
  if (!message_) reader_.ExpectProgress(environment_.progress_timeout);
  return pdu;
}

absl::Status Association::ReceiveData(uint32_t length) {
  if (length > limits::kPduMaxBytes) {
    return Violation(kAbortInvalidParameter, absl::StrCat("a P-DATA-TF of ", length, " bytes"));
  }
  while (length > 0) {
    if (length < kPdvHeaderBytes) return Violation(kAbortInvalidParameter, "a data value without header");
    NX_ASSIGN_OR_RETURN(absl::string_view head, reader_.Peek(kPdvHeaderBytes));
    absl::StatusOr<PdvHeader> pdv = ParsePdvHeader(head);
    if (!pdv.ok()) return Violation(kAbortInvalidParameter, pdv.status().message());
    reader_.Consume(kPdvHeaderBytes);
    length -= kPdvHeaderBytes;
    if (pdv->data_length > length) return Violation(kAbortInvalidParameter, "a data value beyond its PDU");
    if (contexts_[pdv->context_id].transfer_syntax.empty()) {
      return Violation(kAbortInvalidParameter, absl::StrCat("presentation context ", pdv->context_id));
    }
    NX_RETURN_IF_ERROR(pdv->command ? ReceiveCommandFragment(*pdv) : ReceiveDataFragment(*pdv));
    length -= pdv->data_length;
  }
  return absl::OkStatus();
}

absl::Status Association::ReceiveCommandFragment(const PdvHeader& pdv) {
  if (!message_) message_.emplace().context_id = pdv.context_id;
  if (message_->has_command || message_->context_id != pdv.context_id) {
    return Violation(kAbortUnexpectedPdu, "a command fragment where a data set fragment is due");
  }
  if (message_->command_bytes.size() + pdv.data_length > limits::kCommandMaxBytes) {
    return Violation(kAbortInvalidParameter, "a command set that is too large");
  }
  for (uint32_t left = pdv.data_length; left > 0;) {
    NX_ASSIGN_OR_RETURN(absl::string_view piece, reader_.Read(left));
    message_->command_bytes.append(piece.data(), piece.size());
    left -= static_cast<uint32_t>(piece.size());
  }
  return pdv.last ? OnCommand() : absl::OkStatus();
}

absl::Status Association::OnCommand() {
  absl::StatusOr<Command> command = ParseCommand(message_->command_bytes);
  if (!command.ok()) return Violation(kAbortInvalidParameter, command.status().message());
  if (command->is_response() && !commitment_->OnResponse(*command)) {
    return Violation(kAbortUnexpectedPdu, "a response, though nothing was asked");
  }
  message_->has_command = true;
  message_->command = *std::move(command);
  if (!message_->command.has_data_set()) return OnMessageComplete();
  if (message_->command.field == kNActionRq) commitment_->Begin();
  if (message_->command.field == kCStoreRq) {
    const Context& context = contexts_[message_->context_id];
    store_->Begin(message_->command, message_->context_id, context.abstract_syntax, context.transfer_syntax);
  }
  return absl::OkStatus();
}

absl::Status Association::ReceiveDataFragment(const PdvHeader& pdv) {
  if (!message_ || !message_->has_command || message_->context_id != pdv.context_id) {
    return Violation(kAbortUnexpectedPdu, "a data set fragment where a command is due");
  }
  const bool store = message_->command.field == kCStoreRq;
  const bool action = message_->command.field == kNActionRq;
  for (uint32_t left = pdv.data_length; left > 0;) {
    NX_ASSIGN_OR_RETURN(absl::string_view piece, reader_.Read(left));
    if (store) store_->Append(piece);
    if (action) commitment_->Append(piece);
    left -= static_cast<uint32_t>(piece.size());
  }
  return pdv.last ? OnMessageComplete() : absl::OkStatus();
}

absl::Status Association::OnMessageComplete() {
  const IncomingMessage message = *std::move(message_);
  message_.reset();
  const Command& command = message.command;
  switch (command.field) {
    case kCStoreRq:
      if (command.has_data_set()) return store_->End();
      return responder_.SendCommand(message.context_id,
                                    ResponseTo(command, kStatusCannotUnderstand, "NO_DATA_SET"));
    case kCEchoRq:
      return responder_.SendCommand(message.context_id, ResponseTo(command, kStatusSuccess));
    case kNActionRq: {
      if (!command.has_data_set()) commitment_->Begin();
      // What was stored on this association before has its outcome, and so has what is asked about.
      store_->Drain();
      return commitment_->End(command, message.context_id, contexts_[message.context_id].transfer_syntax);
    }
    case kNEventReportRsp:
      return absl::OkStatus();
    case kCCancelRq:
      return absl::OkStatus();  // has no answer, and there is nothing to cancel
    default:
      return responder_.SendCommand(message.context_id, ResponseTo(command, kStatusUnrecognizedOperation));
  }
}

absl::Status Association::OnReleaseRequest(uint32_t length) {
  if (message_) return Violation(kAbortUnexpectedPdu, "a release within a message");
  if (length != 4) return Violation(kAbortInvalidParameter, "a release request whose length is not 4");
  NX_RETURN_IF_ERROR(reader_.Skip(length));
  store_->Drain();
  return responder_.SendPdu(EncodeReleaseRp());
}

absl::Status Association::Violation(const Abort& abort, absl::string_view what) {
  abort_ = abort;
  return absl::InvalidArgumentError(absl::StrCat("the peer broke the protocol: ", what));
}

void Association::Conclude(const absl::Status& end) {
  const bool peer_left = absl::IsOutOfRange(end) || absl::IsUnavailable(end) || absl::IsAborted(end);
  if (peer_left) return;
  if (!end.ok()) responder_.SendPdu(EncodeAbort(abort_.value_or(kAbortNoReason))).IgnoreError();
  // Closing with bytes unread would reset the connection and may take our last word with it.
  socket_.ShutdownWrite();
  reader_.ExpectWithin(std::min(environment_.artim_timeout, absl::Seconds(limits::kLingerSeconds.get())));
  reader_.Skip(UINT64_MAX).IgnoreError();
}

void Association::LogEnd(const absl::Status& end) const {
  const StoreCounts counts = store_ == nullptr ? StoreCounts() : store_->counts();
  Log(end.ok() ? LogLevel::kInfo : LogLevel::kWarning, "dicom association ended",
      {{"called", called_ae_title_},
       {"calling", calling_ae_title_},
       {"source", peer_address_},
       {"stored", counts.stored_count},
       {"refused", counts.refused_count},
       {"data_bytes", counts.data_bytes},
       {"end", end.ok() ? std::string("released") : std::string(end.message())}});
}

}  // namespace narthex::gateway
