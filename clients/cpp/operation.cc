#include "clients/cpp/operation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/status.h"

namespace narthex::client {
namespace {

using google::longrunning::Operation;
using OperationsStub = google::longrunning::Operations::StubInterface;

constexpr absl::Duration kFirstLook = absl::Milliseconds(10);
constexpr absl::Duration kLongestPause = absl::Milliseconds(500);  // fixed: between two looks

}  // namespace

absl::StatusOr<Operation> WaitForOperation(Connection& connection, const std::string& name,
                                           absl::Duration timeout,
                                           const std::function<void(const Operation&)>& on_look) {
  const absl::Time deadline = absl::Now() + timeout;
  google::longrunning::GetOperationRequest request;
  request.set_name(name);
  for (absl::Duration pause = kFirstLook;; pause = std::min(pause * 2, kLongestPause)) {
    NX_ASSIGN_OR_RETURN(Operation operation,
                        connection.Call(connection.operations(), &OperationsStub::GetOperation, request));
    if (operation.done()) return operation;
    if (on_look) on_look(operation);
    if (absl::Now() + pause > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("operation ", name, " is not done yet"));
    }
    absl::SleepFor(pause);
  }
}

}  // namespace narthex::client
