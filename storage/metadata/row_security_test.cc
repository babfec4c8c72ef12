// The database's own decision who may see and change what, against questions that the stores would never ask:
// without any condition on who may see.
#include <map>
#include <optional>
#include <set>
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

TEST_F(RowSecurityTest, WhatBelongsToAQuarantinedOrDeletedSessionIsSeenByOwnersOnly) {
  const std::string held = reader().Get("P1/held", Visibility::All())->accession_id;
  for (const char* table :
       {"scans", "resources", "files", "session_documents", "session_facts", "session_history"}) {
    const std::string sql =
        absl::StrCat("SELECT DISTINCT session_id FROM ", table, " WHERE session_id = '", held, "'");
    for (const char* user : {"outsider", "collaborator", "member", "reader", "guest"}) {
      EXPECT_THAT(Ask(user, sql), IsEmpty()) << user << " " << table;
    }
    for (const char* user : {"owner", "alladmin", "admin", ""}) {
      EXPECT_THAT(Ask(user, sql), ElementsAre(held)) << user << " " << table;
    }
  }
  const std::string scans = "SELECT count(*) FROM scans WHERE project_id = 'P1'";
  EXPECT_THAT(Ask("member", scans), ElementsAre("2"));
  ASSERT_TRUE(store().SetStatus(held, SessionStatus::kActive, "", {.user = "owner"}).ok());
  EXPECT_THAT(Ask("member", scans), ElementsAre("4"));
  {
    const UserScope owner("owner");
    ASSERT_TRUE(store().SetStatus(held, SessionStatus::kDeleted, "", {.user = "owner"}).ok());
  }
  EXPECT_THAT(Ask("member", scans), ElementsAre("2"));
  EXPECT_THAT(Ask("owner", scans), ElementsAre("4"));
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
                          "DELETE FROM session_history", "UPDATE session_history SET note = 'x'",
                          "DELETE FROM project_history", "UPDATE project_history SET note = 'x'"}) {
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

// of-P1 and held, of the private P1, are shared into the public P3; of-P1 into the protected P2 as well.
class SharedRowSecurityTest : public RowSecurityTest {
 protected:
  SharedRowSecurityTest() {
    for (const auto& [label, project] : {std::pair("of-P1", "P3"), {"of-P1", "P2"}, {"held", "P3"}}) {
      const auto session = reader().Get(absl::StrCat("P1/", label), Visibility::All());
      EXPECT_TRUE(session.ok()) << session.status();
      SessionUpdate update;
      update.share = Share{project, absl::StrCat("guest-", label)};
      update.action = "SHARE";
      const auto shared = store().Update(session->accession_id, update, {.user = "owner"});
      EXPECT_TRUE(shared.ok()) << shared.status();
    }
    EXPECT_TRUE(database_->members().Set({"P2", "outsider", Role::kOwner}, {}).ok());
  }
  std::string Shared(const std::string& user) {
    return absl::StrJoin(
        Ask(user, "SELECT label FROM sessions WHERE session_id = ANY(access_shared()) ORDER BY label"), " ");
  }
};

TEST_F(SharedRowSecurityTest, ASharedSessionIsSeenByReadersOfTheOtherProjectUnlessInQuarantine) {
  for (const char* user : {"outsider", "guest", "member"}) EXPECT_EQ(Shared(user), "of-P1") << user;
  for (const char* user : {"gone", "nobody"}) EXPECT_EQ(Shared(user), "") << user;
  EXPECT_EQ(Shared("owner"), "held of-P1") << "the owner of the session's own project sees its quarantine";
  for (const char* user : {"reader", "admin"})
    EXPECT_EQ(Shared(user), "") << "access_shared() is about named projects; everything is seen anyway";
  EXPECT_THAT(Ask("guest", "SELECT label FROM sessions ORDER BY label"), ElementsAre("of-P1", "of-P3"));
}

TEST_F(SharedRowSecurityTest, WhatBelongsToASharedSessionIsSeenAndItsProjectsOtherThingsAreNot) {
  for (const char* table : {"scans", "resources", "files", "session_documents"}) {
    const std::string own = absl::StrCat("SELECT count(DISTINCT session_id) FROM ", table,
                                         " t WHERE project_id = 'P1' AND session_id IN (SELECT session_id "
                                         "FROM sessions s WHERE s.session_id = t.session_id)");
    EXPECT_THAT(Ask("guest", own), ElementsAre("1")) << table;
    EXPECT_THAT(Ask("gone", own), ElementsAre("0")) << table;
  }
  EXPECT_THAT(Ask("guest", "SELECT DISTINCT project_id FROM session_history"), ElementsAre("P3"));
  EXPECT_THAT(Ask("guest", "SELECT project_id FROM subjects"), ElementsAre("P3"));
  EXPECT_THAT(Ask("guest", "SELECT project_id FROM projects ORDER BY 1"), ElementsAre("P2", "P3"));
  EXPECT_THAT(Ask("guest", "UPDATE sessions SET description = 'x' RETURNING label"), IsEmpty());
  EXPECT_THAT(Ask("outsider", "UPDATE scans SET note = 'x' WHERE project_id = 'P1' RETURNING scan_id"),
              IsEmpty())
      << "the owner of a project that sees a share changes only what is its own";
}

TEST_F(SharedRowSecurityTest, ASearchForScansNamesTheShareAndNotTheHome) {
  const UserScope scope("guest");
  Visibility visible;
  visible.projects = {"P3"};
  for (const char* filter : {"", "project = P3"}) {
    SearchRequest request;
    request.filter = *SessionFilter::Parse(filter);
    const auto found = reader().SearchScans(request, visible);
    ASSERT_TRUE(found.ok()) << found.status();
    std::set<std::string> names;
    for (const FoundScan& scan : found->scans) names.insert(absl::StrCat(scan.project, "/", scan.label));
    EXPECT_THAT(names, ElementsAre("P3/guest-of-P1", "P3/of-P3")) << filter;
  }
  for (const char* filter : {"project = P1", "label = \"of-P1\"", "NOT project != P1"}) {
    SearchRequest request;
    request.filter = *SessionFilter::Parse(filter);
    EXPECT_THAT(reader().SearchScans(request, visible)->scans, IsEmpty()) << filter;
  }
}

TEST_F(SharedRowSecurityTest, SharesAreKnownToBothProjectsOnly) {
  const std::string all = "SELECT project_id || '/' || label FROM session_shares ORDER BY 1";
  EXPECT_THAT(Ask("guest", all), ElementsAre("P3/guest-held", "P3/guest-of-P1"));
  EXPECT_THAT(Ask("outsider", all), ElementsAre("P2/guest-of-P1", "P3/guest-held", "P3/guest-of-P1"));
  EXPECT_THAT(Ask("collaborator", all), ElementsAre("P2/guest-of-P1", "P3/guest-held", "P3/guest-of-P1"));
  EXPECT_THAT(Ask("gone", all), IsEmpty());
  const std::string add =
      "INSERT INTO session_shares SELECT 'P2', session_id, 'taken', project_id, 'x' FROM sessions "
      "WHERE label = 'of-P3'";
  EXPECT_THAT(Ask("outsider", add), ElementsAre("error PERMISSION_DENIED")) << "who owns one side only";
  EXPECT_THAT(Ask("collaborator", "DELETE FROM session_shares RETURNING label"), IsEmpty());
  EXPECT_THAT(Ask("outsider", "DELETE FROM session_shares RETURNING project_id"), ElementsAre("P2"));
  EXPECT_THAT(Ask("owner", "DELETE FROM session_shares RETURNING project_id || label"),
              testing::UnorderedElementsAre("P3guest-of-P1", "P3guest-held"));
  EXPECT_EQ(Shared("guest"), "") << "a share that ended shows nothing";
}

TEST_F(RowSecurityTest, RemovedFilesAreTheirProjects) {
  const std::string insert =
      "INSERT INTO removed_files SELECT project_id, session_id, 1, 'a', 'b', '', 'R', 1, '', 'r' || label "
      "FROM sessions WHERE label IN ('of-P1', 'of-P3')";
  EXPECT_THAT(Ask("", insert), IsEmpty());
  EXPECT_THAT(Ask("outsider", "SELECT project_id FROM removed_files"), ElementsAre("P3"));
  EXPECT_THAT(Ask("collaborator", "SELECT project_id FROM removed_files ORDER BY 1"),
              ElementsAre("P1", "P3"));
  EXPECT_THAT(Ask("collaborator", "DELETE FROM removed_files RETURNING path"), IsEmpty());
  EXPECT_THAT(Ask("gone", "SELECT project_id FROM removed_files"), IsEmpty());
  EXPECT_THAT(Ask("member", "DELETE FROM removed_files RETURNING project_id"), ElementsAre("P1"));
}

// A new table must say who may see it: secure_project_table, a policy of its own, or this list with a reason.
TEST_F(RowSecurityTest, EveryTableIsUnderARuleOrKnownNotToBe) {
  const std::map<std::string, std::string> open = {
      {"accession_counters", "numbers of no project"},
      {"audit_heads", "every change of every user extends a chain"},
      {"project_secrets", "must be applied whoever sends; no service shows them"},
      {"receivers", "the gateway's, read for every object; services guard them"},
      {"requests", "ids that only their callers know"},
      {"reservations", "ids that only their operations know"},
      {"schema_migrations", "holds nothing of projects"},
      {"scripts", "must be applied whoever sends; services guard them"},
      {"session_holds", "ids only, for operations"},
      {"settings", "must hold whoever asks; services guard them"},
      {"study_routes", "the gateway's, read for every object; services guard them"},
      {"users", "names only; services guard them"},
      {"withheld_sessions", "ids only, for the policies of what belongs to sessions"},
  };
  const std::string tables =
      "SELECT c.relname::text FROM pg_tables t JOIN pg_class c ON c.oid = (quote_ident(t.schemaname) || '.' "
      "|| quote_ident(t.tablename))::regclass WHERE t.schemaname = 'public' AND ";
  const std::string bound =
      "(c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT 1 FROM pg_policy p WHERE "
      "p.polrelid = c.oid AND p.polcmd IN ('r', '*')))";
  for (const std::string& table : Ask("", absl::StrCat(tables, "NOT ", bound))) {
    EXPECT_TRUE(open.contains(table))
        << table << " is seen by everybody: docs/formats/database.md, Row-level security";
  }
  const std::vector<std::string> ruled = Ask("", absl::StrCat(tables, bound));
  EXPECT_GE(ruled.size(), 13u);
  for (const std::string& table : ruled) {
    EXPECT_FALSE(open.contains(table)) << table << " has a rule; take it off the list";
  }
}

}  // namespace
}  // namespace narthex::metadata
