// Every call of RocksDB to the operating system fails once: what was acknowledged is there, what was refused
// is not (or, where a disk is broken, may be), nothing ends the process, and a disk that has space again is
// noticed.
#include "storage/staging/index_faults.h"

#include <stdlib.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/fs/file_system.h"

namespace narthex::staging {
namespace {

using ::testing::AnyOf;
using Fault = IndexFaults::Fault;
using Rows = std::map<std::string, std::string>;

constexpr size_t kSmallBuffer = 64 << 10;
constexpr int kSteps = 60;
// Of some 250 calls so many are passed over each time, unless NARTHEX_EVERY_CALL is set (docs/durability.md).
constexpr uint64_t kStepOfCalls = 41;

class IndexFaultsTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(fs::Posix().RemoveTree(root_).ok()); }

  std::string NewDirectory() { return absl::StrCat(root_, "/", ++directories_); }

  std::unique_ptr<Index> Open(IndexFaults& faults, const std::string& directory) {
    auto index = faults.OpenRocksDb(directory, {.table_write_buffer_bytes = kSmallBuffer});
    return index.ok() ? *std::move(index) : nullptr;
  }

  const std::string root_ = [] {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/narthex_index_faults_XXXXXX");
    return std::string(::mkdtemp(pattern.data()));
  }();
  int directories_ = 0;
  int recovered_ = 0;  // runs in which the index went on by itself
  int unsure_ = 0;     // and in which it waits for a start

  uint64_t FailEachCall(Fault fault);
  void ExpectMostRecovered();
};

// What an index must hold.
struct Expected {
  Rows rows;  // as the acknowledged writes left them
  // The same and what refused writes since would have made of it; nullopt: the row is not there.
  std::map<std::string, std::set<std::optional<std::string>>> possible;
};

// Writes rows of 4 KiB, which begin with the step's number, so that tables are flushed and compacted, into
// two tables; every third one is synced; some are replaced, some deleted.
void Write(Index& index, int from, int to, Expected& expected) {
  for (int step = from; step < to; ++step) {
    const std::string key = absl::StrCat("k", step % 40);
    const std::string value = absl::StrCat(step, std::string(4000, static_cast<char>('a' + step % 26)));
    const bool deletes = step % 7 == 6;
    IndexBatch batch;
    if (deletes) {
      batch.Delete(Table::kObjects, key);
      batch.DeleteRange(Table::kInstances, key, absl::StrCat(key, "\x01"));
    } else {
      batch.Put(Table::kObjects, key, value);
      batch.Put(Table::kInstances, key, value);
    }
    const absl::Status status =
        index.Write(batch, step % 3 == 0 ? Durability::kPowerLoss : Durability::kProcessCrash);
    std::optional<std::string> row;
    if (!deletes) row = absl::StrCat(step);
    if (status.ok()) {
      expected.possible[key] = {row};
      expected.rows.erase(key);
      if (!deletes) expected.rows[key] = absl::StrCat(step);
    } else {
      EXPECT_THAT(ErrorReason(status), AnyOf("DISK_FULL", "IO_ERROR")) << status;
      if (!expected.possible.contains(key)) expected.possible[key] = {std::nullopt};
      expected.possible[key].insert(row);
    }
    if (step % 20 == 19) index.SyncAll().IgnoreError();
  }
}

Rows RowsOf(const Index& index, Table table) {
  Rows rows;
  EXPECT_TRUE(index
                  .Scan(table, "", "",
                        [&](absl::string_view key, absl::string_view value) {
                          EXPECT_GT(value.size(), 4000u);
                          rows[std::string(key)] = std::string(value.substr(0, value.size() - 4000));
                          return true;
                        })
                  .ok());
  return rows;
}

void ExpectAll(const Index& index, const Expected& expected) {
  const Rows objects = RowsOf(index, Table::kObjects);
  EXPECT_EQ(objects, expected.rows);
  EXPECT_EQ(objects, RowsOf(index, Table::kInstances));
}

// As ExpectAll, where the outcome of refused writes is not known.
void ExpectPossible(const Index& index, const Expected& expected) {
  const Rows objects = RowsOf(index, Table::kObjects);
  for (const auto& [key, possible] : expected.possible) {
    const auto found = objects.find(key);
    EXPECT_TRUE(possible.contains(found == objects.end() ? std::nullopt : std::optional(found->second)))
        << key;
  }
  EXPECT_EQ(objects, RowsOf(index, Table::kInstances));  // a batch is there or not
}

bool TakesWrites(Index& index) { return index.Write(IndexBatch(), Durability::kPowerLoss).ok(); }

bool EveryCall() { return ::getenv("NARTHEX_EVERY_CALL") != nullptr; }

