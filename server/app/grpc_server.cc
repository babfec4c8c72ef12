#include "server/app/grpc_server.h"

#include <atomic>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/support/server_interceptor.h>

#include "base/limits.h"
#include "base/limits_server.h"
#include "server/ingest/places.h"

namespace narthex::app {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

// Server reflection is gRPC's own: it asks for no token, and each of its streams holds a thread for as long
// as its client likes. More than a few are cancelled.
class ReflectionLimit : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    if (!absl::StartsWith(info->method(), "/grpc.reflection.")) return nullptr;
    return new Call(*info, places_.Enter(""));
  }

 private:
  class Call : public grpc::experimental::Interceptor {
   public:
    Call(ServerRpcInfo& info, absl::StatusOr<ingest::Places::Place> place)
        : info_(info), place_(std::move(place)) {}

    void Intercept(InterceptorBatchMethods* methods) override {
      if (!place_.ok() &&
          methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA))
        info_.server_context()->TryCancel();
      methods->Proceed();
    }

   private:
    ServerRpcInfo& info_;
    const absl::StatusOr<ingest::Places::Place> place_;
  };

  ingest::Places places_{"reflection", "calls of server reflection", limits::kReflectionCallsMax,
                         limits::kReflectionCallsMax};
};

}  // namespace

void ConfigureServer(grpc::ServerBuilder& builder) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<ReflectionLimit>());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kMessageMaxBytes));
  grpc::ResourceQuota quota("narthexd");
  quota.Resize(limits::kServerBuffersMaxBytes);
  quota.SetMaxThreads(limits::kServerThreadsMax);
  builder.SetResourceQuota(quota);
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, int64_t>>{
           {GRPC_ARG_ALLOW_REUSEPORT, 0},
           // Clients keep watches alive with pings; gRPC's default of five minutes would take them for an
           // attack.
           {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20'000},
           {GRPC_ARG_MAX_CONCURRENT_STREAMS, limits::kCallsPerConnectionMax},
           {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, limits::kHandshakeSeconds * 1000},
           {GRPC_ARG_MAX_CONNECTION_IDLE_MS, limits::kConnectionIdleSeconds * 1000},
           {GRPC_ARG_KEEPALIVE_TIME_MS, limits::kKeepaliveSeconds * 1000},
           {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, limits::kKeepaliveAnswerSeconds * 1000},
       }) {
    builder.AddChannelArgument(name, static_cast<int>(value));
  }
}

}  // namespace narthex::app
