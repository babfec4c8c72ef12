#include "server/gateway/tls.h"

#include <fcntl.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"

namespace narthex::gateway {
namespace {

// RFC 9325 (BCP 195), 4.2: TLS 1.2 with ephemeral keys and AEAD; TLS 1.3 has nothing else.
constexpr char kTls12Ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";

constexpr long kSessionSeconds = 300;

absl::Status Invalid(const std::string& path, absl::string_view what) {
  ERR_clear_error();
  return InvalidArgument("TLS_FILES_INVALID", absl::StrCat(path, ": ", what), {{"path", path}});
}

// A pass phrase is not asked for.
int NoPassPhrase(char* /*buffer*/, int /*size*/, int /*for_writing*/, void* /*data*/) { return -1; }

// What was agreed on under other certificates or authorities is forgotten: the keys of tickets are the
// context's, and so is this name.
bool NameSessions(SSL_CTX* context) {
  unsigned char name[SSL_MAX_SID_CTX_LENGTH];
  SSL_CTX_set_timeout(context, kSessionSeconds);
  return RAND_bytes(name, sizeof(name)) == 1 &&
         SSL_CTX_set_session_id_context(context, name, sizeof(name)) == 1;
}

absl::StatusOr<std::shared_ptr<ssl_ctx_st>> Load(const PemFiles& files) {
  NX_ASSIGN_OR_RETURN(const PemTexts texts, ReadPemFiles(files, absl::Now()));
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  if (context == nullptr || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context.get(), kTls12Ciphers) != 1 || !NameSessions(context.get())) {
    ERR_clear_error();
    return Internal("INTERNAL", "OpenSSL does not know what is needed");
  }
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_dh_auto(context.get(), 1);
  SSL_CTX_set_default_passwd_cb(context.get(), NoPassPhrase);
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    return Invalid(files.certificate, "holds no certificate that can be read");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.private_key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Invalid(files.private_key, "holds no key of the certificate that can be read");
  }
  Metrics::Global().Set("tls_certificate_end_seconds", "Unix time at which the certificate in use ends.",
                        static_cast<double>(absl::ToUnixSeconds(texts.end)), {{"door", "dicom"}});
  if (files.authorities.empty()) return context;
  if (SSL_CTX_load_verify_locations(context.get(), files.authorities.c_str(), nullptr) != 1) {
    return Invalid(files.authorities, "holds no certificates that can be read");
  }
  // Who shows none gets to the receivers that do not ask for one.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_client_CA_list(context.get(), SSL_load_client_CA_file(files.authorities.c_str()));
  ERR_clear_error();
  return context;
}

std::string StateOf(const PemFiles& files) {
  std::string state;
  for (const std::string& path : {files.certificate, files.private_key, files.authorities}) {
    struct stat info = {};
    if (!path.empty() && stat(path.c_str(), &info) == 0) {
      absl::StrAppend(&state, info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".",
                      info.st_mtim.tv_nsec, ";");
    }
  }
  return state;
}

}  // namespace

PemFiles DicomPemFiles(std::string certificate, std::string private_key, std::string authorities) {
  return {std::move(certificate), std::move(private_key), std::move(authorities),
          "dicom-tls-cert",       "dicom-tls-key",        "dicom-tls-client-ca"};
}

TlsServer::TlsServer(PemFiles files, std::shared_ptr<ssl_ctx_st> context, std::string state)
    : files_(std::move(files)), context_(std::move(context)), state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<TlsServer>> TlsServer::Open(const PemFiles& files) {
  if (files.certificate.empty()) {
    return InvalidArgument("TLS_FILES_INVALID",
                           absl::StrCat("--", files.private_key_flag, " and --", files.authorities_flag,
                                        " need --", files.certificate_flag));
  }
  std::string state = StateOf(files);
  NX_ASSIGN_OR_RETURN(auto context, Load(files));
  return std::unique_ptr<TlsServer>(new TlsServer(files, std::move(context), std::move(state)));
}

std::shared_ptr<ssl_ctx_st> TlsServer::Current() {
  absl::MutexLock lock(&mutex_);
  std::string state = StateOf(files_);
  if (state == state_) return context_;
  if (auto context = Load(files_); context.ok()) {
    context_ = *std::move(context);
    state_ = std::move(state);
    refused_.clear();
    Log(LogLevel::kInfo, "dicom certificates read again");
  } else if (context.status().message() != refused_) {
    refused_ = std::string(context.status().message());  // said once
    Log(LogLevel::kError, "dicom certificates cannot be read again; the old ones go on",
        {{"status", context.status()}});
  }
  return context_;
}

TlsSession::TlsSession(std::shared_ptr<ssl_ctx_st> context, int fd, Side side)
    : context_(std::move(context)), ssl_(SSL_new(context_.get())) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  absl::MutexLock lock(&mutex_);
  if (ssl_ == nullptr) return;
  SSL_set_fd(ssl_, fd);
  if (side == Side::kServer) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
    SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
  }
}

TlsSession::~TlsSession() {
  absl::MutexLock lock(&mutex_);
  SSL_free(ssl_);
}

TlsSession::Step TlsSession::StepOf(int result) {
  Step step;
  if (result > 0) {
    step.bytes = static_cast<size_t>(result);
    return step;
  }
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      step.want = Want::kRead;
      break;
    case SSL_ERROR_WANT_WRITE:
      step.want = Want::kWrite;
      break;
    case SSL_ERROR_ZERO_RETURN:
      break;
    default: {
      const unsigned long code = ERR_peek_last_error();
      const char* why = code == 0 ? nullptr : ERR_reason_error_string(code);
      step.status =
          absl::UnavailableError(absl::StrCat("TLS: ", why == nullptr ? "the connection broke" : why));
    }
  }
  ERR_clear_error();
  return step;
}

TlsSession::Step TlsSession::Handshake() {
  absl::MutexLock lock(&mutex_);
  if (ssl_ == nullptr) return {Want::kNothing, 0, absl::ResourceExhaustedError("TLS: no memory")};
  return StepOf(SSL_do_handshake(ssl_));
}

TlsSession::Step TlsSession::Read(char* to, size_t size) {
  absl::MutexLock lock(&mutex_);
  return StepOf(SSL_read(ssl_, to, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

TlsSession::Step TlsSession::Write(const char* from, size_t size) {
  absl::MutexLock lock(&mutex_);
  return StepOf(SSL_write(ssl_, from, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

void TlsSession::SayEnd() {
  absl::MutexLock lock(&mutex_);
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string TlsSession::PeerName() {
  absl::MutexLock lock(&mutex_);
  X509* const certificate = SSL_get0_peer_certificate(ssl_);
  if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return "";
  char name[256];
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                             static_cast<int>(sizeof(name)));
  return size <= 0 ? "" : std::string(name, static_cast<size_t>(size));
}

bool TlsSession::PeerIsHost(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  X509* const certificate = SSL_get0_peer_certificate(ssl_);
  if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return false;
  return X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1 ||
         X509_check_ip_asc(certificate, host.c_str(), 0) == 1;
}

}  // namespace narthex::gateway
