// What decides about objects that arrive, and the door that scanners come through: the live policy, study
// routes, receivers, filters, their services and the gateway in this process. Thread-safe once it serves.
#pragma once

#include <atomic>
#include <functional>
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
#include "server/ingest/commitments.h"
#include "server/ingest/study_routes.h"
#include "server/prearchive/prearchive.h"
#include "server/rpc/commitment_service.h"
#include "server/rpc/receiver_service.h"
#include "server/rpc/routing_service.h"
#include "server/rpc/settings_service.h"
#include "storage/metadata/database.h"
#include "storage/staging/index.h"

namespace narthex::app {

class DicomDoor {
 public:
  // `types` and `database` are borrowed.
  DicomDoor(const session::TypeRegistry& types, metadata::Database& database);

  LivePolicy& policy() { return policy_; }
  ingest::StudyRoutes& routes() { return routes_; }

  struct Parts {
    const rpc::Gate& gate;
    const auth::ProjectCache& projects;
    prearchive::Prearchive& prearchive;
    staging::Index& index;
    rpc::BuildStarter build;
    // What stands for a UID that the site's script replaces; may be empty.
    std::function<std::string(absl::string_view uid)> fingerprint;
  };
  void MakeServices(Parts parts);
  std::vector<grpc::Service*> services() {
    return {receivers_.get(), routing_.get(), commitment_service_.get()};
  }
  // The settings that are about arriving objects, by key.
  std::vector<rpc::SettingSpec> Settings();
  // Takes filters, study routes and receivers of the database into use. After the stored settings were
  // applied, before anything arrives.
  absl::Status Load(const std::string& default_ae_title);

  // Listens for the receivers. One that cannot be listened for is left out, and shown with the reason, unless
  // it is of the default port. Objects go to `sinks`; `connection` leads to this server's services.
  absl::Status Serve(gateway::GatewayOptions options, gateway::SinkFactory sinks,
                     std::shared_ptr<client::Connection> connection);
  // HOST:PORT of the default port.
  std::string address() const;

  // As XNAT: a study's route holds until the study is archived.
  void ForgetRoute(const std::string& accession_id);

  // Takes no more associations, and ends the watches of other gateways.
  void Stop();

 private:
  absl::StatusOr<std::map<std::string, absl::Status>> Apply(const std::vector<v1::Receiver>& receivers);
  // Where `calling` wants the storage commitment reports of receiver `called`.
  rpc::CommitmentTarget TargetOf(const std::string& called, const std::string& calling) const;

  metadata::Database& database_;
  ingest::StudyRoutes routes_;
  LivePolicy policy_;
  std::atomic<bool> refuses_filtered_{false};
  std::unique_ptr<rpc::ReceiverServiceImpl> receivers_;
  std::unique_ptr<rpc::RoutingServiceImpl> routing_;
  std::unique_ptr<ingest::Commitments> commitments_;
  std::unique_ptr<rpc::CommitmentServiceImpl> commitment_service_;
  std::unique_ptr<gateway::Gateway> gateway_;
};

}  // namespace narthex::app
