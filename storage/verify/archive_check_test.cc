// A session filed as the server files it, in a real PostgreSQL and a file system in memory; then one thing is
// broken.
#include "storage/verify/archive_check.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "storage/archive/catalog.h"
#include "storage/archive/session_writer.h"
#include "storage/fs/memory.h"
#include "storage/metadata/testing/test_database.h"

namespace narthex::verify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kCatalog[] = "SCANS/1/DICOM/scan_1_catalog.xml";
constexpr char kFolder[] = "P1/arc001/A";

class ArchiveCheckTest : public testing::Test {
 protected:
  ArchiveCheckTest() {
    metadata::Project project;
    project.id = "P1";
    EXPECT_TRUE(database_->projects().Create(project, {}).ok());
    EXPECT_TRUE(files_->MakeDirectories("/archive").ok());
    FileSession("A", /*finish=*/true);
  }

  void FileSession(const std::string& label, bool finish) {
    archive::SessionWriter::Options options;
    options.archive_root = "/archive";
    options.folder = absl::StrCat("P1/arc001/", label);
    options.operation_id = "op" + label;
    auto writer = archive::SessionWriter::Open(options, *files_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    metadata::NewSession added;
    archive::Catalog catalog;
    for (const std::string name : {"1.dcm", "2.dcm"}) {
      const std::string path = "SCANS/1/DICOM/" + name, bytes = "pixels of " + name;
      ASSERT_TRUE((*writer)->WriteFile(path, bytes).ok());
      metadata::File file;
      file.path = path;
      file.scan_id = "1";
      file.resource = "DICOM";
      file.instance_uid = "1.2." + name;
      file.size_bytes = static_cast<int64_t>(bytes.size());
      file.md5 = Md5(bytes);
      file.sha256 = Sha256(bytes);
      file.xxh3_stored = Xxh3(bytes);
      archive::CatalogEntry entry;
      entry.uri = name;
      entry.uid = file.instance_uid;
      entry.md5 = absl::BytesToHexString(file.md5);
      entry.size_bytes = file.size_bytes;
      catalog.entries.push_back(entry);
      added.files.push_back(file);
    }
    ASSERT_TRUE((*writer)->WriteFile(kCatalog, archive::WriteCatalog(catalog)).ok());
    ASSERT_TRUE((*writer)->Publish().ok());
    added.session.project = "P1";
    added.session.subject = "S1";
    added.session.label = label;
    added.session.study_instance_uid = "1.2." + label;
    added.session.modality = "MR";
    added.session.session_type = "xnat:mrSessionData";
    added.session.folder = options.folder;
    metadata::Scan scan;
    scan.id = "1";
    scan.xsi_type = "xnat:mrScanData";
    added.scans.push_back(scan);
    metadata::Resource resource;
    resource.scan_id = "1";
    resource.label = "DICOM";
    resource.format = "DICOM";
    resource.catalog_path = kCatalog;
    added.resources.push_back(resource);
    metadata::Change change;
    change.request_id = "op" + label;
    const auto committed = database_->sessions().Commit(added, change);
    ASSERT_TRUE(committed.ok()) << committed.status();
    if (finish) {
      ASSERT_TRUE((*writer)->Finish().ok());
    }
  }

  static std::string InA(const std::string& path) { return absl::StrCat("/archive/", kFolder, "/", path); }

  Report Check() {
    Report report;
    const absl::Status status = CheckArchive(*database_, *files_, "/archive", {}, report);
    EXPECT_TRUE(status.ok()) << status;
    return report;
  }

  // "KIND where" of each.
  static std::vector<std::string> Kinds(const std::vector<Report::Finding>& findings) {
    std::vector<std::string> kinds;
    for (const Report::Finding& finding : findings)
      kinds.push_back(absl::StrCat(finding.kind, " ", finding.where));
    return kinds;
  }

  metadata::TestDatabase database_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
};

TEST_F(ArchiveCheckTest, AnInterruptedMergeIsUnfinishedNotDamage) {
  archive::SessionWriter::Options options;
  options.archive_root = "/archive";
  options.operation_id = "merge1";
  options.folder = kFolder;
  options.into_existing = true;
  options.base_version = "1";
  auto writer = archive::SessionWriter::Open(options, *files_);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->WriteFile("SCANS/1/DICOM/new.dcm", "new").ok());
  ASSERT_TRUE((*writer)->WriteFile(kCatalog, "<a/>").ok());
  ASSERT_TRUE((*writer)->Publish().ok());

  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_EQ(Kinds(report.unfinished),
            (std::vector<std::string>{absl::StrCat("MERGE_CATALOG ", kFolder, "/", kCatalog),
                                      absl::StrCat("MERGE_FILE ", kFolder, "/SCANS/1/DICOM/new.dcm"),
                                      "INCOMING_FOLDER P1/arc001/.incoming-merge1"}));
}

