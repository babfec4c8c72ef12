// Every right of every role in every kind of project, against a table that is written out.

#include "server/auth/caller.h"

#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/error.h"
#include "storage/metadata/database.h"

namespace narthex::auth {
namespace {

using metadata::Accessibility;
using metadata::Role;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class CallerTest : public testing::Test {
 protected:
  CallerTest() {
    const std::vector<std::pair<std::string, Accessibility>> projects = {
        {"private", Accessibility::kPrivate},
        {"protected", Accessibility::kProtected},
        {"public", Accessibility::kPublic}};
    for (const auto& [id, accessibility] : projects) {
      metadata::Project project;
      project.id = id;
      project.name = id;
      project.accessibility = accessibility;
      project.aliases = {absl::StrCat(id, "-alias")};
      EXPECT_TRUE(stores_->projects().Create(project, {"test", "", ""}).ok());
    }
    EXPECT_TRUE(cache_.Refresh().ok());
  }

  // `who`: a role in all three projects, or one above them.
  Caller Make(const std::string& who) const {
    metadata::Identity identity;
    identity.user.name = "ann";
    identity.user.site_admin = who == "site_admin";
    identity.user.all_data_admin = who == "all_data_admin";
    identity.user.all_data_read = who == "all_data_read";
    for (const auto& [name, role] : {std::pair("collaborator", Role::kCollaborator),
                                     std::pair("member", Role::kMember), std::pair("owner", Role::kOwner)}) {
      if (who != name) continue;
      for (const char* project : {"private", "protected", "public"}) identity.roles[project] = role;
    }
    return Caller(identity, cache_);
  }

  FakeClock clock_;
  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  ProjectCache cache_{stores_->projects(), clock_};
};

TEST_F(CallerTest, EveryRightOfEveryRole) {
  // Letters: k(now) r(ead) e(dit) o(wn). "" is Unassigned, "none" a project that is not there.
  struct Row {
    std::string who, in_private, in_protected, in_public, unassigned, none;
  };
  const std::vector<Row> table = {
      {"nobody", "", "k", "kr", "", ""},
      {"collaborator", "kr", "kr", "kr", "", ""},
      {"member", "kre", "kre", "kre", "", ""},
      {"owner", "kreo", "kreo", "kreo", "", ""},
      {"all_data_read", "kr", "kr", "kr", "kr", "kr"},
      {"all_data_admin", "kreo", "kreo", "kreo", "kreo", "kreo"},
      {"site_admin", "kreo", "kreo", "kreo", "kreo", "kreo"},
  };
  for (const Row& row : table) {
    const Caller caller = Make(row.who);
    for (const auto& [project, expected] :
         {std::pair("private", row.in_private), std::pair("protected", row.in_protected),
          std::pair("public", row.in_public), std::pair("", row.unassigned), std::pair("none", row.none)}) {
      std::string rights;
      if (caller.MayKnow(project)) rights += 'k';
      if (caller.MayRead(project)) rights += 'r';
      if (caller.MayEdit(project)) rights += 'e';
      if (caller.MayOwn(project)) rights += 'o';
      EXPECT_EQ(rights, expected) << row.who << " in '" << project << "'";

      const bool known = absl::StrContains(expected, "k");
      for (const auto& [letter, status] :
           {std::pair("r", caller.RequireRead(project)), std::pair("e", caller.RequireEdit(project)),
            std::pair("o", caller.RequireOwn(project))}) {
        const std::string reason = absl::StrContains(expected, letter) ? ""
                                   : known                             ? "PERMISSION_DENIED"
                                                                       : "PROJECT_NOT_FOUND";
        EXPECT_EQ(ErrorReason(status), reason) << row.who << " " << letter << " in '" << project << "'";
      }
    }
    EXPECT_EQ(caller.RequireAdmin().ok(), row.who == "site_admin") << row.who;
  }
}

TEST_F(CallerTest, ARoleHoldsInItsProjectOnly) {
  metadata::Identity identity;
  identity.user.name = "ann";
  identity.roles["private"] = Role::kOwner;
  const Caller caller(identity, cache_);

  EXPECT_TRUE(caller.MayOwn("private"));
  EXPECT_FALSE(caller.MayEdit("public"));
  EXPECT_FALSE(caller.MayRead("protected"));
  EXPECT_FALSE(caller.MayRead("PRIVATE")) << "ids are exact";
}

TEST_F(CallerTest, ObjectsGoToProjectsThatTheCallerMayEdit) {
  EXPECT_EQ(Make("member").Resolve("private"), "private");
  EXPECT_EQ(Make("member").Resolve("PRIVATE-alias"), "private");
  EXPECT_EQ(Make("collaborator").Resolve("private"), std::nullopt);
  EXPECT_EQ(Make("nobody").Resolve("public"), std::nullopt);
  EXPECT_EQ(Make("all_data_read").Resolve("private"), std::nullopt);
  EXPECT_EQ(Make("all_data_admin").Resolve("private"), "private");
  EXPECT_EQ(Make("site_admin").Resolve("none"), std::nullopt);
  EXPECT_EQ(Make("site_admin").Resolve(""), std::nullopt);
}

TEST_F(CallerTest, WhatTheArchiveShows) {
  EXPECT_THAT(Make("nobody").Visible().projects, ElementsAre("public"));
  EXPECT_THAT(Make("nobody").Visible().quarantine_projects, IsEmpty());
  EXPECT_THAT(Make("member").Visible().projects, UnorderedElementsAre("private", "protected", "public"));
  EXPECT_THAT(Make("member").Visible().quarantine_projects, IsEmpty());
  EXPECT_THAT(Make("owner").Visible().quarantine_projects,
              UnorderedElementsAre("private", "protected", "public"));
  EXPECT_THAT(Make("all_data_read").Visible().projects,
              UnorderedElementsAre("private", "protected", "public"));
  EXPECT_TRUE(Make("member").Visible(/*with_deleted=*/true).deleted);
}

}  // namespace
}  // namespace narthex::auth
