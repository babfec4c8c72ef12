// The contract of everything but sessions, over PostgreSQL and over the in-memory twin.
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "storage/metadata/database.h"
#include "storage/metadata/testing/test_database.h"

namespace narthex::metadata {
namespace {

const Change kBy{.user = "admin"};

class AdminStoresTest : public testing::TestWithParam<bool> {
 protected:
  AdminStoresTest() {
    if (GetParam()) {
      database_ = std::make_unique<TestDatabase>();
    } else {
      twin_ = NewInMemoryAdminStores();
    }
  }
  AdminStores& stores() { return database_ ? **database_ : *twin_; }

  Project MakeProject(const std::string& id, std::vector<std::string> aliases = {}) {
    Project project;
    project.id = id;
    project.aliases = std::move(aliases);
    auto made = stores().projects().Create(project, kBy);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? *made : Project{};
  }
  void MakeUser(const std::string& name) {
    User user;
    user.name = name;
    ASSERT_TRUE(stores().users().Create(user, kBy).ok());
  }

  std::unique_ptr<TestDatabase> database_;
  std::unique_ptr<AdminStores> twin_;
};

TEST_P(AdminStoresTest, ProjectsComeBackAsTheyWereCreated) {
  Project project;
  project.id = "P-1_x";
  project.name = "Knee \"study\", first";
  project.description = "Über\nzwei Zeilen";
  project.aliases = {"knee", "Knie, links", "a\\b\"c{}"};
  project.accessibility = Accessibility::kProtected;
  project.auto_archive = AutoArchive::kOverwrite;
  project.quarantine = true;
  project.settings_json = R"({"a": [1, 2]})";

  ASSERT_TRUE(stores().projects().Create(project, kBy).ok());
  auto read = stores().projects().Get("P-1_x");

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->name, project.name);
  EXPECT_EQ(read->description, project.description);
  EXPECT_EQ(read->aliases, project.aliases);
  EXPECT_EQ(read->accessibility, Accessibility::kProtected);
  EXPECT_EQ(read->auto_archive, AutoArchive::kOverwrite);
  EXPECT_TRUE(read->quarantine);
  EXPECT_EQ(read->settings_json, project.settings_json);
  EXPECT_FALSE(read->etag.empty());
}

TEST_P(AdminStoresTest, ChangesOfProjectsAreHistory) {
  Project project = MakeProject("P1");
  EXPECT_TRUE(stores().projects().ListHistory("P1", "")->empty());

  project.fields = {{"ward", "7 West"}, {"beds", "12"}};
  ASSERT_TRUE(stores().projects().Update(project, {.user = "ann", .note = "moved in"}).ok());
  auto renamed = stores().projects().Get("P1");
  renamed->name = "Knees";
  ASSERT_TRUE(stores().projects().Update(*renamed, {.user = "ben"}).ok());

  EXPECT_EQ(stores().projects().Get("P1")->fields, project.fields);
  const auto history = stores().projects().ListHistory("P1", "");
  ASSERT_EQ(history->size(), 2u);
  EXPECT_EQ(history->at(0).user, "ben");
  EXPECT_EQ(history->at(1).user, "ann");
  EXPECT_EQ(history->at(1).note, "moved in");
  EXPECT_EQ(history->at(1).number, 2);
  EXPECT_EQ(history->at(1).old_json.find("7 West"), std::string::npos);
  EXPECT_NE(history->at(1).new_json.find("7 West"), std::string::npos);
}

TEST_P(AdminStoresTest, ProjectNamesAreUniqueWithoutRegardToCase) {
  MakeProject("Brain", {"head"});

  for (const char* id : {"Brain", "BRAIN"}) {
    Project again;
    again.id = id;
    EXPECT_EQ(ErrorReason(stores().projects().Create(again, kBy).status()), "PROJECT_EXISTS") << id;
  }
  Project alias;
  alias.id = "Other";
  alias.aliases = {"head"};
  EXPECT_EQ(ErrorReason(stores().projects().Create(alias, kBy).status()), "PROJECT_EXISTS");
  EXPECT_EQ(ErrorReason(stores().projects().Get("Other").status()), "PROJECT_NOT_FOUND");
}

TEST_P(AdminStoresTest, RefusesBadProjects) {
  for (const char* id : {"", "a b", "../x", "ä", "a/b"}) {
    Project project;
    project.id = id;
    EXPECT_EQ(ErrorReason(stores().projects().Create(project, kBy).status()), "PROJECT_ID_INVALID") << id;
  }
  Project project;
  project.id = "P";
  project.settings_json = "[]";
  EXPECT_EQ(ErrorReason(stores().projects().Create(project, kBy).status()), "SETTINGS_INVALID");
}

TEST_P(AdminStoresTest, ResolvesIdsBeforeAliases) {
  MakeProject("P1", {"knee"});
  MakeProject("P2");

  EXPECT_EQ(stores().projects().Resolve("P1")->id, "P1");
  EXPECT_EQ(stores().projects().Resolve("knee")->id, "P1");
  EXPECT_EQ(stores().projects().Resolve("P2")->id, "P2");
  EXPECT_EQ(ErrorReason(stores().projects().Resolve("p1").status()), "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(stores().projects().Resolve("").status()), "PROJECT_NOT_FOUND");
}

TEST_P(AdminStoresTest, RepeatedRequestIdReturnsTheFirstProject) {
  Project project;
  project.id = "P1";
  const Change change{.user = "admin", .request_id = "r-1"};

  ASSERT_TRUE(stores().projects().Create(project, change).ok());
  auto again = stores().projects().Create(project, change);
  User user;
  user.name = "u";

  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id, "P1");
  EXPECT_EQ(ErrorReason(stores().users().Create(user, change).status()), "REQUEST_ID_REUSED");
}

TEST_P(AdminStoresTest, UpdateNeedsTheCurrentEtag) {
  Project project = MakeProject("P1", {"old"});
  const Project stale = project;

  project.name = "new";
  project.aliases = {"young"};
  auto updated = stores().projects().Update(project, kBy);
  auto refused = stores().projects().Update(stale, kBy);

  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->name, "new");
  EXPECT_NE(updated->etag, stale.etag);
  EXPECT_EQ(ErrorReason(refused.status()), "ETAG_MISMATCH");
  EXPECT_TRUE(absl::IsAborted(refused.status()));
  EXPECT_EQ(stores().projects().Resolve("young")->id, "P1");
  EXPECT_FALSE(stores().projects().Resolve("old").ok());
  project.id = "P2";
  EXPECT_EQ(ErrorReason(stores().projects().Update(project, kBy).status()), "PROJECT_NOT_FOUND");
}

