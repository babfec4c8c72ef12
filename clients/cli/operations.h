// Waiting for operations with their progress drawn.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "clients/cli/program.h"
#include "clients/cpp/operation.h"

namespace narthex::cli {

// Blocks until the operation is done; draws how far it is. DEADLINE_EXCEEDED, reason OPERATION_PENDING: it is
// not done within `timeout`.
absl::StatusOr<google::longrunning::Operation> Await(Program& program, client::Connection& connection,
                                                     const std::string& name,
                                                     absl::Duration timeout = absl::InfiniteDuration());

// Await, then the operation's response or error.
template <typename Response>
absl::StatusOr<Response> AwaitResult(Program& program, client::Connection& connection,
                                     const std::string& name) {
  auto operation = Await(program, connection, name);
  if (!operation.ok()) return operation.status();
  return client::ResultOf<Response>(*operation);
}

// The operation as people read it.
void PrintOperation(std::ostream& out, const google::longrunning::Operation& operation);

}  // namespace narthex::cli
