// How the gRPC server is set up: its limits on threads, memory and connections.
#pragma once

#include <grpcpp/server_builder.h>

namespace narthex::app {

// Before services are registered.
void ConfigureServer(grpc::ServerBuilder& builder);

}  // namespace narthex::app
