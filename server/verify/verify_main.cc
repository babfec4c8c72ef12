// narthex-verify: checks the data directory of a server that is not running. It proves invariants 1, 2, 4 and
// 8 of ARCHITECTURE.md for what lies there.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>
#include <sys/file.h>

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/verify/index_check.h"
#include "server/verify/outcome_check.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/access.h"
#include "storage/metadata/database.h"
#include "storage/metadata/managed_postgres.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"
#include "storage/verify/archive_check.h"
#include "storage/verify/audit_check.h"
#include "storage/verify/staging_check.h"

namespace narthex::verify {
namespace {

constexpr int kExitFindings = 1;
constexpr int kExitFailed = 70;

struct Flags {
  std::string data_dir;
  std::string archive_dir;
  std::string postgres = "managed";
  std::string output = "text";
  bool no_digests = false;
};

// Takes the server's lock, so that neither runs beside the other. Held until the process ends.
absl::Status Lock(const std::string& data_dir) {
  const std::string path = data_dir + "/lock";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) {
    return NotFound("DATA_DIR_NOT_FOUND", absl::StrCat("no server has used ", data_dir, " (", path, ": ",
                                                       std::strerror(errno), ")"));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("DATA_DIR_IN_USE",
                              absl::StrCat("narthexd runs on ", data_dir, "; stop it first"));
  }
  return absl::OkStatus();
}

absl::Status CheckStaging(const Flags& flags, Report& report) {
  const std::string segments = flags.data_dir + "/staging/segments";
  const std::string index_path = flags.data_dir + "/staging/index";
  for (const std::string& path : {segments, index_path}) {
    NX_ASSIGN_OR_RETURN(const bool there, fs::Exists(fs::Posix(), path));
    if (!there) {
      report.Find("FOLDER_MISSING", path, "a server's data directory has it");
      return absl::OkStatus();
    }
  }
  NX_ASSIGN_OR_RETURN(const auto index, staging::Index::OpenRocksDb(index_path));
  staging::StagingStore::Options options;
  options.directory = segments;
  options.free_space_min_bytes = 0;
  options.writer_threads = 0;
  NX_ASSIGN_OR_RETURN(const auto store, staging::StagingStore::Open(options, fs::Posix()));
  NX_RETURN_IF_ERROR(CheckSegments(*store, report));
  NX_RETURN_IF_ERROR(CheckIndex(*index, *store, report));
  return CheckOutcomes(*index, report);
}

absl::Status CheckDatabase(const Flags& flags, Report& report) {
  std::unique_ptr<metadata::ManagedPostgres> postgres;
  metadata::Database::Options options;
  options.conninfo = flags.postgres;
  options.max_connections = 1;
  if (flags.postgres == "managed") {
    NX_ASSIGN_OR_RETURN(postgres,
                        metadata::ManagedPostgres::Start({.directory = flags.data_dir + "/postgres"}));
    options.conninfo = postgres->conninfo();
  }
  NX_ASSIGN_OR_RETURN(const auto database, metadata::Database::Open(options));
  const std::string archive = flags.archive_dir.empty() ? flags.data_dir + "/archive" : flags.archive_dir;
  NX_RETURN_IF_ERROR(CheckAudit(database->audit(), report));
  return CheckArchive(*database, fs::Posix(), archive, {.digests = !flags.no_digests}, report);
}

void PrintText(const Report& report) {
  for (const Report::Finding& finding : report.findings) {
    std::printf("FOUND %s %s: %s\n", finding.kind.c_str(), finding.where.c_str(), finding.what.c_str());
  }
  for (const Report::Finding& finding : report.unfinished) {
    std::printf("unfinished %s %s: %s\n", finding.kind.c_str(), finding.where.c_str(), finding.what.c_str());
  }
  std::printf(
      "%s\n",
      absl::StrCat("staging: ", report.staged_session_count, " sessions, ", report.staged_object_count,
                   " objects, ", report.staged_bytes, " bytes; archive: ", report.archived_session_count,
                   " sessions, ", report.archived_file_count, " files, ", report.catalog_count, " catalogs, ",
                   report.archived_bytes, " bytes\n", report.finding_count, " findings, ",
                   report.unfinished_count, " things that the next start finishes")
          .c_str());
}

int Run(const Flags& flags) {
  const metadata::SystemScope scope;
  Report report;
  absl::Status status = Lock(flags.data_dir);
  if (status.ok()) status = CheckStaging(flags, report);
  if (status.ok()) status = CheckDatabase(flags, report);
  if (!status.ok()) {
    std::fprintf(stderr, "narthex-verify: %s\n", std::string(status.message()).c_str());
    return kExitFailed;
  }
  if (flags.output == "json") {
    std::fputs(report.ToJson().c_str(), stdout);
  } else {
    PrintText(report);
  }
  return report.clean() ? 0 : kExitFindings;
}

}  // namespace
}  // namespace narthex::verify

int main(int argc, char** argv) {
  narthex::verify::Flags flags;
  CLI::App app(
      "Checks the data directory of a stopped narthexd: every staged object, every archived file, and that "
      "index, "
      "segments, database, catalogs and files say the same. Changes none of them, except that the stores are "
      "opened as "
      "the server opens them: their logs are replayed, and a database of an older version is migrated.\n"
      "Exit code: 0 all is well, 1 something was found, 70 it could not be checked.");
  app.add_option("--data-dir", flags.data_dir, "as of narthexd")->required();
  app.add_option("--archive-dir", flags.archive_dir,
                 "as of narthexd; default: archive in the data directory");
  app.add_option("--postgres", flags.postgres, "as of narthexd: 'managed' or a connection string");
  app.add_option("--output", flags.output, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.add_flag("--no-digests", flags.no_digests, "look at sizes only; archived files are not read");
  CLI11_PARSE(app, argc, argv);
  narthex::SetLogLevel(narthex::LogLevel::kError);
  return narthex::verify::Run(flags);
}
