#include "clients/cpp/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "gtest/gtest.h"

#include "base/error.h"
#include "clients/cpp/fake_server.h"
#include "clients/cpp/operation.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;
using Files = std::map<std::string, std::string>;

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() {
    std::string pattern = (fs::temp_directory_path() / "narthex-download-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    session_.set_name("sessions/NARTHEX_E00001");
    session_.set_project("P");
    session_.set_label("L1");
    server_.AddSession(session_, files_);
    options_ = {.session = session_.name(), .destination = folder_ + "/out", .verify = true};
  }
  ~DownloadTest() override { fs::remove_all(folder_); }

  Files Tree(const std::string& root) {
    Files found;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file()) continue;
      std::ostringstream bytes;
      bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      found[fs::relative(entry.path(), root).string()] = bytes.str();
    }
    return found;
  }

  std::string folder_;
  v1::Session session_;
  Files files_ = {{"SCANS/1/DICOM/a.dcm", std::string(5500, 'a')},
                  {"SCANS/1/DICOM/b.dcm", std::string(2500, 'b')},
                  {"SCANS/2/DICOM/c.dcm", "c"}};
  FakeServer server_;
  std::shared_ptr<Connection> connection_ =
      Connection::Wrap(server_.InProcessChannel(), {.initial_backoff = absl::Milliseconds(1)});
  DownloadOptions options_;
};

TEST_F(DownloadTest, WritesATree) {
  auto report = DownloadSession(*connection_, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->file_count, 3);
  EXPECT_EQ(Tree(options_.destination), files_);
}

TEST_F(DownloadTest, LeavesOutWhatIsThere) {
  fs::create_directories(options_.destination + "/SCANS/1/DICOM");
  std::ofstream(options_.destination + "/SCANS/1/DICOM/a.dcm") << files_["SCANS/1/DICOM/a.dcm"];
  std::ofstream(options_.destination + "/SCANS/1/DICOM/b.dcm") << std::string(2500, 'x');

  auto report = DownloadSession(*connection_, options_);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->skipped_count, 1);
  EXPECT_EQ(report->file_count, 2);
  EXPECT_EQ(Tree(options_.destination), files_);
}

TEST_F(DownloadTest, WritesAZipFile) {
  options_.destination = folder_ + "/out.zip";
  ASSERT_TRUE(DownloadSession(*connection_, options_).ok());

  Files found;
  ::archive* zip = ::archive_read_new();
  ::archive_read_support_format_zip(zip);
  ASSERT_EQ(::archive_read_open_filename(zip, options_.destination.c_str(), 1 << 16), ARCHIVE_OK);
  ::archive_entry* entry = nullptr;
  while (::archive_read_next_header(zip, &entry) == ARCHIVE_OK) {
    std::string bytes(10'000, '\0');
    bytes.resize(::archive_read_data(zip, bytes.data(), bytes.size()));
    found[::archive_entry_pathname(entry)] = bytes;
  }
  ::archive_read_free(zip);
  EXPECT_EQ(found, files_);
  EXPECT_FALSE(fs::exists(options_.destination + ".part"));
}

TEST_F(DownloadTest, ContinuesABrokenStreamInTheMiddleOfAFile) {
  server_.SetFaults({.break_download_after = 3500});
  auto report = DownloadSession(*connection_, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(Tree(options_.destination), files_);
}

TEST_F(DownloadTest, KeepsNoDamagedFile) {
  server_.SetFaults({.corrupt_download = true});
  auto report = DownloadSession(*connection_, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->damaged.size(), 3u);
  EXPECT_TRUE(Tree(options_.destination).empty());

  options_.destination = folder_ + "/out.zip";
  ASSERT_TRUE(DownloadSession(*connection_, options_).ok());
  EXPECT_FALSE(fs::exists(options_.destination));
  EXPECT_FALSE(fs::exists(options_.destination + ".part"));
}

TEST_F(DownloadTest, RefusesPathsThatLeaveTheFolder) {
  server_.AddSession(session_, {{"../escaped.dcm", "x"}});
  EXPECT_TRUE(absl::IsDataLoss(DownloadSession(*connection_, options_).status()));
  EXPECT_FALSE(fs::exists(folder_ + "/escaped.dcm"));
  for (const char* path : {"", "/a", "a/../b", "a//b", "./a", "a\\b", "a\nb", ".."}) {
    EXPECT_FALSE(IsSafeRelativePath(path)) << path;
  }
  EXPECT_TRUE(IsSafeRelativePath("SCANS/4-MR1/DICOM/..x.dcm"));
}

TEST_F(DownloadTest, ReportsAnUnknownSession) {
  options_.session = "sessions/none";
  EXPECT_EQ(ErrorReason(DownloadSession(*connection_, options_).status()), "SESSION_NOT_FOUND");
}

TEST_F(DownloadTest, OperationsGiveTheirResultOrTheirError) {
  v1::PrearchiveSession waiting;
  waiting.set_name("prearchiveSessions/x");
  waiting.set_state(v1::PrearchiveSession::CONFLICT);
  server_.AddPrearchiveSession(waiting);
  v1::ArchivePrearchiveSessionRequest request;
  request.set_name(waiting.name());
  auto archive = [&] {
    auto started = connection_->Call(
        connection_->prearchive(), &v1::PrearchiveService::StubInterface::ArchivePrearchiveSession, request);
    return ResultOf<v1::Session>(*WaitForOperation(*connection_, started->name()));
  };
  EXPECT_EQ(ErrorReason(archive().status()), "ARCHIVE_CONFLICT");
  request.set_conflict_policy(v1::ConflictPolicy::APPEND);
  EXPECT_EQ(archive()->accession_id(), "NARTHEX_E00001");
  EXPECT_EQ(ErrorReason(WaitForOperation(*connection_, "operations/none").status()), "OPERATION_NOT_FOUND");
}

}  // namespace
}  // namespace narthex::client
