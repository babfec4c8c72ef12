// The contract of Index over RocksDB and over memory.
#include "storage/staging/index.h"

#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/status.h"
#include "storage/fs/file_system.h"
#include "storage/staging/index_behind.h"

namespace narthex::staging {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string NewDirectory() {
  std::string pattern = absl::StrCat(::testing::TempDir(), "/narthex_index_XXXXXX");
  return ::mkdtemp(pattern.data());
}

std::string GetOr(const Index& index, Table table, absl::string_view key,
                  const std::string& otherwise = "-") {
  auto row = index.Get(table, key);
  if (!row.ok()) return ErrorReason(row.status());
  return row->value_or(otherwise);
}

std::vector<std::string> Keys(const Index& index, Table table, absl::string_view begin = "",
                              absl::string_view end = "") {
  std::vector<std::string> keys;
  const absl::Status status = index.Scan(table, begin, end, [&](absl::string_view key, absl::string_view) {
    keys.emplace_back(key);
    return true;
  });
  if (!status.ok()) keys.push_back(ErrorReason(status));
  return keys;
}

absl::Status PutOne(Index& index, Table table, absl::string_view key, absl::string_view value,
                    Durability durability = Durability::kProcessCrash) {
  IndexBatch batch;
  batch.Put(table, key, value);
  return index.Write(batch, durability);
}

// Refuses to be written while `broken`.
class BreakableIndex : public Index {
 public:
  absl::Status Write(const IndexBatch& batch, Durability durability) override {
    ++writes;
    return broken ? ResourceExhausted("DISK_FULL", "no space") : inner->Write(batch, durability);
  }
  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override {
    return inner->Get(table, key);
  }
  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    return inner->Scan(table, begin, end, visit);
  }
  absl::Status SyncAll() override { return inner->SyncAll(); }
  absl::Status Checkpoint(const std::string& directory) override { return inner->Checkpoint(directory); }

  const std::unique_ptr<Index> inner = Index::NewInMemory();
  bool broken = false;
  int writes = 0;
};

TEST(IndexBehindTest, WritesTogetherWhatWasHeld) {
  auto owned = std::make_unique<BreakableIndex>();
  BreakableIndex& inner = *owned;
  const auto index = NewIndexBehind(std::move(owned));
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "1", Durability::kBehind).ok());
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "b", "2", Durability::kBehind).ok());
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "3", Durability::kBehind).ok());
  EXPECT_EQ(inner.writes, 0);

  ASSERT_TRUE(index->Settle().ok());

  EXPECT_EQ(inner.writes, 1);
  EXPECT_EQ(GetOr(inner, Table::kMeta, "a"), "3");
  EXPECT_EQ(GetOr(inner, Table::kMeta, "b"), "2");
}

TEST(IndexBehindTest, NobodySeesAnIndexThatLacksWhatIsHeld) {
  const auto index = NewIndexBehind(std::make_unique<BreakableIndex>());
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "1", Durability::kBehind).ok());
  EXPECT_EQ(GetOr(*index, Table::kMeta, "a"), "1");
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "b", "1", Durability::kBehind).ok());
  EXPECT_THAT(Keys(*index, Table::kMeta), ElementsAre("a", "b"));
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "behind", Durability::kBehind).ok());
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "later").ok());
  EXPECT_EQ(GetOr(*index, Table::kMeta, "a"), "later");
}

TEST(IndexBehindTest, WhatCannotBeWrittenStaysHeld) {
  auto owned = std::make_unique<BreakableIndex>();
  BreakableIndex& inner = *owned;
  const auto index = NewIndexBehind(std::move(owned));
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "a", "1", Durability::kBehind).ok());
  inner.broken = true;

  EXPECT_EQ(ErrorReason(index->Settle()), "DISK_FULL");
  EXPECT_EQ(GetOr(*index, Table::kMeta, "a"), "DISK_FULL");
  EXPECT_EQ(ErrorReason(PutOne(*index, Table::kMeta, "c", "3")), "DISK_FULL");
  EXPECT_EQ(ErrorReason(PutOne(*index, Table::kMeta, "b", "2", Durability::kBehind)), "DISK_FULL")
      << "it piles up";
  inner.broken = false;

  EXPECT_EQ(GetOr(*index, Table::kMeta, "a"), "1");
  ASSERT_TRUE(PutOne(*index, Table::kMeta, "b", "2", Durability::kBehind).ok());
  EXPECT_THAT(Keys(*index, Table::kMeta), ElementsAre("a", "b"));
}