TEST_P(AdminStoresTest, ListsOnlyVisibleProjectsInPages) {
  for (const char* id : {"A", "B", "C", "D", "E"}) MakeProject(id);
  Visibility some;
  some.projects = {"A", "C", "E", "nowhere"};

  auto first = stores().projects().ListProjects(some, {.size = 2});
  ASSERT_TRUE(first.ok());
  auto second = stores().projects().ListProjects(some, {.size = 2, .token = first->next_page_token});
  ASSERT_TRUE(second.ok()) << second.status();

  ASSERT_EQ(first->projects.size(), 2u);
  EXPECT_EQ(first->projects[1].id, "C");
  ASSERT_EQ(second->projects.size(), 1u);
  EXPECT_EQ(second->projects[0].id, "E");
  EXPECT_EQ(second->next_page_token, "");
  EXPECT_EQ(stores().projects().ListProjects(Visibility::All(), {})->projects.size(), 5u);
  EXPECT_EQ(stores().projects().ListProjects(Visibility(), {})->projects.size(), 0u);
  EXPECT_EQ(ErrorReason(stores().projects().ListProjects(some, {.token = "nonsense"}).status()),
            "PAGE_TOKEN_INVALID");
}

TEST_P(AdminStoresTest, MembersNeedProjectAndUser) {
  MakeProject("P1");
  MakeUser("ann");

  EXPECT_TRUE(stores().members().Set({"P1", "ann", Role::kMember}, kBy).ok());
  EXPECT_TRUE(stores().members().Set({"P1", "ann", Role::kOwner}, kBy).ok());
  EXPECT_EQ(ErrorReason(stores().members().Set({"P2", "ann", Role::kOwner}, kBy)), "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(stores().members().Set({"P1", "bob", Role::kOwner}, kBy)), "USER_NOT_FOUND");

  ASSERT_EQ(stores().members().ListMembers("P1")->size(), 1u);
  EXPECT_EQ(stores().members().RolesOf("ann")->at("P1"), Role::kOwner);
  EXPECT_TRUE(stores().members().Remove("P1", "ann", kBy).ok());
  EXPECT_EQ(ErrorReason(stores().members().Remove("P1", "ann", kBy)), "USER_NOT_FOUND");
  EXPECT_TRUE(stores().members().ListMembers("P1")->empty());
}

TEST_P(AdminStoresTest, VerifiesTokensUntilTheyExpireOrAreRevoked) {
  MakeProject("P1");
  MakeProject("P2");
  MakeUser("ann");
  ASSERT_TRUE(stores().members().Set({"P1", "ann", Role::kMember}, kBy).ok());
  ASSERT_TRUE(stores().members().Set({"P2", "ann", Role::kOwner}, kBy).ok());
  const absl::Time now = absl::Now();
  Token token;
  token.user = "ann";
  token.description = "laptop";
  token.expire_time = now + absl::Hours(1);

  auto made = stores().tokens().Create(token, Sha256("secret"), kBy);
  ASSERT_TRUE(made.ok()) << made.status();
  auto identity = stores().tokens().Verify(Sha256("secret"), now);

  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->user.name, "ann");
  EXPECT_EQ(identity->token_id, made->id);
  EXPECT_EQ(identity->roles, (std::map<std::string, Role>{{"P1", Role::kMember}, {"P2", Role::kOwner}}));
  EXPECT_EQ(ErrorReason(stores().tokens().Verify(Sha256("other"), now).status()), "TOKEN_INVALID");
  EXPECT_EQ(ErrorReason(stores().tokens().Verify(Sha256("secret"), now + absl::Hours(2)).status()),
            "TOKEN_INVALID");
  EXPECT_EQ(ErrorReason(stores().tokens().Create(token, Sha256("secret"), kBy).status()), "TOKEN_EXISTS");
  EXPECT_EQ(*stores().tokens().ListHashes(now, 10), std::vector<std::string>{Sha256("secret")});
  EXPECT_TRUE(stores().tokens().ListHashes(now, 0)->empty());
  EXPECT_TRUE(stores().tokens().ListHashes(now + absl::Hours(2), 10)->empty());
  ASSERT_TRUE(stores().tokens().Revoke(made->id, kBy).ok());
  EXPECT_TRUE(stores().tokens().Revoke(made->id, kBy).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(stores().tokens().Verify(Sha256("secret"), now).status()));
  EXPECT_TRUE(stores().tokens().ListHashes(now, 10)->empty());
  EXPECT_EQ(ErrorReason(stores().tokens().Revoke("nope", kBy)), "TOKEN_NOT_FOUND");
}

