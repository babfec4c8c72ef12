// RoutingService: study routes, series import filters, and where an object would go.
#pragma once

#include <functional>

#include "narthex/v1/routing_service.grpc.pb.h"
#include "server/ingest/policy.h"
#include "server/ingest/study_routes.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class RoutingServiceImpl final : public v1::RoutingService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    metadata::Database& database;
    const ingest::PolicySource& policies;
    ingest::StudyRoutes& routes;
    // Takes a filter into use, or (not enabled) out of it. INVALID_ARGUMENT (INVALID_SCRIPT): it does not
    // parse; nothing changed.
    std::function<absl::Status(const v1::SeriesFilter&)> apply_filter;
  };
  explicit RoutingServiceImpl(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Takes all filters of the database into use; those that do not parse any more are left out with a warning.
  // At the start.
  absl::Status Load();

  grpc::Status ExplainRouting(grpc::ServerContext* context, const v1::ExplainRoutingRequest* request,
                              v1::ExplainRoutingResponse* response) override;
  grpc::Status ListStudyRoutes(grpc::ServerContext* context, const v1::ListStudyRoutesRequest* request,
                               v1::ListStudyRoutesResponse* response) override;
  grpc::Status SetStudyRoute(grpc::ServerContext* context, const v1::SetStudyRouteRequest* request,
                             v1::StudyRoute* response) override;
  grpc::Status DeleteStudyRoute(grpc::ServerContext* context, const v1::DeleteStudyRouteRequest* request,
                                google::protobuf::Empty* response) override;
  grpc::Status GetSeriesFilter(grpc::ServerContext* context, const v1::GetSeriesFilterRequest* request,
                               v1::SeriesFilter* response) override;
  grpc::Status SetSeriesFilter(grpc::ServerContext* context, const v1::SetSeriesFilterRequest* request,
                               v1::SeriesFilter* response) override;

 private:
  absl::StatusOr<v1::ExplainRoutingResponse> Explain(const auth::Caller& caller,
                                                     const v1::ExplainRoutingRequest& request) const;

  const Dependencies with_;
  absl::Mutex filter_mutex_;  // one change at a time, so that what is in use is what is kept
};

}  // namespace narthex::rpc
