// Operations over an index in memory: each ends exactly once, also over restarts and losses of power.

#include "server/operations/operations.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narthex::operations {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// Refuses its next writes as a full disk does, and its next reads as a broken one.
class FullIndex : public staging::Index {
 public:
  absl::Status Write(const staging::IndexBatch& batch, staging::Durability durability) override {
    if (refusals > 0) {
      --refusals;
      return ResourceExhausted("DISK_FULL", "no space");
    }
    return inner_->Write(batch, durability);
  }
  absl::StatusOr<std::optional<std::string>> Get(staging::Table table, absl::string_view key) const override {
    if (unread > 0) {
      --unread;
      return DataLoss("IO_ERROR", "it cannot be read");
    }
    return inner_->Get(table, key);
  }
  absl::Status Scan(staging::Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    return inner_->Scan(table, begin, end, visit);
  }
  absl::Status SyncAll() override { return inner_->SyncAll(); }
  absl::Status Checkpoint(const std::string& directory) override { return inner_->Checkpoint(directory); }

  std::atomic<int> refusals{0};
  mutable std::atomic<int> unread{0};

 private:
  const std::unique_ptr<staging::Index> inner_ = staging::Index::NewInMemory();
};

constexpr absl::Duration kSoon = absl::Seconds(30);  // never waited for when all is well

class OperationsTest : public testing::Test {
 protected:
  OperationsTest() { Open(); }

  // A process that starts: nothing is registered yet.
  void Open(int workers = 2) {
    operations_.reset();
    operations_ = std::make_unique<Operations>(*index_, clock_, workers);
  }

  static Operation Of(const std::string& kind, const std::string& target = "t1") {
    Operation operation;
    operation.kind = kind;
    operation.target = target;
    operation.user = "ann";
    operation.project = "P1";
    operation.arguments["key"] = "value";
    return operation;
  }

  Operation Start(const Operation& operation, const std::string& request_id = "") {
    auto started = operations_->Start(operation, request_id);
    EXPECT_TRUE(started.ok()) << started.status();
    return started.ok() ? *started : Operation();
  }

  Operation Wait(const std::string& id) {
    auto ended = operations_->Wait(id, absl::Now() + kSoon);
    EXPECT_TRUE(ended.ok()) << ended.status();
    return ended.ok() ? *ended : Operation();
  }

  std::vector<std::string> Listed(const std::string& after = "", int limit = 100) {
    auto operations = operations_->List(after, limit, [](const Operation&) { return true; });
    EXPECT_TRUE(operations.ok()) << operations.status();
    std::vector<std::string> ids;
    for (const Operation& operation : *operations) ids.push_back(operation.id);
    return ids;
  }

  FakeClock clock_;
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  std::unique_ptr<Operations> operations_;
};

TEST_F(OperationsTest, ItsResultIsKept) {
  operations_->Register("build", [](const Operation& operation, Progress&) -> absl::StatusOr<std::string> {
    return absl::StrCat(operation.target, "/", operation.arguments.at("key"), "/", operation.user);
  });
  const Operation started = Start(Of("build"));
  EXPECT_FALSE(started.done);
  EXPECT_EQ(started.create_time, clock_.Now());

  EXPECT_EQ(Wait(started.id).result, "t1/value/ann");
  index_->LosePower();
  Open();

  const auto later = operations_->Get(started.id);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_TRUE(later->done);
  EXPECT_TRUE(later->status.ok());
  EXPECT_EQ(later->result, "t1/value/ann");
  EXPECT_EQ(later->kind, "build");
  EXPECT_EQ(later->project, "P1");
  EXPECT_EQ(later->create_time, clock_.Now());
}

// Imports answer with a serialized message; file names, which errors tell, need not be UTF-8.
TEST_F(OperationsTest, AResultAndAnErrorMayHoldAnyBytes) {
  const std::string bytes("\x0a\x00\xff\xfe", 4);
  operations_->Register("import",
                        [&](const Operation&, Progress&) -> absl::StatusOr<std::string> { return bytes; });
  operations_->Register("fail", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    return InvalidArgument("INBOX_PATH", bytes, {{"path", bytes}});
  });
  const std::string kept = Start(Of("import")).id;
  const std::string failed = Start(Of("fail")).id;
  Wait(kept);
  Wait(failed);
  Open();

  const auto later = operations_->Get(kept);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(later->result, bytes);
  ASSERT_TRUE(operations_->Get(failed).ok());
  EXPECT_EQ(ErrorReason(operations_->Get(failed)->status), "INBOX_PATH");
}

