// What a client's certificate has to do with the user of its token.
#pragma once

#include <string>

#include "absl/status/status.h"
#include <grpcpp/grpcpp.h>

namespace narthex::rpc {

// Of connections with mutual TLS.
enum class CertificateUser {
  kAny,         // the certificate opens the door, the token says who it is
  kCommonName,  // and the token must be of the user that the certificate's common name names
};

// The common name of the client's certificate; "" without mutual TLS, or if there is not exactly one.
std::string CertificateName(const grpc::AuthContext* peer);

// OK unless `binding` is kCommonName and the peer showed a certificate of somebody else than `user`. Calls
// within the process and those without TLS have no certificate and are OK: the transport decides who needs
// one. UNAUTHENTICATED (CERTIFICATE_USER).
absl::Status CheckCertificate(const grpc::AuthContext* peer, CertificateUser binding,
                              const std::string& user);

}  // namespace narthex::rpc
