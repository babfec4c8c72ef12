#include "storage/verify/staging_check.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "storage/fs/memory.h"
#include "storage/staging/segment_format.h"

namespace narthex::verify {
namespace {

class StagingCheckTest : public testing::Test {
 protected:
  StagingCheckTest() {
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = 0;
    store_ = *staging::StagingStore::Open(options, *files_);
    auto log = *store_->OpenSession("abc");
    for (int i = 0; i < 3; ++i) {
      auto writer = *log->StartObject();
      EXPECT_TRUE(writer->Append(std::string(10000, 'x')).ok());
      EXPECT_TRUE(log->Sync((*writer->Finish("meta")).position).ok());
    }
  }

  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  std::unique_ptr<staging::StagingStore> store_;
};

TEST_F(StagingCheckTest, CountsWhatIsGood) {
  Report report;
  ASSERT_TRUE(CheckSegments(*store_, report).ok());

  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.staged_session_count, 1u);
  EXPECT_EQ(report.staged_object_count, 3u);
  EXPECT_EQ(report.staged_bytes, 30000u);
}

TEST_F(StagingCheckTest, FindsAChangedByte) {
  const std::string path = staging::SegmentPath(staging::SessionPath("/staging", "abc"), 0);
  auto file = files_->Open(path, {.mode = fs::OpenMode::kReadWrite});
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(5000, "y").ok());

  Report report;
  ASSERT_TRUE(CheckSegments(*store_, report).ok());

  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].kind, "SEGMENT_DAMAGED");
  EXPECT_EQ(report.findings[0].where, "abc");
  EXPECT_EQ(report.staged_object_count, 2u);
}

}  // namespace
}  // namespace narthex::verify
