#include "clients/cpp/download.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "clients/cpp/fake_server.h"
#include "clients/cpp/file_sink.h"
#include "clients/cpp/operation.h"
#include "clients/cpp/safe_names.h"

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

  // Of a zip or tar file, by its central directory where it has one.
  Files Entries(const std::string& path) {
    Files found;
    ::archive* archive = ::archive_read_new();
    ::archive_read_support_format_zip_seekable(archive);
    ::archive_read_support_format_tar(archive);
    EXPECT_EQ(::archive_read_open_filename(archive, path.c_str(), 1 << 16), ARCHIVE_OK);
    ::archive_entry* entry = nullptr;
    while (::archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
      std::string bytes(10'000, '\0');
      bytes.resize(::archive_read_data(archive, bytes.data(), bytes.size()));
      found[::archive_entry_pathname(entry)] = bytes;
    }
    ::archive_read_free(archive);
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

  EXPECT_EQ(Entries(options_.destination), files_);
  EXPECT_FALSE(fs::exists(options_.destination + ".part"));
}

TEST_F(DownloadTest, WritesATarFile) {
  options_.destination = folder_ + "/out.tar";
  ASSERT_TRUE(DownloadSession(*connection_, options_).ok());
  EXPECT_EQ(Entries(options_.destination), files_);
}

// What a killed run left of a zip or tar file: its complete files are taken over, the torn one is fetched
// again.
TEST_F(DownloadTest, ContinuesAZipOrTarThatWasBrokenOff) {
  for (const char* kind : {".zip", ".tar"}) {
    options_.destination = folder_ + "/cut" + kind;
    {
      auto sink = NewArchiveSink(options_.destination);
      ASSERT_TRUE(sink.ok()) << sink.status();
      for (const auto& [path, bytes] : files_) {
        v1::File file;
        file.set_size_bytes(static_cast<int64_t>(bytes.size()));
        ASSERT_TRUE((*sink)->Begin(file, path).ok());
        const bool torn = path == "SCANS/1/DICOM/b.dcm";
        ASSERT_TRUE((*sink)->Write(torn ? bytes.substr(0, 1000) : bytes).ok());
        if (torn) break;
        ASSERT_TRUE((*sink)->Keep().ok());
      }
    }
    ASSERT_TRUE(fs::exists(PartialArchive(options_.destination)));
    std::error_code error;
    fs::resize_file(PartialArchive(options_.destination),
                    fs::file_size(PartialArchive(options_.destination)) - 10, error);

    auto report = DownloadSession(*connection_, options_);

    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->skipped_count, 1) << kind;
    EXPECT_EQ(report->file_count, 2) << kind;
    EXPECT_EQ(Entries(options_.destination), files_) << kind;
    EXPECT_FALSE(fs::exists(PartialArchive(options_.destination)));
    EXPECT_FALSE(fs::exists(PartialArchive(options_.destination) + ".old"));
  }
}

// More entries than zip without its 64-bit extension can count.
TEST_F(DownloadTest, ZipFilesHoldMoreThan65535Files) {
  const std::string path = folder_ + "/many.zip";
  auto sink = NewArchiveSink(path);
  ASSERT_TRUE(sink.ok());
  v1::File file;
  file.set_size_bytes(1);
  for (int i = 0; i < 66'000; ++i) {
    ASSERT_TRUE((*sink)->Begin(file, absl::StrCat("f", i)).ok());
    ASSERT_TRUE((*sink)->Write("x").ok());
    ASSERT_TRUE((*sink)->Keep().ok());
  }
  ASSERT_TRUE((*sink)->Finish(true).ok());
  EXPECT_EQ(Entries(path).size(), 66'000u);
}

TEST_F(DownloadTest, TakesOnlyTheScansAndResourcesThatAreAskedFor) {
  options_.scans = {"9"};
  EXPECT_TRUE(absl::IsNotFound(DownloadSession(*connection_, options_).status()));
  options_.scans.clear();
  options_.resources = {"NOTES"};
  EXPECT_TRUE(absl::IsNotFound(DownloadSession(*connection_, options_).status()));
  EXPECT_FALSE(fs::exists(options_.destination));
}

TEST_F(DownloadTest, NamesAreSafeEverywhere) {
  EXPECT_EQ(SafeComponent("a.dcm"), "a.dcm");
  EXPECT_EQ(SafeComponent("CON"), "_CON");
  EXPECT_EQ(SafeComponent("nul.txt"), "_nul.txt");
  EXPECT_EQ(SafeComponent("Lpt1.dcm"), "_Lpt1.dcm");
  EXPECT_EQ(SafeComponent("a:b?.txt"), "a_b_.txt");
  EXPECT_EQ(SafeComponent("end. ."), "end___");
  EXPECT_EQ(SafeComponent("..."), "___");
  EXPECT_EQ(SafeComponent("console"), "console");
  SafeNames names;
  EXPECT_EQ(names.For("SCANS/1/NOTES/Readme.txt"), "SCANS/1/NOTES/Readme.txt");
  EXPECT_EQ(names.For("SCANS/1/NOTES/README.TXT"), "SCANS/1/NOTES/README-2.TXT");
  EXPECT_EQ(names.For("scans/1/x"), "scans-2/1/x");  // a folder of its own where case does not count
  EXPECT_EQ(names.For("SCANS/1/NOTES/README.TXT"), "SCANS/1/NOTES/README-2.TXT");
}

TEST_F(DownloadTest, FilesWithUnsafeNamesAreWrittenUnderOthers) {
  server_.AddSession(session_,
                     {{"RESOURCES/N/aux.txt", "1"}, {"RESOURCES/N/A.txt", "2"}, {"RESOURCES/N/a.txt", "3"}});
  auto report = DownloadSession(*connection_, options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->renamed_count, 2);
  EXPECT_EQ(Tree(options_.destination),
            (Files{{"RESOURCES/N/_aux.txt", "1"}, {"RESOURCES/N/A.txt", "2"}, {"RESOURCES/N/a-2.txt", "3"}}));
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