class IndexContract : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) {
      index_ = Index::NewInMemory();
      return;
    }
    directory_ = NewDirectory();
    auto index = Index::OpenRocksDb(absl::StrCat(directory_, "/a/b"));
    ASSERT_TRUE(index.ok()) << index.status();
    index_ = std::move(*index);
  }
  void TearDown() override {
    index_.reset();
    if (!directory_.empty()) {
      EXPECT_TRUE(fs::Posix().RemoveTree(directory_).ok());
    }
  }

  std::string directory_;
  std::unique_ptr<Index> index_;
};

INSTANTIATE_TEST_SUITE_P(Both, IndexContract, ::testing::Values(true, false),
                         [](const auto& info) { return info.param ? "RocksDb" : "Memory"; });

TEST_P(IndexContract, TablesAreSeparate) {
  for (int table = 0; table < kTableCount; ++table) {
    ASSERT_TRUE(PutOne(*index_, static_cast<Table>(table), "k", absl::StrCat("v", table)).ok());
  }
  for (int table = 0; table < kTableCount; ++table) {
    EXPECT_EQ(GetOr(*index_, static_cast<Table>(table), "k"), absl::StrCat("v", table));
  }
  EXPECT_EQ(GetOr(*index_, Table::kMeta, "none"), "-");
}

TEST_P(IndexContract, BatchesApplyInOrderAndTogether) {
  ASSERT_TRUE(PutOne(*index_, Table::kObjects, "gone", "1").ok());
  IndexBatch batch;
  batch.Put(Table::kObjects, "a", "1");
  batch.Put(Table::kObjects, "a", "2");
  batch.Delete(Table::kObjects, "gone");
  batch.Delete(Table::kObjects, "never");
  batch.Put(Table::kEvents, absl::string_view("\0\xff", 2), absl::string_view("\0", 1));
  ASSERT_TRUE(index_->Write(batch, Durability::kPowerLoss).ok());
  ASSERT_TRUE(index_->Write(IndexBatch(), Durability::kPowerLoss).ok());

  EXPECT_THAT(Keys(*index_, Table::kObjects), ElementsAre("a"));
  EXPECT_EQ(GetOr(*index_, Table::kObjects, "a"), "2");
  EXPECT_EQ(GetOr(*index_, Table::kEvents, absl::string_view("\0\xff", 2)), std::string("\0", 1));
}

TEST_P(IndexContract, ScansRangesInKeyOrder) {
  for (const char* key : {"b", "a", "c", "ca", "\xff"})
    ASSERT_TRUE(PutOne(*index_, Table::kTimers, key, "v").ok());

  EXPECT_THAT(Keys(*index_, Table::kTimers), ElementsAre("a", "b", "c", "ca", "\xff"));
  EXPECT_THAT(Keys(*index_, Table::kTimers, "b", "ca"), ElementsAre("b", "c"));
  EXPECT_THAT(Keys(*index_, Table::kTimers, "bb"), ElementsAre("c", "ca", "\xff"));
  EXPECT_THAT(Keys(*index_, Table::kTimers, "d", "e"), IsEmpty());
  int visited = 0;
  EXPECT_TRUE(index_->Scan(Table::kTimers, "", "", [&](auto, auto) { return ++visited < 2; }).ok());
  EXPECT_EQ(visited, 2);
}

TEST_P(IndexContract, DeletesRanges) {
  for (const char* key : {"a", "b", "c", "d"}) ASSERT_TRUE(PutOne(*index_, Table::kObjects, key, "v").ok());
  IndexBatch batch;
  batch.DeleteRange(Table::kObjects, "b", "d");
  batch.DeleteRange(Table::kObjects, "z", "a");  // empty
  batch.Put(Table::kObjects, "bb", "new");
  ASSERT_TRUE(index_->Write(batch, Durability::kProcessCrash).ok());

  EXPECT_THAT(Keys(*index_, Table::kObjects), ElementsAre("a", "bb", "d"));
}

TEST_P(IndexContract, ScanSeesTheStateOfItsBeginning) {
  for (const char* key : {"a", "b"}) ASSERT_TRUE(PutOne(*index_, Table::kObjects, key, "v").ok());
  std::vector<std::string> seen;
  EXPECT_TRUE(index_
                  ->Scan(Table::kObjects, "", "",
                         [&](absl::string_view key, absl::string_view) {
                           seen.emplace_back(key);
                           return PutOne(*index_, Table::kObjects, "c", "v").ok();
                         })
                  .ok());
  EXPECT_THAT(seen, ElementsAre("a", "b"));
}

TEST_P(IndexContract, ConcurrentDurableWriters) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        EXPECT_TRUE(
            PutOne(*index_, Table::kObjects, absl::StrCat(t, "/", i), "v", Durability::kPowerLoss).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Keys(*index_, Table::kObjects).size(), 100u);
}

