#include "server/rpc/status.h"

#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"

namespace narthex::rpc {
namespace {

// Reasons of modules below the services, and what they are on the wire.
const std::map<std::string, std::string>& InnerReasons() {
  static const auto* reasons = new std::map<std::string, std::string>{
#define INNER(own, wire) {#own, #wire},
#include "server/rpc/inner_reasons.inc"
#undef INNER
  };
  return *reasons;
}

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
  info.set_reason(WireReason(reason));
  info.set_domain("narthex");
  for (const auto& [key, value] : ErrorMetadataOf(status)) (*info.mutable_metadata())[key] = value;
  translated.add_details()->PackFrom(info);
  return translated;
}

}  // namespace

std::string WireReason(const std::string& reason) {
  const auto it = InnerReasons().find(reason);
  return it == InnerReasons().end() ? reason : it->second;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      Translate(status).SerializeAsString());
}

std::string ToRpcStatus(const absl::Status& status) { return Translate(status).SerializeAsString(); }

bool InProcess(const grpc::ServerContext& context) { return absl::StartsWith(context.peer(), "inproc"); }

absl::StatusOr<ingest::Places::Place> Gate::Enter(ingest::Places& places, const auth::Caller& caller,
                                                  const grpc::ServerContext& context) {
  if (InProcess(context)) return ingest::Places::Place();
  return places.Enter(caller.user());
}

absl::StatusOr<auth::Caller> Gate::Admit(const grpc::ServerContext& context) const {
  const auto header = context.client_metadata().find("authorization");
  absl::string_view value;
  if (header != context.client_metadata().end()) value = {header->second.data(), header->second.size()};
  if (header == context.client_metadata().end() && guests_) {
    metadata::Identity guest;
    guest.user.name = auth::kGuest;
    return auth::Caller(std::move(guest), projects_);
  }
  static constexpr absl::string_view kBearer = "bearer ";
  if (!absl::StartsWithIgnoreCase(value, kBearer)) {
    return Error(
        absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
        "send a token in the metadata: authorization: Bearer TOKEN (narthex: --token-file or NARTHEX_TOKEN)");
  }
  const auto peer = context.auth_context();
  // Where certificates are of machines, one wrong program must not lock out the others behind it.
  const bool of_user = certificate_user_ == CertificateUser::kCommonName;
  const auth::Origin origin{auth::AddressKey(context.peer()), of_user ? CertificateName(peer.get()) : ""};
  auto identity = authenticator_.Authenticate(value.substr(kBearer.size()), origin);
  if (!identity.ok()) return identity.status();
  const absl::Status bound = CheckCertificate(peer.get(), certificate_user_, identity->user.name);
  if (!bound.ok()) {
    authenticator_.CountFailure(origin);
    return bound;
  }
  return auth::Caller(*std::move(identity), projects_);
}

}  // namespace narthex::rpc
