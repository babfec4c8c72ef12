#include "server/rpc/certificate.h"

#include <grpc/grpc_security_constants.h>

#include "base/error.h"

namespace narthex::rpc {

std::string CertificateName(const grpc::AuthContext* peer) {
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return "";
  const auto names = peer->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  return names.size() == 1 ? std::string(names.front().data(), names.front().size()) : "";
}

absl::Status CheckCertificate(const grpc::AuthContext* peer, CertificateUser binding,
                              const std::string& user) {
  if (binding == CertificateUser::kAny || peer == nullptr || !peer->IsPeerAuthenticated())
    return absl::OkStatus();
  const auto names = peer->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  // A transport that authenticates in another way (a local socket) shows no certificate.
  if (names.empty() && peer->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME).empty())
    return absl::OkStatus();
  if (names.size() == 1 && names.front() == user) return absl::OkStatus();
  return Error(absl::StatusCode::kUnauthenticated, "CERTIFICATE_USER",
               "the token is of another user than the client certificate's common name; use the user's own "
               "certificate");
}

}  // namespace narthex::rpc
