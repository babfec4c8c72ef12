// The private server: creation, crashes of it and of its owner, and what the stores make of that. Migrations,
// too.
#include "storage/metadata/managed_postgres.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include <sys/wait.h>

#include "base/error.h"
#include "storage/metadata/connection.h"
#include "storage/metadata/database.h"
#include "storage/metadata/migrate.h"
#include "storage/metadata/testing/test_database.h"

namespace narthex::metadata {
namespace {

std::string TemporaryFolder(const std::string& below = "/tmp") {
  std::string folder = below + "/narthex-pg-XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder;
}

NewSession SmallSession(const std::string& label) {
  NewSession made;
  made.session.project = "P1";
  made.session.subject = "S1";
  made.session.label = label;
  made.session.folder = "P1/arc001/" + label;
  return made;
}

TEST(ManagedPostgresTest, SurvivesKillOfItsOwner) {
  const std::string folder = TemporaryFolder();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t owner = fork();
  if (owner == 0) {
    const SystemScope scope;
    auto postgres = ManagedPostgres::Start({.directory = folder + "/postgres"});
    auto database = postgres.ok() ? Database::Open({.conninfo = (*postgres)->conninfo()}) : postgres.status();
    Project project;
    project.id = "P1";
    const bool made = database.ok() && (*database)->projects().Create(project, {}).ok();
    (void)!write(ready[1], made ? "y" : "n", 1);
    while (true) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');

  kill(owner, SIGKILL);
  waitpid(owner, nullptr, 0);
  auto postgres = ManagedPostgres::Start({.directory = folder + "/postgres"});

  ASSERT_TRUE(postgres.ok()) << postgres.status();
  auto database = Database::Open({.conninfo = (*postgres)->conninfo()});
  ASSERT_TRUE(database.ok()) << database.status();
  const SystemScope scope;
  EXPECT_TRUE((*database)->projects().Get("P1").ok());
  database->reset();
  const pid_t server = (*postgres)->pid();
  ASSERT_GT(server, 0);
  EXPECT_TRUE((*postgres)->Stop().ok());
  EXPECT_TRUE((*postgres)->Stop().ok());
  EXPECT_EQ((*postgres)->pid(), 0);
  EXPECT_NE(kill(server, 0), 0);
  (void)!system(absl::StrCat("rm -rf ", folder).c_str());
}

TEST(ManagedPostgresTest, WorksBelowALongPathAndOneWithBlanks) {
  const std::string folder = TemporaryFolder();
  const std::string path = absl::StrCat(folder, "/it's a \"long\" name, ", std::string(120, 'x'));

  auto postgres = ManagedPostgres::Start({.directory = path});

  ASSERT_TRUE(postgres.ok()) << postgres.status();
  EXPECT_TRUE(Database::Open({.conninfo = (*postgres)->conninfo()}).ok());
  postgres->reset();
  (void)!system(absl::StrCat("rm -rf ", folder).c_str());
}

TEST(ManagedPostgresTest, SaysWhatIsWrong) {
  const std::string folder = TemporaryFolder();

  EXPECT_EQ(
      ErrorReason(ManagedPostgres::Start({.directory = folder + "/a", .binaries = "/nowhere"}).status()),
      "POSTGRES_NOT_FOUND");
  ASSERT_EQ(symlink("/tmp", (folder + "/link").c_str()), 0);
  EXPECT_EQ(ErrorReason(ManagedPostgres::Start({.directory = folder + "/link"}).status()),
            "POSTGRES_DIRECTORY");
  (void)!system(absl::StrCat("rm -rf ", folder).c_str());
}

TEST(ManagedPostgresTest, UnreachableServerIsUnavailable) {
  const absl::Status status =
      Database::Open({.conninfo = "host=/nowhere dbname=x", .connect_timeout = absl::Milliseconds(100)})
          .status();

  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_EQ(ErrorReason(status), "DATABASE_UNAVAILABLE");
}

// Goal: what a commit acknowledged is there after the server was killed, and repeating the others settles
// them.
TEST(ManagedPostgresTest, KilledServerLosesNothingThatWasAcknowledged) {
  TestDatabase database;
  Project project;
  project.id = "P1";
  ASSERT_TRUE(database->projects().Create(project, {}).ok());
  std::atomic<bool> stop{false};
  std::set<std::string> acknowledged;
  std::vector<std::string> tried;
  std::thread writer([&] {
    const SystemScope scope;
    for (int i = 0; !stop && i < 2000; ++i) {
      const std::string label = absl::StrCat("L", i);
      tried.push_back(label);
      if (database->sessions().Commit(SmallSession(label), {.request_id = label}).ok())
        acknowledged.insert(label);
    }
  });

  for (int round = 0; round < 3; ++round) {
    absl::SleepFor(absl::Milliseconds(200));
    kill(TestPostgres().pid(), SIGKILL);
    absl::SleepFor(absl::Milliseconds(50));
    ASSERT_TRUE(TestPostgres().Restart().ok());
  }
  absl::SleepFor(absl::Milliseconds(200));
  stop = true;
  writer.join();

  EXPECT_GT(acknowledged.size(), 3u);
  for (const std::string& label : tried) {
    const bool there = database->session_reader().Get("P1/" + label, Visibility::All()).ok();
    if (acknowledged.count(label) > 0) {
      EXPECT_TRUE(there) << label;
    }
    auto settled = database->sessions().Commit(SmallSession(label), {.request_id = label});
    ASSERT_TRUE(settled.ok()) << label << ": " << settled.status();
    EXPECT_EQ(settled->repeated, there) << label;
  }
  EXPECT_TRUE(database->audit().Verify("P1").ok());
}

TEST(MigrateTest, EmptyDatabaseIsBroughtUpToDateByManyAtOnce) {
  const std::string conninfo = NewEmptyDatabase();
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { results[i] = Database::Open({.conninfo = conninfo}).status(); });
  }
  for (std::thread& thread : threads) thread.join();

