// Several threads at an index whose rows are written behind the answer, while the index below it fails again
// and again: nobody sees less than what was acknowledged to anybody, and below each acknowledged batch
// arrives once, in order.
#include "storage/staging/index_behind.h"

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/staging/index.h"

namespace narthex::staging {
namespace {

using ::testing::ElementsAreArray;
using ::testing::Gt;

constexpr int kWriters = 4;
constexpr int kReaders = 3;
constexpr int kStepsOfWriter = 2000;
constexpr int kWritesBetweenFailures = 7;
constexpr int kFailuresInARow = 3;

std::string KeyOf(int writer) { return absl::StrCat("w", writer); }

int NumberIn(absl::string_view value) {
  int number = -1;
  EXPECT_TRUE(absl::SimpleAtoi(value, &number)) << value;
  return number;
}

// Keeps what arrives, in order. Of its writes some fail, as on a disk that is full for a while; reads go on.
class RecordingIndex : public Index {
 public:
  absl::Status Write(const IndexBatch& batch, Durability durability) override {
    absl::MutexLock lock(&mutex_);
    if (failing_ && ++writes_ % (kWritesBetweenFailures + kFailuresInARow) >= kWritesBetweenFailures) {
      ++refused_;
      return Error(absl::StatusCode::kResourceExhausted, "DISK_FULL", "no space");
    }
    for (const IndexBatch::Change& change : batch.changes()) arrived_[change.key].push_back(change.value);
    return rows_->Write(batch, durability);
  }
  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override {
    return rows_->Get(table, key);
  }
  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    return rows_->Scan(table, begin, end, visit);
  }
  absl::Status SyncAll() override { return rows_->SyncAll(); }
  absl::Status Checkpoint(const std::string& directory) override { return rows_->Checkpoint(directory); }

  void FailNoMore() {
    absl::MutexLock lock(&mutex_);
    failing_ = false;
  }
  int refused() const {
    absl::MutexLock lock(&mutex_);
    return refused_;
  }
  std::vector<std::string> ArrivedAt(const std::string& key) const {
    absl::MutexLock lock(&mutex_);
    const auto it = arrived_.find(key);
    return it == arrived_.end() ? std::vector<std::string>() : it->second;
  }

 private:
  mutable absl::Mutex mutex_;
  const std::unique_ptr<Index> rows_ = Index::NewInMemory();
  bool failing_ ABSL_GUARDED_BY(mutex_) = true;
  uint64_t writes_ ABSL_GUARDED_BY(mutex_) = 0;
  int refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::vector<std::string>> arrived_ ABSL_GUARDED_BY(mutex_);
};

class IndexBehindThreads : public ::testing::Test {
 protected:
  IndexBehindThreads() {
    auto below = std::make_unique<RecordingIndex>();
    below_ = below.get();
    index_ = NewIndexBehind(std::move(below));
    for (auto& number : acknowledged_) number = 0;
  }

  // Counts a row up, by batches of each durability in turn; what is refused is tried again.
  void Count(int writer) {
    for (int step = 1; step <= kStepsOfWriter; ++step) {
      IndexBatch batch;
      batch.Put(Table::kObjects, KeyOf(writer), absl::StrCat(step));
      const Durability durability = step % 5 == 0   ? Durability::kPowerLoss
                                    : step % 5 == 1 ? Durability::kProcessCrash
                                                    : Durability::kBehind;
      absl::Status written = index_->Write(batch, durability);
      while (!written.ok()) {
        EXPECT_EQ(ErrorReason(written), "DISK_FULL");
        written = index_->Write(batch, durability);
      }
      acknowledged_[static_cast<size_t>(writer)] = step;
      if (step % 3 == 0) index_->Settle().IgnoreError();
    }
  }

  // Whoever gets an answer sees at least what was acknowledged before he asked.
  void Look(int reader) {
    for (int round = reader; !written_; ++round) {
      const int writer = round % kWriters;
      const int before = acknowledged_[static_cast<size_t>(writer)];
      int seen = 0;
      absl::Status status;
      if (round % 2 == 0) {
        const auto row = index_->Get(Table::kObjects, KeyOf(writer));
        status = row.status();
        if (row.ok() && *row) seen = NumberIn(**row);
      } else {
        status = index_->Scan(Table::kObjects, KeyOf(writer), absl::StrCat(KeyOf(writer), "\x01"),
                              [&](absl::string_view, absl::string_view value) {
                                seen = NumberIn(value);
                                return true;
                              });
      }
      if (!status.ok()) {
        EXPECT_EQ(ErrorReason(status), "DISK_FULL");
      } else {
        EXPECT_GE(seen, before) << KeyOf(writer);
      }
    }
  }

  RecordingIndex* below_;
  std::unique_ptr<Index> index_;
  std::array<std::atomic<int>, kWriters> acknowledged_;
  std::atomic<bool> written_ = false;
};

TEST_F(IndexBehindThreads, EachAcknowledgedBatchArrivesOnceAndInOrderAndNobodySeesLess) {
  std::vector<std::thread> readers;
  for (int reader = 0; reader < kReaders; ++reader) readers.emplace_back([this, reader] { Look(reader); });
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) writers.emplace_back([this, writer] { Count(writer); });
  std::thread syncing([this] {
    while (!written_) index_->SyncAll().IgnoreError();
  });
  for (std::thread& writer : writers) writer.join();
  written_ = true;
  for (std::thread& reader : readers) reader.join();
  syncing.join();
  EXPECT_THAT(below_->refused(), Gt(0));

  below_->FailNoMore();
  ASSERT_TRUE(index_->Settle().ok());
  std::vector<std::string> all;
  for (int step = 1; step <= kStepsOfWriter; ++step) all.push_back(absl::StrCat(step));
  for (int writer = 0; writer < kWriters; ++writer) {
    EXPECT_THAT(below_->ArrivedAt(KeyOf(writer)), ElementsAreArray(all)) << KeyOf(writer);
  }
  const auto row = index_->Get(Table::kObjects, KeyOf(0));
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(*row, absl::StrCat(kStepsOfWriter));
}

// What was refused was not held: it comes neither later nor twice.
TEST_F(IndexBehindThreads, WhatWasRefusedNeverArrives) {
  std::array<std::vector<std::string>, kWriters> accepted;
  std::vector<std::thread> writers;
  for (size_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      for (int step = 1; step <= kStepsOfWriter; ++step) {
        IndexBatch batch;
        batch.Put(Table::kObjects, KeyOf(static_cast<int>(writer)), absl::StrCat(step));
        const bool behind = step % 4 != 0;
        const absl::Status written =
            index_->Write(batch, behind ? Durability::kBehind : Durability::kProcessCrash);
        if (written.ok()) accepted[writer].push_back(absl::StrCat(step));
        if (step % 6 == 0) index_->Settle().IgnoreError();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT(below_->refused(), Gt(0));
  below_->FailNoMore();
  ASSERT_TRUE(index_->Settle().ok());
  for (size_t writer = 0; writer < kWriters; ++writer) {
    EXPECT_THAT(below_->ArrivedAt(KeyOf(static_cast<int>(writer))), ElementsAreArray(accepted[writer]));
  }
}

}  // namespace
}  // namespace narthex::staging
