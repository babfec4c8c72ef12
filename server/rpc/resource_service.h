// ResourceService.
#pragma once

#include <utility>

#include "narthex/v1/resource_service.grpc.pb.h"
#include "server/archive/session_check.h"
#include "server/archive/session_resources.h"
#include "server/rpc/session_view.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class ResourceServiceImpl final : public v1::ResourceService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    metadata::Database& database;
    archiving::SessionResources& resources;
    archiving::SessionCheck& check;
  };
  explicit ResourceServiceImpl(Dependencies dependencies) : with_(dependencies) {}

  grpc::Status ListResources(grpc::ServerContext* context, const v1::ListResourcesRequest* request,
                             v1::ListResourcesResponse* response) override;
  grpc::Status AddResourceFiles(grpc::ServerContext* context,
                                grpc::ServerReader<v1::AddResourceFilesRequest>* reader,
                                v1::AddResourceFilesResponse* response) override;
  grpc::Status RemoveResourceFiles(grpc::ServerContext* context,
                                   const v1::RemoveResourceFilesRequest* request,
                                   v1::RemoveResourceFilesResponse* response) override;
  grpc::Status CheckSession(grpc::ServerContext* context, const v1::CheckSessionRequest* request,
                            grpc::ServerWriter<v1::CheckSessionResponse>* writer) override;

 private:
  absl::StatusOr<metadata::Session> Find(const auth::Caller& caller, absl::string_view name,
                                         SessionRight right) const {
    return FindSession(with_.database.session_reader(), caller, name, right);
  }

  const Dependencies with_;
};

}  // namespace narthex::rpc