TEST(InMemoryIndexTest, PowerLossForgetsWhatNoSyncCovered) {
  auto index = Index::NewInMemory();
  ASSERT_TRUE(PutOne(*index, Table::kObjects, "a", "1").ok());
  ASSERT_TRUE(PutOne(*index, Table::kObjects, "b", "1", Durability::kPowerLoss).ok());
  ASSERT_TRUE(PutOne(*index, Table::kObjects, "c", "1").ok());
  index->LosePower();
  EXPECT_THAT(Keys(*index, Table::kObjects), ElementsAre("a", "b"));
  ASSERT_TRUE(PutOne(*index, Table::kObjects, "d", "1").ok());
  ASSERT_TRUE(index->SyncAll().ok());
  index->LosePower();
  EXPECT_THAT(Keys(*index, Table::kObjects), ElementsAre("a", "b", "d"));
}

class RocksDbIndexTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(fs::Posix().RemoveTree(directory_).ok()); }
  const std::string directory_ = NewDirectory();
};

TEST_F(RocksDbIndexTest, KeepsRowsOverReopening) {
  for (int round = 0; round < 3; ++round) {
    auto index = Index::OpenRocksDb(directory_);
    ASSERT_TRUE(index.ok()) << index.status();
    EXPECT_EQ(Keys(**index, Table::kObjects).size(), static_cast<size_t>(round));
    ASSERT_TRUE(PutOne(**index, Table::kObjects, absl::StrCat(round), "v").ok());
  }
}

TEST_F(RocksDbIndexTest, RefusesASecondOpener) {
  auto first = Index::OpenRocksDb(directory_);
  ASSERT_TRUE(first.ok());
  const absl::Status second = Index::OpenRocksDb(directory_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_EQ(ErrorReason(second), "DATA_DIR_IN_USE");
}

TEST_F(RocksDbIndexTest, ReportsDamage) {
  {
    auto index = Index::OpenRocksDb(directory_);
    ASSERT_TRUE(index.ok());
    ASSERT_TRUE(PutOne(**index, Table::kObjects, "a", "1").ok());
  }
  auto entries = fs::Posix().List(directory_);
  ASSERT_TRUE(entries.ok());
  for (const fs::DirectoryEntry& entry : *entries) {
    if (entry.name.rfind("MANIFEST", 0) != 0) continue;
    auto file = fs::Posix().Open(fs::JoinPath(directory_, entry.name), {.mode = fs::OpenMode::kReadWrite});
    ASSERT_TRUE((*file)->WriteAt(10, "damaged damaged").ok());
  }
  const absl::Status status = Index::OpenRocksDb(directory_).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(ErrorReason(status), "INDEX_CORRUPT");
}

// A power loss may leave a hole in the unsynced end of the log and later blocks behind it.
TEST_F(RocksDbIndexTest, OpensAfterAHoleInTheUnsyncedLog) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto index = Index::OpenRocksDb(directory_);
    for (int i = 0; index.ok() && i < 1000; ++i) {
      if (!PutOne(**index, Table::kObjects, absl::StrCat(1000 + i), std::string(300, 'v')).ok()) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  }
  int state = 0;
  ASSERT_EQ(::waitpid(child, &state, 0), child);
  ASSERT_TRUE(WIFSIGNALED(state));
  auto entries = fs::Posix().List(directory_);
  ASSERT_TRUE(entries.ok());
  int holes = 0;
  for (const fs::DirectoryEntry& entry : *entries) {
    const std::string path = fs::JoinPath(directory_, entry.name);
    if (entry.name.find(".log") == std::string::npos || fs::Posix().Stat(path)->size_bytes < 200'000)
      continue;
    auto file = fs::Posix().Open(path, {.mode = fs::OpenMode::kReadWrite});
    ASSERT_TRUE((*file)->WriteAt(100 * 1024, std::string(4096, '\0')).ok());
    ++holes;
  }
  ASSERT_EQ(holes, 1);

  auto index = Index::OpenRocksDb(directory_);
  ASSERT_TRUE(index.ok()) << index.status();
  const std::vector<std::string> keys = Keys(**index, Table::kObjects);
  EXPECT_GT(keys.size(), 200u);
  EXPECT_LT(keys.size(), 400u);
  EXPECT_EQ(keys.back(), absl::StrCat(1000 + keys.size() - 1));  // a prefix, nothing from behind the hole
}

TEST_F(RocksDbIndexTest, RowsSurviveAKilledProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto index = Index::OpenRocksDb(directory_);
    for (int i = 0; index.ok() && i < 100; ++i) {
      if (!PutOne(**index, Table::kObjects, absl::StrCat(i), "v").ok()) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  }
  int state = 0;
  ASSERT_EQ(::waitpid(child, &state, 0), child);
  ASSERT_TRUE(WIFSIGNALED(state));

  auto index = Index::OpenRocksDb(directory_);
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(Keys(**index, Table::kObjects).size(), 100u);
}

}  // namespace
}  // namespace narthex::staging