TEST_P(AdminStoresTest, DisabledUsersHaveNoToken) {
  MakeUser("ann");
  Token token;
  token.user = "ann";
  ASSERT_TRUE(stores().tokens().Create(token, Sha256("s"), kBy).ok());
  auto user = stores().users().Get("ann");
  ASSERT_TRUE(user.ok());
  ASSERT_TRUE(stores().tokens().Verify(Sha256("s"), absl::Now()).ok());

  user->disabled = true;
  ASSERT_TRUE(stores().users().Update(*user, kBy).ok());

  EXPECT_EQ(ErrorReason(stores().tokens().Verify(Sha256("s"), absl::Now()).status()), "TOKEN_INVALID");
  EXPECT_EQ(stores().tokens().ListTokens("ann")->size(), 1u);
  EXPECT_EQ(stores().tokens().ListTokens("")->front().expire_time, absl::InfiniteFuture());
}

TEST_P(AdminStoresTest, RefusesBadUsers) {
  for (const char* name : {"", "Ann", "a b", "a/b"}) {
    User user;
    user.name = name;
    EXPECT_EQ(ErrorReason(stores().users().Create(user, kBy).status()), "USER_NAME_INVALID") << name;
  }
  MakeUser("ann");
  User user;
  user.name = "ann";
  EXPECT_EQ(ErrorReason(stores().users().Create(user, kBy).status()), "USER_EXISTS");
  EXPECT_EQ(ErrorReason(stores().users().Get("bob").status()), "USER_NOT_FOUND");
}