TEST_F(ArchiveCheckTest, WhatTheServerFilesIsClean) {
  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_THAT(Kinds(report.unfinished), IsEmpty());
  EXPECT_EQ(report.archived_session_count, 1u);
  EXPECT_EQ(report.archived_file_count, 2u);
  EXPECT_EQ(report.catalog_count, 1u);
  EXPECT_EQ(report.archived_bytes, 30u);
}

TEST_F(ArchiveCheckTest, FindsAMissingFile) {
  ASSERT_TRUE(files_->Remove(InA("SCANS/1/DICOM/1.dcm")).ok());

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("FILE_MISSING P1/arc001/A/SCANS/1/DICOM/1.dcm"));
}

TEST_F(ArchiveCheckTest, FindsAChangedByte) {
  auto file = files_->Open(InA("SCANS/1/DICOM/1.dcm"), {.mode = fs::OpenMode::kReadWrite});
  ASSERT_TRUE((*file)->WriteAt(3, "X").ok());

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("FILE_DIGEST P1/arc001/A/SCANS/1/DICOM/1.dcm"));
}

TEST_F(ArchiveCheckTest, FindsACutFile) {
  auto file = files_->Open(InA("SCANS/1/DICOM/2.dcm"), {.mode = fs::OpenMode::kReadWrite});
  ASSERT_TRUE((*file)->Truncate(3).ok());

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("FILE_SIZE P1/arc001/A/SCANS/1/DICOM/2.dcm"));
}

TEST_F(ArchiveCheckTest, FindsAMissingFolder) {
  ASSERT_TRUE(files_->RemoveTree(absl::StrCat("/archive/", kFolder)).ok());

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("FOLDER_MISSING P1/arc001/A"));
}

TEST_F(ArchiveCheckTest, FindsCatalogsThatDiffer) {
  const auto write = [&](const std::string& text) {
    EXPECT_TRUE(fs::WriteFileDurably(*files_, InA(kCatalog), text).ok());
  };
  archive::Catalog catalog;
  catalog.entries.push_back(
      {.uri = "1.dcm", .uid = "1.2.1.dcm", .md5 = std::string(32, '0'), .size_bytes = 15});

  write(archive::WriteCatalog(catalog));  // another MD5, and 2.dcm is not there
  EXPECT_THAT(Kinds(Check().findings), ElementsAre(absl::StrCat("CATALOG_DIFFERS P1/arc001/A/", kCatalog),
                                                   absl::StrCat("CATALOG_DIFFERS P1/arc001/A/", kCatalog)));
  write("<no catalog");
  EXPECT_THAT(Kinds(Check().findings), ElementsAre(absl::StrCat("CATALOG_INVALID P1/arc001/A/", kCatalog)));
  ASSERT_TRUE(files_->Remove(InA(kCatalog)).ok());
  EXPECT_THAT(Kinds(Check().findings), ElementsAre(absl::StrCat("CATALOG_MISSING P1/arc001/A/", kCatalog)));
}

TEST_F(ArchiveCheckTest, FindsWhatNobodyNames) {
  ASSERT_TRUE(files_->MakeDirectories("/archive/P1/arc001/B").ok());
  ASSERT_TRUE(fs::WriteFileDurably(*files_, InA("SCANS/1/DICOM/3.dcm"), "stray").ok());

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("UNREFERENCED_FILE P1/arc001/A/SCANS/1/DICOM/3.dcm",
                                                   "UNREFERENCED_FOLDER P1/arc001/B"));
}

TEST_F(ArchiveCheckTest, InterruptedOperationsAreNoFinding) {
  FileSession("C", /*finish=*/false);
  archive::SessionWriter::Options options{
      .archive_root = "/archive", .folder = "P1/arc001/D", .operation_id = "opD"};
  ASSERT_TRUE(archive::SessionWriter::Open(options, *files_).ok());
  options.folder = "P1/arc001/E";
  options.operation_id = "opE";
  ASSERT_TRUE((*archive::SessionWriter::Open(options, *files_))->Publish().ok());

  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_THAT(Kinds(report.unfinished),
              ElementsAre("JOURNAL P1/arc001/C/.narthex-files", "INCOMING_FOLDER P1/arc001/.incoming-opD",
                          "PUBLISHED_FOLDER P1/arc001/E"));
}

TEST_F(ArchiveCheckTest, DeletedSessionsAreCheckedToo) {
  const auto session = database_->session_reader().Get("P1/A", metadata::Visibility::All());
  ASSERT_TRUE(
      database_->sessions().SetStatus(session->accession_id, metadata::SessionStatus::kDeleted, "", {}).ok());

  EXPECT_TRUE(Check().clean());
  ASSERT_TRUE(files_->Remove(InA("SCANS/1/DICOM/1.dcm")).ok());
  EXPECT_FALSE(Check().clean());
}

TEST(ReportTest, IsWrittenAsJson) {
  Report report;
  report.Find("FILE_MISSING", "a \"b\"", "c");

  EXPECT_THAT(report.ToJson(), testing::HasSubstr("\"where\":\"a \\\"b\\\"\""));
  EXPECT_THAT(report.ToJson(), testing::HasSubstr("\"clean\": false"));
}

}  // namespace
}  // namespace narthex::verify
