#include "server/gateway/commitment_reporter.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/limits_gateway.h"
#include "base/local_address.h"
#include "base/log.h"
#include "base/status.h"
#include "server/gateway/commitment_dataset.h"
#include "server/gateway/dimse.h"
#include "server/gateway/negotiation.h"
#include "server/gateway/pdu.h"
#include "server/gateway/receiver.h"
#include "server/gateway/wire_reader.h"

namespace narthex::gateway {
namespace {

constexpr uint8_t kContextId = 1;

// An association that we have asked for.
class Requester {
 public:
  Requester(Socket socket, absl::Time deadline, const StopSignal& stop)
      : socket_(std::move(socket)), reader_(socket_, stop), deadline_(deadline), stop_(stop) {}

  // Over TLS, that it is who asked.
  absl::Status Identify(const v1::CommitmentReport& report, const std::string& host);
  // The transfer syntax that the peer takes reports in.
  absl::StatusOr<std::string> Associate(const v1::CommitmentReport& report);
  absl::Status Report(const v1::CommitmentReport& report, bool explicit_vr);
  void Release() { socket_.Send(EncodeReleaseRq(), deadline_).IgnoreError(); }

 private:
  struct Pdu {
    uint8_t type = 0;
    std::string body;
  };
  absl::StatusOr<Pdu> Receive();

