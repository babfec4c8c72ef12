#include "clients/cpp/rpc_status.h"

#include <string>

#include "absl/strings/string_view.h"
#include "google/rpc/error_details.pb.h"

#include "base/error.h"

namespace narthex::client {
namespace {

constexpr char kDomain[] = "narthex";

// gRPC's codes and absl's are the same numbers; one that is out of range is a peer's defect.
absl::StatusCode CodeOf(int code) {
  if (code < 0 || code > static_cast<int>(absl::StatusCode::kUnauthenticated))
    return absl::StatusCode::kUnknown;
  return static_cast<absl::StatusCode>(code);
}

}  // namespace

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  const absl::StatusCode code = CodeOf(status.code());
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  google::rpc::ErrorInfo info;
  for (const google::protobuf::Any& detail : status.details()) {
    if (!detail.Is<google::rpc::ErrorInfo>() || !detail.UnpackTo(&info) || info.domain() != kDomain) continue;
    ErrorMetadata metadata;
    for (const auto& [key, value] : info.metadata()) metadata[key] = value;
    return Error(code, info.reason(), status.message(), metadata);
  }
  return absl::Status(code, status.message());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    details.set_code(status.error_code());
    details.set_message(status.error_message());
    return FromRpcStatus(details);
  }
  return absl::Status(CodeOf(status.error_code()), status.error_message());
}

bool IsTransient(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return true;
  return absl::IsResourceExhausted(status) && ErrorReason(status) == "OVERLOADED";
}

bool IsUnreachable(const absl::Status& status) {
  return absl::IsUnavailable(status) && ErrorReason(status).empty();
}

}  // namespace narthex::client
