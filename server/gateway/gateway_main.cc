// narthex-gateway: the DICOM gateway alone, for a scanner network, in front of a narthexd elsewhere.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "CLI/CLI.hpp"
#include "base/error.h"
#include "base/limit_table.h"
#include "base/log.h"
#include "base/process.h"
#include "base/status.h"
#include "clients/cpp/connection.h"
#include "server/gateway/gateway.h"
#include "server/gateway/receiver_feed.h"

namespace narthex::gateway {
namespace {

constexpr int kExitUsage = 64;
constexpr int kExitInternal = 70;
constexpr int kExitConfiguration = 78;
constexpr absl::Duration kFirstReceivers = absl::Seconds(10);

struct Flags {
  std::string server = "127.0.0.1:8443";
  std::string token_file;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::string dicom_listen = "127.0.0.1:8104";
  std::string ready_file;
  std::string ae_title;     // "": the server knows
  ReceiverConfig receiver;  // defaults that limits change are taken after they are set
  std::string project;
  std::vector<std::string> limits;
  PemFiles tls = DicomPemFiles("", "", "");
  bool allow_plaintext = false;
};

void Declare(Flags& flags, CLI::App& app) {
  app.add_option("--server", flags.server, "address of narthexd")
      ->envname("NARTHEX_SERVER")
      ->capture_default_str();
  app.add_option("--token-file", flags.token_file, "file that holds the bearer token (else NARTHEX_TOKEN)");
  app.add_option("--tls-ca", flags.tls_ca,
                 "speak TLS to narthexd; PEM file of the roots that sign its certificate");
  app.add_option("--tls-cert", flags.tls_cert, "PEM file of the certificate that is shown to narthexd");
  app.add_option("--tls-key", flags.tls_key, "PEM file of its private key");
  app.add_option("--dicom-listen", flags.dicom_listen, "ADDRESS:PORT; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--ae-title", flags.ae_title,
                 "play this AE title only; without it the server's receivers are played, as they change");
  app.add_option("--allow-caller", flags.receiver.allowed_callers,
                 "AE, ADDRESS[/BITS] or AE@ADDRESS[/BITS]; may be repeated; without it everybody may send");
  app.add_option("--project", flags.project,
                 "with --ae-title: the project that everything goes to (else found by routing)");
  app.add_option("--dicom-tls-cert", flags.tls.certificate,
                 "PEM file of the certificate shown to DICOM callers");
  app.add_option("--dicom-tls-key", flags.tls.private_key, "PEM file of its private key");
  app.add_option("--dicom-tls-client-ca", flags.tls.authorities,
                 "PEM file of the authorities of callers' certificates");
  app.add_flag("--dicom-tls", flags.receiver.tls, "with --ae-title: associations over TLS only");
  app.add_flag("--dicom-tls-client-certificate", flags.receiver.tls_client_certificate,
               "with --dicom-tls: callers show a certificate whose common name is their AE title");
  app.add_flag("--allow-plaintext", flags.allow_plaintext,
               "plain text over the network: DICOM without TLS from and to other machines, and to narthexd");
  app.add_option(
         "--limit", flags.limits,
         "NAME=VALUE: another value of one limit than its default (docs/operations.md has them); may be "
         "repeated")
      ->allow_extra_args(false);
  app.add_option("--ready-file", flags.ready_file, "written, by rename, once the gateway serves");
}

absl::StatusOr<std::string> ReadToken(const Flags& flags) {
  if (flags.token_file.empty()) {
    const char* token = std::getenv("NARTHEX_TOKEN");
    return std::string(token == nullptr ? "" : token);
  }
  return client::ReadTokenFile(flags.token_file);
}

absl::Status WriteReadyFile(const std::string& path, const Gateway& gateway) {
  if (path.empty()) return absl::OkStatus();
  const std::string next = absl::StrCat(path, ".next");
  std::ofstream file(next, std::ios::trunc);
  file << "{\"dicom\": \"" << gateway.address() << "\", \"pid\": " << getpid() << "}\n";
  file.close();
  if (file && std::rename(next.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return InvalidArgument("INVALID_FIELD", absl::StrCat("the ready file ", path, " cannot be written"),
                         {{"field", "ready_file"}});
}

absl::Status Serve(const Flags& flags, const sigset_t& signals) {
  GatewayOptions options;
  NX_ASSIGN_OR_RETURN(options.listen, ParseListenAddress(flags.dicom_listen));
  options.receivers.clear();
  if (!flags.ae_title.empty()) {
    options.receivers = {flags.receiver};
    options.receivers[0].ae_title = flags.ae_title;
    options.receivers[0].destination.set_project(flags.project);
  } else if (!flags.project.empty() || !flags.receiver.allowed_callers.empty()) {
    return InvalidArgument("INVALID_FIELD", "--project and --allow-caller need --ae-title",
                           {{"field", "ae_title"}});
  }
  if (!flags.tls.certificate.empty() || !flags.tls.private_key.empty() || !flags.tls.authorities.empty()) {
    NX_ASSIGN_OR_RETURN(options.tls, TlsServer::Open(flags.tls));
  }
  options.plaintext_allowed = flags.allow_plaintext;
  options.keep_default_port = flags.ae_title.empty();

  client::ConnectionOptions connecting;
  connecting.address = flags.server;
  NX_ASSIGN_OR_RETURN(connecting.token, ReadToken(flags));
  connecting.token_file = flags.token_file;
  connecting.allow_plaintext = flags.allow_plaintext;
  if (!flags.tls_ca.empty() || !flags.tls_cert.empty() || !flags.tls_key.empty())
    connecting.tls = client::TlsOptions{flags.tls_ca, flags.tls_cert, flags.tls_key, ""};
  NX_ASSIGN_OR_RETURN(auto connection, client::Connection::Open(std::move(connecting)));
  NX_ASSIGN_OR_RETURN(auto gateway, Gateway::Start(std::move(options), connection));
  std::unique_ptr<ReceiverFeed> feed;
  if (flags.ae_title.empty()) {
    feed = std::make_unique<ReceiverFeed>(*gateway, connection);
    // Ready or not: the server may come later.
    if (!feed->AwaitFirst(kFirstReceivers)) Log(LogLevel::kWarning, "the server does not say its receivers");
  }
  NX_RETURN_IF_ERROR(WriteReadyFile(flags.ready_file, *gateway));
  Log(LogLevel::kInfo, "gateway serves",
      {{"dicom", gateway->address()}, {"ae_title", flags.ae_title}, {"server", flags.server}});
  int signal = 0;
  sigwait(&signals, &signal);
  Log(LogLevel::kInfo, "gateway is stopping", {{"signal", signal}});
  feed.reset();
  gateway->Stop();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Receives DICOM images (C-STORE) and uploads them to a Narthex server.", "narthex-gateway");
  Declare(flags, app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  GuardProcess();
  for (const std::string& limit : flags.limits) {
    if (const absl::Status set = SetLimit(limit); !set.ok()) {
      std::cerr << "narthex-gateway: --limit: " << set.message() << "\n";
      return kExitUsage;
    }
  }
  // Before any thread starts, so that all of them leave these signals to sigwait.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const absl::Status status = Serve(flags, signals);
  FlushLog();
  if (status.ok()) return 0;
  std::cerr << "narthex-gateway: " << status.message() << "\n";
  const bool internal = absl::IsInternal(status) || absl::IsUnknown(status);
  return internal ? kExitInternal : kExitConfiguration;
}

}  // namespace
}  // namespace narthex::gateway

int main(int argc, char** argv) { return narthex::gateway::Main(argc, argv); }
