// The database's own decision who may see and change what, against questions that the stores would never ask:
// without any condition on who may see.
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/metadata/access.h"
#include "storage/metadata/pool.h"
#include "storage/metadata/row_role.h"
#include "storage/metadata/session_store_fixture.h"

namespace narthex::metadata {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// P1 is private, P2 protected, P3 public; a session in each, and one in quarantine in P1.
class RowSecurityTest : public SessionStoreTest {
 protected:
  RowSecurityTest() {
    Project third;
    third.id = "P3";
    third.accessibility = Accessibility::kPublic;
    EXPECT_TRUE(database_->projects().Create(third, {}).ok());
    Project second = *database_->projects().Get("P2");
    second.accessibility = Accessibility::kProtected;
    EXPECT_TRUE(database_->projects().Update(second, {}).ok());
    for (const char* name :
         {"outsider", "collaborator", "member", "owner", "reader", "alladmin", "admin", "gone"}) {
      User user;
      user.name = name;
      user.all_data_read = user.name == "reader";
      user.all_data_admin = user.name == "alladmin";
      user.site_admin = user.name == "admin" || user.name == "gone";
      user.disabled = user.name == "gone";
      EXPECT_TRUE(database_->users().Create(user, {}).ok());
      EXPECT_TRUE(database_->tokens().Create({.user = name}, Sha256(name), {}).ok());
    }
    for (const auto& [name, role] : {std::pair("collaborator", Role::kCollaborator),
                                     std::pair("member", Role::kMember), std::pair("owner", Role::kOwner)}) {
      EXPECT_TRUE(database_->members().Set({"P1", name, role}, {}).ok());
    }
    for (const char* project : {"P1", "P2", "P3"}) {
      NewSession made = MakeSession(absl::StrCat("of-", project));
      made.session.project = project;
      Commit(made);
    }
    NewSession held = MakeSession("held");
    held.session.status = SessionStatus::kQuarantine;
    Commit(held);
    role_ = OpenRole();
  }

  std::string OpenRole() {
    auto connection = Connection::Connect(database_.conninfo(), absl::Seconds(5), absl::Seconds(5));
    EXPECT_TRUE(connection.ok());
    return *EnsureRowRole(**connection);
  }

  // What `sql` answers to `user`; "": to the system. No condition on what may be seen.
  std::vector<std::string> Ask(const std::string& user, const std::string& sql) {
    Pool pool({.conninfo = database_.conninfo(), .max_connections = 1, .role = role_});
    std::optional<UserScope> scope;
    if (!user.empty()) scope.emplace(user);
    auto rows = pool.Read(Statement(sql));
    if (!rows.ok()) return {absl::StrCat("error ", ErrorReason(rows.status()))};
    std::vector<std::string> all;
    for (int i = 0; i < rows->size(); ++i) all.push_back(rows->Text(i, 0));
    return all;
  }

