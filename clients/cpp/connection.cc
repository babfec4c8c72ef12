#include "clients/cpp/connection.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/local_address.h"
#include "base/status.h"

namespace narthex::client {
namespace {

constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(20);  // fixed: of the client
// Between the channel's own attempts to connect.
constexpr absl::Duration kReconnectMin = absl::Milliseconds(100);
constexpr absl::Duration kReconnectMax = absl::Seconds(5);  // fixed: between two tries
constexpr unsigned kRefreshSeconds = 1;

grpc::ChannelArguments ArgumentsOf(const ConnectionOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(limits::kMessageMaxBytes);
  arguments.SetMaxSendMessageSize(limits::kMessageMaxBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, absl::ToInt64Milliseconds(options.keepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, absl::ToInt64Milliseconds(kKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, absl::ToInt64Milliseconds(kReconnectMin));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, absl::ToInt64Milliseconds(kReconnectMin) * 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, absl::ToInt64Milliseconds(kReconnectMax));
  // Two connections of one process must not share a socket: parallel streams are meant to be parallel.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A proxy of the environment would carry plain text elsewhere.
  if (!options.tls && !options.allow_plaintext) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (options.tls && !options.tls->server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls->server_name);
  }
  return arguments;
}

}  // namespace

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  if (file) std::getline(file, token);
  token = std::string(absl::StripAsciiWhitespace(token));
  if (!token.empty()) return token;
  return InvalidArgument("INVALID_FIELD",
                         absl::StrCat("the token file ", path, " cannot be read or is empty"),
                         {{"field", "token_file"}});
}

absl::StatusOr<Connection::Credentials> Connection::CredentialsOf(const ConnectionOptions& options) {
  if (!options.tls) {
    if (options.allow_plaintext || IsLocalAddress(options.address))
      return Credentials{nullptr, grpc::InsecureChannelCredentials()};
    return FailedPrecondition(
        "PLAINTEXT_REFUSED",
        absl::StrCat("the token and images would go to ", options.address,
                     " in plain text, which others on the network can read; use TLS (--tls-ca), or say "
                     "--allow-plaintext"),
        {{"address", options.address}});
  }
  namespace tls = grpc::experimental;
  PemFiles files{options.tls->certificate_path, options.tls->private_key_path,
                 options.tls->root_certificates_path};
  files.authorities_flag = "tls-ca";
  const bool any = !files.certificate.empty() || !files.private_key.empty() || !files.authorities.empty();
  if (!any) return Credentials{nullptr, grpc::SslCredentials({})};
  NX_ASSIGN_OR_RETURN(std::shared_ptr<PemCopies> copies, PemCopies::Open(files));
  tls::TlsChannelCredentialsOptions settings;
  settings.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
      copies->private_key(), copies->certificate(), copies->authorities(), kRefreshSeconds));
  if (!files.certificate.empty()) settings.watch_identity_key_cert_pairs();
  if (!files.authorities.empty()) settings.watch_root_certs();
  return Credentials{std::move(copies), tls::TlsCredentials(settings)};
}

absl::StatusOr<std::shared_ptr<Connection>> Connection::Open(ConnectionOptions options) {
  if (options.address.empty()) {
    return InvalidArgument("INVALID_FIELD", "the server's address is empty; give host:port or unix:PATH",
                           {{"field", "address"}});
  }
  NX_ASSIGN_OR_RETURN(auto credentials, CredentialsOf(options));
  auto channel = grpc::CreateCustomChannel(options.address, credentials.channel, ArgumentsOf(options));
  return std::shared_ptr<Connection>(
      new Connection(std::move(channel), std::move(credentials), std::move(options)));
}

std::shared_ptr<Connection> Connection::Wrap(std::shared_ptr<grpc::ChannelInterface> channel,
                                             ConnectionOptions options) {
  return std::shared_ptr<Connection>(new Connection(std::move(channel), {}, std::move(options)));
}

std::shared_ptr<Connection> Connection::Another() const {
  auto channel =
      credentials_.channel == nullptr
          ? channel_
          : grpc::CreateCustomChannel(options_.address, credentials_.channel, ArgumentsOf(options_));
  return std::shared_ptr<Connection>(new Connection(std::move(channel), credentials_, options_));
}

Connection::Connection(std::shared_ptr<grpc::ChannelInterface> channel, Credentials credentials,
                       ConnectionOptions options)
    : credentials_(std::move(credentials)),
      channel_(std::move(channel)),
      options_(std::move(options)),
      uploads_(v1::UploadService::NewStub(channel_)),
      prearchive_(v1::PrearchiveService::NewStub(channel_)),
      archive_(v1::ArchiveService::NewStub(channel_)),
      resources_(v1::ResourceService::NewStub(channel_)),
      projects_(v1::ProjectService::NewStub(channel_)),
      settings_(v1::SettingsService::NewStub(channel_)),
      anonymization_(v1::AnonymizationService::NewStub(channel_)),
      receivers_(v1::ReceiverService::NewStub(channel_)),
      routing_(v1::RoutingService::NewStub(channel_)),
      operations_(google::longrunning::Operations::NewStub(channel_)) {}

std::unique_ptr<grpc::ClientContext> Connection::NewContext() const {
  auto context = std::make_unique<grpc::ClientContext>();
  std::string token = options_.token;
  std::error_code error;
  // A pipe was read once and for all.
  if (!options_.token_file.empty() && std::filesystem::is_regular_file(options_.token_file, error)) {
    if (auto now = ReadTokenFile(options_.token_file); now.ok()) token = *std::move(now);
  }
  if (!token.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", token));
  return context;
}

absl::Duration Connection::Backoff(int attempt) const {
  absl::BitGen random;
  absl::Duration wait = options_.initial_backoff * (int64_t{1} << std::clamp(attempt - 1, 0, 20));
  return std::min(wait, options_.max_backoff) * absl::Uniform(random, 0.7, 1.3);
}

absl::Status Connection::Retry(absl::Duration timeout,
                               const std::function<grpc::Status(grpc::ClientContext*)>& call) const {
  absl::Status status;
  for (int attempt = 1;; ++attempt) {
    // A context serves one call only.
    std::unique_ptr<grpc::ClientContext> context = NewContext();
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    status = FromGrpcStatus(call(context.get()));
    if (!IsTransient(status) || attempt >= options_.max_attempts) return status;
    absl::SleepFor(Backoff(attempt));
  }
}

}  // namespace narthex::client
