#include "storage/archive/session_writer.h"

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "storage/archive/layout.h"
#include "storage/fs/faults.h"
#include "storage/fs/memory.h"

namespace narthex::archive {
namespace {

constexpr char kRoot[] = "/archive";
constexpr char kFolder[] = "P1/arc001/S1_MR1";

FileSource Source(const std::string& path, const std::string& bytes, int* reads = nullptr) {
  return {path, [bytes, reads](const ByteSink& sink) -> absl::Status {
            if (reads != nullptr) ++*reads;
            NX_RETURN_IF_ERROR(sink(absl::string_view(bytes).substr(0, 3)));
            return sink(absl::string_view(bytes).substr(std::min<size_t>(3, bytes.size())));
          }};
}

std::vector<FileSource> Sources(int count, int* reads = nullptr) {
  std::vector<FileSource> sources;
  for (int i = 0; i < count; ++i) {
    sources.push_back(
        Source(absl::StrCat("SCANS/", i % 3, "/DICOM/", i, ".dcm"), absl::StrCat("bytes of ", i), reads));
  }
  return sources;
}

// All files below the session's folder, without the journal.
std::map<std::string, std::string> Published(fs::FileSystem& files) {
  std::map<std::string, std::string> found;
  const std::string top = fs::JoinPath(kRoot, kFolder);
  (void)fs::VisitTree(files, top, [&](const std::string& path, fs::FileInfo::Type) -> absl::Status {
    if (path == kJournalName) return absl::OkStatus();
    NX_ASSIGN_OR_RETURN(found[path], fs::ReadFile(files, fs::JoinPath(top, path), 1 << 20));
    return absl::OkStatus();
  });
  return found;
}

class SessionWriterTest : public testing::Test {
 protected:
  SessionWriterTest() {
    EXPECT_TRUE(memory_->MakeDirectories(kRoot).ok());
    EXPECT_TRUE(memory_->SyncDirectory("/").ok());
  }

  static SessionWriter::Options Make(const std::string& operation, bool into_existing = false) {
    return {.archive_root = kRoot,
            .folder = kFolder,
            .operation_id = operation,
            .into_existing = into_existing,
            .threads = 1};
  }

  std::unique_ptr<SessionWriter> Open(const std::string& operation, bool into_existing = false) {
    auto writer = SessionWriter::Open(Make(operation, into_existing), *memory_);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }

  void Archive(const std::string& operation, int count) {
    auto writer = Open(operation);
    ASSERT_TRUE(writer->WriteFiles(Sources(count)).ok());
    ASSERT_TRUE(writer->Publish().ok());
    ASSERT_TRUE(writer->Finish().ok());
  }

  std::unique_ptr<fs::InMemoryFileSystem> memory_ = fs::NewInMemory();
};

TEST_F(SessionWriterTest, PublishesEverythingAtOnceWithDigests) {
  auto writer = Open("op1");
  ASSERT_TRUE(writer->WriteFiles(Sources(5)).ok());
  ASSERT_TRUE(writer->WriteFile("SCANS/0/DICOM/scan_0_catalog.xml", "<xml/>").ok());
  EXPECT_TRUE(Published(*memory_).empty());

  ASSERT_TRUE(writer->Publish().ok());
  memory_->LosePower();

  const auto found = Published(*memory_);
  EXPECT_EQ(found.size(), 6u);
  EXPECT_EQ(found.at("SCANS/1/DICOM/4.dcm"), "bytes of 4");
  const std::vector<WrittenFile> files = writer->files();
  ASSERT_EQ(files.size(), 6u);
  EXPECT_EQ(files[0].path, "SCANS/0/DICOM/0.dcm");
  EXPECT_EQ(files[0].size_bytes, 10u);
  EXPECT_EQ(files[0].md5, Md5("bytes of 0"));
  EXPECT_EQ(files[0].sha256, Sha256("bytes of 0"));
  EXPECT_EQ(files[0].xxh3, Xxh3("bytes of 0"));
}

TEST_F(SessionWriterTest, WhicheverCallFailsNothingStaysOfWhatIsAbandoned) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    memory_ = fs::NewInMemory();
    ASSERT_TRUE(memory_->MakeDirectories(fs::JoinPath(kRoot, "P1/arc001")).ok());
    fs::FaultInjector faults(*memory_);
    faults.FailCall(n, fs::FaultInjector::Fault::kIoError);
    auto writer = SessionWriter::Open(Make("op1"), faults);
    if (!writer.ok()) continue;
    absl::Status status = (*writer)->WriteFiles(Sources(3));
    if (status.ok()) status = (*writer)->Publish();
    if (status.ok() && !faults.fired()) break;
    if (status.ok()) continue;