  for (const absl::Status& status : results) EXPECT_TRUE(status.ok()) << status;
}

// A large archive's indexes are made in minutes; then the server did not start.
TEST(MigrateTest, MayTakeLongerThanAStatement) {
  Database::Options options;
  options.conninfo = NewEmptyDatabase();
  options.statement_timeout = absl::Milliseconds(1);
  EXPECT_TRUE(Database::Open(options).ok());
}

TEST(MigrateTest, ConnectionStringsMayBeUrls) {
  const std::string conninfo = NewEmptyDatabase();
  // host='...' dbname='...': the external form of the same.
  std::string host, name;
  for (absl::string_view part : absl::StrSplit(conninfo, ' ')) {
    if (absl::StartsWith(part, "host=")) host = std::string(part.substr(6, part.size() - 7));
    if (absl::StartsWith(part, "dbname=")) name = std::string(part.substr(8, part.size() - 9));
  }
  const std::string url = absl::StrCat("postgresql://narthex@/", name, "?host=", host);

  auto database = Database::Open({.conninfo = url});

  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_TRUE((*database)->Ping().ok());
}

TEST(MigrateTest, RefusesNewerAndChangedSchemas) {
  const std::string conninfo = NewEmptyDatabase();
  auto connection = Connection::Connect(conninfo, absl::Seconds(5), absl::Seconds(5));
  ASSERT_TRUE(connection.ok());
  const std::vector<Migration> two = {{"0001_a", "CREATE TABLE a (x int)"},
                                      {"0002_b", "CREATE TABLE b (x int)"}};
  ASSERT_TRUE(Migrate(**connection, two).ok());
  ASSERT_TRUE(Migrate(**connection, two).ok());

  EXPECT_EQ(ErrorReason(Migrate(**connection, {two[0]})), "DATABASE_TOO_NEW");
  EXPECT_EQ(ErrorReason(Migrate(**connection, {{"0001_a", "CREATE TABLE a (y int)"}, two[1]})),
            "DATABASE_MIGRATION_CHANGED");
  EXPECT_EQ(ErrorReason(Database::Open({.conninfo = conninfo}).status()), "DATABASE_TOO_NEW");
  // A migration that fails leaves nothing.
  EXPECT_FALSE(
      Migrate(**connection, {two[0], two[1], {"0003_c", "CREATE TABLE c (x int); SELECT nothing"}}).ok());
  EXPECT_TRUE(Migrate(**connection, {two[0], two[1], {"0003_c", "CREATE TABLE c (x int)"}}).ok());
}

}  // namespace
}  // namespace narthex::metadata
