// How clients reach the server: TLS from files that may change while it runs, plain text only where nobody
// else can listen. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <grpcpp/grpcpp.h>

#include "base/pem_files.h"

namespace narthex::app {

// OK unless `address` would offer plain text to other machines. FAILED_PRECONDITION (PLAINTEXT_REFUSED): the
// text names `flag`, the flag that gave the address.
absl::Status CheckPlaintext(const std::string& address, const std::string& flag, bool allowed);

// Copies of the server's files. The metric narthex_tls_certificate_end_seconds{door="grpc"} is the Unix time
// at which the certificate in use ends. Errors as ReadPemFiles.
absl::StatusOr<std::unique_ptr<PemCopies>> OpenTlsFiles(const PemFiles& files);

// TLS 1.2 or later. With authorities a client without a certificate of theirs gets no connection. A new
// certificate is shown to the clients that connect some seconds later; connections that exist go on. `files`
// is borrowed until the credentials are gone: end the server first.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const PemCopies& files);

}  // namespace narthex::app