TEST_P(AdminStoresTest, SettingsAreKeptPerProject) {
  MakeProject("P1");

  ASSERT_TRUE(stores().settings().Set("", "idle.seconds", "60", kBy).ok());
  ASSERT_TRUE(stores().settings().Set("P1", "idle.seconds", "{\"a\": \"b\"}", kBy).ok());
  auto second = stores().settings().Set("P1", "idle.seconds", "5", kBy);

  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->version, 2);
  EXPECT_EQ((*stores().settings().Get("", "idle.seconds"))->value_json, "60");
  EXPECT_EQ((*stores().settings().Get("P1", "idle.seconds"))->value_json, "5");
  EXPECT_FALSE(stores().settings().Get("P1", "other")->has_value());
  EXPECT_EQ(ErrorReason(stores().settings().Set("P2", "a", "1", kBy).status()), "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(stores().settings().Set("", "a", "{", kBy).status()), "SETTING_INVALID");
  EXPECT_EQ(ErrorReason(stores().settings().Set("", "a b", "1", kBy).status()), "SETTING_INVALID");
  ASSERT_TRUE(stores().settings().Remove("P1", "idle.seconds", kBy).ok());
  EXPECT_TRUE(stores().settings().ListSettings("P1")->empty());
}

TEST_P(AdminStoresTest, ScriptsKeepAllVersions) {
  MakeProject("P1");
  Script script;
  script.kind = "anonymize";
  script.project = "P1";
  script.text = "version \"6.1\"\n(0010,0010) := subject";
  script.enabled = true;
  script.profile = "basic,retain-uids";
  script.lookup_table = Phi<std::string>("pid/1 = S1");
  script.leftovers = "hold";

  EXPECT_FALSE(stores().scripts().Get("anonymize", "P1")->has_value());
  ASSERT_TRUE(stores().scripts().Set(script, kBy).ok());
  const auto first = stores().scripts().Get("anonymize", "P1");
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->profile, "basic,retain-uids");
  EXPECT_EQ((*first)->lookup_table.Reveal(), "pid/1 = S1");
  EXPECT_EQ((*first)->leftovers, "hold");
  script.text = "version \"6.1\"";
  script.enabled = false;
  auto second = stores().scripts().Set(script, kBy);

  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->version, 2);
  EXPECT_EQ((*stores().scripts().Get("anonymize", "P1"))->text, "version \"6.1\"");
  EXPECT_FALSE((*stores().scripts().Get("anonymize", "P1"))->enabled);
  EXPECT_TRUE(stores().scripts().GetVersion("anonymize", "P1", 1)->enabled);
  EXPECT_EQ(stores().scripts().ListVersions("anonymize", "P1")->front().version, 2);
  EXPECT_EQ(ErrorReason(stores().scripts().GetVersion("anonymize", "P1", 3).status()), "SCRIPT_NOT_FOUND");
  EXPECT_FALSE(stores().scripts().Get("anonymize", "")->has_value());
  ASSERT_EQ(stores().scripts().ListCurrent("anonymize")->size(), 1u);
  EXPECT_EQ(stores().scripts().ListCurrent("anonymize")->front().version, 2);
  EXPECT_EQ(stores().scripts().ListCurrent("anonymize")->front().project, "P1");
  EXPECT_EQ(stores().scripts().ListCurrent("anonymize")->front().text, "version \"6.1\"");
  EXPECT_FALSE(stores().scripts().ListCurrent("anonymize")->front().enabled);
}

TEST_P(AdminStoresTest, ASecretIsMadeOnce) {
  MakeProject("P1");

  const auto of_project = stores().scripts().Secret("P1");
  const auto of_site = stores().scripts().Secret("");

  ASSERT_TRUE(of_project.ok() && of_site.ok());
  EXPECT_EQ(of_project->size(), 32u);
  EXPECT_NE(*of_project, *of_site);
  EXPECT_EQ(*stores().scripts().Secret("P1"), *of_project);
  EXPECT_EQ(ErrorReason(stores().scripts().Secret("P2").status()), "PROJECT_NOT_FOUND");
}