    ASSERT_TRUE((*writer)->Abandon().ok());
    const auto left = memory_->List(fs::JoinPath(kRoot, "P1/arc001"));
    ASSERT_TRUE(left.ok());
    EXPECT_TRUE(left->empty()) << left->front().name << " after " << status;
    Archive("op2", 3);
    EXPECT_EQ(Published(*memory_).size(), 3u);
  }
}

TEST_F(SessionWriterTest, ResumesWithoutReadingWhatIsDurable) {
  int reads = 0;
  const std::vector<FileSource> sources = Sources(6, &reads);
  ASSERT_TRUE(Open("op1")->WriteFiles(absl::MakeConstSpan(sources).first(4)).ok());
  EXPECT_EQ(reads, 4);
  memory_->LosePower();

  auto writer = Open("op1");
  EXPECT_EQ(writer->state(), SessionWriter::State::kWriting);
  EXPECT_EQ(writer->files().size(), 4u);
  ASSERT_TRUE(writer->WriteFiles(sources).ok());
  ASSERT_TRUE(writer->Publish().ok());

  EXPECT_EQ(reads, 6);
  EXPECT_EQ(Published(*memory_).size(), 6u);
  auto again = Open("op1");
  EXPECT_EQ(again->state(), SessionWriter::State::kPublished);
  EXPECT_EQ(again->files(), writer->files());
  EXPECT_TRUE(again->Publish().ok());
  EXPECT_TRUE(again->Finish().ok());
  EXPECT_TRUE(again->Finish().ok());
  EXPECT_TRUE(ListUnfinished(kRoot, *memory_)->empty());
}

TEST_F(SessionWriterTest, AnotherOperationsFolderIsTaken) {
  auto late = Open("late");
  ASSERT_TRUE(late->WriteFiles(Sources(2)).ok());
  Archive("op1", 3);

  EXPECT_EQ(ErrorReason(SessionWriter::Open(Make("op2"), *memory_).status()), "FOLDER_TAKEN");
  EXPECT_EQ(ErrorReason(late->Publish()), "FOLDER_TAKEN");
  EXPECT_EQ(Published(*memory_).size(), 3u);
  EXPECT_EQ(*ListUnfinished(kRoot, *memory_), std::vector<std::string>{"late"});
  EXPECT_TRUE(late->Abandon().ok());
  EXPECT_TRUE(ListUnfinished(kRoot, *memory_)->empty());
}

TEST_F(SessionWriterTest, RefusesPathsThatLeaveTheFolder) {
  for (const char* folder : {"", "/x", "../x", "P1//x", "P1/.hidden"}) {
    SessionWriter::Options options = Make("op");
    options.folder = folder;
    EXPECT_EQ(ErrorReason(SessionWriter::Open(options, *memory_).status()), "ARCHIVE_PATH_INVALID") << folder;
  }
  EXPECT_EQ(ErrorReason(SessionWriter::Open(Make("a/b"), *memory_).status()), "ARCHIVE_PATH_INVALID");
  auto writer = Open("op");
  for (const char* path : {"", "../x", "/x", "a/../b", "a//b", ".narthex-files", "a b"}) {
    EXPECT_EQ(ErrorReason(writer->WriteFile(path, "x")), "ARCHIVE_PATH_INVALID") << path;
  }
}