// Fails each call in turn (or each 41st); returns how many there were.
uint64_t IndexFaultsTest::FailEachCall(Fault fault) {
  const uint64_t step = EveryCall() ? 1 : kStepOfCalls;
  for (uint64_t n = 1;; n += step) {
    SCOPED_TRACE(absl::StrCat("call ", n));
    IndexFaults faults;
    const std::string directory = NewDirectory();
    Expected expected;
    faults.FailCall(n, fault);
    bool certain = true;
    if (auto index = Open(faults, directory); index != nullptr) {
      Write(*index, 0, kSteps, expected);
      faults.Heal();
      certain = TakesWrites(*index);
      if (certain) ExpectAll(*index, expected);
      if (faults.fired()) ++(certain ? recovered_ : unsure_);
    }
    if (!faults.fired()) return n - 1;
    faults.Heal();
    auto index = Open(faults, directory);
    if (index == nullptr) {
      ADD_FAILURE() << "it does not open";
      return n;
    }
    certain ? ExpectAll(*index, expected) : ExpectPossible(*index, expected);
    EXPECT_TRUE(TakesWrites(*index));
    index.reset();
    EXPECT_TRUE(fs::Posix().RemoveTree(directory).ok());
    if (HasFailure()) return n;
  }
}

// The unsure ones are syncs. Which calls a sample of six meets depends on the threads of RocksDB.
void IndexFaultsTest::ExpectMostRecovered() {
  EXPECT_GT(recovered_ + unsure_, 0);
  if (EveryCall()) EXPECT_GT(recovered_, unsure_);
}

TEST_F(IndexFaultsTest, EachCallFindsNoSpaceOnce) {
  const uint64_t calls = FailEachCall(Fault::kNoSpace);

  EXPECT_GT(calls, 100u);
  ExpectMostRecovered();
}

TEST_F(IndexFaultsTest, EachCallWritesHalfOnce) {
  const uint64_t calls = FailEachCall(Fault::kShortWrite);

  EXPECT_GT(calls, 100u);
  ExpectMostRecovered();
}

TEST_F(IndexFaultsTest, EachCallFailsOnce) { EXPECT_GT(FailEachCall(Fault::kIoError), 100u); }

TEST_F(IndexFaultsTest, TheDiskIsFullFromEachCallOn) {
  const uint64_t calls = FailEachCall(Fault::kFullDisk);

  EXPECT_GT(calls, 100u);
  ExpectMostRecovered();
}

TEST_F(IndexFaultsTest, ReadsGoOnWhileWritesAreRefused) {
  IndexFaults faults;
  auto index = Open(faults, NewDirectory());
  Expected expected;
  Write(*index, 0, kSteps, expected);

  faults.FailCall(1, Fault::kFullDisk);
  Write(*index, kSteps, 2 * kSteps, expected);

  ExpectAll(*index, expected);
  EXPECT_FALSE(TakesWrites(*index));
  EXPECT_EQ(ErrorReason(index->SyncAll()), "DISK_FULL");
  EXPECT_EQ(ErrorReason(index->Checkpoint(absl::StrCat(root_, "/copy"))), "DISK_FULL");
  faults.Heal();
  EXPECT_TRUE(TakesWrites(*index));
  ExpectAll(*index, expected);
}

// The scan keeps the old database open, so a write within it cannot open another one, and must not wait for
// it.
TEST_F(IndexFaultsTest, AWriteWithinAScanIsRefusedRatherThanStuck) {
  IndexFaults faults;
  auto index = Open(faults, NewDirectory());
  Expected expected;
  Write(*index, 0, 10, expected);
  faults.FailCall(1, Fault::kFullDisk);
  Write(*index, 10, 11, expected);
  faults.Heal();

  int refused = 0;
  EXPECT_TRUE(index
                  ->Scan(Table::kObjects, "", "",
                         [&](absl::string_view, absl::string_view) {
                           refused += TakesWrites(*index) ? 0 : 1;
                           return true;
                         })
                  .ok());

  EXPECT_EQ(refused, static_cast<int>(expected.rows.size()));
  EXPECT_TRUE(TakesWrites(*index));
}

TEST_F(IndexFaultsTest, ReadersAndWritersMeetAFullDiskManyTimes) {
  IndexFaults faults;
  auto index = Open(faults, NewDirectory());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::vector<std::map<std::string, std::string>> acknowledged(4);
  for (size_t thread = 0; thread < acknowledged.size(); ++thread) {
    threads.emplace_back([&, thread] {
      for (int step = 0; !stop; ++step) {
        const std::string key = absl::StrCat(thread, "/", step);
        IndexBatch batch;
        batch.Put(Table::kObjects, key, std::string(4001, 'x'));
        const bool ok =
            index->Write(batch, step % 2 == 0 ? Durability::kPowerLoss : Durability::kProcessCrash).ok();
        if (ok) acknowledged[thread][key] = "";
        EXPECT_EQ(index->Get(Table::kObjects, key)->has_value(), ok) << key;
      }
    });
  }
  for (uint64_t round = 0; round < 8; ++round) {
    faults.FailCall(1 + round % 7, Fault::kFullDisk);
    while (TakesWrites(*index)) std::this_thread::yield();
    faults.Heal();
    while (!TakesWrites(*index)) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();

  EXPECT_TRUE(TakesWrites(*index));
  const Rows objects = RowsOf(*index, Table::kObjects);
  size_t count = 0;
  for (const auto& rows : acknowledged) {
    count += rows.size();
    for (const auto& [key, row] : rows) EXPECT_TRUE(objects.contains(key)) << key;
  }
  EXPECT_EQ(objects.size(), count);
}

}  // namespace
}  // namespace narthex::staging
