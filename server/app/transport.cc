#include "server/app/transport.h"

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/error.h"
#include "base/status.h"

namespace narthex::app {
namespace {

struct Free {
  void operator()(FILE* file) const { std::fclose(file); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

absl::Status Invalid(absl::string_view flag, const std::string& path, absl::string_view what) {
  return InvalidArgument("TLS_FILES_INVALID", absl::StrCat("--", flag, ": ", path, ": ", what),
                         {{"flag", std::string(flag)}, {"path", path}});
}

// Reads the first item of `path` with one of OpenSSL's PEM readers.
template <typename T, typename Read>
absl::StatusOr<Owned<T>> ReadPem(absl::string_view flag, const std::string& path, Read read) {
  const Owned<FILE> file(std::fopen(path.c_str(), "re"));
  if (!file) return Invalid(flag, path, "cannot be read");
  // A key under a pass phrase must not make the server ask for one.
  Owned<T> item(read(
      file.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!item) return Invalid(flag, path, "is not a PEM file of that kind, or is protected by a pass phrase");
  return item;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  ASN1_TIME_to_tm(time, &parts);
  return absl::FromTM(parts, absl::UTCTimeZone());
}

}  // namespace

bool IsLocalAddress(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const std::string host = address.substr(0, address.rfind(':'));
  if (host == "localhost" || host == "::1" || host == "[::1]") return true;
  // 127.0.0.0/8, written out; "127.evil.example" is a name.
  return absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

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

absl::StatusOr<absl::Time> CheckTlsFiles(const TransportOptions& options, absl::Time now) {
  if (options.certificate_path.empty() || options.private_key_path.empty()) {
    return InvalidArgument("TLS_FILES_INVALID",
                           "--tls-cert and --tls-key belong together; --tls-client-ca needs both");
  }
  NX_ASSIGN_OR_RETURN(const Owned<X509> certificate,
                      ReadPem<X509>("tls-cert", options.certificate_path, PEM_read_X509));
  NX_ASSIGN_OR_RETURN(const Owned<EVP_PKEY> key,
                      ReadPem<EVP_PKEY>("tls-key", options.private_key_path, PEM_read_PrivateKey));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Invalid("tls-key", options.private_key_path,
                   absl::StrCat("is not the key of ", options.certificate_path));
  }
  if (!options.client_authorities_path.empty()) {
    NX_RETURN_IF_ERROR(
        ReadPem<X509>("tls-client-ca", options.client_authorities_path, PEM_read_X509).status());
  }
  const absl::Time begin = TimeOf(X509_get0_notBefore(certificate.get()));
  const absl::Time end = TimeOf(X509_get0_notAfter(certificate.get()));
  if (now >= end) {
    return Invalid("tls-cert", options.certificate_path,
                   absl::StrCat("the certificate ended at ", absl::FormatTime(end, absl::UTCTimeZone())));
  }
  if (now < begin) {
    return Invalid("tls-cert", options.certificate_path,
                   absl::StrCat("the certificate begins at ", absl::FormatTime(begin, absl::UTCTimeZone())));
  }
  return end;
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TransportOptions& options,
                                                               unsigned refresh_seconds) {
  if (options.certificate_path.empty()) return grpc::InsecureServerCredentials();
  namespace tls = grpc::experimental;
  const bool mutual = !options.client_authorities_path.empty();
  auto provider = mutual ? std::make_shared<tls::FileWatcherCertificateProvider>(
                               options.private_key_path, options.certificate_path,
                               options.client_authorities_path, refresh_seconds)
                         : std::make_shared<tls::FileWatcherCertificateProvider>(
                               options.private_key_path, options.certificate_path, refresh_seconds);
  tls::TlsServerCredentialsOptions settings(std::move(provider));
  settings.watch_identity_key_cert_pairs();
  if (mutual) settings.watch_root_certs();
  settings.set_cert_request_type(mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                        : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(settings);
}

}  // namespace narthex::app
