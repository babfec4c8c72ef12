// The command line program `narthex`: global flags, the choice of the command, exit codes. Each command group
// has a file of its own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

#include "CLI/CLI.hpp"
#include "clients/cli/console.h"
#include "clients/cpp/connection.h"

namespace narthex::cli {

// Relied on by scripts (docs/cli.md).
enum class ExitCode {
  kDone = 0,
  kRefused = 1,      // the server or some object said no
  kUsage = 2,        // the command line is wrong
  kUnreachable = 3,  // the server cannot be reached
  kNotAllowed = 4,   // the caller may not
};

// Where a run writes, and what is a terminal.
struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

// Runs `narthex ARGUMENT...`; `argv` as main gets it. Returns the exit code. Never throws.
int RunNarthex(int argc, const char* const* argv, const Terminal& terminal);

// One run: what the commands need. Single-threaded.
class Program {
 public:
  using Action = std::function<absl::StatusOr<ExitCode>()>;

  explicit Program(const Terminal& terminal) : terminal_(terminal) {}

  // Makes `command` run `action` when it was chosen.
  void OnChosen(CLI::App* command, Action action);

  // The connection that the global flags ask for. INVALID_ARGUMENT: a flag's value does not serve.
  absl::StatusOr<std::shared_ptr<client::Connection>> Connect();

  // The answer of the run: `message` as one JSON document, or what `table` prints. kDone.
  ExitCode Print(const google::protobuf::Message& message, const std::function<void(std::ostream&)>& table);
  // One of many answers: a JSON object on a line of its own.
  void PrintLine(const google::protobuf::Message& message);
  // A document that was put together elsewhere.
  void PrintJson(const std::string& json);

  bool json() const { return output_ == "json"; }
  bool quiet() const { return quiet_; }
  // Whether progress may be drawn.
  bool draws() const { return terminal_.err_is_terminal && !quiet_; }
  // Whether a live table may be drawn.
  bool draws_tables() const { return terminal_.out_is_terminal && !json(); }
  std::ostream& out() { return terminal_.out; }
  std::ostream& err() { return terminal_.err; }
  // A remark for people, not in quiet runs.
  void Note(absl::string_view text);

  // Writes an error as people read it, for a command whose document (JSON, table) has been printed in spite
  // of it. Returns the exit code.
  ExitCode Tell(const absl::Status& status);

 private:
  friend int RunNarthex(int argc, const char* const* argv, const Terminal& terminal);

  void AddGlobalFlags(CLI::App& app);
  absl::StatusOr<std::string> Token() const;
  int Finish(const absl::StatusOr<ExitCode>& result);

  const Terminal terminal_;
  std::string server_ = "127.0.0.1:8443";
  std::string token_file_;
  std::string output_ = "table";
  bool quiet_ = false;
  bool tls_ = false;
  std::string tls_ca_;
  std::string tls_cert_;
  std::string tls_key_;
  bool allow_plaintext_ = false;
  Action action_;
};

// Add their commands to `app`.
void AddUploadCommands(CLI::App& app, Program& program);
void AddPrearchiveCommands(CLI::App& app, Program& program);
void AddSessionCommands(CLI::App& app, Program& program);
// Those of `narthex session` that change more than its name.
void AddSessionChangeCommands(CLI::App* group, Program& program);
void AddProjectCommands(CLI::App& app, Program& program);
void AddProjectFieldCommands(CLI::App* group, Program& program);
void AddSubjectCommands(CLI::App& app, Program& program);
void AddAnonCommands(CLI::App& app, Program& program);
void AddOperationCommands(CLI::App& app, Program& program);
void AddReceiverCommands(CLI::App& app, Program& program);
void AddRoutingCommands(CLI::App& app, Program& program);
void AddServerCommands(CLI::App& app, Program& program);
void AddIdentityCommands(CLI::App& app, Program& program);
// To the group `server`.
void AddAuditCommands(CLI::App* server, Program& program);

}  // namespace narthex::cli
