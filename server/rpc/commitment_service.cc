#include "server/rpc/commitment_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/log.h"
#include "base/status.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

constexpr int kClaimedMax = 100;  // fixed: a batch; gateways ask again
constexpr int kClaimedDefault = 10;

bool IsUid(const std::string& text) {
  return !text.empty() && text.size() <= limits::kUidMaxBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

absl::Status RequireGateway(const auth::Caller& caller) {
  return caller.identity().user.all_data_admin ? absl::OkStatus() : caller.RequireAdmin();
}

absl::Status Check(const v1::RequestCommitmentRequest& request) {
  if (!IsUid(request.transaction_uid())) return InvalidField("transaction_uid", "expected a UID");
  if (request.instances_size() > limits::kCommitmentInstancesMax) {
    return InvalidField("instances", absl::StrCat("at most ", limits::kCommitmentInstancesMax.get()));
  }
  for (const v1::CommittedInstance& instance : request.instances()) {
    if (!IsUid(instance.sop_class_uid()) || !IsUid(instance.sop_instance_uid())) {
      return InvalidField("instances", "expected UIDs");
    }
  }
  return absl::OkStatus();
}

}  // namespace

v1::CommitmentReport CommitmentServiceImpl::ToProto(const ingest::CommitmentRow& row) const {
  v1::CommitmentReport report;
  report.set_name(absl::StrCat("commitmentReports/", row.id()));
  report.set_transaction_uid(row.transaction_uid());
  report.set_called_ae_title(row.called_ae_title());
  report.set_calling_ae_title(row.calling_ae_title());
  const CommitmentTarget target = with_.target(row.called_ae_title(), row.calling_ae_title());
  report.set_address(target.address);
  report.set_tls(target.tls);
  report.set_failures(row.failures());
  for (const ingest::CommittedInstanceRow& from : row.instances()) {
    v1::CommittedInstance& instance = *report.add_instances();
    instance.set_sop_class_uid(from.sop_class_uid());
    instance.set_sop_instance_uid(from.sop_instance_uid());
    instance.set_failure_reason(from.failure_reason());
  }
  return report;
}

grpc::Status CommitmentServiceImpl::RequestCommitment(grpc::ServerContext* context,
                                                      const v1::RequestCommitmentRequest* request,
                                                      v1::CommitmentReport* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::CommitmentReport> {
        NX_RETURN_IF_ERROR(RequireGateway(caller));
        NX_RETURN_IF_ERROR(Check(*request));
        ingest::CommitmentRow row;
        row.set_transaction_uid(request->transaction_uid());
        row.set_called_ae_title(request->called_ae_title());
        row.set_calling_ae_title(request->calling_ae_title());
        for (const v1::CommittedInstance& from : request->instances()) {
          ingest::CommittedInstanceRow& instance = *row.add_instances();
          instance.set_sop_class_uid(from.sop_class_uid());
          instance.set_sop_instance_uid(from.sop_instance_uid());
        }
        NX_ASSIGN_OR_RETURN(const auto answer, with_.commitments.Request(std::move(row)));
        for (const std::string& session : answer.sessions) {
          // The report counts; a session that cannot be built now is built by its timer.
          const auto started = with_.build(session, caller.user(), "storage-commitment", "");
          if (!started.ok()) {
            Log(LogLevel::kWarning, "committed session not built",
                {{"session", session}, {"error", started.status()}});
          }
        }
        return ToProto(answer.row);
      });
}

grpc::Status CommitmentServiceImpl::ClaimCommitmentReports(grpc::ServerContext* context,
                                                           const v1::ClaimCommitmentReportsRequest* request,
                                                           v1::ClaimCommitmentReportsResponse* response) {
  return with_.gate.Unary(
      context, response,
      [&](const auth::Caller& caller) -> absl::StatusOr<v1::ClaimCommitmentReportsResponse> {
        NX_RETURN_IF_ERROR(RequireGateway(caller));
        const int asked = request->max_count() <= 0 ? kClaimedDefault : request->max_count();
        NX_ASSIGN_OR_RETURN(const auto rows, with_.commitments.Claim(std::min(asked, kClaimedMax)));
        v1::ClaimCommitmentReportsResponse answer;
        for (const ingest::CommitmentRow& row : rows) *answer.add_reports() = ToProto(row);
        return answer;
      });
}

grpc::Status CommitmentServiceImpl::ConcludeCommitmentReport(
    grpc::ServerContext* context, const v1::ConcludeCommitmentReportRequest* request,
    google::protobuf::Empty* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_RETURN_IF_ERROR(RequireGateway(caller));
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->name(), "commitmentReports", "name"));
        NX_RETURN_IF_ERROR(request->delivered()
                               ? with_.commitments.Delivered(id)
                               : with_.commitments.NotDelivered(id, !request->due_now(), request->error()));
        return google::protobuf::Empty();
      });
}

}  // namespace narthex::rpc
