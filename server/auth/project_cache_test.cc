// The cache of projects: ids, aliases, and how often a name that is not known asks the database.

#include "server/auth/project_cache.h"

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/metadata/database.h"

namespace narthex::auth {
namespace {

using testing::SizeIs;

const metadata::Change kChange{"test", "", ""};

// Counts what the cache asks for; fails on demand.
class CountingStore : public metadata::ProjectStore {
 public:
  explicit CountingStore(metadata::ProjectStore& store) : store_(store) {}

  absl::StatusOr<metadata::Project> Create(const metadata::Project& project,
                                           const metadata::Change& change) override {
    return store_.Create(project, change);
  }
  absl::StatusOr<metadata::Project> Get(absl::string_view id) override { return store_.Get(id); }
  absl::StatusOr<metadata::Project> Resolve(absl::string_view candidate) override {
    return store_.Resolve(candidate);
  }
  absl::StatusOr<List> ListProjects(const metadata::Visibility& visible,
                                    const metadata::Page& page) override {
    ++lists;
    if (fail) return Error(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE", "the test says so");
    return store_.ListProjects(visible, page);
  }
  absl::StatusOr<metadata::Project> Update(const metadata::Project& project,
                                           const metadata::Change& change) override {
    return store_.Update(project, change);
  }
  absl::StatusOr<std::vector<metadata::HistoryEntry>> ListHistory(absl::string_view project,
                                                                  absl::string_view subject_id) override {
    return store_.ListHistory(project, subject_id);
  }

  int lists = 0;
  bool fail = false;

 private:
  metadata::ProjectStore& store_;
};

class ProjectCacheTest : public testing::Test {
 protected:
  ProjectCacheTest() {
    Make("P1", {"Alias-One", "second"});
    EXPECT_TRUE(cache_.Refresh().ok());
    store_.lists = 0;
  }

  void Make(const std::string& id, const std::vector<std::string>& aliases = {}) {
    metadata::Project project;
    project.id = id;
    project.name = id;
    project.aliases = aliases;
    const auto made = store_.Create(project, kChange);
    EXPECT_TRUE(made.ok()) << made.status();
  }

  FakeClock clock_;
  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  CountingStore store_{stores_->projects()};
  ProjectCache cache_{store_, clock_};
};

TEST_F(ProjectCacheTest, IdsAreExactAndAliasesAreNot) {
  EXPECT_EQ(cache_.Resolve("P1"), "P1");
  EXPECT_EQ(cache_.Resolve("alias-one"), "P1");
  EXPECT_EQ(cache_.Resolve("ALIAS-ONE"), "P1");
  EXPECT_EQ(cache_.Resolve("second"), "P1");
  EXPECT_EQ(cache_.Get("P1")->id, "P1");
  EXPECT_EQ(store_.lists, 0) << "what is known does not ask the database";

  EXPECT_EQ(cache_.Resolve("p1"), std::nullopt);
  EXPECT_EQ(cache_.Get("alias-one"), std::nullopt);
}

TEST_F(ProjectCacheTest, AnUnknownNameAsksAtMostOnceASecond) {
  clock_.Advance(absl::Seconds(2));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(cache_.Resolve(absl::StrCat("none", i)), std::nullopt);
  EXPECT_EQ(store_.lists, 1);

  clock_.Advance(absl::Milliseconds(900));
  EXPECT_EQ(cache_.Get("none"), std::nullopt);
  EXPECT_EQ(store_.lists, 1);

  clock_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(cache_.Get("none"), std::nullopt);
  EXPECT_EQ(store_.lists, 2);
}

TEST_F(ProjectCacheTest, AProjectThatAnotherServerMadeIsFound) {
  Make("P2", {"new"});
  EXPECT_EQ(cache_.Resolve("new"), std::nullopt) << "it asked a moment ago";
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(cache_.Resolve("new"), "P2");
  EXPECT_THAT(cache_.All(), SizeIs(2));
}

TEST_F(ProjectCacheTest, AChangedAliasHoldsAfterRefresh) {
  metadata::Project project = *stores_->projects().Get("P1");
  project.aliases = {"third"};
  ASSERT_TRUE(store_.Update(project, kChange).ok());
  ASSERT_TRUE(cache_.Refresh().ok());

  EXPECT_EQ(cache_.Resolve("third"), "P1");
  EXPECT_EQ(cache_.Resolve("second"), std::nullopt);
}

TEST_F(ProjectCacheTest, MoreProjectsThanAPageHolds) {
  for (int i = 0; i < 1500; ++i) Make(absl::StrCat("many-", i));
  ASSERT_TRUE(cache_.Refresh().ok());
  EXPECT_THAT(cache_.All(), SizeIs(1501));
  EXPECT_EQ(cache_.Resolve("many-1499"), "many-1499");
}

TEST_F(ProjectCacheTest, ADatabaseThatIsAwayLeavesWhatIsKnown) {
  store_.fail = true;
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(cache_.Resolve("none"), std::nullopt);
  EXPECT_EQ(cache_.Resolve("P1"), "P1");
  EXPECT_EQ(ErrorReason(cache_.Refresh()), "DATABASE_UNAVAILABLE");
  EXPECT_EQ(cache_.Resolve("second"), "P1");
}

}  // namespace
}  // namespace narthex::auth