  Socket socket_;
  WireReader reader_;
  const absl::Time deadline_;
  const StopSignal& stop_;
  uint32_t peer_max_pdu_bytes_ = 0;
};

absl::StatusOr<Requester::Pdu> Requester::Receive() {
  reader_.ExpectWithin(deadline_ - absl::Now());
  NX_ASSIGN_OR_RETURN(const absl::string_view head, reader_.Peek(kPduHeaderBytes));
  const PduHeader header = ParsePduHeader(head);
  reader_.Consume(kPduHeaderBytes);
  if (header.length > limits::kAssociateMaxBytes)
    return absl::InvalidArgumentError("a PDU that is too large");
  Pdu pdu{header.type, ""};
  while (pdu.body.size() < header.length) {
    NX_ASSIGN_OR_RETURN(const absl::string_view piece, reader_.Read(header.length - pdu.body.size()));
    pdu.body.append(piece.data(), piece.size());
  }
  return pdu;
}

absl::Status Requester::Identify(const v1::CommitmentReport& report, const std::string& host) {
  NX_RETURN_IF_ERROR(socket_.Handshake(deadline_, &stop_));
  if (!report.tls() || socket_.PeerCertificateName() == report.calling_ae_title() ||
      socket_.PeerIsHost(host)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "the requester's certificate is neither for its AE title nor for its host");
}

absl::StatusOr<std::string> Requester::Associate(const v1::CommitmentReport& report) {
  gateway::Associate request;
  request.called_ae_title = report.calling_ae_title();
  request.calling_ae_title = report.called_ae_title();
  request.contexts.push_back(
      {.id = kContextId,
       .abstract_syntax = std::string(kCommitmentSopClass),
       .transfer_syntaxes = {std::string(kExplicitLittleEndian), std::string(kImplicitLittleEndian)}});
  request.max_pdu_bytes = limits::kPduMaxBytes;
  request.implementation_class_uid = std::string(kImplementationClassUid);
  request.implementation_version = std::string(kImplementationVersionName);
  // The provider calls: PS3.4 J.3.3 wants the roles negotiated.
  request.roles.push_back({std::string(kCommitmentSopClass), false, true});
  NX_RETURN_IF_ERROR(socket_.Send(EncodeAssociate(PduType::kAssociateRq, request), deadline_));
  NX_ASSIGN_OR_RETURN(const Pdu answer, Receive());
  if (answer.type != static_cast<uint8_t>(PduType::kAssociateAc)) {
    return absl::FailedPreconditionError("the requester rejects the association");
  }
  NX_ASSIGN_OR_RETURN(const gateway::Associate accepted, ParseAssociate(PduType::kAssociateAc, answer.body));
  peer_max_pdu_bytes_ = accepted.max_pdu_bytes;
  for (const PresentationContext& context : accepted.contexts) {
    if (context.id == kContextId && context.result == ContextResult::kAccepted &&
        !context.transfer_syntaxes.empty()) {
      return context.transfer_syntaxes.front();
    }
  }
  return absl::FailedPreconditionError("the requester does not take storage commitment reports");
}

absl::Status Requester::Report(const v1::CommitmentReport& report, bool explicit_vr) {
  std::string bytes;
  AppendPData(kContextId, true, EncodeCommand(CommitmentReportCommand(report, 1)), peer_max_pdu_bytes_,
              bytes);
  AppendPData(kContextId, false, EncodeCommitmentReport(report, explicit_vr), peer_max_pdu_bytes_, bytes);
  NX_RETURN_IF_ERROR(socket_.Send(bytes, deadline_));
  std::string command_bytes;
  while (true) {
    NX_ASSIGN_OR_RETURN(const Pdu pdu, Receive());
    if (pdu.type != static_cast<uint8_t>(PduType::kPData)) {
      return absl::UnavailableError("the requester ended the association");
    }
    absl::string_view rest = pdu.body;
    while (rest.size() >= kPdvHeaderBytes) {
      NX_ASSIGN_OR_RETURN(const PdvHeader pdv, ParsePdvHeader(rest));
      rest.remove_prefix(kPdvHeaderBytes);
      if (pdv.data_length > rest.size() || command_bytes.size() > limits::kCommandMaxBytes) {
        return absl::InvalidArgumentError("an answer that cannot be parsed");
      }
      if (pdv.command) absl::StrAppend(&command_bytes, rest.substr(0, pdv.data_length));
      rest.remove_prefix(pdv.data_length);
      if (!pdv.command || !pdv.last) continue;
      NX_ASSIGN_OR_RETURN(const Command response, ParseCommand(command_bytes));
      if (response.field != kNEventReportRsp || response.status != kStatusSuccess) {
        return absl::FailedPreconditionError(
            absl::StrCat("the requester answers the report with status ", response.status));
      }
      return absl::OkStatus();
    }
  }
}

}  // namespace

absl::Status SendCommitmentReport(const v1::CommitmentReport& report, const ReportTransport& transport,
                                  absl::Duration timeout, const StopSignal& stop) {
  if (report.address().empty()) {
    return absl::FailedPreconditionError("the receiver's settings do not say where the requester listens");
  }
  NX_ASSIGN_OR_RETURN(const ListenAddress address,
                      ParseListenAddress(report.address(), "receiver of reports"));
  if (report.tls() && (transport.tls == nullptr || !transport.tls->knows_authorities())) {
    return absl::FailedPreconditionError(
        "the receiver is one with TLS; give --dicom-tls-cert and --dicom-tls-client-ca");
  }
  if (!report.tls() && !transport.plaintext_allowed && !IsLocalHost(address.host)) {
    return FailedPrecondition("PLAINTEXT_REFUSED",
                              "the report would be plain text on a network; give the receiver TLS, or the "
                              "program --allow-plaintext");
  }
  const absl::Time deadline = absl::Now() + timeout;
  NX_ASSIGN_OR_RETURN(Socket socket, Socket::Connect(address, deadline, &stop));
  if (report.tls()) socket.Encrypt(transport.tls->Current());
  Requester requester(std::move(socket), deadline, stop);
  NX_RETURN_IF_ERROR(requester.Identify(report, address.host));
  NX_ASSIGN_OR_RETURN(const std::string transfer_syntax, requester.Associate(report));
  NX_RETURN_IF_ERROR(requester.Report(report, transfer_syntax != kImplicitLittleEndian));
  requester.Release();
  return absl::OkStatus();
}

CommitmentReporter::CommitmentReporter(std::shared_ptr<CommitmentSource> source, ReportTransport transport,
                                       absl::Duration poll, const StopSignal& stop)
    : source_(std::move(source)), transport_(std::move(transport)), poll_(poll), stop_(stop), thread_([this] {
        Run();
      }) {}

CommitmentReporter::~CommitmentReporter() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void CommitmentReporter::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

bool CommitmentReporter::DeliverDue() {
  const auto reports = source_->Claim();
  if (!reports.ok()) return false;  // the server is away; it keeps them
  for (const v1::CommitmentReport& report : *reports) {
    const absl::Status sent = SendCommitmentReport(
        report, transport_, absl::Seconds(limits::kCommitmentDeliverySeconds.get()), stop_);
    if (absl::IsCancelled(sent)) return false;
    if (!sent.ok()) {
      Log(LogLevel::kWarning, "storage commitment report not delivered",
          {{"called", report.called_ae_title()},
           {"calling", LoggedAeTitle(report.calling_ae_title())},
           {"transaction", report.transaction_uid()},
           {"status", sent}});
    }
    source_
        ->Conclude(report,
                   sent.ok() ? CommitmentSource::Delivery::kDone : CommitmentSource::Delivery::kFailed,
                   sent.message())
        .IgnoreError();
  }
  return !reports->empty();
}

void CommitmentReporter::Run() {
  const auto called = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || woken_; };
  while (true) {
    while (!stop_.IsSet() && DeliverDue()) {
    }
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&called), poll_);
    if (stopping_) return;
    woken_ = false;
  }
}

}  // namespace narthex::gateway
