#include "server/gateway/receiver_feed.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "narthex/v1/receiver_service.grpc.pb.h"

namespace narthex::gateway {

std::vector<ReceiverConfig> ConfigsOf(const std::vector<v1::Receiver>& receivers) {
  std::vector<ReceiverConfig> configs;
  for (const v1::Receiver& receiver : receivers) {
    if (receiver.has_enabled() && !receiver.enabled()) continue;
    ReceiverConfig config;
    config.ae_title = receiver.ae_title();
    config.port = static_cast<uint16_t>(std::clamp(receiver.port(), 0, 65535));
    config.allowed_callers = {receiver.allowed_callers().begin(), receiver.allowed_callers().end()};
    config.refuses_filtered = receiver.refuses_filtered();
    config.tls = receiver.tls();
    config.tls_client_certificate = receiver.tls_client_certificate();
    configs.push_back(std::move(config));
  }
  return configs;
}

ReceiverFeed::ReceiverFeed(Gateway& gateway, std::shared_ptr<client::Connection> connection)
    : gateway_(gateway), connection_(std::move(connection)), thread_([this] { Run(); }) {}

ReceiverFeed::~ReceiverFeed() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (watching_ != nullptr) watching_->TryCancel();
  }
  thread_.join();
}

bool ReceiverFeed::AwaitFirst(absl::Duration patience) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&received_), patience);
}

void ReceiverFeed::Run() {
  int failures = 0;
  while (true) {
    const absl::Status end = Watch();
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    failures = received_ && absl::IsUnavailable(end) ? 1 : failures + 1;
    Log(LogLevel::kWarning, "receivers cannot be watched", {{"status", end}});
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), connection_->Backoff(std::min(failures, 10)))) {
      return;
    }
  }
}

absl::Status ReceiverFeed::Watch() {
  const auto context = connection_->NewContext();
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    watching_ = context.get();
  }
  const auto stub = v1::ReceiverService::NewStub(connection_->channel());
  const auto reader = stub->WatchReceivers(context.get(), v1::WatchReceiversRequest());
  v1::WatchReceiversResponse state;
  while (reader->Read(&state)) {
    std::map<std::string, absl::Status> errors;
    const absl::Status set =
        gateway_.SetReceivers(ConfigsOf({state.receivers().begin(), state.receivers().end()}), &errors);
    if (!set.ok()) Log(LogLevel::kError, "receivers not taken into use", {{"status", set}});
    for (const auto& [title, error] : errors) {
      Log(LogLevel::kError, "receiver is not listened for", {{"receiver", title}, {"status", error}});
    }
    absl::MutexLock lock(&mutex_);
    received_ = true;
  }
  const grpc::Status end = reader->Finish();
  absl::MutexLock lock(&mutex_);
  watching_ = nullptr;
  return client::FromGrpcStatus(end);
}

}  // namespace narthex::gateway