TEST_F(SessionWriterTest, MergesIntoAnExistingSession) {
  EXPECT_EQ(ErrorReason(SessionWriter::Open(Make("m", true), *memory_).status()), "FOLDER_NOT_FOUND");
  Archive("op1", 3);
  auto writer = Open("m", true);

  EXPECT_EQ(ErrorReason(writer->WriteFiles(Sources(1))), "FILE_EXISTS");
  ASSERT_TRUE(
      writer->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new"), Source("SCANS/0/DICOM/b.dcm", "more")}).ok());
  ASSERT_TRUE(writer->WriteFile("SCANS/1/DICOM/1.dcm", "replaced").ok());
  EXPECT_EQ(ErrorReason(writer->Supersede({"SCANS/9/DICOM/a.dcm"})), "ARCHIVE_PATH_INVALID");
  ASSERT_TRUE(writer->Supersede({"SCANS/2/DICOM/2.dcm"}).ok());
  EXPECT_EQ(writer->files().size(), 3u);
  EXPECT_EQ(*fs::ReadFile(*memory_, writer->PlaceOf("SCANS/1/DICOM/1.dcm"), 100), "replaced");
  const auto unfinished = ListUnfinishedMerges(kRoot, *memory_);
  ASSERT_EQ(unfinished->size(), 1u);
  EXPECT_EQ(unfinished->at(0).operation_id, "m");
  EXPECT_EQ(unfinished->at(0).folder, kFolder);
  EXPECT_EQ(unfinished->at(0).paths.size(), 4u);
  EXPECT_EQ(Published(*memory_).size(), 3u);
  ASSERT_TRUE(writer->Publish().ok());
  EXPECT_EQ(Published(*memory_).size(), 5u);
  EXPECT_EQ(Published(*memory_)["SCANS/1/DICOM/1.dcm"], "bytes of 1");  // until the database says so
  EXPECT_EQ(Open("m", true)->state(), SessionWriter::State::kPublished);
  ASSERT_TRUE(Open("m", true)->Finish().ok());
  memory_->LosePower();

  const auto found = Published(*memory_);
  EXPECT_EQ(found.size(), 4u);
  EXPECT_EQ(found.at("SCANS/1/DICOM/1.dcm"), "replaced");
  EXPECT_EQ(found.at("SCANS/9/DICOM/a.dcm"), "new");
  EXPECT_EQ(found.count("SCANS/2/DICOM/2.dcm"), 0u);
  EXPECT_TRUE(ListUnfinished(kRoot, *memory_)->empty());
}

TEST_F(SessionWriterTest, AMergePlannedOnAnotherVersionIsTakenBack) {
  Archive("op1", 3);
  SessionWriter::Options options = Make("m", true);
  options.base_version = "1";
  auto first = SessionWriter::Open(options, *memory_);
  ASSERT_TRUE((*first)->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new")}).ok());
  ASSERT_TRUE((*first)->Supersede({"SCANS/2/DICOM/2.dcm"}).ok());
  ASSERT_TRUE((*first)->Publish().ok());
  EXPECT_EQ((*SessionWriter::Open(options, *memory_))->state(), SessionWriter::State::kPublished);
  EXPECT_EQ(Published(*memory_).size(), 4u);

  options.base_version = "2";
  auto again = SessionWriter::Open(options, *memory_);

  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->state(), SessionWriter::State::kWriting);
  EXPECT_TRUE((*again)->files().empty());
  EXPECT_EQ(Published(*memory_).size(), 3u);
  ASSERT_TRUE((*again)->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "newer")}).ok());
  ASSERT_TRUE((*again)->Publish().ok());
  ASSERT_TRUE((*again)->Finish().ok());
  EXPECT_EQ(Published(*memory_)["SCANS/9/DICOM/a.dcm"], "newer");
  EXPECT_EQ(Published(*memory_).size(), 4u);
}

