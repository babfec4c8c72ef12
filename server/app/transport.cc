#include "server/app/transport.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "base/error.h"
#include "base/local_address.h"
#include "base/metrics.h"

namespace narthex::app {
namespace {

constexpr unsigned kRefreshSeconds = 1;

}  // namespace

absl::Status CheckPlaintext(const std::string& address, const std::string& flag, bool allowed) {
  if (allowed || IsLocalAddress(address)) return absl::OkStatus();
  return FailedPrecondition(
      "PLAINTEXT_REFUSED",
      absl::StrCat("--", flag, " ", address,
                   " would be plain text on a network, where tokens and images can be read; "
                   "give --tls-cert and --tls-key (not for metrics), or listen on 127.0.0.1, or say "
                   "--allow-plaintext"),
      {{"flag", flag}, {"address", address}});
}

absl::StatusOr<std::unique_ptr<PemCopies>> OpenTlsFiles(const PemFiles& files) {
  return PemCopies::Open(files, [](absl::Time end) {
    Metrics::Global().Set("tls_certificate_end_seconds", "Unix time at which the certificate in use ends.",
                          static_cast<double>(absl::ToUnixSeconds(end)), {{"door", "grpc"}});
  });
}

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const PemCopies& files) {
  namespace tls = grpc::experimental;
  const bool mutual = !files.authorities().empty();
  tls::TlsServerCredentialsOptions settings(std::make_shared<tls::FileWatcherCertificateProvider>(
      files.private_key(), files.certificate(), files.authorities(), kRefreshSeconds));
  settings.watch_identity_key_cert_pairs();
  if (mutual) settings.watch_root_certs();
  settings.set_cert_request_type(mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                        : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(settings);
}

}  // namespace narthex::app
