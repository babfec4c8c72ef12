// What is acknowledged,
// counted, found again after a power loss, and where late objects go.

#include "server/prearchive/prearchive.h"

#include <atomic>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/error.h"
#include "server/prearchive/prearchive_fixture.h"

namespace narthex::prearchive {
namespace {

using testing::SizeIs;

TEST_F(PrearchiveTest, KeepsAnObjectInANewSession) {
  const OutcomeRow outcome = Store("1.1", "pixels");

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions().front().id(), outcome.session());
  EXPECT_EQ(Sessions().front().state(), static_cast<int>(State::kReceiving));
  EXPECT_EQ(BytesOf(outcome.session(), "1.1"), "pixels");
  ExpectConsistent(outcome.session());
}

TEST_F(PrearchiveTest, NothingIsSeenBeforeTheCommit) {
  const Arrived arrived = Receive("1.1", "pixels");

  EXPECT_THAT(Sessions(), SizeIs(0));
}

TEST_F(PrearchiveTest, AnObjectGivenUpLeavesNothing) {
  { const Arrived arrived = Receive("1.1", "pixels"); }

  EXPECT_THAT(Sessions(), SizeIs(0));
  EXPECT_THAT(*store_->ListSessions(), SizeIs(0));
}

TEST_F(PrearchiveTest, SameBytesAreADuplicateOtherBytesAConflict) {
  const std::string session = Store("1.1", "pixels").session();

  EXPECT_EQ(Store("1.1", "pixels").outcome(), static_cast<int>(Outcome::kDuplicate));
  EXPECT_EQ(Store("1.1", "others").outcome(), static_cast<int>(Outcome::kConflict));

  EXPECT_EQ(BytesOf(session, "1.1"), "pixels");
  EXPECT_EQ(prearchive_->Get(session)->object_count(), 1u);
  ExpectConsistent(session);
}

TEST_F(PrearchiveTest, ADuplicateOfAnUncommittedObjectIsOne) {
  std::vector<Arrived> batch;
  batch.push_back(Receive("1.1", "pixels"));
  batch.push_back(Receive("1.1", "pixels"));

  const auto outcomes = prearchive_->Commit(std::move(batch));

  ASSERT_TRUE(outcomes.ok());
  EXPECT_EQ((*outcomes)[0].outcome(), static_cast<int>(Outcome::kStored));
  EXPECT_EQ((*outcomes)[1].outcome(), static_cast<int>(Outcome::kDuplicate));
  ExpectConsistent((*outcomes)[0].session());
}

TEST_F(PrearchiveTest, ManySendersOfOneStudyLoseAndDoubleNothing) {
  constexpr int kSenders = 8;
  constexpr int kObjects = 50;
  std::atomic<int> stored{0};
  std::atomic<int> duplicates{0};
  std::vector<std::thread> senders;
  for (int sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&, sender] {
      for (int i = 0; i < kObjects; ++i) {
        ArrivingObject object;
        object.key = Key();
        object.sop_instance_uid = absl::StrCat("1.", (i + sender * 7) % kObjects);
        object.upload = absl::StrCat("u", sender);
        object.sequence = i;
        const std::string bytes = absl::StrCat("bytes of ", object.sop_instance_uid);
        Arrived arrived;
        arrived.outcome.set_upload(object.upload);
        arrived.outcome.set_sequence(i);
        arrived.reception = *prearchive_->Begin(object);
        if (arrived.reception->Decide(Xxh3(bytes), Xxh3(bytes)) == Reception::Verdict::kStore) {
          ASSERT_TRUE(arrived.reception->Append(bytes).ok());
          ObjectRow row;
          row.set_received_xxh3(Xxh3(bytes));
          row.set_data_set_xxh3(Xxh3(bytes));
          row.set_size_bytes(bytes.size());
          ASSERT_TRUE(arrived.reception->Finish(row).ok());
          arrived.outcome.set_outcome(static_cast<int>(Outcome::kStored));
          ++stored;
        } else {
          arrived.outcome.set_outcome(static_cast<int>(Outcome::kDuplicate));
          ++duplicates;
        }
        std::vector<Arrived> batch;
        batch.push_back(std::move(arrived));
        ASSERT_TRUE(prearchive_->Commit(std::move(batch)).ok());
      }
    });
  }
  for (std::thread& sender : senders) sender.join();

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(stored, kObjects);
  EXPECT_EQ(duplicates, kObjects * (kSenders - 1));
  ExpectConsistent(Sessions().front().id());
}

