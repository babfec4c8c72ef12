#include "storage/metadata/testing/test_database.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "storage/metadata/connection.h"

namespace narthex::metadata {
namespace {

constexpr char kTemplate[] = "narthex_template";

void Require(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  abort();
}

// Stops with the process and takes its folder along.
struct Server {
  std::string folder;
  std::unique_ptr<ManagedPostgres> postgres;

  Server() {
    const char* const base = getenv("TMPDIR");
    folder = absl::StrCat(base == nullptr ? "/tmp" : base, "/narthex-test-XXXXXX");
    if (mkdtemp(folder.data()) == nullptr) abort();
    auto started =
        ManagedPostgres::Start({.directory = folder + "/postgres", .shared_buffers_mb = 32, .sync = false});
    Require(started.status(), "PostgreSQL for the tests does not start");
    postgres = *std::move(started);
  }
  ~Server() {
    postgres.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
};

std::string ConnInfo(const std::string& database) {
  return absl::StrReplaceAll(TestPostgres().conninfo(),
                             {{"dbname='narthex'", absl::StrCat("dbname='", database, "'")}});
}

void Execute(const std::string& sql) {
  auto connection = Connection::Connect(ConnInfo("postgres"), absl::Seconds(20), absl::Seconds(60));
  Require(connection.status(), "connecting to the PostgreSQL of the tests");
  Require((*connection)->RunScript(sql), sql.c_str());
}

std::string NewName() {
  static std::atomic<int> next{0};
  return absl::StrCat("test_", getpid(), "_", next++);
}

const char* Template() {
  static const bool made = [] {
    Execute(absl::StrCat("CREATE DATABASE ", kTemplate));
    auto migrated = Database::Open({.conninfo = ConnInfo(kTemplate)});
    Require(migrated.status(), "migrating the template database");
    return true;
  }();
  return made ? kTemplate : nullptr;
}

}  // namespace

ManagedPostgres& TestPostgres() {
  static Server server;
  return *server.postgres;
}

std::string NewEmptyDatabase() {
  const std::string name = NewName();
  Execute(absl::StrCat("CREATE DATABASE ", name));
  return ConnInfo(name);
}

TestDatabase::TestDatabase(const std::string& site_id) : name_(NewName()), site_id_(site_id) {
  Execute(absl::StrCat("CREATE DATABASE ", name_, " TEMPLATE ", Template()));
  conninfo_ = ConnInfo(name_);
  database_ = Reopen();
}

TestDatabase::~TestDatabase() {
  database_.reset();
  // A test may have killed the server.
  if (TestPostgres().Restart().ok()) Execute(absl::StrCat("DROP DATABASE ", name_, " WITH (FORCE)"));
}

std::unique_ptr<Database> TestDatabase::Reopen() {
  auto database = Database::Open({.conninfo = conninfo_, .site_id = site_id_});
  Require(database.status(), "opening the test database");
  return *std::move(database);
}

}  // namespace narthex::metadata
