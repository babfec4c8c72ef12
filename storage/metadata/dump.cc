#include "storage/metadata/dump.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include <libpq-fe.h>

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/access.h"
#include "storage/metadata/child_process.h"
#include "storage/metadata/connection.h"
#include "storage/metadata/connection_security.h"

namespace narthex::metadata {
namespace {

namespace files = std::filesystem;

constexpr absl::Duration kConnectTimeout = absl::Seconds(10);  // fixed: of one backup
// Row-level security shows everything to who says so (migrations/0020_row_security.sql).
constexpr char kSeesAll[] = "-c narthex.system=on";

constexpr char kLook[] =
    "SELECT (SELECT count(*) FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = "
    "to_regnamespace(current_schema())), to_regclass('sessions') IS NOT NULL, "
    "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), "
    "current_setting('server_version_num')::int / 10000";

bool HasTools(const std::string& folder) {
  for (const char* const tool : {"pg_dump", "pg_restore", "psql"}) {
    if (access(absl::StrCat(folder, "/", tool).c_str(), X_OK) != 0) return false;
  }
  return true;
}

// The server's own version, else the next later one: pg_dump reads no later servers than itself.
absl::StatusOr<std::string> FindTools(int version) {
  int best = 0;
  std::string found;
  std::error_code ignored;
  for (const auto& entry : files::directory_iterator("/usr/lib/postgresql", ignored)) {
    int number = 0;
    const std::string folder = entry.path() / "bin";
    if (!absl::SimpleAtoi(entry.path().filename().string(), &number) || number < version) continue;
    if ((best != 0 && number > best) || !HasTools(folder)) continue;
    best = number;
    found = folder;
  }
  if (!found.empty()) return found;
  const char* const path = getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
    if (HasTools(std::string(folder))) return std::string(folder);
  }
  return FailedPrecondition("POSTGRES_NOT_FOUND",
                            absl::StrCat("there is no pg_dump, pg_restore and psql of PostgreSQL ", version,
                                         " or later on this machine: install the package postgresql-client"),
                            {});
}

struct Access {
  std::string conninfo;
  std::vector<std::string> environment;
};

// `conninfo` without its secrets, for a program that sees everything.
absl::StatusOr<Access> ForTools(const std::string& conninfo) {
  char* message = nullptr;
  const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> parsed(
      PQconninfoParse(conninfo.c_str(), &message), PQconninfoFree);
  const absl::Cleanup free = [&] { PQfreemem(message); };
  if (parsed == nullptr) {
    return Error(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE", "the connection string is not one");
  }
  Access access;
  const char* const inherited = getenv("PGOPTIONS");
  std::string options = inherited == nullptr ? "" : inherited;
  for (const PQconninfoOption* option = parsed.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const absl::string_view keyword = option->keyword;
    if (keyword == "options") {
      options = option->val;
    } else if (keyword == "password") {
      access.environment.push_back(absl::StrCat("PGPASSWORD=", option->val));
    } else if (keyword != "sslpassword") {  // there is no way for it but the arguments
      absl::StrAppend(&access.conninfo, keyword, "='",
                      absl::StrReplaceAll(option->val, {{"\\", "\\\\"}, {"'", "\\'"}}), "' ");
    }
  }
  if (const std::string mode = SslModeOf(conninfo); !mode.empty()) {
    absl::StrAppend(&access.conninfo, "sslmode='", mode, "' ");
  }
  absl::StrAppend(&access.conninfo, "options='",
                  absl::StrReplaceAll(absl::StrCat(options, " ", kSeesAll), {{"\\", "\\\\"}, {"'", "\\'"}}),
                  "'");
  return access;
}

class Runner {
 public:
  static absl::StatusOr<Runner> For(const std::string& conninfo, const DumpTools& tools, int version) {
    Runner runner;
    runner.tools_ = tools;
    if (tools.binaries.empty()) {
      NX_ASSIGN_OR_RETURN(runner.tools_.binaries, FindTools(version));
    }
    NX_ASSIGN_OR_RETURN(runner.access_, ForTools(conninfo));
    return runner;
  }

  // `connect`: with the database, else on files alone.
  absl::Status Run(const std::string& tool, std::vector<std::string> arguments, bool connect = true) const {
    Command command;
    command.arguments = {absl::StrCat(tools_.binaries, "/", tool)};
    if (connect) {
      arguments.insert(arguments.begin(), {"--no-password", "--dbname", access_.conninfo});
      command.environment = access_.environment;
    }
    for (std::string& argument : arguments) command.arguments.push_back(std::move(argument));
    command.log_file = tools_.log_file;
    NX_ASSIGN_OR_RETURN(const auto child, ChildProcess::Start(command));
    while (!child->Wait(absl::Hours(1))) {
    }
    if (child->exit_status() == 0) return absl::OkStatus();
    return Error(absl::StatusCode::kUnavailable, "POSTGRES_START",
                 absl::StrCat(tool, " failed; see the end of ", tools_.log_file));
  }

  const std::string& log_file() const { return tools_.log_file; }

 private:
  DumpTools tools_;
  Access access_;
};

// A superuser's dump marks a function as LEAKPROOF, which no ordinary role may (docs/operations.md, "With a
// PostgreSQL of your own"): the definitions are loaded without.
absl::Status LoadDefinitions(const Runner& runner, const std::string& path) {
  const std::string script = runner.log_file() + ".sql";
  const absl::Cleanup remove = [&] { unlink(script.c_str()); };
  NX_RETURN_IF_ERROR(runner.Run(
      "pg_restore", {"--no-owner", "--no-privileges", "--section=pre-data", "--file", script, path}, false));
  std::stringstream text;
  text << std::ifstream(script).rdbuf();
  std::ofstream changed(script);
  changed << absl::StrReplaceAll(text.str(), {{" LEAKPROOF", ""}});
  changed.close();
  if (!changed) return Internal("STORAGE_ERROR", absl::StrCat(script, " cannot be written"));
  return runner.Run("psql", {"--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1",
                             "--single-transaction", "--file", script});
}

}  // namespace

absl::StatusOr<DatabaseState> LookAtDatabase(const std::string& conninfo) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection,
                      Connection::Connect(conninfo, kConnectTimeout, absl::ZeroDuration()));
  NX_ASSIGN_OR_RETURN(const Rows rows, connection->Run(Statement(kLook)));
  if (rows.size() == 0) return Internal("DATABASE_ERROR", "PostgreSQL says nothing of itself");
  DatabaseState state;
  state.empty = rows.Int(0, 0) == 0;
  state.superuser = rows.Bool(0, 2);
  state.postgres_version = static_cast<int>(rows.Int(0, 3));
  if (!rows.Bool(0, 1)) return state;
  NX_ASSIGN_OR_RETURN(const Rows sessions, connection->Run(Statement("SELECT count(*) FROM sessions")));
  state.sessions = sessions.Int(0, 0);
  return state;
}

