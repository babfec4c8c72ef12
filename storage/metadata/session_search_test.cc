// Searches of people who see some of many projects, in a real PostgreSQL: pages are complete, in order and
// without repetition, whichever way they are found.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/metadata/session_search_sql.h"
#include "storage/metadata/session_store_fixture.h"

namespace narthex::metadata {
namespace {

constexpr int kProjects = 5;  // those that are seen
constexpr int kSessions = 6;  // of each

// Projects P1 to P5 are seen, P1 by its owner; of Q1 there is a share, QUEST, in P2. Dates and labels come
// several times. A session in quarantine in P1 and P2, a deleted one in P1.
class SessionSearchTest : public SessionStoreTest {
 protected:
  SessionSearchTest() {
    for (const char* id : {"P3", "P4", "P5", "Q1"}) {
      Project project;
      project.id = id;
      EXPECT_TRUE(database_->projects().Create(project, {}).ok());
    }
    for (int i = 0; i < kSessions; ++i) {
      for (int p = 1; p <= kProjects; ++p) Add(absl::StrCat("P", p), i, SessionStatus::kActive);
    }
    Add("P1", kSessions, SessionStatus::kQuarantine);
    Add("P2", kSessions, SessionStatus::kQuarantine);
    Delete(Add("P1", kSessions + 1, SessionStatus::kActive));
    Add("Q1", 1, SessionStatus::kActive);
    const std::string guest = Add("Q1", 2, SessionStatus::kActive);
    EXPECT_TRUE(store().Update(guest, {.share = Share{"P2", "GUEST"}, .action = "SHARE"}, {}).ok());
    for (int p = 1; p <= kProjects; ++p) visible_.projects.push_back(absl::StrCat("P", p));
    visible_.quarantine_projects = {"P1"};
    // Too many projects for a walk, though most of them do not exist: the other way to the same answers.
    many_ = visible_;
    for (int i = 0; i < 20; ++i) many_.projects.push_back(absl::StrCat("NONE", i));
  }

  std::string Add(const std::string& project, int i, SessionStatus status) {
    NewSession made = MakeSession(absl::StrCat("L", i), 1, absl::StrCat("S", i % 3));
    made.session.project = project;
    made.session.status = status;
    made.session.modality = i % 3 == 0 ? "CT" : "MR";
    made.session.session_date = i % 5 == 4 ? "" : absl::StrCat("2024-01-0", 1 + i % 4);
    made.scans[0].parameters["tr"] = absl::StrCat(1000 * (i % 4));
    return Commit(made);
  }

  void Delete(const std::string& id) {
    EXPECT_TRUE(store().SetStatus(id, SessionStatus::kDeleted, "", {}).ok());
  }

  // "PROJECT/LABEL" of all pages.
  std::vector<std::string> Pages(SearchRequest request, const Visibility& visible, int size) {
    request.page = {size, ""};
    std::vector<std::string> found;
    do {
      auto page = reader().Search(request, visible);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      EXPECT_LE(page->sessions.size(), static_cast<size_t>(size));
      for (const Session& session : page->sessions) {
        found.push_back(absl::StrCat(session.project, "/", session.label));
      }
      request.page.token = page->next_page_token;
    } while (!request.page.token.empty() && found.size() < 1000);
    return found;
  }

