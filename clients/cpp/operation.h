// Waiting for long-running operations. Thread-safe.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "clients/cpp/connection.h"

namespace narthex::client {

// Blocks until the operation `name` (operations/<id>) is done, and returns it. `on_look` is called with each
// state seen before that; may be null. Errors: those of GetOperation; DEADLINE_EXCEEDED: not done within
// `timeout`.
absl::StatusOr<google::longrunning::Operation> WaitForOperation(
    Connection& connection, const std::string& name, absl::Duration timeout = absl::InfiniteDuration(),
    const std::function<void(const google::longrunning::Operation&)>& on_look = nullptr);

// The response of an operation that is done, or its error.
template <typename Response>
absl::StatusOr<Response> ResultOf(const google::longrunning::Operation& operation) {
  if (operation.has_error()) return FromRpcStatus(operation.error());
  Response response;
  if (!operation.done() || !operation.response().UnpackTo(&response)) {
    return absl::InternalError("operation " + operation.name() + " has no result of the expected kind");
  }
  return response;
}

}  // namespace narthex::client
