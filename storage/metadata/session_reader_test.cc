// Finding sessions in a real PostgreSQL.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/metadata/session_store_fixture.h"

namespace narthex::metadata {
namespace {

using SessionReaderTest = SessionStoreTest;

TEST_F(SessionReaderTest, QuarantineIsSeenByOwnersOnly) {
  auto project = database_->projects().Get("P1");
  project->quarantine = true;
  ASSERT_TRUE(database_->projects().Update(*project, {}).ok());
  const std::string id = Commit(MakeSession("A"));
  Visibility member, owner, stranger;
  member.projects = owner.projects = owner.quarantine_projects = {"P1"};
  stranger.projects = {"P2"};

  EXPECT_EQ(reader().Get(id, Visibility::All())->status, SessionStatus::kQuarantine);
  EXPECT_TRUE(reader().Get(id, owner).ok());
  EXPECT_EQ(ErrorReason(reader().Get(id, member).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(ErrorReason(reader().Get("P1/A", stranger).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(Search("", owner), Labels{"A"});
  EXPECT_TRUE(Search("", member).empty());
  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kActive, "", {.user = "owner"}).ok());
  EXPECT_TRUE(reader().Get(id, member).ok());
  EXPECT_EQ(ErrorReason(reader().Get(id, stranger).status()), "SESSION_NOT_FOUND");
  EXPECT_TRUE(Search("", Visibility()).empty());
}

TEST_F(SessionReaderTest, FiltersFindWhatTheySay) {
  Commit(MakeSession("A_MR"));
  NewSession ct = MakeSession("B_CT", 5, "Other");
  ct.session.modality = "CT";
  ct.session.session_date = "";
  ct.session.scanner = "100%_sure";
  ct.scans[0].modality = ct.scans[1].modality = "CT";
  ct.scans[0].parameters = {{"kvp", "120"}};
  ct.scans[1].parameters = {};
  ct.session.fields = {{"dose", "high"}};
  Commit(ct);

  const std::vector<std::pair<std::string, Labels>> table = {
      {"modality = \"MR\"", {"A_MR"}},
      {"modality = MR OR modality = CT", {"A_MR", "B_CT"}},
      {"modality != MR", {"B_CT"}},
      {"NOT modality = MR", {"B_CT"}},
      {"-modality = MR", {"B_CT"}},
      {"scans.parameters.tr > 2000", {"A_MR"}},
      {"scans.parameters.tr = 2400.0", {"A_MR"}},
      {"scans.parameters.tr > 2400", {}},
      {"NOT scans.parameters.tr > 2000", {"B_CT"}},
      {"scans.parameters.kvp:*", {"B_CT"}},
      {"scans.parameters.sequence = \"*tfl3d1_ns\"", {"A_MR"}},
      {"scans.parameters.sequence > 1", {}},
      {"scans.modality = CT", {"B_CT"}},
      {"sessionDate >= \"2024-01-01\"", {"A_MR"}},
      {"sessionDate >= 2024-01-01 AND sessionDate < 2024-02-01", {"A_MR"}},
      {"session_date:*", {"A_MR"}},
      {"NOT sessionDate:*", {"B_CT"}},
      {"NOT sessionDate < 2024-01-01", {"A_MR", "B_CT"}},
      {"sessionTime > 14:30", {"A_MR", "B_CT"}},
      {"subject = Other", {"B_CT"}},
      {"subject:OTH", {"B_CT"}},
      {"label = \"A*\"", {"A_MR"}},
      {"label = \"*_CT\"", {"B_CT"}},
      {"label = \"*_*\"", {"A_MR", "B_CT"}},
      {"scanner:\"%_\"", {"B_CT"}},
      {"scanner = \"1%\"", {}},
      {"fileCount > 6 AND scanCount = 2", {"B_CT"}},
      {"fields.dose > 12", {"A_MR"}},
      {"fields.dose = high", {"B_CT"}},
      {"createTime > 2020-01-01T00:00:00Z", {"A_MR", "B_CT"}},
      {"createTime < \"2020-01-01T00:00:00+02:00\"", {}},
      {"status = active", {"A_MR", "B_CT"}},
      {"mpr", {"A_MR", "B_CT"}},
      {"\"t1_mpr 10\" b_ct", {"B_CT"}},
      {"project = P1 AND (modality = CT OR subject = S1)", {"A_MR", "B_CT"}},
      {"label = \"'; DROP TABLE sessions; --\"", {}},
  };
  for (const auto& [filter, expected] : table) EXPECT_EQ(Search(filter), expected) << filter;
}

TEST_F(SessionReaderTest, PagesCoverEverythingOnceInEveryOrder) {
  for (int i = 0; i < 7; ++i) {
    NewSession made = MakeSession(absl::StrCat("L", i), 1 + i % 2, absl::StrCat("S", i % 3));
    made.session.session_date = i == 3 ? "" : absl::StrCat("2024-01-0", 1 + i % 3);
    Commit(made);
  }
  for (const char* order : {"", "label", "sessionDate desc, label", "fileCount, createTime desc",
                            "subject desc", "sessionTime"}) {
    SearchRequest request;
    request.order_by = order;
    request.page.size = 2;
    std::vector<std::string> paged;
    do {
      auto page = reader().Search(request, Visibility::All());
      ASSERT_TRUE(page.ok()) << order << ": " << page.status();
      for (const Session& session : page->sessions) paged.push_back(session.label);
      request.page.token = page->next_page_token;
    } while (!request.page.token.empty() && paged.size() < 20);
    SearchRequest whole;
    whole.order_by = order;
    auto all = reader().Search(whole, Visibility::All());
    std::vector<std::string> expected;
    for (const Session& session : all->sessions) expected.push_back(session.label);
    EXPECT_EQ(expected.size(), 7u);
    EXPECT_EQ(paged, expected) << order;
  }
  SearchRequest request;
  request.page.token = "AAAA";
  EXPECT_EQ(ErrorReason(reader().Search(request, Visibility::All()).status()), "PAGE_TOKEN_INVALID");
  request = {};
  for (const char* order : {"nothing", "label up", "scans.id", "label,", "fields.x'y"}) {
    request.order_by = order;
    EXPECT_EQ(ErrorReason(reader().Search(request, Visibility::All()).status()), "ORDER_BY_INVALID") << order;
  }
}

TEST_F(SessionReaderTest, ListsFilesInPagesAndByPath) {
  const std::string id = Commit(MakeSession("A", 5));
  SessionReader::FileQuery query;
  query.scan_id = "10";
  query.page.size = 2;

  std::vector<std::string> paths;
  do {
    auto page = reader().ListFiles(id, query);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const File& file : page->files) paths.push_back(file.path);
    query.page.token = page->next_page_token;
  } while (!query.page.token.empty());

  EXPECT_EQ(paths.size(), 5u);
  EXPECT_EQ(paths[4], MakeFile("10", 5).path);
  SessionReader::FileQuery one;
  one.path = MakeFile("2", 3).path;
  EXPECT_EQ(reader().ListFiles(id, one)->files.size(), 1u);
  one.resource = "secondary";
  EXPECT_TRUE(reader().ListFiles(id, one)->files.empty());
}

TEST_F(SessionReaderTest, FindsTheSessionsOfAStudy) {
  const std::string id = Commit(MakeSession("A"));
  NewSession other = MakeSession("B");
  other.session.study_instance_uid = "9.9";
  Commit(other);

  auto found = reader().FindStudy("P1", "1.2.3");

  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->at(0).accession_id, id);
  EXPECT_TRUE(reader().FindStudy("P2", "1.2.3")->empty());
}

TEST_F(SessionReaderTest, ScansAreFoundByConditionsThatAreAllAboutOne) {
  Commit(MakeSession("A"));
  NewSession other = MakeSession("B");
  other.session.project = "P2";
  Commit(other);
  const auto search = [&](const std::string& filter, const Visibility& visible) {
    SearchRequest request;
    request.filter = *SessionFilter::Parse(filter);
    request.order_by = "scans.parameters.tr desc, label";
    request.page.size = 1;
    request.count_total = true;
    std::string found;
    while (true) {
      auto result = reader().SearchScans(request, visible);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) return found;
      for (const FoundScan& scan : result->scans) absl::StrAppend(&found, scan.label, "/", scan.scan.id, " ");
      if (result->next_page_token.empty()) return absl::StrCat(found, *result->total_count);
      request.page.token = result->next_page_token;
    }
  };
  Visibility first;
  first.projects = {"P1"};

  EXPECT_EQ(search("", Visibility::All()), "A/2 B/2 A/10 B/10 4");
  EXPECT_EQ(search("scans.parameters.tr > 2000", Visibility::All()), "A/2 B/2 2");
  EXPECT_EQ(search("scans.id = \"10\" AND scans.parameters.tr > 2000", Visibility::All()), "0");
  EXPECT_EQ(search("NOT scans.parameters.tr > 2000", first), "A/10 1");
  EXPECT_EQ(search("", first), "A/2 A/10 2");
  EXPECT_EQ(search("", Visibility()), "0");
}

}  // namespace
}  // namespace narthex::metadata
