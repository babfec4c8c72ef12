#include "server/prearchive/split_routes.h"

#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive_fixture.h"

namespace narthex::prearchive {
namespace {

class SplitRoutesTest : public PrearchiveTest {
 protected:
  // A session of two series, being split into the PET part (series "1") and the rest (series "2").
  std::string BeginSplit() {
    Store("1.1", "pet");
    Store("2.1", "mr");
    const std::string id = Sessions()[0].id();
    EXPECT_TRUE(prearchive_->Apply(id, Event::kBuild).ok());
    EXPECT_TRUE(prearchive_->FinishBuild(id, [](SessionRow&) {}).ok());
    EXPECT_TRUE(
        prearchive_
            ->Apply(id, Event::kSplit, [&](SessionRow& row) { row.set_split_into(prearchive_->NewId()); })
            .ok());
    return id;
  }

  SplitParts EndSplit(const std::string& id) {
    SplitRequest request;
    request.series = {"1"};
    request.remaining_series = {"2"};
    request.label = "S1_MR1_PET";
    request.remaining_label = "S1_MR1_MR";
    request.show = [](SessionRow&, SessionRow&) {};
    auto parts = prearchive_->SplitOff(id, request);
    EXPECT_TRUE(parts.ok()) << parts.status();
    return parts.ok() ? *parts : SplitParts();
  }

  SessionRow SessionOf(const OutcomeRow& outcome) {
    const auto row = prearchive_->Get(outcome.session());
    EXPECT_TRUE(row.ok()) << row.status();
    return row.ok() ? *row : SessionRow();
  }

  void Archive(const std::string& id) {
    if (prearchive_->Get(id)->state() == static_cast<int>(State::kReceiving)) {
      EXPECT_TRUE(prearchive_->Apply(id, Event::kBuild).ok());
      EXPECT_TRUE(prearchive_->FinishBuild(id, [](SessionRow&) {}).ok());
    }
    EXPECT_TRUE(prearchive_->Apply(id, Event::kArchive).ok());
    EXPECT_TRUE(prearchive_->Remove(id, "X_E00001").ok());
  }

