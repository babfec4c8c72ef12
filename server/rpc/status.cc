#include "server/rpc/status.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace narthex::rpc {
namespace {

google::rpc::Status Translate(const absl::Status& status) {
  google::rpc::Status translated;
  translated.set_code(static_cast<int>(status.code()));
  translated.set_message(std::string(status.message()));
  google::rpc::ErrorInfo info;
  std::string reason = ErrorReason(status);
  if (reason.empty()) {
    Log(LogLevel::kError, "an error without reason reached a client", {{"error", status}});
    reason = "INTERNAL";
  }
  info.set_reason(reason);
  info.set_domain("narthex");
  for (const auto& [key, value] : ErrorMetadataOf(status)) (*info.mutable_metadata())[key] = value;
  translated.add_details()->PackFrom(info);
  return translated;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      Translate(status).SerializeAsString());
}

std::string ToRpcStatus(const absl::Status& status) { return Translate(status).SerializeAsString(); }

absl::StatusOr<auth::Caller> Gate::Admit(const grpc::ServerContext& context) const {
  const auto header = context.client_metadata().find("authorization");
  absl::string_view value;
  if (header != context.client_metadata().end()) value = {header->second.data(), header->second.size()};
  static constexpr absl::string_view kBearer = "bearer ";
  if (!absl::StartsWithIgnoreCase(value, kBearer)) {
    return Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
                 "send a token in the metadata: authorization: Bearer TOKEN (narthex: --token-file or NARTHEX_TOKEN)");
  }
  auto identity = authenticator_.Authenticate(value.substr(kBearer.size()));
  if (!identity.ok()) return identity.status();
  return auth::Caller(*std::move(identity), projects_);
}

}  // namespace narthex::rpc
