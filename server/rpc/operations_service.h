// google.longrunning.Operations over server/operations.
#pragma once

#include "google/longrunning/operations.grpc.pb.h"

#include "server/operations/operations.h"
#include "server/prearchive/prearchive.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

// Where results of operations are looked up.
struct ResultSources {
  prearchive::Prearchive& prearchive;
  metadata::Database& database;
};

// With its result as `caller` may see it now. `sources` null: a done operation without its response (used
// right after its start).
google::longrunning::Operation OperationToProto(const operations::Operation& operation,
                                                const ResultSources* sources,
                                                const auth::Caller* caller = nullptr);

class OperationsServiceImpl final : public google::longrunning::Operations::Service {
 public:
  OperationsServiceImpl(const Gate& gate, operations::Operations& operations, ResultSources sources)
      : gate_(gate), operations_(operations), sources_(sources) {}

  grpc::Status ListOperations(grpc::ServerContext* context,
                              const google::longrunning::ListOperationsRequest* request,
                              google::longrunning::ListOperationsResponse* response) override;
  grpc::Status GetOperation(grpc::ServerContext* context,
                            const google::longrunning::GetOperationRequest* request,
                            google::longrunning::Operation* response) override;
  grpc::Status DeleteOperation(grpc::ServerContext* context,
                               const google::longrunning::DeleteOperationRequest* request,
                               google::protobuf::Empty* response) override;
  grpc::Status CancelOperation(grpc::ServerContext* context,
                               const google::longrunning::CancelOperationRequest* request,
                               google::protobuf::Empty* response) override;
  grpc::Status WaitOperation(grpc::ServerContext* context,
                             const google::longrunning::WaitOperationRequest* request,
                             google::longrunning::Operation* response) override;

 private:
  absl::StatusOr<operations::Operation> Find(const auth::Caller& caller, absl::string_view name) const;

  const Gate& gate_;
  operations::Operations& operations_;
  const ResultSources sources_;
};

}  // namespace narthex::rpc
