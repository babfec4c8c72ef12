// Between the wire's errors and ours. Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace narthex::client {

// The same error as an absl::Status. Reason and metadata of a google.rpc.ErrorInfo of domain "narthex" in the
// details become those of base/error.h (ErrorReason, ErrorMetadataOf). An error that the transport made, such
// as "connection refused", has no reason. OK becomes OK.
absl::Status FromGrpcStatus(const grpc::Status& status);

// As above, of an operation's error or of any other google.rpc.Status.
absl::Status FromRpcStatus(const google::rpc::Status& status);

// Whether the call may be repeated as it is: the server could not be reached or says that it is stopping,
// overloaded or without its database.
bool IsTransient(const absl::Status& status);

// Whether there was no answer of a server at all (UNAVAILABLE without a reason).
bool IsUnreachable(const absl::Status& status);

}  // namespace narthex::client
