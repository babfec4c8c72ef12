// The contract of fs::FileSystem over the operating system and over memory, and what only memory does.
#include "storage/fs/file_system.h"

#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/fs/faults.h"
#include "storage/fs/memory.h"

namespace narthex::fs {
namespace {

using ::testing::ElementsAre;

std::string Content(FileSystem& files, const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(files, path, 1 << 20);
  return content.ok() ? *content : ErrorReason(content.status());
}

class FileSystemContract : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      std::string pattern = absl::StrCat(::testing::TempDir(), "/narthex_fs_XXXXXX");
      ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
      root_ = pattern;
      files_ = &Posix();
    } else {
      memory_ = NewInMemory();
      files_ = memory_.get();
      root_ = "/root";
      ASSERT_TRUE(files_->MakeDirectories(root_).ok());
    }
  }
  void TearDown() override {
    if (GetParam()) {
      EXPECT_TRUE(Posix().RemoveTree(root_).ok());
    }
  }

  std::string Path(absl::string_view name) { return JoinPath(root_, name); }
  void Put(absl::string_view name, absl::string_view bytes) {
    auto file = files_->Open(Path(name), {.mode = OpenMode::kCreateOrTruncate});
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->WriteAt(0, bytes).ok());
  }

  std::unique_ptr<InMemoryFileSystem> memory_;
  FileSystem* files_ = nullptr;
  std::string root_;
};

INSTANTIATE_TEST_SUITE_P(Both, FileSystemContract, ::testing::Values(true, false),
                         [](const auto& info) { return info.param ? "Posix" : "Memory"; });

TEST_P(FileSystemContract, WritesAndReadsAtOffsets) {
  auto file = files_->Open(Path("a"), {.mode = OpenMode::kCreateNew});
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<absl::string_view> pieces = {"cd", "", "ef"};

  ASSERT_TRUE((*file)->WriteAt(2, pieces).ok());
  ASSERT_TRUE((*file)->WriteAt(0, "ab").ok());
  ASSERT_TRUE((*file)->Allocate(0, 1 << 20).ok());
  ASSERT_TRUE((*file)->Sync().ok());

  char buffer[10];
  EXPECT_EQ((*file)->ReadAt(1, buffer, 3).value_or(0), 3u);
  EXPECT_EQ(std::string(buffer, 3), "bcd");
  EXPECT_EQ((*file)->ReadAt(4, buffer, 10).value_or(0), 2u);
  EXPECT_EQ((*file)->ReadAt(6, buffer, 10).value_or(9), 0u);
  EXPECT_EQ((*file)->SizeBytes().value_or(0), 6u);
  ASSERT_TRUE((*file)->Truncate(8).ok());
  EXPECT_EQ(Content(*files_, Path("a")), std::string("abcdef\0\0", 8));
  ASSERT_TRUE((*file)->Truncate(1).ok());
  EXPECT_EQ(Content(*files_, Path("a")), "a");
}