TEST_F(OperationsTest, ItsErrorIsKeptWithReasonAndMetadata) {
  operations_->Register("build", [](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    return FailedPrecondition("ARCHIVE_CONFLICT", "there is one already", {{"session", "s1"}});
  });
  const std::string id = Start(Of("build")).id;
  Wait(id);
  index_->LosePower();
  Open();

  const auto later = operations_->Get(id);
  ASSERT_TRUE(later.ok());
  EXPECT_TRUE(later->done);
  EXPECT_EQ(later->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(later->status.message(), "there is one already");
  EXPECT_EQ(ErrorReason(later->status), "ARCHIVE_CONFLICT");
  EXPECT_EQ(ErrorMetadataOf(later->status).at("session"), "s1");
}

TEST_F(OperationsTest, AKindThatNobodyHandlesEndsWithAnError) {
  const Operation ended = Wait(Start(Of("unheard-of")).id);
  EXPECT_TRUE(ended.done);
  EXPECT_EQ(ended.status.code(), absl::StatusCode::kInternal);
}

TEST_F(OperationsTest, ARepeatedRequestGivesTheFirstOperation) {
  std::atomic<int> runs{0};
  const auto count = [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    return "";
  };
  operations_->Register("build", count);
  operations_->Register("archive", count);
  const std::string first = Start(Of("build"), "r1").id;
  Wait(first);

  EXPECT_EQ(Start(Of("build"), "r1").id, first);
  EXPECT_TRUE(Start(Of("build"), "r1").done);
  EXPECT_EQ(runs, 1);
  const std::string archive = Start(Of("archive"), "r1").id;
  EXPECT_NE(archive, first) << "another kind";
  Operation other = Of("build");
  other.user = "bob";
  const std::string of_bob = Start(other, "r1").id;
  EXPECT_NE(of_bob, first) << "another user";
  Wait(archive);
  Wait(of_bob);
  EXPECT_EQ(runs, 3);
}

TEST_F(OperationsTest, ARequestRepeatedAtTheSameTimeGivesOneOperation) {
  std::atomic<int> runs{0};
  std::atomic<int> prepared{0};
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    return "";
  });
  std::vector<std::string> ids(8);
  std::vector<std::thread> callers;
  for (std::string& id : ids) {
    callers.emplace_back([&] {
      id = operations_
               ->Start(Of("build"), "r1",
                       [&](const std::string&) {
                         ++prepared;
                         absl::SleepFor(absl::Milliseconds(20));
                         return absl::OkStatus();
                       })
               ->id;
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& id : ids) EXPECT_EQ(id, ids.front());
  Wait(ids.front());
  EXPECT_EQ(prepared, 1);
  EXPECT_EQ(runs, 1);
}

TEST_F(OperationsTest, ARequestIdOfAnotherTargetIsRefused) {
  operations_->Register("build",
                        [](const Operation&, Progress&) -> absl::StatusOr<std::string> { return ""; });
  Wait(Start(Of("build", "t1"), "r1").id);

  const auto refused = operations_->Start(Of("build", "t2"), "r1");

  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ErrorReason(refused.status()), "REQUEST_ID_REUSED");
  EXPECT_THAT(Listed(), SizeIs(1));
}

TEST_F(OperationsTest, APreparationThatRefusesLeavesNothing) {
  std::atomic<int> runs{0};
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    return "";
  });
  std::string prepared;
  const auto refuse = [&](const std::string& id) {
    prepared = id;
    return FailedPrecondition("ILLEGAL_STATE", "not now");
  };
  EXPECT_EQ(ErrorReason(operations_->Start(Of("build"), "r1", refuse).status()), "ILLEGAL_STATE");

  EXPECT_THAT(Listed(), IsEmpty());
  EXPECT_EQ(ErrorReason(operations_->Get(prepared).status()), "OPERATION_NOT_FOUND");
  // The request id is still free.
  const std::string second = Start(Of("build", "t2"), "r1").id;
  EXPECT_NE(second, prepared);
  Wait(second);
  EXPECT_EQ(runs, 1);
}