  void ExpectAllConsistent() {
    for (const SessionRow& row : Sessions()) ExpectConsistent(row.id());
  }
};

TEST_F(SplitRoutesTest, LateObjectsJoinTheHalfOfTheirSeries) {
  const SplitParts parts = EndSplit(BeginSplit());

  EXPECT_EQ(Store("1.2", "late pet").session(), parts.made.id());
  EXPECT_EQ(Store("2.2", "late mr").session(), parts.remaining.id());
  EXPECT_EQ(Store("1.1", "pet").outcome(), static_cast<int>(Outcome::kDuplicate));
  // A series that came after the split: by its headers, here as no PET.
  EXPECT_EQ(Store("3.1", "another").session(), parts.remaining.id());
  Open();
  EXPECT_EQ(Store("1.3", "after a restart").session(), parts.made.id());
  EXPECT_EQ(Sessions().size(), 2u);
  ExpectAllConsistent();
}

TEST_F(SplitRoutesTest, LateObjectsOfAnArchivedHalfOpenASessionOfItsLabel) {
  const SplitParts parts = EndSplit(BeginSplit());
  Archive(parts.made.id());
  Archive(parts.remaining.id());
  Open();

  const SessionRow pet = SessionOf(Store("1.2", "late"));
  const SessionRow mr = SessionOf(Store("2.2", "late"));

  EXPECT_EQ(pet.key().label(), "S1_MR1_PET");
  EXPECT_EQ(pet.split_part(), kPetPart);
  EXPECT_EQ(mr.key().label(), "S1_MR1_MR");
  EXPECT_EQ(mr.split_part(), kRestPart);
  ExpectAllConsistent();
}

TEST_F(SplitRoutesTest, ObjectsThatComeDuringASplitWaitForTheirHalf) {
  const std::string id = BeginSplit();
  OutcomeRow pet, mr, named;
  SessionKeyRow half = Key();
  half.set_label("S1_MR1_MR");

  std::thread first([&] { pet = Store("1.2", "late"); });
  std::thread second([&] { mr = Store("2.2", "late"); });
  std::thread third([&] { named = Store("2.3", "late", half); });
  const SplitParts parts = EndSplit(id);
  first.join();
  second.join();
  third.join();

  EXPECT_EQ(pet.session(), parts.made.id());
  EXPECT_EQ(mr.session(), parts.remaining.id());
  EXPECT_EQ(named.session(), parts.remaining.id());
  EXPECT_EQ(Sessions().size(), 2u);
  ExpectAllConsistent();
}

TEST_F(SplitRoutesTest, ObjectsThatWaitForASplitThatFailsStayTogether) {
  const std::string id = BeginSplit();
  OutcomeRow late;

  std::thread sender([&] { late = Store("1.2", "late"); });
  EXPECT_TRUE(prearchive_->Apply(id, Event::kSplitFailed).ok());
  sender.join();

  EXPECT_EQ(late.session(), id);
  EXPECT_EQ(Sessions().size(), 1u);
}

TEST_F(SplitRoutesTest, ObjectsThatASplitKeepsWaitingGetASessionOfTheirHalfsLabel) {
  const std::string id = BeginSplit();
  prearchive_->SetSplitPatience(absl::ZeroDuration());

  const SessionRow during = SessionOf(Store("2.2", "late"));
  EndSplit(id);

  EXPECT_EQ(during.key().label(), "S1_MR1_MR");
  EXPECT_EQ(during.split_part(), kRestPart);
  for (const SessionRow& row : Sessions()) EXPECT_NE(row.key().label(), "S1_MR1");
  ExpectAllConsistent();
}

TEST_F(SplitRoutesTest, AStoppingServerRefusesWhatWaitsForASplit) {
  const std::string id = BeginSplit();
  prearchive_->SetSplitPatience(absl::Hours(1));
  absl::Status refused;

  std::thread sender([&] {
    ArrivingObject late;
    late.key = Key();
    late.sop_instance_uid = "2.2";
    late.series_instance_uid = "2";
    refused = prearchive_->Begin(std::move(late)).status();
  });
  prearchive_->EndWaits();
  sender.join();

  EXPECT_EQ(ErrorReason(refused), "SHUTTING_DOWN") << refused;
  ASSERT_EQ(Sessions().size(), 1u);  // nothing was made of it
  // The next process ends the split, and the object is sent again.
  Open();
  const SplitParts parts = EndSplit(id);
  EXPECT_EQ(Store("2.2", "late").session(), parts.remaining.id());
  ExpectAllConsistent();
}

TEST_F(SplitRoutesTest, AFailedSplitLeavesNoTrace) {
  const std::string id = BeginSplit();
  ASSERT_TRUE(prearchive_->Apply(id, Event::kSplitFailed).ok());
  Open();

  EXPECT_EQ(Store("1.2", "late").session(), id);
  EXPECT_EQ(Sessions().size(), 1u);
}

TEST_F(SplitRoutesTest, LateObjectsFollowAHalfThatPeopleRename) {
  const SplitParts parts = EndSplit(BeginSplit());
  SessionUpdate update;
  update.label = "BRAIN";
  ASSERT_TRUE(prearchive_->Update(parts.made.id(), update).ok());

  EXPECT_EQ(Store("1.2", "late").session(), parts.made.id());
  Archive(parts.made.id());
  EXPECT_EQ(SessionOf(Store("1.3", "later")).key().label(), "BRAIN");
}

TEST_F(SplitRoutesTest, AHalfInAnotherProjectGetsWhatIsSentThere) {
  const SplitParts parts = EndSplit(BeginSplit());
  SessionUpdate update;
  update.project = "P2";
  ASSERT_TRUE(prearchive_->Update(parts.made.id(), update).ok());
  SessionKeyRow there = Key();
  there.set_project("P2");

  EXPECT_EQ(Store("1.2", "sent to P2", there).session(), parts.made.id());
  const SessionRow here = SessionOf(Store("1.3", "sent to P1"));

  EXPECT_EQ(here.key().project(), "P1");
  EXPECT_EQ(here.key().label(), "S1_MR1_PET");
  EXPECT_EQ(here.split_part(), kPetPart);
}

TEST_F(SplitRoutesTest, DeletingBothHalvesForgetsTheSplit) {
  const SplitParts parts = EndSplit(BeginSplit());
  for (const std::string& id : {parts.made.id(), parts.remaining.id()}) {
    ASSERT_TRUE(prearchive_->Apply(id, Event::kDelete).ok());
    ASSERT_TRUE(prearchive_->Remove(id, "").ok());
  }
  Open();

  const SessionRow again = SessionOf(Store("1.1", "pet"));

  EXPECT_EQ(again.key().label(), "S1_MR1");
  EXPECT_EQ(again.split_part(), 0);
}

TEST_F(SplitRoutesTest, AHalfMadeOfLateObjectsIsOneAfterALossOfPower) {
  const SplitParts parts = EndSplit(BeginSplit());
  Archive(parts.made.id());
  const OutcomeRow late = Store("1.2", "late");
  // The row of the session was never written: it is made anew from the segments.
  staging::IndexBatch lost;
  lost.Delete(staging::Table::kSessions, late.session());
  lost.Delete(staging::Table::kSessionKeys, keys::OfSession(SessionOf(late).key()));
  for (staging::Table table :
       {staging::Table::kObjects, staging::Table::kInstances, staging::Table::kOutcomes}) {
    lost.DeleteRange(table, keys::Text(late.session()), keys::EndOf(keys::Text(late.session())));
  }
  ASSERT_TRUE(index_->Write(lost, staging::Durability::kPowerLoss).ok());

  Open();

  const SessionRow row = SessionOf(late);
  EXPECT_EQ(row.key().label(), "S1_MR1_PET");
  EXPECT_EQ(row.split_part(), kPetPart);
  ExpectConsistent(late.session());
}

}  // namespace
}  // namespace narthex::prearchive