TEST_P(FileSystemContract, OpenModes) {
  EXPECT_EQ(ErrorReason(files_->Open(Path("a"), {}).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ErrorReason(files_->Open(Path("a"), {.mode = OpenMode::kReadWrite}).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ErrorReason(files_->Open(Path("no/a"), {.mode = OpenMode::kCreate}).status()), "FILE_NOT_FOUND");
  Put("a", "old");
  EXPECT_EQ(ErrorReason(files_->Open(Path("a"), {.mode = OpenMode::kCreateNew}).status()), "FILE_EXISTS");
  EXPECT_EQ(ErrorReason(files_->Open(root_, {}).status()), "WRONG_FILE_TYPE");
  EXPECT_TRUE(files_->Open(Path("a"), {.mode = OpenMode::kCreate}).ok());
  EXPECT_EQ(Content(*files_, Path("a")), "old");
  EXPECT_TRUE(files_->Open(Path("a"), {.mode = OpenMode::kCreateOrTruncate}).ok());
  EXPECT_EQ(Content(*files_, Path("a")), "");
  auto read_only = files_->Open(Path("a"), {});
  ASSERT_TRUE(read_only.ok());
  EXPECT_EQ(ErrorReason((*read_only)->WriteAt(0, "x")), "BAD_FILE_ARGUMENT");
}

TEST_P(FileSystemContract, DirectWritesOfAlignedBlocks) {
  auto file = files_->Open(Path("a"), {.mode = OpenMode::kCreateNew, .direct = true});
  ASSERT_TRUE(file.ok()) << file.status();
  std::unique_ptr<char, decltype(&::free)> block(static_cast<char*>(::aligned_alloc(4096, 8192)), &::free);
  std::fill(block.get(), block.get() + 8192, 'x');

  EXPECT_TRUE((*file)->WriteAt(4096, absl::string_view(block.get(), 8192)).ok());
  EXPECT_TRUE((*file)->Sync().ok());

  EXPECT_EQ(Content(*files_, Path("a")), std::string(4096, '\0') + std::string(8192, 'x'));
}

TEST_P(FileSystemContract, Directories) {
  EXPECT_TRUE(files_->MakeDirectories(Path("x/y/z")).ok());
  EXPECT_TRUE(files_->MakeDirectories(Path("x/y")).ok());
  Put("x/b", "1");
  Put("x/a", "22");
  EXPECT_EQ(ErrorReason(files_->MakeDirectories(Path("x/a"))), "WRONG_FILE_TYPE");
  EXPECT_EQ(ErrorReason(files_->MakeDirectories(Path("x/a/b"))), "WRONG_FILE_TYPE");

  auto entries = files_->List(Path("x"));
  ASSERT_TRUE(entries.ok());
  std::vector<std::string> names;
  for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
  EXPECT_THAT(names, ElementsAre("a", "b", "y"));
  EXPECT_EQ((*entries)[2].type, FileInfo::Type::kDirectory);
  EXPECT_EQ(ErrorReason(files_->List(Path("none")).status()), "FILE_NOT_FOUND");
  EXPECT_EQ(ErrorReason(files_->Remove(Path("x"))), "DIRECTORY_NOT_EMPTY");
  EXPECT_TRUE(files_->SyncDirectory(Path("x")).ok());
  EXPECT_EQ(ErrorReason(files_->SyncDirectory(Path("none"))), "FILE_NOT_FOUND");

  std::vector<std::string> visited;
  EXPECT_TRUE(VisitTree(*files_, root_, [&](const std::string& path, FileInfo::Type) {
                visited.push_back(path);
                return absl::OkStatus();
              }).ok());
  EXPECT_THAT(visited, ElementsAre("x/a", "x/b"));

  EXPECT_TRUE(files_->RemoveTree(Path("x")).ok());
  EXPECT_TRUE(files_->RemoveTree(Path("x")).ok());
  EXPECT_FALSE(Exists(*files_, Path("x")).value_or(true));
}

TEST_P(FileSystemContract, RenameLinkRemoveStat) {
  Put("a", "aa");
  Put("b", "b");
  EXPECT_TRUE(files_->Rename(Path("a"), Path("b")).ok());
  EXPECT_EQ(Content(*files_, Path("b")), "aa");
  EXPECT_EQ(ErrorReason(files_->Rename(Path("a"), Path("c"))), "FILE_NOT_FOUND");
  EXPECT_TRUE(files_->Link(Path("b"), Path("c")).ok());
  EXPECT_EQ(ErrorReason(files_->Link(Path("b"), Path("c"))), "FILE_EXISTS");
  auto b = files_->Stat(Path("b")), c = files_->Stat(Path("c"));
  ASSERT_TRUE(b.ok() && c.ok());
  EXPECT_EQ(b->inode, c->inode);
  EXPECT_EQ(b->link_count, 2u);
  EXPECT_EQ(b->size_bytes, 2u);
  EXPECT_TRUE(b->is_file());
  EXPECT_TRUE(files_->Remove(Path("b")).ok());
  EXPECT_EQ(ErrorReason(files_->Remove(Path("b"))), "FILE_NOT_FOUND");
  EXPECT_EQ(Content(*files_, Path("c")), "aa");
  EXPECT_GT(files_->FreeBytes(root_).value_or(0), 0u);
}

TEST_P(FileSystemContract, OpenFilesSurviveRemoval) {
  Put("a", "bytes");
  auto file = files_->Open(Path("a"), {});
  ASSERT_TRUE(files_->Remove(Path("a")).ok());

  char buffer[5];
  EXPECT_EQ((*file)->ReadAt(0, buffer, 5).value_or(0), 5u);
}

TEST_P(FileSystemContract, Copies) {
  Put("a", "0123456789");
  EXPECT_TRUE(CopyFile(*files_, Path("a"), Path("b")).ok());
  EXPECT_EQ(Content(*files_, Path("b")), "0123456789");
  EXPECT_EQ(ErrorReason(CopyFile(*files_, Path("a"), Path("b"))), "FILE_EXISTS");
  auto a = files_->Open(Path("a"), {});
  auto b = files_->Open(Path("b"), {.mode = OpenMode::kReadWrite});
  EXPECT_TRUE(files_->CopyRange(**a, 2, **b, 8, 4).ok());
  EXPECT_EQ(Content(*files_, Path("b")), "012345672345");
  EXPECT_EQ(ErrorReason(files_->CopyRange(**a, 8, **b, 0, 4)), "FILE_TOO_SHORT");
}

TEST_P(FileSystemContract, DurableShorthands) {
  EXPECT_TRUE(MakeDirectoriesDurably(*files_, Path("p/q")).ok());
  EXPECT_TRUE(WriteFileDurably(*files_, Path("p/q/f"), "one").ok());
  EXPECT_TRUE(WriteFileDurably(*files_, Path("p/q/f"), "two").ok());
  EXPECT_EQ(Content(*files_, Path("p/q/f")), "two");
  EXPECT_EQ(files_->List(Path("p/q"))->size(), 1u);
  EXPECT_EQ(ErrorReason(ReadFile(*files_, Path("p/q/f"), 2).status()), "FILE_TOO_LARGE");
}

TEST(PathTest, Parts) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(ParentPath("/a/b/"), "/a");
  EXPECT_EQ(ParentPath("/a"), "/");
  EXPECT_EQ(ParentPath("a"), ".");
  EXPECT_EQ(BaseName("/a/b"), "b");
  EXPECT_EQ(BaseName("b"), "b");
}

TEST(InMemoryTest, PowerLossForgetsUnsyncedBytesAndNames) {
  auto memory = NewInMemory();
  ASSERT_TRUE(MakeDirectoriesDurably(*memory, "/d").ok());
  auto kept = memory->Open("/d/kept", {.mode = OpenMode::kCreateNew});
  ASSERT_TRUE((*kept)->WriteAt(0, "synced").ok());
  ASSERT_TRUE((*kept)->Sync().ok());
  ASSERT_TRUE(memory->SyncDirectory("/d").ok());
  ASSERT_TRUE((*kept)->WriteAt(0, "XX").ok());
  ASSERT_TRUE((*kept)->WriteAt(6, " and more").ok());
  auto nameless = memory->Open("/d/nameless", {.mode = OpenMode::kCreateNew});
  ASSERT_TRUE((*nameless)->WriteAt(0, "synced").ok());
  ASSERT_TRUE((*nameless)->Sync().ok());

  memory->LosePower();

  EXPECT_EQ(Content(*memory, "/d/kept"), "synced");
  EXPECT_EQ(Content(*memory, "/d/nameless"), "FILE_NOT_FOUND");
  EXPECT_EQ(ErrorReason((*kept)->Sync()), "IO_ERROR");
}

TEST(InMemoryTest, PowerLossBringsBackUnsyncedRemovals) {
  auto memory = NewInMemory();
  ASSERT_TRUE(MakeDirectoriesDurably(*memory, "/d").ok());
  ASSERT_TRUE(WriteFileDurably(*memory, "/d/a", "a").ok());
  ASSERT_TRUE(memory->Rename("/d/a", "/d/b").ok());
  memory->LosePower();
  EXPECT_EQ(Content(*memory, "/d/a"), "a");
  ASSERT_TRUE(memory->Remove("/d/a").ok());
  ASSERT_TRUE(memory->SyncDirectory("/d").ok());
  memory->LosePower();
  EXPECT_EQ(Content(*memory, "/d/a"), "FILE_NOT_FOUND");
}

TEST(InMemoryTest, DirectWritesMustBeAligned) {
  auto memory = NewInMemory();
  auto file = memory->Open("/a", {.mode = OpenMode::kCreateNew, .direct = true});
  EXPECT_EQ(ErrorReason((*file)->WriteAt(0, "abc")), "BAD_FILE_ARGUMENT");
}

TEST(InMemoryTest, CapacityLimitsWrites) {
  auto memory = NewInMemory();
  memory->SetCapacity(4);
  auto file = memory->Open("/a", {.mode = OpenMode::kCreateNew});
  EXPECT_TRUE((*file)->WriteAt(0, "abcd").ok());
  EXPECT_EQ(ErrorReason((*file)->WriteAt(4, "e")), "DISK_FULL");
  EXPECT_EQ(memory->FreeBytes("/").value_or(1), 0u);
  ASSERT_TRUE(memory->Remove("/a").ok());
  EXPECT_EQ(memory->FreeBytes("/").value_or(1), 4u);
}

TEST(FaultInjectorTest, EveryCallOfADurableWriteFailsOnce) {
  uint64_t n = 1;
  for (;; ++n) {
    auto memory = NewInMemory();
    ASSERT_TRUE(WriteFileDurably(*memory, "/f", "old").ok());
    FaultInjector faults(*memory);
    faults.FailCall(n, n % 2 == 0 ? FaultInjector::Fault::kIoError : FaultInjector::Fault::kShortWrite);
    const absl::Status status = WriteFileDurably(faults, "/f", std::string(20000, 'n'));
    if (!faults.fired()) {
      EXPECT_TRUE(status.ok());
      break;
    }
    EXPECT_FALSE(status.ok()) << n;
    memory->LosePower();
    EXPECT_EQ(Content(*memory, "/f"), "old") << n;
  }
  EXPECT_EQ(n, 6u);  // open, write, sync, rename, sync of the directory
}

TEST(FaultInjectorTest, PowerCutFailsEverythingAfter) {
  auto memory = NewInMemory();
  FaultInjector faults(*memory);
  faults.FailCall(2, FaultInjector::Fault::kPowerCut);
  auto file = faults.Open("/f", {.mode = OpenMode::kCreateNew});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(ErrorReason((*file)->WriteAt(0, "x")), "IO_ERROR");
  EXPECT_EQ(ErrorReason((*file)->Sync()), "IO_ERROR");
  EXPECT_EQ(ErrorReason(faults.Stat("/f").status()), "IO_ERROR");
}

}  // namespace
}  // namespace narthex::fs