  Visibility visible_, many_;
};

TEST_F(SessionSearchTest, PagesOverManyProjectsAreCompleteInOrderAndWithoutRepetition) {
  for (const char* filter :
       {"", "modality = MR", "NOT modality = MR", "scans.parameters.tr > 1500", "sessionDate:*",
        "modality = MR AND scans.parameters.tr > 1500 AND sessionDate >= 2024-01-02",
        "scans.parameters.tr = 7", "project = P2", "subject = S1", "label = L3", "status = QUARANTINE"}) {
    for (const char* order :
         {"", "createTime", "sessionDate", "sessionDate desc, label", "label", "label desc",
          "project, label desc", "subject, sessionDate desc", "fileCount"}) {
      SearchRequest request;
      request.filter = *SessionFilter::Parse(filter);
      request.order_by = order;
      const std::vector<std::string> whole = Pages(request, many_, 1000);
      const std::set<std::string> once(whole.begin(), whole.end());
      EXPECT_EQ(once.size(), whole.size()) << filter << " by " << order;
      for (const int size : {4, 1000}) {
        EXPECT_EQ(Pages(request, visible_, size), whole) << filter << " by " << order << ", " << size;
        if (size != 4) continue;
        EXPECT_EQ(Pages(request, many_, size), whole) << filter << " by " << order;
      }
    }
  }
  SearchRequest all;
  all.count_total = true;
  // Those of five projects, what waits in the own one, and the guest.
  EXPECT_EQ(Pages(all, visible_, 7).size(), static_cast<size_t>(kProjects * kSessions + 2));
  EXPECT_EQ(reader().Search(all, visible_)->total_count, kProjects * kSessions + 2);
}

TEST_F(SessionSearchTest, WhatIsNearIsFoundByWalking) {
  SearchRequest request;
  request.filter = *SessionFilter::Parse("modality = MR AND scans.parameters.tr > 1500");
  const auto search = SessionSearch::Make(request, visible_, true, FilterTarget::kSessions);
  ASSERT_TRUE(search.ok());
  EXPECT_TRUE(search->NearPage(10).has_value());
  EXPECT_FALSE(SessionSearch::Make(request, many_, true, FilterTarget::kSessions)->NearPage(10));
  EXPECT_FALSE(SessionSearch::Make(request, Visibility::All(), true, FilterTarget::kSessions)->NearPage(10));
  EXPECT_FALSE(SessionSearch::Make(request, visible_, true, FilterTarget::kScans)->NearPage(10));
  for (const char* rare : {"label = L3", "studyInstanceUid = \"1.2\"", "subject = S1", "fields.dose = x"}) {
    request.filter = *SessionFilter::Parse(rare);
    EXPECT_FALSE(SessionSearch::Make(request, visible_, true, FilterTarget::kSessions)->NearPage(10)) << rare;
  }
  request.filter = {};
  request.order_by = "sizeBytes";
  EXPECT_FALSE(SessionSearch::Make(request, visible_, true, FilterTarget::kSessions)->NearPage(10));
}

TEST_F(SessionSearchTest, PageTokensOfReadersOfASharesDoNotNameItsHome) {
  for (const char* order :
       {"label", "project", "projectTitle", "subject", "subjectId", "projectCreateTime"}) {
    SearchRequest request;
    request.order_by = order;
    request.page.size = 1;
    for (const FilterTarget target : {FilterTarget::kSessions, FilterTarget::kScans}) {
      request.page.token = "";
      for (int pages = 0; pages < 500; ++pages) {
        std::string token;
        if (target == FilterTarget::kSessions) {
          token = reader().Search(request, visible_)->next_page_token;
        } else {
          token = reader().SearchScans(request, visible_)->next_page_token;
        }
        if (token.empty()) break;
        std::string bytes;
        ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &bytes));
        EXPECT_FALSE(absl::StrContains(bytes, "Q1")) << order;
        request.page.token = token;
      }
    }
  }
}

TEST_F(SessionSearchTest, ScansAreFoundUnderTheNameThatTheReaderKnows) {
  SearchRequest request;
  request.order_by = "label";
  request.page.size = 1000;
  const auto found = reader().SearchScans(request, visible_);
  ASSERT_TRUE(found.ok()) << found.status();
  int guests = 0;
  for (const FoundScan& scan : found->scans) {
    EXPECT_NE(scan.project, "Q1");
    if (scan.label != "GUEST") continue;
    EXPECT_EQ(scan.project, "P2");
    ++guests;
  }
  EXPECT_EQ(guests, 2);
}

}  // namespace
}  // namespace narthex::metadata
