#include "clients/cli/program.h"

#include <cstdlib>
#include <exception>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::cli {
namespace {

constexpr char kDescription[] =
    "Uploads, reviews, archives and downloads imaging sessions.\n"
    "Exit codes: 0 done, 1 the server or some object said no, 2 usage, 3 cannot reach the server, 4 not "
    "allowed.";

ExitCode CodeOf(const absl::Status& status) {
  if (status.ok()) return ExitCode::kDone;
  if (absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) return ExitCode::kNotAllowed;
  if (client::IsUnreachable(status) || ErrorReason(status) == "SHUTTING_DOWN") return ExitCode::kUnreachable;
  if (absl::IsDeadlineExceeded(status) && ErrorReason(status).empty()) return ExitCode::kUnreachable;
  // The server gives every error a reason; this one was found here.
  if (absl::IsInvalidArgument(status) && ErrorReason(status).empty()) return ExitCode::kUsage;
  return ExitCode::kRefused;
}

std::string OneLine(absl::string_view text) {
  return Printable(absl::StrReplaceAll(text, {{"\n", "; "}, {"\r", ""}}));
}

}  // namespace

void Program::OnChosen(CLI::App* command, Action action) {
  command->final_callback([this, action = std::move(action)] { action_ = action; });
}

void Program::AddGlobalFlags(CLI::App& app) {
  app.add_option("--server", server_, "host:port or unix:PATH of the server")
      ->envname("NARTHEX_SERVER")
      ->take_last()
      ->capture_default_str();
  app.add_option("--token-file", token_file_, "file that holds the token; without it NARTHEX_TOKEN is used")
      ->take_last();
  app.add_option("--output", output_, "what to write: table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->take_last()
      ->capture_default_str();
  app.add_flag("--quiet", quiet_, "no progress and no remarks");
  app.add_flag("--tls", tls_, "encrypt; trust the system's authorities");
  app.add_option("--tls-ca", tls_ca_, "PEM file of the authorities to trust; implies --tls");
  app.add_option("--tls-cert", tls_cert_, "PEM file of the client's certificate; implies --tls");
  app.add_option("--tls-key", tls_key_, "PEM file of the client's private key");
  app.add_flag("--allow-plaintext", allow_plaintext_, "send token and images to another machine without TLS");
}

absl::StatusOr<std::string> Program::Token() const {
  if (token_file_.empty()) {
    const char* token = std::getenv("NARTHEX_TOKEN");
    return std::string(absl::StripAsciiWhitespace(token == nullptr ? "" : token));
  }
  std::ifstream file(token_file_);
  std::string token;
  if (!file || !std::getline(file, token)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the token file ", token_file_, " cannot be read or is empty"));
  }
  return std::string(absl::StripAsciiWhitespace(token));
}

absl::StatusOr<std::shared_ptr<client::Connection>> Program::Connect() {
  client::ConnectionOptions options;
  options.address = server_;
  NX_ASSIGN_OR_RETURN(options.token, Token());
  options.token_file = token_file_;
  options.allow_plaintext = allow_plaintext_;
  if (tls_ || !tls_ca_.empty() || !tls_cert_.empty() || !tls_key_.empty()) {
    options.tls = client::TlsOptions{tls_ca_, tls_cert_, tls_key_, ""};
  }
  return client::Connection::Open(std::move(options));
}

ExitCode Program::Print(const google::protobuf::Message& message,
                        const std::function<void(std::ostream&)>& table) {
  if (json()) {
    PrintJson(ToJson(message, false));
  } else {
    table(out());
    out().flush();
  }
  return ExitCode::kDone;
}

void Program::PrintLine(const google::protobuf::Message& message) { PrintJson(ToJson(message, true)); }

void Program::PrintJson(const std::string& json) { out() << json << std::endl; }

void Program::Note(absl::string_view text) {
  if (!quiet_) err() << "narthex: " << OneLine(text) << std::endl;
}

ExitCode Program::Tell(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  std::string message = OneLine(status.message());
  if (client::IsUnreachable(status))
    message = absl::StrCat("cannot reach the server ", server_, ": ", message);
  err() << "narthex: " << message << " ("
        << (reason.empty() ? absl::StatusCodeToString(status.code()) : reason) << ")" << std::endl;
  return CodeOf(status);
}

int Program::Finish(const absl::StatusOr<ExitCode>& result) {
  if (result.ok()) return static_cast<int>(*result);
  const ExitCode code = Tell(result.status());
  if (json()) PrintJson(ErrorJson(result.status()));
  return static_cast<int>(code);
}

namespace {

// CLI11 throws; nothing leaves this function. nullopt: parsed.
std::optional<int> Parse(CLI::App& app, int argc, const char* const* argv, const Terminal& terminal) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::CallForHelp& error) {
    return app.exit(error, terminal.out, terminal.err);
  } catch (const CLI::CallForAllHelp& error) {
    return app.exit(error, terminal.out, terminal.err);
  } catch (const CLI::CallForVersion& error) {
    return app.exit(error, terminal.out, terminal.err);
  } catch (const CLI::ParseError& error) {
    for (const std::string& argument : app.remaining(true)) {
      terminal.err << "narthex: " << OneLine(argument)
                   << " is no command or flag here; `narthex --help` lists them\n";
      return static_cast<int>(ExitCode::kUsage);
    }
    terminal.err << "narthex: " << OneLine(error.what())
                 << "; `narthex COMMAND --help` shows what is possible\n";
    return static_cast<int>(ExitCode::kUsage);
  } catch (const std::exception& error) {
    terminal.err << "narthex: " << OneLine(error.what()) << "\n";
    return static_cast<int>(ExitCode::kUsage);
  }
}

}  // namespace

int RunNarthex(int argc, const char* const* argv, const Terminal& terminal) {
  Program program(terminal);
  CLI::App app(kDescription, "narthex");
  app.fallthrough();  // global flags count before and after the command
  app.require_subcommand(1);
  app.set_version_flag("--version", "narthex 0.1.0");
  program.AddGlobalFlags(app);
  AddUploadCommands(app, program);
  AddPrearchiveCommands(app, program);
  AddSessionCommands(app, program);
  AddProjectCommands(app, program);
  AddSubjectCommands(app, program);
  AddIdentityCommands(app, program);
  AddAnonCommands(app, program);
  AddOperationCommands(app, program);
  AddReceiverCommands(app, program);
  AddRoutingCommands(app, program);
  AddServerCommands(app, program);
  if (auto code = Parse(app, argc, argv, terminal)) return *code;
  return program.Finish(program.action_());
}

}  // namespace narthex::cli