// The session that an interrupted merge was to go into was renamed before the merge went on: its operation
// now makes a session of its own.
TEST_F(SessionWriterTest, AnOperationThatMergedAndNowMakesASessionTakesItsLinksBack) {
  Archive("op1", 3);
  for (const bool published : {false, true}) {
    {
      SessionWriter::Options options = Make("m", true);
      options.base_version = "1";
      auto merge = SessionWriter::Open(options, *memory_);
      ASSERT_TRUE(merge.ok()) << merge.status();
      ASSERT_TRUE((*merge)->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new")}).ok());
      ASSERT_TRUE((*merge)->WriteFile("SCANS/1/DICOM/1.dcm", "replaced").ok());
      if (published) ASSERT_TRUE((*merge)->Publish().ok());
    }
    SessionWriter::Options options = Make("m");
    options.folder = absl::StrCat(kFolder, published ? ".B" : ".A");
    auto writer = SessionWriter::Open(options, *memory_);
    ASSERT_TRUE(writer.ok()) << writer.status();

    EXPECT_EQ((*writer)->state(), SessionWriter::State::kWriting);
    EXPECT_TRUE((*writer)->files().empty());
    EXPECT_EQ(Published(*memory_).size(), 3u);
    ASSERT_TRUE((*writer)->WriteFiles(Sources(2)).ok());
    ASSERT_TRUE((*writer)->Publish().ok());
    ASSERT_TRUE((*writer)->Finish().ok());

    EXPECT_EQ(Published(*memory_)["SCANS/1/DICOM/1.dcm"], "bytes of 1");
    EXPECT_EQ(*fs::ReadFile(*memory_, fs::JoinPath(kRoot, options.folder + "/SCANS/1/DICOM/1.dcm"), 100),
              "bytes of 1");
    EXPECT_TRUE(ListUnfinished(kRoot, *memory_)->empty());
  }
}

TEST_F(SessionWriterTest, WhoKeepsChangesAwayWaitsForThoseOnTheirWay) {
  Archive("op1", 3);
  auto merge = Open("m", true);
  ASSERT_TRUE(merge->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new")}).ok());
  ASSERT_TRUE(merge->Publish().ok());
  absl::Notification still;
  size_t seen = 0;
  std::thread backup([&] {
    const NoInPlaceChanges no_changes;
    seen = Published(*memory_).size();
    still.Notify();
  });
  EXPECT_FALSE(still.WaitForNotificationWithTimeout(absl::Milliseconds(20)));

  ASSERT_TRUE(merge->Supersede({"SCANS/1/DICOM/1.dcm"}).code() == absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(merge->Finish().ok());
  backup.join();

  EXPECT_EQ(seen, 4u);
}

TEST_F(SessionWriterTest, AbandonedOperationsLeaveNothing) {
  auto writer = Open("op1");
  ASSERT_TRUE(writer->WriteFiles(Sources(3)).ok());
  ASSERT_TRUE(writer->Publish().ok());
  ASSERT_TRUE(writer->Abandon().ok());
  EXPECT_TRUE(Published(*memory_).empty());

  Archive("op2", 3);
  auto merge = Open("m", true);
  ASSERT_TRUE(merge->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new")}).ok());
  ASSERT_TRUE(merge->WriteFile("SCANS/1/DICOM/1.dcm", "replaced").ok());
  ASSERT_TRUE(merge->Publish().ok());
  ASSERT_TRUE(merge->Abandon().ok());
  EXPECT_EQ(Published(*memory_).size(), 3u);
  EXPECT_EQ(Published(*memory_)["SCANS/1/DICOM/1.dcm"], "bytes of 1");
  ASSERT_TRUE(Open("x", true)->WriteFiles({Source("SCANS/9/DICOM/a.dcm", "new")}).ok());
  EXPECT_TRUE(RemoveIncoming(kRoot, "x", *memory_).ok());
  EXPECT_TRUE(ListUnfinished(kRoot, *memory_)->empty());
}

// Goal: whatever call fails and whenever the power goes, the session is there as before or as after, and
// repeating the operation completes it. Method: fail each call of a scenario in turn, lose power, look,
// repeat, look.
class CrashTest : public SessionWriterTest, public testing::WithParamInterface<bool> {
 protected:
  absl::Status Run(fs::FileSystem& files, bool merge, bool* published) {
    NX_ASSIGN_OR_RETURN(auto writer, SessionWriter::Open(Make("op", merge), files));
    if (writer->state() == SessionWriter::State::kWriting) {
      const std::vector<FileSource> sources =
          merge ? std::vector<FileSource>{Source("SCANS/9/DICOM/a.dcm", "new"),
                                          Source("SCANS/0/DICOM/b.dcm", "more")}
                : Sources(4);
      NX_RETURN_IF_ERROR(writer->WriteFiles(absl::MakeConstSpan(sources).first(1)));
      NX_RETURN_IF_ERROR(writer->WriteFiles(sources));
      NX_RETURN_IF_ERROR(writer->WriteFile("SCANS/0/DICOM/0.xml", merge ? "after" : "before"));
      if (merge) NX_RETURN_IF_ERROR(writer->Supersede({"SCANS/1/DICOM/1.dcm"}));
      NX_RETURN_IF_ERROR(writer->Publish());
    }
    *published = true;  // here the database commits
    return writer->Finish();
  }
};

TEST_P(CrashTest, EveryFailingCallAndPowerLossCanBeRepeated) {
  const bool merge = GetParam();
  for (uint64_t n = 1; n < 500; ++n) {
    for (const uint64_t seed : {uint64_t{0}, n}) {
      memory_ = fs::NewInMemory();
      ASSERT_TRUE(memory_->MakeDirectories(kRoot).ok());
      ASSERT_TRUE(memory_->SyncDirectory("/").ok());
      bool published = false;
      if (merge) {
        auto first = SessionWriter::Open(
            {.archive_root = kRoot, .folder = kFolder, .operation_id = "first", .threads = 1}, *memory_);
        ASSERT_TRUE(first.ok());
        ASSERT_TRUE((*first)->WriteFiles(Sources(4)).ok());
        ASSERT_TRUE((*first)->WriteFile("SCANS/0/DICOM/0.xml", "before").ok());
        ASSERT_TRUE((*first)->Publish().ok());
        ASSERT_TRUE((*first)->Finish().ok());
      }
      fs::FaultInjector faults(*memory_);
      faults.FailCall(n, n % 2 ? fs::FaultInjector::Fault::kPowerCut : fs::FaultInjector::Fault::kShortWrite);
      const absl::Status status = Run(faults, merge, &published);
      if (!faults.fired()) {
        ASSERT_TRUE(status.ok()) << status;
        GTEST_LOG_(INFO) << n - 1 << " calls failed in turn";
        return;
      }
      memory_->LosePower(seed);

      const size_t before = merge ? 5 : 0, after = merge ? 6 : 5;
      auto seen = Published(*memory_);
      seen.erase("SCANS/0/DICOM/.replacing-0.xml");  // until the repetition
      if (published && merge) {
        EXPECT_TRUE(seen.size() == after || seen.size() == after + 1) << "call " << n << " seed " << seed;
      } else if (published) {
        EXPECT_EQ(seen.size(), after) << "call " << n << " seed " << seed;
      } else if (!merge) {
        EXPECT_TRUE(seen.size() == before || seen.size() == after) << "call " << n << ": " << seen.size();
      }
      for (const auto& [path, bytes] : seen)
        EXPECT_FALSE(bytes.empty()) << path << " call " << n << " seed " << seed;
      if (merge && !published) {
        EXPECT_EQ(seen.at("SCANS/0/DICOM/0.xml"), "before");
        EXPECT_EQ(seen.count("SCANS/1/DICOM/1.dcm"), 1u) << "call " << n << " seed " << seed;
      }

      const absl::Status repeated = Run(*memory_, merge, &published);
      // A journal that Finish removed leaves a folder that is complete.
      if (!merge && ErrorReason(repeated) == "FOLDER_TAKEN") {
        EXPECT_TRUE(published);
      } else if (merge && ErrorReason(repeated) == "FILE_EXISTS") {
        // Finish removed the journal: as after every repetition of what the database knows, nothing else is
        // done.
        EXPECT_TRUE(published);
        auto writer = SessionWriter::Open(Make("op", merge), *memory_);
        ASSERT_TRUE(writer.ok() && (*writer)->Abandon().ok());
      } else {
        ASSERT_TRUE(repeated.ok()) << "call " << n << " seed " << seed << ": " << repeated;
      }
      EXPECT_EQ(Published(*memory_).size(), after) << "call " << n << " seed " << seed;
      EXPECT_EQ(Published(*memory_)["SCANS/0/DICOM/0.xml"], merge ? "after" : "before");
    }
  }
  FAIL() << "the scenario never ends";
}

INSTANTIATE_TEST_SUITE_P(Scenarios, CrashTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Merge" : "New"; });

TEST_F(SessionWriterTest, ManyThreadsWriteAllFilesToARealDisk) {
  std::string root = testing::TempDir() + "/narthex-archive-XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  auto writer = SessionWriter::Open(
      {.archive_root = root, .folder = kFolder, .operation_id = "op", .threads = 4}, fs::Posix());
  ASSERT_TRUE(writer.ok()) << writer.status();

  ASSERT_TRUE((*writer)->WriteFiles(Sources(500)).ok());
  ASSERT_TRUE((*writer)->Publish().ok());

  EXPECT_EQ((*writer)->files().size(), 500u);
  EXPECT_EQ(*fs::ReadFile(fs::Posix(), root + "/" + kFolder + "/SCANS/1/DICOM/499.dcm", 100), "bytes of 499");
  EXPECT_TRUE(fs::Posix().RemoveTree(root).ok());
}

TEST_F(SessionWriterTest, AFailingSourceFailsTheCallAndCanBeRepeated) {
  auto writer = Open("op1");
  std::vector<FileSource> sources = Sources(3);
  sources[1].read = [](const ByteSink&) { return DataLoss("STAGED_BYTES_CORRUPT", "no", {}); };

  EXPECT_EQ(ErrorReason(writer->WriteFiles(sources)), "STAGED_BYTES_CORRUPT");
  EXPECT_TRUE(writer->files().empty());
  ASSERT_TRUE(writer->WriteFiles(Sources(3)).ok());
  ASSERT_TRUE(writer->Publish().ok());
  EXPECT_EQ(Published(*memory_).size(), 3u);
  EXPECT_EQ(ErrorReason(writer->WriteFiles(Sources(4))), "WRITER_PUBLISHED");
}

}  // namespace
}  // namespace narthex::archive
