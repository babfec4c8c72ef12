#include "clients/cpp/uploader.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/stat.h>

#include "base/error.h"
#include "clients/cpp/fake_server.h"
#include "clients/cpp/resume_file.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class UploaderTest : public ::testing::Test {
 protected:
  UploaderTest() {
    std::string pattern = (fs::temp_directory_path() / "narthex-uploader-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    options_.destination.set_project("P");
    options_.jobs = 2;
  }
  ~UploaderTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    const fs::path path = fs::path(folder_) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  // Sizes from some bytes to 1.5 MB.
  std::vector<LocalFile> WriteFiles(int count) {
    for (int i = 0; i < count; ++i) {
      std::string bytes(i % 20 == 0 ? 1'500'000 + i : 100 + i * 7, static_cast<char>('a' + i % 26));
      bytes += absl::StrCat("number ", i);
      expected_.insert(bytes);
      Write(absl::StrCat("in/", i / 10, "/", i, ".dcm"), bytes);
    }
    return CollectFiles({folder_ + "/in"})->files;
  }
  std::multiset<std::string> Received(const std::string& upload) {
    std::multiset<std::string> received;
    for (const auto& [sequence, bytes] : server_.objects(upload)) received.insert(bytes);
    return received;
  }

  std::string folder_;
  FakeServer server_;
  std::shared_ptr<Connection> connection_ =
      *Connection::Open({.address = server_.address(), .initial_backoff = absl::Milliseconds(1)});
  UploaderOptions options_;
  std::multiset<std::string> expected_;
};

TEST_F(UploaderTest, UploadsAndCommits) {
  const std::vector<LocalFile> files = WriteFiles(50);
  UploadProgress last;
  options_.on_progress = [&](const UploadProgress& progress) { last = progress; };

  auto report = UploadFiles(connection_, files, options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->committed);
  EXPECT_EQ(report->upload.state(), v1::Upload::COMMITTED);
  EXPECT_EQ(report->build_operations.size(), 1u);
  EXPECT_EQ(Received(report->upload.name()), expected_);
  ASSERT_EQ(report->outcomes.size(), 50u);
  EXPECT_EQ(report->outcomes[3].path, files[3].path);
  EXPECT_EQ(report->outcomes[3].outcome.outcome(), v1::ObjectOutcome::STORED);
  EXPECT_EQ(server_.received_objects(), 50);
  EXPECT_EQ(last.acknowledged_count, 50);
  EXPECT_EQ(last.sent_bytes, last.total_bytes);
}

