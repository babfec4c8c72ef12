// Files of objects: what is in them arrives, what is not an object gets its outcome, and what cannot be read
// ends the import with the number of the entry. The archives are made here; hostile ones are shared data.

#include "server/ingest/archive_import.h"

#include <archive.h>
#include <archive_entry.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "server/ingest/ingest_fixture.h"

namespace narthex::ingest {
namespace {

using testing::SizeIs;

using Entries = std::vector<std::pair<std::string, std::string>>;  // name, bytes

enum class Format { kZip, kStoredZip, kEncryptedZip, kTar, kTarGz, kTarXz, kTarZstd };

// An archive of `entries`, as libarchive writes it.
std::string Pack(const Entries& entries, Format format) {
  archive* writer = archive_write_new();
  switch (format) {
    case Format::kZip:
      archive_write_set_format_zip(writer);
      break;
    case Format::kStoredZip:
      archive_write_set_format_zip(writer);
      archive_write_zip_set_compression_store(writer);
      break;
    case Format::kEncryptedZip:
      archive_write_set_format_zip(writer);
      EXPECT_EQ(archive_write_set_options(writer, "zip:encryption=traditional"), ARCHIVE_OK);
      archive_write_set_passphrase(writer, "secret");
      break;
    case Format::kTar:
      archive_write_set_format_pax_restricted(writer);
      break;
    case Format::kTarGz:
      archive_write_set_format_pax_restricted(writer);
      archive_write_add_filter_gzip(writer);
      break;
    case Format::kTarXz:
      archive_write_set_format_pax_restricted(writer);
      archive_write_add_filter_xz(writer);
      break;
    case Format::kTarZstd:
      archive_write_set_format_pax_restricted(writer);
      archive_write_add_filter_zstd(writer);
      break;
  }
  size_t total = 1 << 20;
  for (const auto& [name, bytes] : entries) total += 2 * bytes.size() + 4096;
  std::string packed(total, '\0');
  size_t used = 0;
  archive_write_set_bytes_in_last_block(writer, 1);
  EXPECT_EQ(archive_write_open_memory(writer, packed.data(), packed.size(), &used), ARCHIVE_OK);
  for (const auto& [name, bytes] : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, absl::EndsWith(name, "/") ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK) << archive_error_string(writer);
    if (!bytes.empty()) {
      EXPECT_EQ(archive_write_data(writer, bytes.data(), bytes.size()),
                static_cast<la_ssize_t>(bytes.size()));
    }
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
  packed.resize(used);
  return packed;
}

// `bytes` alone, compressed.
std::string Gzip(const std::string& bytes) {
  archive* writer = archive_write_new();
  archive_write_set_format_raw(writer);
  archive_write_add_filter_gzip(writer);
  std::string packed(bytes.size() + 4096, '\0');
  size_t used = 0;
  archive_write_set_bytes_in_last_block(writer, 1);
  EXPECT_EQ(archive_write_open_memory(writer, packed.data(), packed.size(), &used), ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_pathname(entry, "data");
  EXPECT_EQ(archive_write_header(writer, entry), ARCHIVE_OK);
  EXPECT_EQ(archive_write_data(writer, bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
  archive_entry_free(entry);
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
  packed.resize(used);
  return packed;
}

ByteSource Pieces(const std::string& bytes, size_t piece) {
  return [&bytes, piece, at = size_t{0}]() mutable -> absl::StatusOr<absl::string_view> {
    const absl::string_view next = absl::string_view(bytes).substr(std::min(at, bytes.size()), piece);
    at += next.size();
    return next;
  };
}

class ArchiveImportTest : public IngestTest {
 protected:
  // Imports `bytes`, which arrive in pieces. The outcomes are in `outcomes_` then.
  absl::Status Import(const std::string& bytes, size_t piece = 10'000) {
    auto stream = NewStream(NewUpload());
    int64_t sequence = 0;
    const absl::Status imported = ImportArchive(Pieces(bytes, piece), *stream, &sequence);
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_THAT(outcomes_, SizeIs(sequence)) << "every object that was begun has an outcome";
    return imported;
  }

  void ExpectKept(const phantom::Study& study, int count) {
    ASSERT_THAT(Sessions(), SizeIs(1));
    EXPECT_EQ(Sessions()[0].object_count(), static_cast<uint32_t>(count));
    for (int i = 0; i < count; ++i) {
      EXPECT_EQ(BytesOf(Sessions()[0].id(), study.SopInstanceUid(0, i)), study.Instance(0, i)) << i;
    }
  }

  static Entries EntriesOf(const phantom::Study& study) {
    Entries entries;
    for (int i = 0; i < study.instance_count(); ++i) {
      entries.emplace_back(study.FileName(0, i), study.Instance(0, i));
    }
    return entries;
  }
};

TEST_F(ArchiveImportTest, TakesEveryObjectOfEveryFormat) {
  const phantom::Study study = Study(4);
  int made = 0;
  for (Format format :
       {Format::kZip, Format::kStoredZip, Format::kTar, Format::kTarGz, Format::kTarXz, Format::kTarZstd}) {
    const std::string packed = Pack(EntriesOf(study), format);
    EXPECT_TRUE(LooksLikeArchive(absl::string_view(packed).substr(0, 512)));
    ASSERT_TRUE(Import(packed, ++made % 2 == 0 ? 700 : 1 << 20).ok()) << made;
    EXPECT_THAT(outcomes_, SizeIs(4)) << made;
    ExpectKept(study, 4);
  }
}

TEST_F(ArchiveImportTest, TakesALargeObject) {
  const phantom::Study study = Study(2, 1200);
  ASSERT_TRUE(Import(Pack(EntriesOf(study), Format::kTarGz)).ok());
  EXPECT_EQ(Told(), "0:STORED 1:STORED");
  ExpectKept(study, 2);
}

TEST_F(ArchiveImportTest, FoldersAndEmptyFilesAreNoObjects) {
  const phantom::Study study = Study(1);
  ASSERT_TRUE(
      Import(Pack({{"folder/", ""}, {"folder/empty", ""}, {"folder/a", study.Instance(0, 0)}}, Format::kZip))
          .ok());
  EXPECT_EQ(Told(), "0:STORED");
}

TEST_F(ArchiveImportTest, WhatIsNoObjectDoesNotStopTheOthers) {
  const phantom::Study study = Study(2);
  ASSERT_TRUE(Import(Pack({{"readme.txt", "a text"},
                           {"a.dcm", study.Instance(0, 0)},
                           {"cut.dcm", study.Instance(0, 1).substr(0, 200)},
                           {"large.bin", std::string(5 << 20, 'x')},
                           {"b.dcm", study.Instance(0, 1)}},
                          Format::kZip))
                  .ok());
  ASSERT_THAT(outcomes_, SizeIs(5));
  EXPECT_EQ(outcomes_[0].reason(), "NOT_DICOM");
  EXPECT_EQ(outcomes_[3].reason(), "NOT_DICOM");
  ExpectKept(study, 2);
}

TEST_F(ArchiveImportTest, ANameThatLeadsOutsideIsOnlyAName) {
  const phantom::Study study = Study(1);
  ASSERT_TRUE(Import(Pack({{"../../../../etc/passwd", study.Instance(0, 0)}}, Format::kStoredZip)).ok());
  EXPECT_EQ(Told(), "0:STORED");
  ExpectKept(study, 1);
}

TEST_F(ArchiveImportTest, ArchivesInArchivesAreUnpackedThreeDeep) {
  const phantom::Study study = Study(3);
  const std::string third = Pack({{"c", study.Instance(0, 2)}}, Format::kTar);
  const std::string second = Pack({{"b", study.Instance(0, 1)}, {"third.tar", third}}, Format::kTarGz);
  ASSERT_TRUE(Import(Pack({{"a", study.Instance(0, 0)}, {"second.tgz", second}}, Format::kZip)).ok());
  EXPECT_EQ(Told(), "0:STORED 1:STORED 2:STORED");
  ExpectKept(study, 3);
}

TEST_F(ArchiveImportTest, DeeperArchivesAreRefused) {
  const phantom::Study study = Study(1);
  std::string packed = study.Instance(0, 0);
  for (int i = 0; i < limits::kArchiveMaxNesting + 1; ++i) packed = Pack({{"x", packed}}, Format::kZip);

  EXPECT_EQ(ErrorReason(Import(packed)), "ARCHIVE_UNREADABLE");
  EXPECT_EQ(Told(), "");
}

TEST_F(ArchiveImportTest, ACompressedObjectIsTaken) {
  const phantom::Study study = Study(2);
  ASSERT_TRUE(Import(Gzip(study.Instance(0, 0))).ok());
  EXPECT_EQ(Told(), "0:STORED");
  ASSERT_TRUE(Import(Pack({{"b.dcm.gz", Gzip(study.Instance(0, 1))}}, Format::kZip)).ok());
  EXPECT_EQ(Told(), "0:STORED");
  ExpectKept(study, 2);
}

// A .nii.gz beside the images is common.
TEST_F(ArchiveImportTest, ACompressedFileThatIsNoObjectDoesNotStopTheOthers) {
  const phantom::Study study = Study(1);
  ASSERT_TRUE(Import(Pack({{"brain.nii.gz", Gzip(std::string(100'000, 'n'))}, {"a", study.Instance(0, 0)}},
                          Format::kZip))
                  .ok());
  EXPECT_EQ(Told(), "0:REJECTED/NOT_DICOM 1:STORED");
}

TEST_F(ArchiveImportTest, AnEmptyArchiveHasNoObjects) {
  EXPECT_TRUE(Import(Pack({}, Format::kZip)).ok());
  EXPECT_EQ(Told(), "");
}

TEST_F(ArchiveImportTest, AnEncryptedEntryEndsTheImport) {
  const absl::Status refused = Import(Pack({{"a", Study(1).Instance(0, 0)}}, Format::kEncryptedZip));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(refused), "ARCHIVE_UNREADABLE");
  EXPECT_EQ(ErrorMetadataOf(refused).at("entry"), "1");
  EXPECT_EQ(Told(), "");
  ExpectNothingIsKept();
}

TEST_F(ArchiveImportTest, ACutArchiveKeepsWhatWasComplete) {
  const phantom::Study study = Study(4, 128);
  for (Format format : {Format::kZip, Format::kStoredZip, Format::kTar, Format::kTarGz}) {
    const std::string packed = Pack(EntriesOf(study), format);
    const absl::Status refused = Import(packed.substr(0, packed.size() * 5 / 8));
    EXPECT_EQ(ErrorReason(refused), "ARCHIVE_UNREADABLE") << static_cast<int>(format);
    ASSERT_FALSE(outcomes_.empty());
    EXPECT_NE(outcomes_.front().outcome(), static_cast<int>(prearchive::Outcome::kRejected));
    if (outcomes_.back().outcome() == static_cast<int>(prearchive::Outcome::kRejected)) {
      EXPECT_EQ(outcomes_.back().reason(), "OBJECT_ABANDONED");
    }
    ASSERT_THAT(Sessions(), SizeIs(1));
    EXPECT_LT(Sessions()[0].object_count(), 4u);
  }
}

// Pieces of 1 MiB are read one ahead: an object that breaks off in its second was never begun.
TEST_F(ArchiveImportTest, NumbersOnlyWhatHasAnOutcome) {
  const std::string packed = Pack(EntriesOf(Study(1, 1200)), Format::kTar);
  for (size_t size : {size_t{1} << 19, size_t{3} << 19, size_t{5} << 19}) {
    outcomes_.clear();
    auto stream = NewStream(NewUpload());
    int64_t sequence = 0;
    absl::string_view rest = absl::string_view(packed).substr(0, size);
    const absl::Status imported = ImportArchive(
        [&]() -> absl::StatusOr<absl::string_view> {
          const absl::string_view next = rest.substr(0, 1000);
          rest.remove_prefix(next.size());
          return next;
        },
        *stream, &sequence);
    EXPECT_EQ(ErrorReason(imported), "ARCHIVE_UNREADABLE");
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_THAT(outcomes_, SizeIs(sequence)) << size;
  }
}

TEST_F(ArchiveImportTest, WhatIsNoArchiveIsSaidToBeNone) {
  for (const std::string& bytes :
       {std::string("a text"), std::string(100'000, 'x'), Study(1).Instance(0, 0)}) {
    EXPECT_EQ(ErrorReason(Import(bytes)), "ARCHIVE_UNREADABLE");
    EXPECT_EQ(Told(), "");
  }
}

TEST_F(ArchiveImportTest, TheSendersErrorIsPassedOn) {
  const std::string packed = Pack(EntriesOf(Study(4, 128)), Format::kTar);
  auto stream = NewStream(NewUpload());
  int64_t sequence = 0;
  size_t at = 0;
  const absl::Status imported = ImportArchive(
      [&]() -> absl::StatusOr<absl::string_view> {
        if (at > packed.size() / 2) return InvalidArgument("UPLOAD_PROTOCOL", "the test says so");
        at += 1000;
        return absl::string_view(packed).substr(at - 1000, 1000);
      },
      *stream, &sequence);
  EXPECT_EQ(ErrorReason(imported), "UPLOAD_PROTOCOL");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ArchiveImportTest, OneFileThatIsAnObject) {
  const phantom::Study study = Study(1, 1200);
  auto stream = NewStream(NewUpload());
  int64_t sequence = 7;
  ASSERT_TRUE(ImportObject(Pieces(study.Instance(0, 0), 1 << 20), *stream, &sequence).ok());
  ASSERT_TRUE(ImportObject(Pieces("", 1), *stream, &sequence).ok()) << "an empty file is none";
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(), "7:STORED");
  EXPECT_EQ(sequence, 8);
}

TEST_F(ArchiveImportTest, ADicomObjectDoesNotLookLikeAnArchive) {
  std::string bytes = Study(1).Instance(0, 0);
  EXPECT_FALSE(LooksLikeArchive(bytes));
  bytes.replace(0, 4, "PK\x03\x04");  // a preamble may hold anything
  EXPECT_FALSE(LooksLikeArchive(bytes));
  EXPECT_FALSE(LooksLikeArchive(""));
}

// Files that others' readers died of. Whatever they are: no crash, no hang, and an error or an outcome for
// each entry. None of them holds an image.
TEST_F(ArchiveImportTest, HostileArchives) {
  const char* shared = std::getenv("NARTHEX_SHARED");
  const std::filesystem::path folder =
      std::filesystem::path(shared != nullptr ? shared : "../shared") / "data" / "archives-hostile";
  if (!std::filesystem::is_directory(folder)) {
    if (const char* ci = std::getenv("CI"); ci != nullptr && std::string(ci) == "true") {
      FAIL() << folder << " is missing";
    }
    GTEST_SKIP() << "SKIPPED: " << folder << " is missing; set NARTHEX_SHARED";
  }
  int files = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (!file.is_regular_file()) continue;
    SCOPED_TRACE(file.path().filename().string());
    std::ifstream in(file.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    for (size_t piece : {size_t{1} << 20, size_t{511}}) {
      const absl::Status imported = Import(bytes, piece);
      EXPECT_TRUE(imported.ok() || ErrorReason(imported) == "ARCHIVE_UNREADABLE") << imported;
      for (const prearchive::OutcomeRow& outcome : outcomes_) {
        EXPECT_EQ(outcome.outcome(), static_cast<int>(prearchive::Outcome::kRejected));
      }
    }
    const std::string name = file.path().filename().string();
    if (absl::StrContains(name, "crypt") || absl::StrContains(name, "aes")) {
      EXPECT_EQ(ErrorReason(Import(bytes)), "ARCHIVE_UNREADABLE");
    }
    ++files;
  }
  EXPECT_GT(files, 30);
  ExpectNothingIsKept();
}

}  // namespace
}  // namespace narthex::ingest