TEST_P(AdminStoresTest, ReceiversAndRoutes) {
  MakeProject("P1");

  EXPECT_TRUE(stores().receivers().Put({"MR 1", 8105, "P1", true, "{}"}, kBy).ok());
  EXPECT_TRUE(stores().receivers().Put({"CT", 0, "", false, "{}"}, kBy).ok());
  EXPECT_EQ(ErrorReason(stores().receivers().Put({"X", 0, "P2", true, "{}"}, kBy)), "PROJECT_NOT_FOUND");
  for (const char* title : {"", "12345678901234567", " a", "a\\b"}) {
    EXPECT_EQ(ErrorReason(stores().receivers().Put({title, 0, "", true, "{}"}, kBy)), "RECEIVER_INVALID")
        << title;
  }
  ASSERT_EQ(stores().receivers().ListReceivers()->size(), 2u);
  EXPECT_EQ(stores().receivers().ListReceivers()->at(1).project, "P1");
  EXPECT_TRUE(stores().receivers().Remove("CT", kBy).ok());
  EXPECT_EQ(ErrorReason(stores().receivers().Remove("CT", kBy)), "RECEIVER_NOT_FOUND");

  const Visibility all = Visibility::All();
  EXPECT_TRUE(stores().study_routes().Put({"1.2.3", "P1", "S", "L"}, all, kBy).ok());
  EXPECT_EQ((*stores().study_routes().Get("1.2.3"))->label, "L");
  EXPECT_TRUE(stores().study_routes().Put({"1.2.10", "P1", "S", "M"}, all, kBy).ok());
  EXPECT_EQ(stores().study_routes().ListRoutes("", 10)->size(), 2u);
  ASSERT_EQ(stores().study_routes().ListRoutes("1.2.10", 1)->size(), 1u);
  EXPECT_EQ(stores().study_routes().ListRoutes("1.2.10", 1)->front().label, "L");
  EXPECT_TRUE(stores().study_routes().Remove("1.2.3", kBy).ok());
  EXPECT_TRUE(stores().study_routes().Remove("1.2.3", kBy).ok());
  EXPECT_FALSE(stores().study_routes().Get("1.2.3")->has_value());

  // Nobody takes a study from somebody else's project.
  MakeProject("P2");
  Visibility owner_of_p2;
  owner_of_p2.projects = {"P1", "P2"};
  owner_of_p2.quarantine_projects = {"P2"};
  EXPECT_EQ(ErrorReason(stores().study_routes().Put({"1.2.10", "P2", "", ""}, owner_of_p2, kBy)),
            "STUDY_ROUTED");
  EXPECT_EQ((*stores().study_routes().Get("1.2.10"))->project, "P1");
  EXPECT_TRUE(stores().study_routes().Put({"1.2.11", "P2", "", ""}, owner_of_p2, kBy).ok());
  EXPECT_TRUE(stores().study_routes().Put({"1.2.11", "P2", "", "N"}, owner_of_p2, kBy).ok());
  EXPECT_TRUE(stores().study_routes().Put({"1.2.10", "P2", "", ""}, all, kBy).ok());
}

TEST_P(AdminStoresTest, AuditIsAChain) {
  MakeProject("P1");
  AuditEvent event;
  event.user = "ann";
  event.action = "LOGIN";
  event.object = "ünïcode: 1:x";
  event.details_json = R"({"from": "10.0.0.1"})";

  for (int i = 0; i < 3; ++i) {
    auto appended = stores().audit().Append(event);
    ASSERT_TRUE(appended.ok()) << appended.status();
    EXPECT_EQ(appended->sequence, i + 1);
  }

  auto verified = stores().audit().Verify("");
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(*verified, 3);
  auto list = stores().audit().ListEvents("", {.size = 2});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->events.size(), 2u);
  EXPECT_EQ(list->events[0].hash, AuditHash("", list->events[0]));
  EXPECT_EQ(list->events[1].hash, AuditHash(list->events[0].hash, list->events[1]));
  EXPECT_EQ(stores().audit().ListEvents("", {.size = 2, .token = list->next_page_token})->events.size(), 1u);
  EXPECT_EQ(*stores().audit().Verify("P1"), 1);
  event.details_json = "no";
  EXPECT_EQ(ErrorReason(stores().audit().Append(event).status()), "AUDIT_EVENT_INVALID");
}

TEST_P(AdminStoresTest, OneHolderHasASession) {
  HoldStore& holds = stores().holds();

  ASSERT_TRUE(holds.Hold("X_E00001", "op1", "merge").ok());
  EXPECT_TRUE(holds.Hold("X_E00001", "op1", "merge").ok());
  const absl::Status refused = holds.Hold("X_E00001", "op2", "rename");
  EXPECT_TRUE(holds.Hold("X_E00002", "op2", "rename").ok());

  EXPECT_EQ(ErrorReason(refused), "SESSION_BUSY");
  EXPECT_EQ(ErrorMetadataOf(refused)["operation"], "op1");
  ASSERT_EQ(holds.ListHolds()->size(), 2u);
  EXPECT_EQ(holds.ListHolds()->at(0).session, "X_E00001");
  EXPECT_EQ(holds.ListHolds()->at(0).purpose, "merge");
  EXPECT_TRUE(holds.Release("op1").ok());
  EXPECT_TRUE(holds.Release("op1").ok());
  EXPECT_TRUE(holds.Hold("X_E00001", "op2", "rename").ok());
  EXPECT_TRUE(holds.Release("op2").ok());
  EXPECT_TRUE(holds.ListHolds()->empty());
}

INSTANTIATE_TEST_SUITE_P(Stores, AdminStoresTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Postgres" : "InMemory"; });

}  // namespace
}  // namespace narthex::metadata
