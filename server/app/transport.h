// How clients reach the server: TLS from files that may change while it runs, plain text only where nobody
// else can listen. Thread-safe (pure functions).
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include <grpcpp/grpcpp.h>

namespace narthex::app {

// PEM files. All empty: plain text.
struct TransportOptions {
  std::string certificate_path;  // the server's, followed by those of the authorities in between
  std::string private_key_path;
  std::string client_authorities_path;  // "": clients need no certificate
};

// Whether `address` (HOST:PORT, [IPV6]:PORT or unix:PATH) can only be reached from this machine. Names other
// than "localhost" are not looked up and count as reachable from elsewhere.
bool IsLocalAddress(const std::string& address);

// OK unless `address` would offer plain text to other machines. FAILED_PRECONDITION (PLAINTEXT_REFUSED): the
// text names `flag`, the flag that gave the address.
absl::Status CheckPlaintext(const std::string& address, const std::string& flag, bool allowed);

// Reads the files and looks whether they fit together. INVALID_ARGUMENT (TLS_FILES_INVALID): one of three is
// missing that is needed, cannot be read or parsed, is not the certificate's key, or the certificate's time
// is over or has not begun. Returns when the certificate ends.
absl::StatusOr<absl::Time> CheckTlsFiles(const TransportOptions& options, absl::Time now);

// What gRPC needs to know of them. Looks at the files every second: a new certificate is shown to the clients
// that connect some seconds later, connections that exist go on. While the files do not fit together (half of
// a replacement) those that did go on, which is logged. The metric narthex_tls_certificate_end_seconds is the
// Unix time at which the certificate in use ends. Thread-safe; one thread.
class TlsFiles {
 public:
  // Errors as CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const TransportOptions& options);
  // The credentials must be gone: end the server first.
  ~TlsFiles();

  // TLS 1.2 or later. With client authorities a client without a certificate of theirs gets no connection.
  std::shared_ptr<grpc::ServerCredentials> Credentials() const;

 private:
  struct Rep;
  explicit TlsFiles(std::unique_ptr<Rep> rep);
  const std::unique_ptr<Rep> rep_;
};

}  // namespace narthex::app