// Does something once, right after a session was looked up by its key.
class IndexWithHook : public staging::Index {
 public:
  explicit IndexWithHook(std::unique_ptr<staging::Index> index) : index_(std::move(index)) {}
  absl::Status Write(const staging::IndexBatch& batch, staging::Durability durability) override {
    return index_->Write(batch, durability);
  }
  absl::StatusOr<std::optional<std::string>> Get(staging::Table table, absl::string_view key) const override {
    auto found = index_->Get(table, key);
    if (table == staging::Table::kSessionKeys && hook) std::exchange(hook, nullptr)();
    return found;
  }
  absl::Status Scan(staging::Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    return index_->Scan(table, begin, end, visit);
  }
  absl::Status SyncAll() override { return index_->SyncAll(); }
  absl::Status Checkpoint(const std::string& directory) override { return index_->Checkpoint(directory); }

  mutable std::function<void()> hook;

 private:
  const std::unique_ptr<staging::Index> index_;
};

TEST_F(PrearchiveTest, TheFirstObjectsOfAStudyMeetInOneSession) {
  auto hooked = std::make_unique<IndexWithHook>(std::move(index_));
  IndexWithHook& index = *hooked;
  index_ = std::move(hooked);
  Open();
  Arrived first = Receive("1.1", "first");
  // The second object comes while the first one is committed and lets its session go.
  index.hook = [&] { Commit(std::move(first)); };
  Store("1.2", "second");
  if (index.hook) index.hook();

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions().front().object_count(), 2u);
}

TEST_F(PrearchiveTest, SessionsOfDirectArchiveWaitForNobody) {
  SessionKeyRow direct = Key("DIRECT");
  direct.set_direct_archive(true);

  Store("1.1", "bytes", direct);

  const SessionRow row = Sessions().front();
  EXPECT_EQ(*prearchive_->BuildAfter(row),
            absl::FromUnixMicros(row.last_received_time_us()) + absl::Seconds(2));
}

TEST_F(PrearchiveTest, LateObjectsOfABuiltSessionReopenIt) {
  const std::string session = Store("1.1", "pixels").session();
  ASSERT_TRUE(prearchive_->Apply(session, Event::kBuild).ok());
  ASSERT_TRUE(prearchive_->FinishBuild(session, [](SessionRow&) {}).ok());
  ASSERT_EQ(prearchive_->Get(session)->state(), static_cast<int>(State::kReady));

  EXPECT_EQ(Store("1.2", "more").session(), session);

  EXPECT_EQ(prearchive_->Get(session)->state(), static_cast<int>(State::kReceiving));
}

TEST_F(PrearchiveTest, ObjectsDuringABuildLeadBackToReceiving) {
  const std::string session = Store("1.1", "pixels").session();
  ASSERT_TRUE(prearchive_->Apply(session, Event::kBuild).ok());
  Store("1.2", "more");

  ASSERT_TRUE(prearchive_->FinishBuild(session, [](SessionRow&) {}).ok());

  EXPECT_EQ(prearchive_->Get(session)->state(), static_cast<int>(State::kReceiving));
}

TEST_F(PrearchiveTest, LateObjectsOfASessionBeingArchivedOpenAnother) {
  const std::string first = Store("1.1", "pixels").session();
  ASSERT_TRUE(prearchive_->Apply(first, Event::kBuild).ok());
  ASSERT_TRUE(prearchive_->FinishBuild(first, [](SessionRow&) {}).ok());
  ASSERT_TRUE(prearchive_->Apply(first, Event::kArchive).ok());

  const std::string second = Store("1.2", "late").session();

  EXPECT_NE(second, first);
  EXPECT_EQ(prearchive_->Get(first)->object_count(), 1u);
  ASSERT_TRUE(prearchive_->Remove(first, "NARTHEX_E00001").ok());
  EXPECT_EQ(BytesOf(second, "1.2"), "late");
}

