#include "server/app/transport.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "storage/fs/file_system.h"

namespace narthex::app {
namespace {

constexpr unsigned kRefreshSeconds = 1;
constexpr uint64_t kPemMaxBytes = 1 << 20;

// A file that only this process can read, by its path below /proc.
class UniqueMemoryFile {
 public:
  ~UniqueMemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  absl::Status Make() {
    fd_ = ::memfd_create("narthex-tls", MFD_CLOEXEC);
    if (fd_ < 0) return Internal("STORAGE_ERROR", absl::StrCat("memfd_create: ", std::strerror(errno)));
    return absl::OkStatus();
  }
  absl::Status Replace(const std::string& bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    if (::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, bytes.data(), bytes.size(), 0) == size)
      return absl::OkStatus();
    return Internal("STORAGE_ERROR", absl::StrCat("a file in memory: ", std::strerror(errno)));
  }
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  int fd_ = -1;
};

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

// gRPC's own watcher reads what is in place, fitting or not, and refuses connections while it does not fit.
// So it reads copies, in files that exist in memory only, that are replaced when the originals fit.
struct TlsFiles::Rep {
  TransportOptions options;
  UniqueMemoryFile certificate, key, authorities;
  std::string shown;  // what was copied last
  std::string refused;
  std::thread thread;
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;

  absl::Status Refresh();
  void Run();
};

absl::Status TlsFiles::Rep::Refresh() {
  // Read before they are judged and again after: what is shown is what was judged.
  const auto all = [this]() -> absl::StatusOr<std::string> {
    std::string text;
    for (const std::string* path :
         {&options.certificate_path, &options.private_key_path, &options.client_authorities_path}) {
      if (path->empty()) continue;
      NX_ASSIGN_OR_RETURN(const std::string one, fs::ReadFile(fs::Posix(), *path, kPemMaxBytes));
      absl::StrAppend(&text, one, std::string(1, '\0'));
    }
    return text;
  };
  NX_ASSIGN_OR_RETURN(const std::string before, all());
  if (before == shown) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(const absl::Time end, CheckTlsFiles(options, absl::Now()));
  NX_ASSIGN_OR_RETURN(const std::string after, all());
  if (before != after) return absl::OkStatus();  // they are being written; the next look will see
  const std::vector<std::string> parts = absl::StrSplit(after, '\0');
  NX_RETURN_IF_ERROR(key.Replace(parts[1]));
  NX_RETURN_IF_ERROR(certificate.Replace(parts[0]));
  if (!options.client_authorities_path.empty()) NX_RETURN_IF_ERROR(authorities.Replace(parts[2]));
  if (!shown.empty()) Log(LogLevel::kInfo, "tls certificate replaced", {{"ends", absl::FormatTime(end)}});
  Metrics::Global().Set("tls_certificate_end_seconds", "Unix time at which the certificate in use ends.",
                        static_cast<double>(absl::ToUnixSeconds(end)));
  shown = after;
  refused.clear();
  return absl::OkStatus();
}

void TlsFiles::Rep::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex);
      if (mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::Seconds(1))) return;
    }
    const absl::Status status = Refresh();
    if (status.ok() || status.message() == refused) continue;
    refused = std::string(status.message());  // said once
    Log(LogLevel::kError, "tls files changed and do not fit; the old ones go on", {{"error", status}});
  }
}

TlsFiles::TlsFiles(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const TransportOptions& options) {
  auto rep = std::make_unique<Rep>();
  rep->options = options;
  NX_RETURN_IF_ERROR(CheckTlsFiles(options, absl::Now()).status());
  for (UniqueMemoryFile* file : {&rep->certificate, &rep->key, &rep->authorities})
    NX_RETURN_IF_ERROR(file->Make());
  // Written at this very moment: once more.
  for (int tries = 0; rep->shown.empty() && tries < 100; ++tries) {
    NX_RETURN_IF_ERROR(rep->Refresh());
    if (rep->shown.empty()) absl::SleepFor(absl::Milliseconds(10));
  }
  if (rep->shown.empty()) return InvalidArgument("TLS_FILES_INVALID", "the TLS files change all the time");
  Rep* raw = rep.get();
  rep->thread = std::thread([raw] { raw->Run(); });
  return std::unique_ptr<TlsFiles>(new TlsFiles(std::move(rep)));
}

TlsFiles::~TlsFiles() {
  {
    absl::MutexLock lock(&rep_->mutex);
    rep_->stopping = true;
  }
  rep_->thread.join();
}

std::shared_ptr<grpc::ServerCredentials> TlsFiles::Credentials() const {
  namespace tls = grpc::experimental;
  const bool mutual = !rep_->options.client_authorities_path.empty();
  auto provider =
      mutual ? std::make_shared<tls::FileWatcherCertificateProvider>(
                   rep_->key.path(), rep_->certificate.path(), rep_->authorities.path(), kRefreshSeconds)
             : std::make_shared<tls::FileWatcherCertificateProvider>(
                   rep_->key.path(), rep_->certificate.path(), kRefreshSeconds);
  tls::TlsServerCredentialsOptions settings(std::move(provider));
  settings.watch_identity_key_cert_pairs();
  if (mutual) settings.watch_root_certs();
  settings.set_cert_request_type(mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                        : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return tls::TlsServerCredentials(settings);
}

}  // namespace narthex::app
