// Instances that came with several contents, and sessions that are split: counts, lookups, losses of power.

#include <map>
#include <thread>

#include "absl/synchronization/notification.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "server/prearchive/prearchive_fixture.h"

namespace narthex::prearchive {
namespace {

class VersionsTest : public PrearchiveTest {
 protected:
  SessionRow Row(const std::string& id) {
    const auto row = prearchive_->Get(id);
    EXPECT_TRUE(row.ok()) << row.status();
    return row.ok() ? *row : SessionRow();
  }
  bool Has(const std::string& bytes) { return *prearchive_->HasDigest("P1", Xxh3(bytes)); }
  void Ready(const std::string& id) {
    ASSERT_TRUE(prearchive_->Apply(id, Event::kBuild).ok());
    ASSERT_TRUE(prearchive_->FinishBuild(id, [](SessionRow&) {}).ok());
  }
};

TEST_F(VersionsTest, TheNewestOfReplacedObjectsCounts) {
  duplicates_ = DuplicatePolicy::kReplace;
  const std::string id = Store("1.1", "old").session();

  EXPECT_EQ(Store("1.1", "newer!").outcome(), static_cast<int>(Outcome::kReplaced));

  EXPECT_EQ(BytesOf(id, "1.1"), "newer!");
  EXPECT_EQ(Row(id).object_count(), 1u);
  EXPECT_EQ(Row(id).size_bytes(), 6u);
  EXPECT_EQ(Row(id).replaced_count(), 1u);
  EXPECT_FALSE(Has("old"));
  EXPECT_TRUE(Has("newer!"));
  ExpectConsistent(id);
  const auto versions = prearchive_->FindVersions(id, "1.1");
  ASSERT_TRUE(versions.ok());
  ASSERT_EQ(versions->size(), 2u);
  EXPECT_EQ((*versions)[0].superseded_by(), (*versions)[1].number());
}

// An object that was compared with one of another sender, who has not committed it yet.
class RelyingTest : public VersionsTest {
 protected:
  // Commits the relying object on a thread of its own while `meanwhile` settles the other one.
  OutcomeRow CommitWhile(Arrived relying, const std::function<void()>& meanwhile) {
    OutcomeRow outcome;
    absl::Notification begun;
    std::thread sender([&] {
      begun.Notify();
      outcome = Commit(std::move(relying));
    });
    begun.WaitForNotification();
    meanwhile();
    sender.join();
    return outcome;
  }
};

TEST_F(RelyingTest, ItCountsInTheSessionThatTheOtherMakes) {
  for (int round = 0; round < 50; ++round) {  // either may be first
    const SessionKeyRow key = Key(absl::StrCat("L", round));
    Arrived first = Receive("1.1", "first", key);
    Arrived other = Receive("1.1", "other", key);
    std::string id;

    const OutcomeRow outcome =
        CommitWhile(std::move(other), [&] { id = Commit(std::move(first)).session(); });

    ASSERT_EQ(outcome.outcome(), static_cast<int>(Outcome::kConflict)) << outcome.detail();
    ASSERT_EQ(Row(id).outcome_counts().at(static_cast<int>(Outcome::kConflict)), 1u) << "round " << round;
    ExpectConsistent(id);
  }
}

TEST_F(RelyingTest, ItIsRefusedIfTheOtherIsGivenUp) {
  Store("1.0", "so that there is a session");
  for (const std::string bytes : {"first", "other"}) {
    std::optional<Arrived> first = Receive("1.1", "first");
    Arrived relying = Receive("1.1", bytes);

    const OutcomeRow outcome = CommitWhile(std::move(relying), [&] { first.reset(); });

    EXPECT_EQ(outcome.outcome(), static_cast<int>(Outcome::kRejected)) << bytes;
    EXPECT_EQ(outcome.reason(), "SESSION_BUSY");
  }
  EXPECT_EQ(Store("1.1", "other").outcome(), static_cast<int>(Outcome::kStored));
}

TEST_F(RelyingTest, OfOneSenderTheyAreCommittedTogether) {
  std::vector<Arrived> batch;
  batch.push_back(Receive("1.1", "first"));
  batch.push_back(Receive("1.1", "first"));
  batch.push_back(Receive("1.1", "other"));

  const auto outcomes = prearchive_->Commit(std::move(batch));

  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_EQ((*outcomes)[1].outcome(), static_cast<int>(Outcome::kDuplicate));
  EXPECT_EQ((*outcomes)[2].outcome(), static_cast<int>(Outcome::kConflict));
  ExpectConsistent((*outcomes)[0].session());
}

TEST_F(VersionsTest, ReplacedObjectsSurviveALossOfPower) {
  duplicates_ = DuplicatePolicy::kReplace;
  const std::string id = Store("1.1", "old").session();
  Store("1.1", "newer!");
  const SessionRow before = Row(id);

  index_->LosePower();
  files_->LosePower();
  Open();

  EXPECT_EQ(BytesOf(id, "1.1"), "newer!");
  EXPECT_EQ(Row(id).object_count(), before.object_count());
  EXPECT_EQ(Row(id).replaced_count(), before.replaced_count());
  EXPECT_EQ(Row(id).outcome_counts().at(static_cast<int>(Outcome::kReplaced)), 1u);
  ExpectConsistent(id);
}

TEST_F(VersionsTest, ContestedObjectsWaitForADecision) {
  duplicates_ = DuplicatePolicy::kConflict;
  const std::string id = Store("1.1", "first").session();
  EXPECT_EQ(Store("1.1", "second").outcome(), static_cast<int>(Outcome::kConflict));
  EXPECT_EQ(Store("1.1", "second").outcome(), static_cast<int>(Outcome::kDuplicate));
  EXPECT_EQ(Row(id).contested_count(), 1u);
  EXPECT_EQ(BytesOf(id, "1.1"), "first");
  SessionUpdate update;
  update.contested = ContestedChoice::kLast;

  ASSERT_TRUE(prearchive_->Update(id, update).ok());

  EXPECT_EQ(BytesOf(id, "1.1"), "second");
  EXPECT_EQ(Row(id).contested_count(), 0u);
  EXPECT_EQ(Row(id).size_bytes(), 6u);
  EXPECT_FALSE(Has("first"));
  EXPECT_TRUE(Has("second"));
  ExpectConsistent(id);
}

TEST_F(VersionsTest, ASplitMovesObjectsAndOutcomesAtOnce) {
  const std::string id = Store("1.1", "pet one").session();
  Store("1.2", "pet two");
  Store("2.1", "mr one");
  Store("1.1", "pet one");  // a duplicate goes with its series
  Ready(id);
  const std::string made = prearchive_->NewId();
  ASSERT_TRUE(prearchive_->Apply(id, Event::kSplit, [&](SessionRow& row) { row.set_split_into(made); }).ok());
  SplitRequest request;
  request.series = {"1"};
  request.label = "S1_PET";
  request.remaining_label = "S1_MR";
  request.show = [](SessionRow&, SessionRow&) {};

  const auto parts = prearchive_->SplitOff(id, request);

  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->made.id(), made);
  EXPECT_EQ(parts->made.object_count(), 2u);
  EXPECT_EQ(parts->remaining.object_count(), 1u);
  EXPECT_EQ(parts->remaining.key().label(), "S1_MR");
  // A loss of power right after it changes nothing: moved objects do not come back.
  index_->LosePower();
  files_->LosePower();
  Open();
  EXPECT_EQ(Sessions().size(), 2u);
  ExpectConsistent(id);
  ExpectConsistent(made);
  EXPECT_EQ(Row(made).outcome_counts().at(static_cast<int>(Outcome::kStored)), 2u);
  EXPECT_EQ(Row(made).outcome_counts().at(static_cast<int>(Outcome::kDuplicate)), 1u);
  EXPECT_EQ(BytesOf(made, "1.2"), "pet two");
  EXPECT_EQ(BytesOf(id, "2.1"), "mr one");
  EXPECT_FALSE(prearchive_->FindObject(id, "1.1").ok());
}

TEST_F(VersionsTest, ASplitThatWasInterruptedLeavesTheSessionAsItWas) {
  const std::string id = Store("1.1", "pet one").session();
  Store("1.2", "pet two");
  Store("2.1", "mr one");
  Ready(id);
  ASSERT_TRUE(
      prearchive_
          ->Apply(id, Event::kSplit, [&](SessionRow& row) { row.set_split_into(prearchive_->NewId()); })
          .ok());
  SplitRequest request;
  request.series = {"1"};
  request.label = "S1_PET";
  request.remaining_label = "S1_MR";
  request.show = [](SessionRow&, SessionRow&) {};
  int copied = 0;
  request.stopping = [&] { return ++copied > 1; };
  EXPECT_EQ(ErrorReason(prearchive_->SplitOff(id, request).status()), "SHUTTING_DOWN");

  Open();

  ASSERT_EQ(Sessions().size(), 1u);
  EXPECT_EQ(Row(id).object_count(), 3u);
  ExpectConsistent(id);
  request.stopping = nullptr;
  EXPECT_TRUE(prearchive_->SplitOff(id, request).ok());  // the operation is repeated
  EXPECT_EQ(Sessions().size(), 2u);
}

TEST_F(VersionsTest, EventsThatAreNotThereAreAnError) {
  Store("1.1", "pixels");

  EXPECT_TRUE(prearchive_->events().Covers(1).ok());
  EXPECT_TRUE(prearchive_->events().Covers(prearchive_->events().NextSequence()).ok());
  EXPECT_EQ(ErrorReason(prearchive_->events().Covers(1'000'000)), "EVENTS_UNAVAILABLE");
}

TEST_F(VersionsTest, NumbersOfLostEventsAreNotGivenOutAgain) {
  const std::string id = Store("1.1", "pixels").session();
  const int64_t seen = prearchive_->events().NextSequence();

  index_->LosePower();
  files_->LosePower();
  Open();

  EXPECT_GE(prearchive_->events().NextSequence(), seen);
}

}  // namespace
}  // namespace narthex::prearchive
