// What decides about objects that arrive, and the door that scanners come through: the live policy, study
// routes, receivers, filters, their services and the gateway in this process. Thread-safe once it serves.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/grpcpp.h>

#include "server/app/policy.h"
#include "server/auth/project_cache.h"
#include "server/gateway/gateway.h"
#include "server/ingest/study_routes.h"
#include "server/rpc/receiver_service.h"
#include "server/rpc/routing_service.h"
#include "server/rpc/settings_service.h"
#include "storage/metadata/database.h"

namespace narthex::app {

class DicomDoor {
 public:
  // `types` and `database` are borrowed.
  DicomDoor(const session::TypeRegistry& types, metadata::Database& database);

  LivePolicy& policy() { return policy_; }
  ingest::StudyRoutes& routes() { return routes_; }

  void MakeServices(const rpc::Gate& gate, const auth::ProjectCache& projects);
  std::vector<grpc::Service*> services() { return {receivers_.get(), routing_.get()}; }
  // The settings that are about arriving objects, by key.
  std::vector<rpc::SettingSpec> Settings();
  // Takes filters, study routes and receivers of the database into use. After the stored settings were
  // applied, before anything arrives.
  absl::Status Load(const std::string& default_ae_title);

  // Listens for the receivers. One that cannot be listened for is left out, and shown with the reason, unless
  // it is of the default port. `connection` leads to this server.
  absl::Status Serve(gateway::GatewayOptions options, std::shared_ptr<client::Connection> connection);
  // HOST:PORT of the default port.
  std::string address() const;

  // Takes no more associations, and ends the watches of other gateways.
  void Stop();

 private:
  absl::StatusOr<std::map<std::string, absl::Status>> Apply(const std::vector<v1::Receiver>& receivers);

  metadata::Database& database_;
  ingest::StudyRoutes routes_;
  LivePolicy policy_;
  std::atomic<bool> refuses_filtered_{false};
  std::unique_ptr<rpc::ReceiverServiceImpl> receivers_;
  std::unique_ptr<rpc::RoutingServiceImpl> routing_;
  std::unique_ptr<gateway::Gateway> gateway_;
};

}  // namespace narthex::app
