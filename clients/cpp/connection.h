// A connection to narthexd: address, credentials, retries and the stubs of all services.
//
//   NX_ASSIGN_OR_RETURN(auto connection, Connection::Open({.address = "127.0.0.1:8443", .token = token}));
//   v1::GetUploadRequest request;
//   request.set_name(name);
//   NX_ASSIGN_OR_RETURN(v1::Upload upload, connection->Call(connection->uploads(),
//                                                           &v1::UploadService::StubInterface::GetUpload,
//                                                           request));
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "grpcpp/grpcpp.h"

#include "base/pem_files.h"
#include "clients/cpp/rpc_status.h"
#include "narthex/v1/anonymization_service.grpc.pb.h"
#include "narthex/v1/archive_service.grpc.pb.h"
#include "narthex/v1/prearchive_service.grpc.pb.h"
#include "narthex/v1/project_service.grpc.pb.h"
#include "narthex/v1/receiver_service.grpc.pb.h"
#include "narthex/v1/resource_service.grpc.pb.h"
#include "narthex/v1/routing_service.grpc.pb.h"
#include "narthex/v1/settings_service.grpc.pb.h"
#include "narthex/v1/upload_service.grpc.pb.h"

namespace narthex::client {

// Certificates as PEM files. Empty: the system's roots, no client certificate, the address's host name. Files
// that are replaced count for connections that are made some seconds later, once they fit together.
struct TlsOptions {
  std::string root_certificates_path;
  std::string certificate_path;
  std::string private_key_path;
  // The name in the server's certificate, if it is not the address's host.
  std::string server_name;
};

struct ConnectionOptions {
  // host:port or unix:PATH.
  std::string address = "127.0.0.1:8443";
  // Sent as `authorization: Bearer TOKEN` with every call; empty: nothing is sent.
  std::string token;
  // If set, and a file: the token is its first line, read for every call and stream, so that a token that
  // ends soon can be replaced (by rename) while the program runs. `token` is used when it cannot be read.
  std::string token_file;
  // Unset: plain text.
  std::optional<TlsOptions> tls;
  // Whether plain text may go to another machine than this one.
  bool allow_plaintext = false;
  // An HTTP/2 ping goes out after so long without a byte; no answer within 20 s ends the connection. Below 30
  // s a server with gRPC's default settings may call it an attack.
  absl::Duration keepalive = absl::Seconds(60);
  // Of one attempt of a unary call.
  absl::Duration call_timeout = absl::Seconds(60);
  // Attempts of a unary call that meets a transient error (IsTransient), the first included, >= 1.
  int max_attempts = 4;
  // The waits between the attempts: doubled each time, with jitter, up to the maximum.
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
};

// The token in a file: its first line without white space. INVALID_ARGUMENT (INVALID_FIELD): it cannot be
// read or is empty.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

// Thread-safe. Destroy streams before their connection.
class Connection {
 public:
  // Makes the channel; the first call connects it. INVALID_ARGUMENT: the address is empty, or a certificate
  // file cannot be read or does not fit (TLS_FILES_INVALID). FAILED_PRECONDITION (PLAINTEXT_REFUSED): token
  // and images would go over a network in plain text.
  static absl::StatusOr<std::shared_ptr<Connection>> Open(ConnectionOptions options);

  // Uses `channel` as it is, such as grpc::Server::InProcessChannel. Address, TLS and keepalive of `options`
  // are ignored.
  static std::shared_ptr<Connection> Wrap(std::shared_ptr<grpc::ChannelInterface> channel,
                                          ConnectionOptions options = {});

  // A connection of its own to the same server, so that two streams need not share one TCP connection; of a
  // wrapped channel: the same channel again.
  std::shared_ptr<Connection> Another() const;

  v1::UploadService::StubInterface& uploads() { return *uploads_; }
  v1::PrearchiveService::StubInterface& prearchive() { return *prearchive_; }
  v1::ArchiveService::StubInterface& archive() { return *archive_; }
  v1::ResourceService::StubInterface& resources() { return *resources_; }
  v1::ProjectService::StubInterface& projects() { return *projects_; }
  v1::SettingsService::StubInterface& settings() { return *settings_; }
  v1::AnonymizationService::StubInterface& anonymization() { return *anonymization_; }
  v1::ReceiverService::StubInterface& receivers() { return *receivers_; }
  v1::RoutingService::StubInterface& routing() { return *routing_; }
  google::longrunning::Operations::StubInterface& operations() { return *operations_; }

  // For services that have no accessor above.
  const std::shared_ptr<grpc::ChannelInterface>& channel() const { return channel_; }
  const ConnectionOptions& options() const { return options_; }

  // A context with the credentials and without deadline: what a stream needs.
  std::unique_ptr<grpc::ClientContext> NewContext() const;

  // Calls a unary method of `stub`; blocks. A transient error is met by repetition with backoff, so the call
  // must be safe to repeat: reads are, and mutations that carry a request_id. `timeout` replaces
  // options().call_timeout.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request,
                                std::optional<absl::Duration> timeout = std::nullopt) const {
    Response response;
    absl::Status status = Retry(timeout.value_or(options_.call_timeout), [&](grpc::ClientContext* context) {
      response.Clear();
      return (stub.*method)(context, request, &response);
    });
    if (!status.ok()) return status;
    return response;
  }

  // How long to wait before attempt number `attempt` (1: the first repetition), with jitter.
  absl::Duration Backoff(int attempt) const;

 private:
  struct Credentials {
    std::shared_ptr<PemCopies> files;                   // null: there are none
    std::shared_ptr<grpc::ChannelCredentials> channel;  // null: the channel was given
  };
  static absl::StatusOr<Credentials> CredentialsOf(const ConnectionOptions& options);
  Connection(std::shared_ptr<grpc::ChannelInterface> channel, Credentials credentials,
             ConnectionOptions options);

  absl::Status Retry(absl::Duration timeout,
                     const std::function<grpc::Status(grpc::ClientContext*)>& call) const;

  const Credentials credentials_;
  const std::shared_ptr<grpc::ChannelInterface> channel_;
  const ConnectionOptions options_;
  const std::unique_ptr<v1::UploadService::StubInterface> uploads_;
  const std::unique_ptr<v1::PrearchiveService::StubInterface> prearchive_;
  const std::unique_ptr<v1::ArchiveService::StubInterface> archive_;
  const std::unique_ptr<v1::ResourceService::StubInterface> resources_;
  const std::unique_ptr<v1::ProjectService::StubInterface> projects_;
  const std::unique_ptr<v1::SettingsService::StubInterface> settings_;
  const std::unique_ptr<v1::AnonymizationService::StubInterface> anonymization_;
  const std::unique_ptr<v1::ReceiverService::StubInterface> receivers_;
  const std::unique_ptr<v1::RoutingService::StubInterface> routing_;
  const std::unique_ptr<google::longrunning::Operations::StubInterface> operations_;
};

}  // namespace narthex::client
