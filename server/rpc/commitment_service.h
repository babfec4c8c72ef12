// CommitmentService: storage commitment for gateways.
#pragma once

#include <functional>
#include <string>

#include "narthex/v1/commitment_service.grpc.pb.h"
#include "server/ingest/commitments.h"
#include "server/rpc/status.h"
#include "server/rpc/upload_service.h"

namespace narthex::rpc {

struct CommitmentTarget {
  std::string address;  // HOST:PORT; "": not known
  bool tls = false;
};

class CommitmentServiceImpl final : public v1::CommitmentService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    ingest::Commitments& commitments;
    BuildStarter build;
    // Where `calling` wants the reports of receiver `called`.
    std::function<CommitmentTarget(const std::string& called, const std::string& calling)> target;
  };
  explicit CommitmentServiceImpl(Dependencies dependencies) : with_(std::move(dependencies)) {}

  grpc::Status RequestCommitment(grpc::ServerContext* context, const v1::RequestCommitmentRequest* request,
                                 v1::CommitmentReport* response) override;
  grpc::Status ClaimCommitmentReports(grpc::ServerContext* context,
                                      const v1::ClaimCommitmentReportsRequest* request,
                                      v1::ClaimCommitmentReportsResponse* response) override;
  grpc::Status ConcludeCommitmentReport(grpc::ServerContext* context,
                                        const v1::ConcludeCommitmentReportRequest* request,
                                        google::protobuf::Empty* response) override;

 private:
  v1::CommitmentReport ToProto(const ingest::CommitmentRow& row) const;

  const Dependencies with_;
};

}  // namespace narthex::rpc
