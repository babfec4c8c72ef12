#include "clients/cli/live_table.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narthex::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<v1::PrearchiveSession> Sessions(int count) {
  std::vector<v1::PrearchiveSession> sessions(count);
  for (int i = 0; i < count; ++i) {
    sessions[i].set_name(absl::StrCat("prearchiveSessions/vubnjt2vagwllj", 10 + i));
    sessions[i].set_state(i == 0 ? v1::PrearchiveSession::READY : v1::PrearchiveSession::RECEIVING);
    sessions[i].set_project("LONGPROJECT_NAME_01");
    sessions[i].set_subject("SUBJECT_WITH_A_NAME");
    sessions[i].set_label(absl::StrCat("SESSION_", i));
    sessions[i].set_object_count(30);
    sessions[i].set_scan_count(3);
  }
  return sessions;
}

TEST(LiveTableTest, ShowsEverythingWhereThereIsRoom) {
  const auto lines = LiveTable(Sessions(2), "", {200, 50});

  ASSERT_THAT(lines, SizeIs(4));
  EXPECT_EQ(lines[0], "2 sessions: 1 ready, 1 receiving");
  EXPECT_THAT(lines[1], testing::AllOf(HasSubstr("SUBJECT"), HasSubstr("SIZE"), HasSubstr("RECEIVED")));
  EXPECT_THAT(lines[2], testing::AllOf(HasSubstr("SESSION_0"), HasSubstr("ready"), HasSubstr("30")));
}

TEST(LiveTableTest, NoLineIsWiderThanTheTerminal) {
  for (size_t columns : {20, 40, 79, 80, 100, 120}) {
    for (const std::string& line : LiveTable(Sessions(3), "a remark of some length", {columns, 24})) {
      // Each ellipsis has three bytes and takes one column.
      EXPECT_LT(line.size() - (absl::EndsWith(line, "\u2026") ? 2 : 0), columns) << columns << ": " << line;
    }
  }
  const auto lines = LiveTable(Sessions(1), "", {80, 24});
  EXPECT_THAT(lines[1], testing::AllOf(HasSubstr("LABEL"), HasSubstr("OBJECTS"), Not(HasSubstr("SUBJECT"))));
}

TEST(LiveTableTest, CountsWhatDoesNotFit) {
  EXPECT_THAT(LiveTable(Sessions(21), "", {80, 24}), SizeIs(23));
  const auto lines = LiveTable(Sessions(22), "", {80, 24});
  ASSERT_THAT(lines, SizeIs(23));
  EXPECT_EQ(lines.back(), "... and 2 older ones");
  EXPECT_THAT(LiveTable(Sessions(22), "", {80, 1}), SizeIs(4));
}

TEST(LiveTableTest, AnEmptyPrearchiveSaysSo) {
  EXPECT_THAT(LiveTable({}, "", {80, 24}), ElementsAre("0 sessions"));
  EXPECT_THAT(LiveTable({}, "trying again", {80, 24}), ElementsAre("0 sessions; trying again"));
}

TEST(LiveTableTest, DrawsOverWhatWasDrawn) {
  EXPECT_EQ(DrawOver({"a", "b"}), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
}

}  // namespace
}  // namespace narthex::cli
