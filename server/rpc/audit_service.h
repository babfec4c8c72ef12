// AuditService.
#pragma once

#include <string>
#include <vector>

#include "narthex/v1/audit_service.grpc.pb.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class AuditServiceImpl final : public v1::AuditService::Service {
 public:
  // `site`: what exported events name as their source.
  AuditServiceImpl(const Gate& gate, metadata::AuditStore& audit, std::string site)
      : gate_(gate), audit_(audit), site_(std::move(site)) {}

  grpc::Status VerifyAudit(grpc::ServerContext* context, const v1::VerifyAuditRequest* request,
                           grpc::ServerWriter<v1::VerifyAuditResponse>* writer) override;
  grpc::Status ExportAudit(grpc::ServerContext* context, const v1::ExportAuditRequest* request,
                           grpc::ServerWriter<v1::ExportAuditResponse>* writer) override;

 private:
  // The chains that the caller may read and asked for.
  absl::StatusOr<std::vector<std::string>> Chains(const auth::Caller& caller,
                                                  const std::string& project) const;

  const Gate& gate_;
  metadata::AuditStore& audit_;
  const std::string site_;
};

}  // namespace narthex::rpc