  std::string role_;
};

TEST_F(RowSecurityTest, AQueryWithoutConditionShowsWhatTheUserMaySee) {
  const std::map<std::string, std::string> table = {
      {"", "held of-P1 of-P2 of-P3"},
      {"admin", "held of-P1 of-P2 of-P3"},
      {"alladmin", "held of-P1 of-P2 of-P3"},
      {"reader", "of-P1 of-P2 of-P3"},
      {"owner", "held of-P1 of-P3"},
      {"member", "of-P1 of-P3"},
      {"collaborator", "of-P1 of-P3"},
      {"outsider", "of-P3"},
      {"guest", "of-P3"},
      {"gone", ""},
      {"nobody", ""},
      {"' OR true --", ""},
  };
  for (const auto& [user, labels] : table) {
    EXPECT_EQ(absl::StrJoin(Ask(user, "SELECT label FROM sessions ORDER BY label"), " "), labels) << user;
  }
}

TEST_F(RowSecurityTest, WhatBelongsToSessionsIsHiddenWithTheirProject) {
  for (const char* table :
       {"subjects", "scans", "resources", "files", "session_documents", "session_history"}) {
    const std::string sql = absl::StrCat("SELECT DISTINCT project_id FROM ", table, " ORDER BY 1");
    EXPECT_THAT(Ask("outsider", sql), ElementsAre("P3")) << table;
    EXPECT_THAT(Ask("member", sql), ElementsAre("P1", "P3")) << table;
    EXPECT_THAT(Ask("reader", sql), ElementsAre("P1", "P2", "P3")) << table;
    EXPECT_THAT(Ask("gone", sql), IsEmpty()) << table;
  }
}

TEST_F(RowSecurityTest, ProjectsPeopleAndAudit) {
  EXPECT_THAT(Ask("outsider", "SELECT project_id FROM projects ORDER BY 1"), ElementsAre("P2", "P3"));
  EXPECT_THAT(Ask("outsider", "SELECT DISTINCT project_id FROM project_names ORDER BY 1"),
              ElementsAre("P2", "P3"));
  EXPECT_THAT(Ask("outsider", "SELECT user_name FROM members"), IsEmpty());
  EXPECT_THAT(Ask("member", "SELECT user_name FROM members ORDER BY 1"),
              ElementsAre("collaborator", "member", "owner"));
  EXPECT_THAT(Ask("member", "SELECT user_name FROM tokens"), ElementsAre("member"));
  EXPECT_THAT(Ask("admin", "SELECT count(*) FROM tokens"), ElementsAre("8"));
  EXPECT_THAT(Ask("member", "SELECT DISTINCT project_id FROM audit_events"), IsEmpty());
  EXPECT_THAT(Ask("owner", "SELECT DISTINCT project_id FROM audit_events"), ElementsAre("P1"));
  EXPECT_THAT(Ask("admin", "SELECT DISTINCT project_id FROM audit_events ORDER BY 1"),
              ElementsAre("", "P1", "P2", "P3"));
}

TEST_F(RowSecurityTest, ChangesNeedTheRight) {
  const std::string update = "UPDATE sessions SET description = 'x' RETURNING label";
  EXPECT_THAT(Ask("collaborator", update), IsEmpty());
  EXPECT_THAT(Ask("reader", update), IsEmpty());
  EXPECT_THAT(Ask("member", update), ElementsAre("of-P1"));
  EXPECT_THAT(Ask("collaborator", "DELETE FROM scans RETURNING scan_id"), IsEmpty());
  const std::string insert =
      "INSERT INTO subjects (project_id, subject_id, label, status) VALUES ('P1', 'X', 'X', 'ACTIVE')";
  EXPECT_THAT(Ask("collaborator", insert), ElementsAre("error PERMISSION_DENIED"));
  EXPECT_THAT(Ask("outsider", insert), ElementsAre("error PERMISSION_DENIED"));
  EXPECT_THAT(Ask("member", insert), IsEmpty());
  EXPECT_THAT(Ask("member", "UPDATE sessions SET project_id = 'P2', label = 'stolen' WHERE label = 'of-P1'"),
              ElementsAre("error PERMISSION_DENIED"));
  EXPECT_THAT(Ask("member", "INSERT INTO members VALUES ('P1', 'outsider', 'OWNER')"),
              ElementsAre("error PERMISSION_DENIED"));
  EXPECT_THAT(Ask("member", "UPDATE members SET role = 'OWNER' WHERE user_name = 'member' RETURNING role"),
              IsEmpty());
}

TEST_F(RowSecurityTest, HistoryAndAuditCannotBeRewrittenEvenByTheServer) {
  for (const char* sql : {"DELETE FROM audit_events", "UPDATE audit_events SET user_name = 'x'",
                          "DELETE FROM session_history", "UPDATE session_history SET note = 'x'"}) {
    EXPECT_THAT(Ask("", sql), ElementsAre("error PERMISSION_DENIED")) << sql;
  }
}

TEST_F(RowSecurityTest, TheStoresAskUnderTheSameRules) {
  // A caller's visibility that is wrong: everything.
  const UserScope scope("outsider");
  EXPECT_EQ(Search("", Visibility::All(true)), Labels{"of-P3"});
  EXPECT_EQ(ErrorReason(reader().Get("P1/of-P1", Visibility::All(true)).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(ErrorReason(database_->projects().Get("P1").status()), "PROJECT_NOT_FOUND");
}

TEST_F(RowSecurityTest, NothingOfAScopeIsLeftOnTheConnection) {
  Pool pool({.conninfo = database_.conninfo(), .max_connections = 1, .role = role_});
  ASSERT_EQ(pool.Read(Statement("SELECT 1 FROM sessions"))->size(), 4);
  const UserScope scope("outsider");
  EXPECT_EQ(pool.Read(Statement("SELECT 1 FROM sessions"))->size(), 1);
  auto lease = pool.Acquire();
  ASSERT_TRUE(lease.ok());
  EXPECT_TRUE((*lease)->RunScript("DO $$ BEGIN ASSERT (SELECT count(*) FROM sessions) = 0; END $$").ok())
      << "who says nothing sees nothing";
}

TEST_F(RowSecurityTest, WithoutScopeNothingIsAsked) {
  absl::Status status;
  std::thread([&] { status = database_->projects().Get("P1").status(); }).join();
  EXPECT_EQ(ErrorReason(status), "ACCESS_SCOPE_MISSING");
}

TEST_F(RowSecurityTest, AnOrdinaryOwnerOfTheTablesIsBoundToo) {
  // As at a site whose administrator gave us a database and an ordinary role.
  const std::string conninfo = NewEmptyDatabase();
  auto super = Connection::Connect(conninfo, absl::Seconds(5), absl::Seconds(5));
  ASSERT_TRUE(super.ok());
  (void)(*super)->RunScript("CREATE ROLE ordinary LOGIN");
  ASSERT_TRUE((*super)->RunScript("ALTER SCHEMA public OWNER TO ordinary").ok());
  const std::string own = absl::StrReplaceAll(conninfo, {{"user=narthex ", "user=ordinary "}});
  ASSERT_NE(own, conninfo);
  auto database = Database::Open({.conninfo = own});
  ASSERT_TRUE(database.ok()) << database.status();
  Project project;
  project.id = "P1";
  ASSERT_TRUE((*database)->projects().Create(project, {}).ok());
  ASSERT_TRUE((*database)->users().Create({.name = "ann"}, {}).ok());

  const UserScope scope("ann");
  EXPECT_EQ(ErrorReason((*database)->projects().Get("P1").status()), "PROJECT_NOT_FOUND");
  EXPECT_TRUE((*database)->projects().ListProjects(Visibility::All(), {})->projects.empty());
}

// A new table must say who may see it: secure_project_table, a policy of its own, or this list with a reason.
TEST_F(RowSecurityTest, EveryTableIsUnderARuleOrKnownNotToBe) {
  const std::map<std::string, std::string> open = {
      {"accession_counters", "numbers of no project"},
      {"audit_heads", "every change of every user extends a chain"},
      {"project_secrets", "must be applied whoever sends; no service shows them"},
      {"receivers", "the gateway's, read for every object; services guard them"},
      {"removed_files", "names of files only; services guard them"},
      {"requests", "ids that only their callers know"},
      {"reservations", "ids that only their operations know"},
      {"schema_migrations", "holds nothing of projects"},
      {"scripts", "must be applied whoever sends; services guard them"},
      {"session_holds", "ids only, for operations"},
      {"session_shares", "ids and labels only; what they open is decided by access_shared()"},
      {"settings", "must hold whoever asks; services guard them"},
      {"study_routes", "the gateway's, read for every object; services guard them"},
      {"users", "names only; services guard them"},
  };
  const std::vector<std::string> found =
      Ask("",
          "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
          "AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1");
  for (const std::string& table : found) {
    EXPECT_TRUE(open.contains(table))
        << table << " is seen by everybody: docs/formats/database.md, Row-level security";
  }
}

}  // namespace
}  // namespace narthex::metadata