absl::Status DumpDatabase(const std::string& conninfo, const std::string& path, const DumpTools& tools) {
  const SystemScope scope;
  NX_ASSIGN_OR_RETURN(const DatabaseState state, LookAtDatabase(conninfo));
  NX_ASSIGN_OR_RETURN(const Runner runner, Runner::For(conninfo, tools, state.postgres_version));
  return runner.Run("pg_dump", {"--format=custom", "--enable-row-security", "--file", path});
}

absl::Status LoadDatabase(const std::string& conninfo, const std::string& path, const DumpTools& tools) {
  const SystemScope scope;
  NX_ASSIGN_OR_RETURN(const DatabaseState state, LookAtDatabase(conninfo));
  NX_ASSIGN_OR_RETURN(const Runner runner, Runner::For(conninfo, tools, state.postgres_version));
  std::vector<std::string> arguments = {"--no-owner", "--no-privileges", "--enable-row-security",
                                        "--single-transaction"};
  if (!state.superuser) {
    NX_RETURN_IF_ERROR(LoadDefinitions(runner, path));
    arguments.insert(arguments.end(), {"--section=data", "--section=post-data"});
  }
  arguments.push_back(path);
  return runner.Run("pg_restore", std::move(arguments));
}

}  // namespace narthex::metadata