TEST_F(UploaderTest, GoesOnAfterABrokenStream) {
  server_.SetFaults(
      {.break_stream_after_outcomes = 17, .lose_outcome_at_break = true, .unavailable_calls = 1});
  auto report = UploadFiles(connection_, WriteFiles(60), options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(Received(report->upload.name()), expected_);
  EXPECT_EQ(server_.uploads().size(), 1u);
  for (const FileOutcome& file : report->outcomes) {
    EXPECT_EQ(file.outcome.outcome(), v1::ObjectOutcome::STORED) << file.path;
  }
}

TEST_F(UploaderTest, SaysWhatIsKnownWhenItBreaksOffForGood) {
  server_.SetFaults({.break_stream_after_outcomes = 17});
  options_.jobs = 1;
  options_.reconnect_timeout = absl::ZeroDuration();
  options_.resume_path = folder_ + "/resume";
  const std::vector<LocalFile> files = WriteFiles(60);
  auto report = UploadFiles(connection_, files, options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(absl::IsUnavailable(report->broken_off)) << report->broken_off;
  EXPECT_FALSE(report->committed);
  ASSERT_EQ(report->outcomes.size(), 60u);
  int stored = 0;
  for (const FileOutcome& file : report->outcomes) {
    EXPECT_FALSE(file.path.empty());
    if (file.outcome.outcome() == v1::ObjectOutcome::STORED) ++stored;
  }
  EXPECT_EQ(stored, 17);

  options_.reconnect_timeout = absl::Minutes(1);
  report = UploadFiles(connection_, files, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->broken_off.ok()) << report->broken_off;
  EXPECT_TRUE(report->committed);
  EXPECT_GE(report->resumed_count, 17);
  EXPECT_EQ(Received(report->upload.name()), expected_);
}

TEST_F(UploaderTest, SendsOnlyTheRestAfterItsDeath) {
  const std::vector<LocalFile> files = WriteFiles(40);
  options_.resume_path = folder_ + "/resume";
  options_.commit = false;
  const std::vector<LocalFile> first_half(files.begin(), files.begin() + 20);
  auto first = UploadFiles(connection_, first_half, options_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(first->committed);
  ASSERT_TRUE(fs::exists(options_.resume_path));

  options_.commit = true;
  auto second = UploadFiles(connection_, files, options_);

  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->upload.name(), first->upload.name());
  EXPECT_EQ(second->resumed_count, 20);
  EXPECT_EQ(server_.received_objects(), 40);
  EXPECT_EQ(Received(second->upload.name()), expected_);
  for (const FileOutcome& file : second->outcomes) {
    EXPECT_EQ(file.outcome.outcome(), v1::ObjectOutcome::STORED) << file.path;
  }
  EXPECT_FALSE(fs::exists(options_.resume_path));
}

TEST_F(UploaderTest, SendsAChangedFileAgainWhenResuming) {
  options_.resume_path = folder_ + "/resume";
  options_.commit = false;
  const std::string path = Write("a.dcm", "before");
  ASSERT_TRUE(UploadFiles(connection_, CollectFiles({path})->files, options_).ok());
  Write("a.dcm", "after!!");

  options_.commit = true;
  auto report = UploadFiles(connection_, CollectFiles({path})->files, options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(Received(report->upload.name()), ElementsAre("after!!", "before"));
}

TEST_F(UploaderTest, RefusesAResumeFileOfAnotherDestination) {
  options_.resume_path = folder_ + "/resume";
  options_.commit = false;
  const std::vector<LocalFile> files = CollectFiles({Write("a.dcm", "bytes")})->files;
  ASSERT_TRUE(UploadFiles(connection_, files, options_).ok());
  options_.destination.set_project("Q");
  EXPECT_TRUE(absl::IsInvalidArgument(UploadFiles(connection_, files, options_).status()));
}

TEST_F(UploaderTest, SendsDamagedObjectsAgain) {
  server_.SetFaults({.damage_object = 3});
  auto report = UploadFiles(connection_, WriteFiles(10), options_);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const FileOutcome& file : report->outcomes) {
    EXPECT_EQ(file.outcome.outcome(), v1::ObjectOutcome::STORED) << file.path;
  }
  EXPECT_EQ(server_.received_objects(), 11);
}

TEST_F(UploaderTest, ReportsProblemsFileByFile) {
  const std::string good = Write("good.dcm", "good");
  const std::string twin = Write("twin.dcm", "good");
  const std::string junk = Write("junk.txt", "junk");
  std::vector<LocalFile> files = CollectFiles({good, twin, junk})->files;
  files.push_back({folder_ + "/gone.dcm", 5, 0});
  options_.jobs = 1;

  auto report = UploadFiles(connection_, files, options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->outcomes[0].outcome.outcome(), v1::ObjectOutcome::STORED);
  EXPECT_EQ(report->outcomes[1].outcome.outcome(), v1::ObjectOutcome::DUPLICATE);
  EXPECT_EQ(report->outcomes[2].outcome.reason(), "NOT_DICOM");
  EXPECT_EQ(report->outcomes[3].outcome.reason(), "FILE_UNREADABLE");
}

TEST_F(UploaderTest, LeavesOutWhatTheServerHas) {
  const std::vector<LocalFile> files = WriteFiles(10);
  ASSERT_TRUE(UploadFiles(connection_, files, options_).ok());
  options_.find_missing = true;
  auto report = UploadFiles(connection_, files, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(server_.received_objects(), 10);
  EXPECT_EQ(report->outcomes[9].outcome.outcome(), v1::ObjectOutcome::DUPLICATE);
}

TEST_F(UploaderTest, GivesUpWhenTheServerSaysNo) {
  options_.destination.set_project("NOWHERE");
  auto report = UploadFiles(connection_, WriteFiles(1), options_);
  EXPECT_EQ(ErrorReason(report.status()), "PROJECT_NOT_FOUND");
}

TEST_F(UploaderTest, ImportsAnArchive) {
  const std::string bytes = "PK" + std::string(2'345'678, 'z');
  v1::ImportOptions options;
  options.mutable_destination()->set_project("P");
  int64_t last = 0;
  auto response =
      ImportArchiveFile(*connection_, Write("a.zip", bytes), options, [&](int64_t sent) { last = sent; });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(server_.imported(), bytes);
  EXPECT_EQ(last, static_cast<int64_t>(bytes.size()));
}

TEST_F(UploaderTest, ImportReportsAnUnreadableArchive) {
  auto response = ImportArchiveFile(*connection_, Write("a.zip", "nonsense"), {});
  EXPECT_EQ(ErrorReason(response.status()), "ARCHIVE_UNREADABLE");
  EXPECT_FALSE(ImportArchiveFile(*connection_, folder_ + "/none.zip", {}).ok());
}

TEST_F(UploaderTest, CollectsFilesInOrderWithoutHiddenOnesAndStrangers) {
  Write("d/b.dcm", "1");
  Write("d/a/z.dcm", "2");
  Write("d/.DS_Store", "3");
  Write("d/__MACOSX/x", "4");
  Write("d/empty", "");
  Write("d/inner.zip", "5");
  const std::string zip = Write("out.ZIP", "6");
  const std::string secret = Write("secret", "7");
  fs::create_symlink(secret, folder_ + "/d/outside");
  fs::create_symlink("b.dcm", folder_ + "/d/same");
  fs::create_directory_symlink("..", folder_ + "/d/circle");

  auto found = CollectFiles({folder_ + "/d/", zip, folder_ + "/d/b.dcm"});

  ASSERT_TRUE(found.ok()) << found.status();
  std::vector<std::string> paths;
  for (const LocalFile& file : found->files) paths.push_back(file.path.substr(folder_.size()));
  EXPECT_THAT(paths, ElementsAre("/d/a/z.dcm", "/d/b.dcm", "/d/inner.zip"));
  ASSERT_EQ(found->archives.size(), 1u);
  EXPECT_EQ(found->hidden_count, 2);
  EXPECT_EQ(found->special_count, 2);
  EXPECT_EQ(found->empty_count, 1);
  EXPECT_TRUE(absl::IsNotFound(CollectFiles({folder_ + "/none"}).status()));
}

TEST_F(UploaderTest, ResumeFileKeepsOddNames) {
  ResumeState state{.upload = "uploads/x"};
  state.destination.set_project("P");
  state.entries.push_back({{"/a b\n\\n c", 12, 34}, 5, v1::ObjectOutcome::STORED});
  const std::string path = folder_ + "/state";
  ASSERT_TRUE(WriteResumeFile(path, state).ok());

  auto read = ReadResumeFile(path);

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->upload, "uploads/x");
  EXPECT_EQ(read->destination.project(), "P");
  ASSERT_EQ(read->entries.size(), 1u);
  EXPECT_EQ(read->entries[0].file.path, "/a b\n\\n c");
  EXPECT_EQ(read->entries[0].sequence, 5);
  EXPECT_EQ(read->entries[0].state, v1::ObjectOutcome::STORED);
  EXPECT_TRUE(absl::IsInvalidArgument(ReadResumeFile(Write("bad", "narthex-resume 1\nfile x\n")).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadResumeFile(folder_ + "/none").status()));
}

}  // namespace
}  // namespace narthex::client
