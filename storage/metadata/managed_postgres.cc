#include "storage/metadata/managed_postgres.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include <libpq-fe.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/metadata/child_process.h"
#include "storage/metadata/dump.h"

namespace narthex::metadata {
namespace {

namespace files = std::filesystem;

constexpr char kRole[] = "narthex";
constexpr char kUnprivilegedUser[] = "postgres";
constexpr size_t kSocketPathMax = 107;  // fixed: the system; sockaddr_un.sun_path without its NUL
constexpr absl::string_view kSocketName = "/.s.PGSQL.5432";
constexpr char kDirectoryDescriptor[] = "/proc/self/fd/3";  // child_process.h
constexpr absl::Duration kFastShutdown = absl::Seconds(30);

absl::Status DirectoryError(absl::string_view text) {
  return FailedPrecondition("POSTGRES_DIRECTORY", text, {});
}

std::string ReadSmallFile(const std::string& path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string LastLine(const std::string& path) {
  const std::string text = ReadSmallFile(path);
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  return lines.empty() ? std::string("(empty)") : std::string(lines.back());
}

bool HasServer(const std::string& folder) { return access((folder + "/postgres").c_str(), X_OK) == 0; }

// The folder of initdb and postgres: of `version` if that is not "", else the newest.
std::string FindBinaries(const std::string& version) {
  int best = 0;
  std::string found;
  std::error_code ignored;
  for (const auto& entry : files::directory_iterator("/usr/lib/postgresql", ignored)) {
    const std::string name = entry.path().filename(), folder = entry.path() / "bin";
    int number = 0;
    if (!absl::SimpleAtoi(name, &number) || !HasServer(folder)) continue;
    if (version.empty() ? number > best : name == version) {
      best = number;
      found = folder;
    }
  }
  if (!found.empty()) return found;
  const char* const path = getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
    if (HasServer(std::string(folder)) && access(absl::StrCat(folder, "/initdb").c_str(), X_OK) == 0)
      return std::string(folder);
  }
  return "";
}

// A directory of ours with mode 0700; symbolic links and other people's are refused.
absl::Status OwnDirectory(const std::string& path, const RunAs& owner) {
  const uid_t uid = owner ? owner->uid : geteuid();
  if (mkdir(path.c_str(), 0700) == 0) {
    if (owner && lchown(path.c_str(), owner->uid, owner->gid) != 0) {
      return DirectoryError(
          absl::StrCat("cannot give ", path, " to user ", kUnprivilegedUser, ": ", strerror(errno)));
    }
    return absl::OkStatus();
  }
  struct stat info;
  if (errno != EEXIST || lstat(path.c_str(), &info) != 0) {
    return DirectoryError(absl::StrCat("cannot create ", path, ": ", strerror(errno)));
  }
  if (!S_ISDIR(info.st_mode))
    return DirectoryError(absl::StrCat(path, " is not a directory (symbolic links are refused)"));
  if (info.st_uid != uid) {
    return DirectoryError(
        absl::StrCat(path, " belongs to user number ", info.st_uid, ", not to ", uid,
                     ": a data directory cannot change between root and an ordinary user; `chown -R ", uid,
                     " ", path, "` if that is what you want"));
  }
  if ((info.st_mode & 0777) != 0700 && chmod(path.c_str(), 0700) != 0) {
    return DirectoryError(absl::StrCat("cannot set the mode of ", path, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<RunAs> WhomToRunAs() {
  if (geteuid() != 0) return RunAs();
  const struct passwd* const user = getpwnam(kUnprivilegedUser);
  if (user == nullptr || user->pw_uid == 0) {
    return FailedPrecondition(
        "POSTGRES_NOT_FOUND",
        "PostgreSQL does not run as root and there is no user `postgres`: install the package "
        "postgresql, start narthexd as an ordinary user, or give --postgres a connection string",
        {});
  }
  return RunAs(Account{user->pw_uid, user->pw_gid});
}

// The pid in postmaster.pid if that process is a server on `data`, else 0.
pid_t OrphanOf(const std::string& data) {
  int pid = 0;
  const std::string text = ReadSmallFile(data + "/postmaster.pid");
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (!absl::SimpleAtoi(lines.front(), &pid) || pid <= 1 || pid == getpid()) return 0;
  struct stat ours, theirs;
  if (stat(data.c_str(), &ours) != 0 || stat(absl::StrCat("/proc/", pid, "/cwd").c_str(), &theirs) != 0)
    return 0;
  return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino ? pid : 0;
}

bool Gone(pid_t pid, absl::Duration timeout) {
  for (const absl::Time end = absl::Now() + timeout; absl::Now() < end;
       absl::SleepFor(absl::Milliseconds(10))) {
    if (kill(pid, 0) != 0 && errno == ESRCH) return true;
    // A zombie that its new parent has not reaped yet is gone, too.
    const std::string stat = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
    const size_t state = stat.rfind(')');
    if (state != std::string::npos && state + 2 < stat.size() && stat[state + 2] == 'Z') return true;
  }
  return false;
}

}  // namespace

struct ManagedPostgres::Layout {
  RunAs run_as;
  std::string directory;  // absolute
  std::string binaries;
  std::string data;        // the cluster
  std::string data_alias;  // how the server names it
  std::string socket;      // the folder of the socket
  std::string socket_alias;
  std::string log;

  absl::Status Prepare(const Options& options);
  absl::Status ChooseSocket();
  absl::Status ChooseBinaries(const Options& options);
  absl::Status CreateCluster();
  absl::Status StopOrphan();
  absl::Status CreateDatabase(const std::string& name) const;
  Command ServerCommand(const Options& options) const;
  std::string ConnInfo(const std::string& database) const;
};

absl::Status ManagedPostgres::Layout::Prepare(const Options& options) {
  NX_ASSIGN_OR_RETURN(run_as, WhomToRunAs());
  std::error_code error;
  directory = files::absolute(options.directory, error).lexically_normal();
  if (absl::EndsWith(directory, "/") && directory.size() > 1) directory.pop_back();
  files::create_directories(files::path(directory).parent_path(), error);
  if (error) return DirectoryError(absl::StrCat("cannot create ", directory, ": ", error.message()));
  NX_RETURN_IF_ERROR(OwnDirectory(directory, run_as));
  data = directory + "/data";
  log = directory + "/postgres.log";
  data_alias = data;
  // Below a folder that the unprivileged user may not enter (mktemp -d makes such ones) the data directory is
  // reached over an inherited descriptor and never named by its way. (Its working directory would do, but
  // PostgreSQL before 16 leaves that for a moment and then wants to return by name.)
  if (run_as && !MayAccess(*run_as, directory, X_OK)) data_alias = kDirectoryDescriptor;
  NX_RETURN_IF_ERROR(ChooseSocket());
  return ChooseBinaries(options);
}

absl::Status ManagedPostgres::Layout::ChooseSocket() {
  const bool reachable = data_alias == data;
  socket = reachable ? directory + "/socket" : data;  // it takes no way that leads upwards
  socket_alias = reachable ? socket : data_alias;
  const bool plain =
      socket.find_first_of(",'\\") == std::string::npos;  // what the two settings would misread
  if (plain && socket.size() + kSocketName.size() <= kSocketPathMax) {
    return reachable ? OwnDirectory(socket, run_as) : absl::OkStatus();
  }
  const std::string name = absl::StrCat("narthex-", absl::BytesToHexString(Sha256(directory).substr(0, 8)));
  absl::Status status;
  for (const char* const base : {"/run", "/tmp"}) {
    if (access(base, W_OK | X_OK) != 0) continue;
    socket = socket_alias = absl::StrCat(base, "/", name);
    status = OwnDirectory(socket, run_as);
    if (status.ok()) return status;
  }
  return status.ok() ? DirectoryError(absl::StrCat("the path of the socket below ", directory,
                                                   " is too long, and neither /run nor /tmp can be written"))
                     : status;
}

absl::Status ManagedPostgres::Layout::ChooseBinaries(const Options& options) {
  const std::string version(absl::StripAsciiWhitespace(ReadSmallFile(data + "/PG_VERSION")));
  binaries = options.binaries.empty() ? FindBinaries(version) : options.binaries;
  if (binaries.empty() || !HasServer(binaries)) {
    return FailedPrecondition(
        "POSTGRES_NOT_FOUND",
        "there is no PostgreSQL server on this machine: install the package postgresql, or give "
        "--postgres a connection string",
        {});
  }
  const std::string folder_version = files::path(binaries).parent_path().filename();
  int number = 0;
  if (version.empty() || !absl::SimpleAtoi(folder_version, &number) || folder_version == version)
    return absl::OkStatus();
  return FailedPrecondition(
      "POSTGRES_VERSION",
      absl::StrCat(data, " was made by PostgreSQL ", version, ", but ", binaries,
                   " is another version: install postgresql-", version, ", or upgrade with pg_upgrade"),
      {{"version", version}});
}

absl::Status ManagedPostgres::Layout::CreateCluster() {
  if (files::exists(data + "/PG_VERSION")) return absl::OkStatus();
  // Made under another name and renamed when complete, so that a crash leaves no half cluster.
  const std::string fresh = directory + "/data.new";
  std::error_code error;
  files::remove_all(fresh, error);
  NX_RETURN_IF_ERROR(OwnDirectory(fresh, run_as));
  Command command{
      .arguments = {binaries + "/initdb", "-D", data_alias == data ? fresh : data_alias, "--no-sync", "-U",
                    kRole, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"},
      .directory = fresh,
      .log_file = log,
      .run_as = run_as};
  NX_ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> initdb, ChildProcess::Start(command));
  if (!initdb->Wait(absl::Minutes(3))) {
    initdb->Signal(SIGKILL);
    initdb->Wait(absl::InfiniteDuration());
  }
  if (initdb->exit_status() != 0) {
    return Error(absl::StatusCode::kUnavailable, "POSTGRES_START",
                 absl::StrCat("initdb failed; ", log, " says: ", LastLine(log)));
  }
  // One sync of everything instead of initdb's file by file.
  const int descriptor = open(fresh.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && syncfs(descriptor) == 0;
  if (descriptor >= 0) close(descriptor);
  const int parent = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool renamed =
      synced && rename(fresh.c_str(), data.c_str()) == 0 && parent >= 0 && fsync(parent) == 0;
  const int cause = errno;
  if (parent >= 0) close(parent);
  if (!renamed) return DirectoryError(absl::StrCat("cannot make ", data, " durable: ", strerror(cause)));
  Log(LogLevel::kInfo, "postgres cluster created", {{"directory", data}});
  return absl::OkStatus();
}

// Whoever calls holds the lock of narthexd's data directory, so a server that is still there has no owner.
absl::Status ManagedPostgres::Layout::StopOrphan() {
  const pid_t pid = OrphanOf(data);
  if (pid == 0) {
    // The server would believe a pid that some other process of its user has now.
    unlink((data + "/postmaster.pid").c_str());
    return absl::OkStatus();
  }
  Log(LogLevel::kWarning, "stopping the PostgreSQL server of an earlier process", {{"pid", pid}});
  kill(pid, SIGINT);
  if (Gone(pid, kFastShutdown)) return absl::OkStatus();
  kill(pid, SIGQUIT);
  if (Gone(pid, kFastShutdown)) return absl::OkStatus();
  return Error(absl::StatusCode::kUnavailable, "POSTGRES_START",
               absl::StrCat("a PostgreSQL server of an earlier run (pid ", pid,
                            ") does not stop; end it and try again"));
}

Command ManagedPostgres::Layout::ServerCommand(const Options& options) const {
  Command command{.arguments = {binaries + "/postgres", "-D", data_alias},
                  .directory = data,
                  .log_file = log,
                  .run_as = run_as};
  // log_min_messages = log leaves out errors of statements, whose texts quote values.
  for (const std::string& setting : {std::string("listen_addresses="),
                                     "unix_socket_directories=" + socket_alias,
                                     std::string("unix_socket_permissions=0700"),
                                     std::string("port=5432"),
                                     absl::StrCat("shared_buffers=", options.shared_buffers_mb, "MB"),
                                     absl::StrCat("max_connections=", options.max_connections),
                                     std::string(options.sync ? "fsync=on" : "fsync=off"),
                                     std::string("synchronous_commit=on"),
                                     std::string("full_page_writes=on"),
                                     std::string("jit=off"),
                                     std::string("huge_pages=off"),
                                     std::string("max_wal_size=512MB"),
                                     std::string("max_wal_senders=0"),
                                     std::string("wal_level=minimal"),
                                     std::string("max_worker_processes=4"),
                                     std::string("work_mem=8MB"),
                                     std::string("maintenance_work_mem=32MB"),
                                     std::string("effective_cache_size=512MB"),
                                     std::string("random_page_cost=1.1"),
                                     std::string("log_min_messages=log"),
                                     std::string("log_min_error_statement=panic"),
                                     std::string("log_checkpoints=off"),
                                     std::string("logging_collector=off"),
                                     std::string("log_line_prefix=%m [%p] ")}) {
    command.arguments.push_back("-c");
    command.arguments.push_back(setting);
  }
  return command;
}

std::string ManagedPostgres::Layout::ConnInfo(const std::string& database) const {
  const auto quoted = [](absl::string_view text) {
    std::string out = "'";
    for (const char c : text) {
      if (c == '\'' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    return out + "'";
  };
  return absl::StrCat("host=", quoted(socket), " port=5432 user=", kRole, " dbname=", quoted(database));
}

absl::Status ManagedPostgres::Layout::CreateDatabase(const std::string& name) const {
  std::unique_ptr<PGconn, void (*)(PGconn*)> c(PQconnectdb(ConnInfo("postgres").c_str()), PQfinish);
  const char* const values[] = {name.c_str()};
  std::unique_ptr<PGresult, void (*)(PGresult*)> found(
      PQexecParams(c.get(), "SELECT 1 FROM pg_database WHERE datname = $1", 1, nullptr, values, nullptr,
                   nullptr, 0),
      PQclear);
  if (PQntuples(found.get()) == 1) return absl::OkStatus();
  char* const quoted = PQescapeIdentifier(c.get(), name.c_str(), name.size());
  const std::string sql = absl::StrCat("CREATE DATABASE ", quoted == nullptr ? "" : quoted);
  PQfreemem(quoted);
  std::unique_ptr<PGresult, void (*)(PGresult*)> made(PQexec(c.get(), sql.c_str()), PQclear);
  if (PQresultStatus(made.get()) == PGRES_COMMAND_OK) return absl::OkStatus();
  return Error(absl::StatusCode::kUnavailable, "POSTGRES_START",
               absl::StrCat("cannot create database ", name, ": ", PQresultErrorMessage(made.get())));
}

ManagedPostgres::ManagedPostgres(Options options, std::unique_ptr<Layout> layout)
    : options_(std::move(options)),
      layout_(std::move(layout)),
      conninfo_(layout_->ConnInfo(options_.database)) {}

ManagedPostgres::~ManagedPostgres() { (void)Stop(); }

absl::StatusOr<std::unique_ptr<ManagedPostgres>> ManagedPostgres::Start(const Options& options) {
  auto layout = std::make_unique<Layout>();
  NX_RETURN_IF_ERROR(layout->Prepare(options));
  NX_RETURN_IF_ERROR(layout->CreateCluster());
  std::unique_ptr<ManagedPostgres> postgres(new ManagedPostgres(options, std::move(layout)));
  {
    absl::MutexLock lock(&postgres->mutex_);
    NX_RETURN_IF_ERROR(postgres->StartServer());
  }
  NX_RETURN_IF_ERROR(postgres->layout_->CreateDatabase(options.database));
  return postgres;
}

absl::Status ManagedPostgres::StartServer() {
  NX_RETURN_IF_ERROR(layout_->StopOrphan());
  std::error_code ignored;
  if (files::file_size(layout_->log, ignored) > limits::kPostgresLogMaxBytes && !ignored)
    files::rename(layout_->log, layout_->log + ".1", ignored);
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  const std::string probe = layout_->ConnInfo("postgres");
  while (absl::Now() < deadline) {
    NX_ASSIGN_OR_RETURN(child_, ChildProcess::Start(layout_->ServerCommand(options_)));
    while (child_->running() && absl::Now() < deadline) {
      if (PQping(probe.c_str()) == PQPING_OK) return absl::OkStatus();
      child_->Wait(absl::Milliseconds(10));
    }
    if (child_->running()) break;
    // Backends of a server that was killed may hold its memory for a moment.
    absl::SleepFor(absl::Milliseconds(300));
    if (absl::Now() + options_.start_timeout > deadline + absl::Seconds(5)) break;
  }
  child_->Signal(SIGQUIT);
  child_->Wait(absl::InfiniteDuration());
  return Error(absl::StatusCode::kUnavailable, "POSTGRES_START",
               absl::StrCat("PostgreSQL does not start; ", layout_->log, " says: ", LastLine(layout_->log)));
}

absl::Status ManagedPostgres::Stop() {
  absl::MutexLock lock(&mutex_);
  if (!child_ || !child_->running()) return absl::OkStatus();
  child_->Signal(SIGINT);
  if (child_->Wait(kFastShutdown)) return absl::OkStatus();
  child_->Signal(SIGQUIT);  // what was committed stays; the next start recovers
  child_->Wait(absl::InfiniteDuration());
  return absl::OkStatus();
}

absl::Status ManagedPostgres::Restart() {
  absl::MutexLock lock(&mutex_);
  if (child_ && child_->running()) return absl::OkStatus();
  return StartServer();
}

pid_t ManagedPostgres::pid() const {
  absl::MutexLock lock(&mutex_);
  return child_ ? child_->pid() : 0;
}

// As this process's own user, which the cluster lets in by its directory's mode.
absl::Status ManagedPostgres::Dump(const std::string& path) {
  return DumpDatabase(conninfo_, path, {layout_->binaries, layout_->log});
}

absl::Status ManagedPostgres::Load(const std::string& path) {
  return LoadDatabase(conninfo_, path, {layout_->binaries, layout_->log});
}

}  // namespace narthex::metadata
