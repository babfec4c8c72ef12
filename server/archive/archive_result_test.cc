#include <gtest/gtest.h>

#include "server/archive/archiver.h"

namespace narthex::archiving {
namespace {

TEST(ArchiveResultTest, TextKeepsEverything) {
  for (const bool merged : {false, true}) {
    for (const int scans : {0, 1, 3}) {
      ArchiveResult result;
      result.accession_id = "X_E00001";
      result.merged = merged;
      if (merged) result.counts = {3, 1, 2};
      for (int i = 0; i < scans; ++i) result.left_out.push_back({i == 0 ? "4-MR1" : "1.2.3:4", 30 + i});

      const ArchiveResult again = ArchiveResult::FromText(result.ToText());

      EXPECT_EQ(again.ToText(), result.ToText());
      EXPECT_EQ(again.accession_id, "X_E00001");
      EXPECT_EQ(again.merged, merged);
      EXPECT_EQ(again.counts.kept, merged ? 2 : 0);
      ASSERT_EQ(again.left_out.size(), static_cast<size_t>(scans));
      if (scans == 3) EXPECT_EQ(again.left_out[1].scan, "1.2.3:4");
      if (scans == 3) EXPECT_EQ(again.left_out[2].object_count, 32);
    }
  }
}

TEST(ArchiveResultTest, ReadsWhatOlderServersWrote) {
  EXPECT_EQ(ArchiveResult::FromText("X_E00001").accession_id, "X_E00001");
  EXPECT_EQ(ArchiveResult::FromText("X_E00001 3 1 2").counts.replaced, 1);
  EXPECT_TRUE(ArchiveResult::FromText("").accession_id.empty());
}

TEST(ArchiveResultTest, TheNoteNamesScansAndCounts) {
  prearchive::SessionRow row;
  EXPECT_EQ(LeftOutNote(LeftOutOf(row)), "");
  for (const auto& [id, count, excluded] : {std::tuple("4", 30, true), {"5", 2, false}, {"7", 1, true}}) {
    prearchive::ScanRow& scan = *row.add_scans();
    scan.set_id(id);
    scan.set_file_count(count);
    scan.set_excluded(excluded);
  }
  EXPECT_EQ(LeftOutNote(LeftOutOf(row)), "left out by review: scan 4 (30 objects), scan 7 (1 object)");
}

}  // namespace
}  // namespace narthex::archiving