TEST_F(OperationsTest, AnEndThatCannotBeWrittenForWantOfSpaceIsWrittenLater) {
  operations_.reset();
  FullIndex full;
  operations_ = std::make_unique<Operations>(full, clock_, 2);
  std::atomic<int> runs{0};
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    full.refusals = 2;
    return "made";
  });
  const std::string id = Start(Of("build")).id;
  EXPECT_EQ(Wait(id).result, "made");
  EXPECT_EQ(runs, 1);
  operations_.reset();
}

TEST_F(OperationsTest, AStartThatCannotBeUndoneEndsAsWhatItIs) {
  operations_.reset();
  FullIndex full;
  operations_ = std::make_unique<Operations>(full, clock_, 2);
  std::atomic<int> runs{0};
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    return "made";
  });
  std::string id;
  const auto started = operations_->Start(Of("build"), "", [&](const std::string& operation) {
    id = operation;
    full.refusals = 2;
    return FailedPrecondition("ILLEGAL_STATE", "it cannot be built now");
  });
  EXPECT_EQ(ErrorReason(started.status()), "ILLEGAL_STATE");
  const Operation ended = Wait(id);
  EXPECT_TRUE(ended.done);
  EXPECT_EQ(ErrorReason(ended.status), "ILLEGAL_STATE");
  EXPECT_EQ(runs, 0);
  operations_.reset();
}

TEST_F(OperationsTest, WhatCannotBeReadForAMomentIsNotForgotten) {
  operations_.reset();
  FullIndex unreadable;
  operations_ = std::make_unique<Operations>(unreadable, clock_, 2);
  operations_->Register("build",
                        [&](const Operation&, Progress&) -> absl::StatusOr<std::string> { return "made"; });
  const auto started = operations_->Start(Of("build"), "", [&](const std::string&) {
    unreadable.unread = 1;
    return absl::OkStatus();
  });
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(Wait(started->id).result, "made");
  operations_.reset();
}

TEST_F(OperationsTest, WhatAShutdownInterruptsRunsOnceMore) {
  std::atomic<int> runs{0};
  absl::Notification running;
  std::atomic<bool> stop{false};
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    running.Notify();
    while (!stop) absl::SleepFor(absl::Milliseconds(1));
    return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server stops");
  });
  const std::string id = Start(Of("build")).id;
  running.WaitForNotification();
  stop = true;
  operations_.reset();
  index_->LosePower();

  Open();
  EXPECT_FALSE(operations_->Get(id)->done);
  operations_->Register("build", [&](const Operation& operation, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    EXPECT_EQ(operation.id, id);
    EXPECT_EQ(operation.arguments.at("key"), "value");
    return "done at last";
  });
  ASSERT_TRUE(operations_->Resume().ok());
  EXPECT_EQ(Wait(id).result, "done at last");
  EXPECT_EQ(runs, 2);

  Open();
  operations_->Register("build", [&](const Operation&, Progress&) -> absl::StatusOr<std::string> {
    ++runs;
    return "again";
  });
  ASSERT_TRUE(operations_->Resume().ok());
  EXPECT_EQ(Wait(id).result, "done at last") << "what is done is not resumed";
  EXPECT_EQ(runs, 2);
}

TEST_F(OperationsTest, WhatNeverBeganIsResumedOldestFirst) {
  Open(/*workers=*/0);
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(Start(Of("build", absl::StrCat("t", i))).id);
    clock_.Advance(absl::Seconds(1));
  }
  index_->LosePower();
  absl::Mutex mutex;
  std::vector<std::string> order;
  Open(/*workers=*/1);
  operations_->Register("build", [&](const Operation& operation, Progress&) -> absl::StatusOr<std::string> {
    absl::MutexLock lock(&mutex);
    order.push_back(operation.target);
    return "";
  });
  ASSERT_TRUE(operations_->Resume().ok());
  for (const std::string& id : ids) EXPECT_TRUE(Wait(id).done);

  absl::MutexLock lock(&mutex);
  EXPECT_THAT(order, ElementsAre("t0", "t1", "t2"));
}

TEST_F(OperationsTest, WaitComesBackAtItsDeadline) {
  absl::Notification go;
  operations_->Register("build", [&](const Operation&, Progress& progress) -> absl::StatusOr<std::string> {
    progress.Report(3, 10);
    go.WaitForNotification();
    return "";
  });
  const std::string id = Start(Of("build")).id;

  const absl::Time begin = absl::Now();
  const auto waited = operations_->Wait(id, begin + absl::Milliseconds(50));
  ASSERT_TRUE(waited.ok());
  EXPECT_FALSE(waited->done);
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(50));

  go.Notify();
  EXPECT_TRUE(Wait(id).done);
}

