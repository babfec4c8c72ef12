// Keeps a gateway's receivers as narthexd has them: for gateways that do not live in the server.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include <grpcpp/grpcpp.h>

#include "clients/cpp/connection.h"
#include "narthex/v1/receiver_service.pb.h"
#include "server/gateway/gateway.h"

namespace narthex::gateway {

// Those that are enabled.
std::vector<ReceiverConfig> ConfigsOf(const std::vector<v1::Receiver>& receivers);

// Thread-safe.
class ReceiverFeed {
 public:
  // Follows the server from now on, on a thread of its own; while the server cannot be reached the gateway
  // keeps the receivers that it has. Borrows the gateway.
  ReceiverFeed(Gateway& gateway, std::shared_ptr<client::Connection> connection);
  // Follows no longer.
  ~ReceiverFeed();

  // Waits for the first receivers. False: none came within `patience`.
  bool AwaitFirst(absl::Duration patience);

 private:
  void Run();
  // One watch, until it breaks.
  absl::Status Watch();

  Gateway& gateway_;
  const std::shared_ptr<client::Connection> connection_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool received_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* watching_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace narthex::gateway
