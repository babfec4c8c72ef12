// Accepts the connections of the gRPC server. gRPC's own listener stops for good when descriptors run out,
// and knows no limits; this one waits, and refuses what is too much: over all, and of one address.
//
//   NX_ASSIGN_OR_RETURN(auto listener, GrpcListener::Open(address));
//   auto acceptor = builder.experimental().AddExternalConnectionAcceptor(...);   server =
//   builder.BuildAndStart(); listener->Serve(std::move(acceptor));
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/server_builder.h>
#include <sys/types.h>

#include "base/limits_server.h"
#include "server/gateway/socket.h"

namespace narthex::app {

// Thread-safe; one thread once it serves.
class GrpcListener {
 public:
  // HOST:PORT or [IPV6]:PORT; port 0 picks one. Connections wait until Serve. Errors as gateway::Listen.
  static absl::StatusOr<std::unique_ptr<GrpcListener>> Open(const std::string& address);
  // Accepts nothing more. Before the server goes.
  ~GrpcListener();

  void Serve(std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor);

  // What was given, with the port that is listened to.
  const std::string& address() const { return address_; }

  void SetConnectionsMax(int count) { connections_max_ = count; }
  void SetConnectionsPerAddressMax(int count) { per_address_max_ = count; }

 private:
  struct Known {
    ino_t inode = 0;
    std::string address;
  };

  GrpcListener() = default;
  void Run();
  void Accept();
  // Whether one more of `address` fits. Forgets connections that are closed.
  bool Fits(const std::string& address);

  gateway::UniqueFd fd_;
  gateway::StopSignal stop_;
  std::string address_;
  std::atomic<int> connections_max_{limits::kConnectionsMax};
  std::atomic<int> per_address_max_{limits::kConnectionsPerAddressMax};
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  // Connections by descriptor; gRPC closes them. One is alive while its descriptor is that socket.
  std::map<int, Known> known_;
  std::map<std::string, int> by_address_;  // alive or not yet seen to be closed
  std::thread thread_;
};

}  // namespace narthex::app