TEST_F(PrearchiveTest, AnObjectThatArrivesWhileItsSessionIsDeletedIsRefused) {
  const std::string session = Store("1.1", "pixels").session();
  Arrived late = Receive("1.2", "late");
  ASSERT_TRUE(prearchive_->Apply(session, Event::kDelete).ok());
  ASSERT_TRUE(prearchive_->Remove(session, "").ok());

  const OutcomeRow outcome = Commit(std::move(late));

  EXPECT_EQ(outcome.outcome(), static_cast<int>(Outcome::kRejected));
  EXPECT_EQ(outcome.reason(), "SESSION_BUSY");
  EXPECT_THAT(Sessions(), SizeIs(0));
}

TEST_F(PrearchiveTest, WhatWasAcknowledgedSurvivesALossOfPower) {
  std::string session;
  for (int i = 0; i < 20; ++i) session = Store(absl::StrCat("1.", i), absl::StrCat("bytes ", i)).session();
  prearchive_.reset();
  store_.reset();
  files_->LosePower();
  index_->LosePower();

  Open();

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions().front().object_count(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(BytesOf(session, absl::StrCat("1.", i)), absl::StrCat("bytes ", i));
  ExpectConsistent(session);
  EXPECT_EQ(Store("1.3", "bytes 3").outcome(), static_cast<int>(Outcome::kDuplicate));
}

// A backup takes the index before the segments: objects of an upload that began in between are found, and
// nobody can ask for that upload.
TEST_F(PrearchiveTest, WhatIsFoundStandsInItsUploadIfThereIsOne) {
  const auto told = [&] {
    int rows = 0;
    EXPECT_TRUE(index_
                    ->Scan(staging::Table::kUploadObjects, "", "",
                           [&](absl::string_view, absl::string_view) {
                             ++rows;
                             return true;
                           })
                    .ok());
    return rows;
  };
  const auto lose_power = [&] {
    prearchive_.reset();
    store_.reset();
    files_->LosePower();
    index_->LosePower();
    Open();
  };
  const std::string session = Store("1.1", "before").session();
  lose_power();
  EXPECT_EQ(told(), 0);
  ExpectConsistent(session);
  EXPECT_EQ(BytesOf(session, "1.1"), "before");

  staging::IndexBatch upload;
  upload.Put(staging::Table::kUploads, "u1", "");
  ASSERT_TRUE(index_->Write(upload, staging::Durability::kPowerLoss).ok());
  Store("1.2", "after");
  lose_power();
  EXPECT_EQ(told(), 1);
  ExpectConsistent(session);
}

TEST_F(PrearchiveTest, AnEmptyFolderThatACrashLeftIsRemoved) {
  { ASSERT_TRUE(store_->OpenSession("abandoned").ok()); }
  ASSERT_THAT(*store_->ListSessions(), SizeIs(1));

  Open();

  EXPECT_THAT(*store_->ListSessions(), SizeIs(0));
  EXPECT_THAT(Sessions(), SizeIs(0));
}

TEST_F(PrearchiveTest, AGivenUpRecordDoesNotReplaceTheAcknowledgedOne) {
  const std::string session = Store("1.1", "pixels").session();
  {
    const Arrived in_flight = Receive("1.9", "never acknowledged");  // keeps the index's mark where it is
    { const Arrived given_up = Receive("1.2", "given up"); }
    EXPECT_EQ(Store("1.2", "acknowledged").outcome(), static_cast<int>(Outcome::kStored));
  }

  Open();

  EXPECT_EQ(BytesOf(session, "1.2"), "acknowledged");
  ExpectConsistent(session);
}

TEST_F(PrearchiveTest, AGivenUpRecordTakesNobodysNumber) {
  const std::string session = Store("1.1", "pixels").session();
  { const Arrived given_up = Receive("1.2", "given up"); }
  ArrivingObject waiting;
  waiting.key = Key();
  waiting.sop_instance_uid = "1.9";
  {
    const auto in_flight = prearchive_->Begin(waiting);  // keeps the index's mark where it is
    EXPECT_EQ(Store("1.3", "acknowledged").outcome(), static_cast<int>(Outcome::kStored));
  }

  Open();

  EXPECT_EQ(BytesOf(session, "1.1"), "pixels");
  EXPECT_EQ(BytesOf(session, "1.3"), "acknowledged");
  ExpectConsistent(session);
}

TEST_F(PrearchiveTest, ADeletedSessionDoesNotComeBack) {
  const std::string session = Store("1.1", "pixels").session();
  ASSERT_TRUE(prearchive_->Apply(session, Event::kDelete).ok());
  ASSERT_TRUE(prearchive_->Remove(session, "").ok());
  prearchive_.reset();
  store_.reset();
  files_->LosePower();
  index_->LosePower();

  Open();

  EXPECT_THAT(Sessions(), SizeIs(0));
}

TEST_F(PrearchiveTest, TheIdleTimerFiresOnceNothingCameForSoLong) {
  std::vector<std::string> idle;
  absl::Mutex mutex;
  prearchive_->OnIdle([&](const std::string& id) {
    absl::MutexLock lock(&mutex);
    idle.push_back(id);
  });
  const std::string session = Store("1.1", "pixels").session();
  clock_.Advance(absl::Seconds(40));
  Store("1.2", "more");
  clock_.Advance(absl::Seconds(40));
  prearchive_->timers().FireDue();
  {
    absl::MutexLock lock(&mutex);
    EXPECT_THAT(idle, SizeIs(0));
  }

  clock_.Advance(absl::Seconds(21));
  prearchive_->timers().FireDue();

  absl::MutexLock lock(&mutex);
  EXPECT_THAT(idle, testing::ElementsAre(session));
}

TEST_F(PrearchiveTest, UpdatingTheProjectMovesDigestsAndKeys) {
  const std::string session = Store("1.1", "pixels").session();
  SessionUpdate update;
  update.project = "P2";

  ASSERT_TRUE(prearchive_->Update(session, update).ok());

  EXPECT_TRUE(*prearchive_->HasDigest("P2", Xxh3("pixels")));
  EXPECT_FALSE(*prearchive_->HasDigest("P1", Xxh3("pixels")));
  EXPECT_NE(Store("1.2", "more").session(), session);
}

TEST_F(PrearchiveTest, AnUpdateWithAnOldEtagIsRefused) {
  const std::string session = Store("1.1", "pixels").session();
  SessionUpdate update;
  update.label = "OTHER";
  update.etag = absl::StrCat(prearchive_->Get(session)->version());
  ASSERT_TRUE(prearchive_->Update(session, update).ok());

  EXPECT_EQ(ErrorReason(prearchive_->Update(session, update).status()), "ETAG_MISMATCH");
}

TEST_F(PrearchiveTest, EventsAreReplayedInOrder) {
  const std::string session = Store("1.1", "pixels").session();
  ASSERT_TRUE(prearchive_->Apply(session, Event::kBuild).ok());
  const auto build = [](SessionRow& row) { row.add_scans()->set_id("1"); };
  ASSERT_TRUE(prearchive_->FinishBuild(session, build).ok());
  ASSERT_TRUE(prearchive_->Apply(session, Event::kDelete).ok());
  ASSERT_TRUE(prearchive_->Remove(session, "").ok());

  const auto events = prearchive_->events().Read(1, 100, absl::InfinitePast());

  ASSERT_TRUE(events.ok());
  std::vector<int> states;
  for (const auto& event : *events) states.push_back(event.row.removed() ? 0 : event.row.row().state());
  EXPECT_THAT(states, testing::ElementsAre(1, 2, 3, 9, 0));
  // How many scans, but not what was found out about each.
  ASSERT_EQ(events->at(2).row.row().scans_size(), 1);
  EXPECT_EQ(events->at(2).row.row().scans(0).id(), "");
}

}  // namespace
}  // namespace narthex::prearchive