TEST_F(OperationsTest, ProgressIsSeenWhileItRuns) {
  absl::Notification reported;
  absl::Notification go;
  operations_->Register("build", [&](const Operation&, Progress& progress) -> absl::StatusOr<std::string> {
    progress.Report(3, 10);
    reported.Notify();
    go.WaitForNotification();
    return "";
  });
  const std::string id = Start(Of("build")).id;
  reported.WaitForNotification();

  EXPECT_EQ(operations_->Get(id)->done_count, 3);
  EXPECT_EQ(operations_->Get(id)->total_count, 10);
  go.Notify();
  Wait(id);
}

TEST_F(OperationsTest, TheHandlerSeesThatItWasCancelled) {
  absl::Notification running;
  operations_->Register("build", [&](const Operation&, Progress& progress) -> absl::StatusOr<std::string> {
    running.Notify();
    while (!progress.cancelled()) absl::SleepFor(absl::Milliseconds(1));
    return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "cancelled");
  });
  const std::string id = Start(Of("build")).id;
  running.WaitForNotification();

  ASSERT_TRUE(operations_->Cancel(id).ok());
  const Operation ended = Wait(id);
  EXPECT_TRUE(ended.done);
  EXPECT_EQ(ErrorReason(ended.status), "OPERATION_CANCELLED");
  EXPECT_TRUE(operations_->Cancel(id).ok()) << "it is done already";
  EXPECT_EQ(ErrorReason(operations_->Cancel("none")), "OPERATION_NOT_FOUND");
}

// Its handler runs all the same, as it must undo what the preparation did.
TEST_F(OperationsTest, AQueuedOperationIsCancelledBeforeItBegins) {
  absl::Notification running;
  absl::Notification go;
  Open(/*workers=*/1);
  operations_->Register("build",
                        [&](const Operation& operation, Progress& progress) -> absl::StatusOr<std::string> {
                          if (operation.target == "first") {
                            running.Notify();
                            go.WaitForNotification();
                          }
                          return progress.cancelled() ? "cancelled" : "not cancelled";
                        });
  const std::string first = Start(Of("build", "first")).id;
  running.WaitForNotification();
  const std::string second = Start(Of("build", "second")).id;

  ASSERT_TRUE(operations_->Cancel(second).ok());
  EXPECT_TRUE(operations_->Get(second)->cancelled);
  go.Notify();

  EXPECT_EQ(Wait(first).result, "not cancelled");
  EXPECT_EQ(Wait(second).result, "cancelled");
}

TEST_F(OperationsTest, TheNewestAreListedFirstInPages) {
  Open(/*workers=*/0);
  std::vector<std::string> newest_first;
  for (int i = 0; i < 5; ++i) {
    newest_first.insert(newest_first.begin(), Start(Of("build")).id);
    clock_.Advance(absl::Seconds(1));
  }
  EXPECT_EQ(Listed(), newest_first);

  const auto first = Listed("", 2);
  EXPECT_THAT(first, ElementsAre(newest_first[0], newest_first[1]));
  EXPECT_THAT(Listed(first.back(), 2), ElementsAre(newest_first[2], newest_first[3]));
  EXPECT_THAT(Listed(newest_first[3], 2), ElementsAre(newest_first[4]));
  EXPECT_THAT(Listed(newest_first[4], 2), IsEmpty());
}

TEST_F(OperationsTest, OnlyWhatTheCallerMaySeeIsListed) {
  Open(/*workers=*/0);
  Operation foreign = Of("build");
  foreign.project = "P2";
  Start(foreign);
  clock_.Advance(absl::Seconds(1));
  const std::string own = Start(Of("build")).id;
  clock_.Advance(absl::Seconds(1));
  Start(foreign);

  const auto seen = operations_->List("", 1, [](const Operation& o) { return o.project == "P1"; });
  ASSERT_TRUE(seen.ok());
  ASSERT_THAT(*seen, SizeIs(1));
  EXPECT_EQ(seen->front().id, own);
}

}  // namespace
}  // namespace narthex::operations
