#include "server/gateway/commitment_source.h"

#include <utility>

#include "base/status.h"
#include "narthex/v1/commitment_service.grpc.pb.h"

namespace narthex::gateway {
namespace {

using Stub = v1::CommitmentService::StubInterface;

class ServerSource : public CommitmentSource {
 public:
  explicit ServerSource(std::shared_ptr<client::Connection> connection)
      : connection_(std::move(connection)), stub_(v1::CommitmentService::NewStub(connection_->channel())) {}

  absl::StatusOr<v1::CommitmentReport> Request(const v1::RequestCommitmentRequest& request) override {
    return connection_->Call<Stub>(*stub_, &Stub::RequestCommitment, request);
  }

  absl::StatusOr<std::vector<v1::CommitmentReport>> Claim() override {
    NX_ASSIGN_OR_RETURN(
        v1::ClaimCommitmentReportsResponse response,
        connection_->Call<Stub>(*stub_, &Stub::ClaimCommitmentReports, v1::ClaimCommitmentReportsRequest()));
    return std::vector<v1::CommitmentReport>(response.reports().begin(), response.reports().end());
  }

  absl::Status Conclude(const v1::CommitmentReport& report, Delivery delivery,
                        absl::string_view error) override {
    v1::ConcludeCommitmentReportRequest request;
    request.set_name(report.name());
    request.set_delivered(delivery == Delivery::kDone);
    request.set_due_now(delivery == Delivery::kInterrupted);
    request.set_error(std::string(error));
    return connection_->Call<Stub>(*stub_, &Stub::ConcludeCommitmentReport, request).status();
  }

 private:
  const std::shared_ptr<client::Connection> connection_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::shared_ptr<CommitmentSource> ServerCommitments(std::shared_ptr<client::Connection> connection) {
  return std::make_shared<ServerSource>(std::move(connection));
}

}  // namespace narthex::gateway
