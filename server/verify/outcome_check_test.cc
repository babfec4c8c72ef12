// What uploads were told and what sessions count is made by hand here, right and wrong.

#include "server/verify/outcome_check.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::verify {
namespace {

namespace keys = prearchive::keys;
using prearchive::Outcome;
using staging::Table;
using testing::ElementsAre;
using testing::IsEmpty;

class OutcomeCheckTest : public testing::Test {
 protected:
  OutcomeCheckTest() {
    prearchive::UploadRow upload;
    upload.set_id("u");
    Put(Table::kUploads, "u", upload.SerializeAsString());
  }

  void Put(Table table, const std::string& key, const std::string& value) {
    staging::IndexBatch batch;
    batch.Put(table, key, value);
    ASSERT_TRUE(index_->Write(batch, staging::Durability::kPowerLoss).ok());
  }

  // Upload `upload` was told this of its next object.
  void Tell(Outcome outcome, const std::string& session, const std::string& upload = "u") {
    prearchive::OutcomeRow row;
    row.set_outcome(static_cast<int>(outcome));
    row.set_session(session);
    Put(Table::kUploadObjects, keys::UploadObject(upload, sequence_++), row.SerializeAsString());
  }

  static prearchive::SessionRow Session(const std::string& id, int stored, int duplicates) {
    prearchive::SessionRow row;
    row.set_id(id);
    (*row.mutable_outcome_counts())[static_cast<int>(Outcome::kStored)] = stored;
    if (duplicates > 0) (*row.mutable_outcome_counts())[static_cast<int>(Outcome::kDuplicate)] = duplicates;
    return row;
  }

  void PutSession(const std::string& id, int stored, int duplicates = 0) {
    Put(Table::kSessions, id, Session(id, stored, duplicates).SerializeAsString());
  }

  void PutRemoved(uint64_t number, const std::string& id, int stored) {
    prearchive::EventRow event;
    event.set_session(id);
    event.set_removed(true);
    *event.mutable_row() = Session(id, stored, 0);
    Put(Table::kEvents, keys::Number(number), event.SerializeAsString());
  }

  std::vector<std::string> Found() {
    report_ = {};
    const absl::Status status = CheckOutcomes(*index_, report_);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<std::string> kinds;
    for (const Report::Finding& finding : report_.findings) kinds.push_back(finding.kind);
    return kinds;
  }

  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  int64_t sequence_ = 0;
  Report report_;
};

TEST_F(OutcomeCheckTest, SumsOfWaitingAndOfRemovedSessionsAreClean) {
  Tell(Outcome::kStored, "waits");
  Tell(Outcome::kStored, "waits");
  Tell(Outcome::kDuplicate, "waits");
  Tell(Outcome::kStored, "archived");
  Tell(Outcome::kRejected, "");
  Tell(Outcome::kFiltered, "");
  PutSession("waits", 2, 1);
  PutRemoved(1, "archived", 1);

  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_EQ(report_.retold_outcome_count, 0);
}

TEST_F(OutcomeCheckTest, FindsASessionThatCountedTooFew) {
  Tell(Outcome::kStored, "waits");
  Tell(Outcome::kStored, "archived");
  Tell(Outcome::kStored, "archived");
  PutSession("waits", 0);
  PutRemoved(1, "archived", 1);

  EXPECT_THAT(Found(), ElementsAre("SESSION_OUTCOMES", "SESSION_OUTCOMES"));
}

TEST_F(OutcomeCheckTest, CountsWhatNoUploadWasTold) {
  Tell(Outcome::kStored, "archived");
  PutSession("waits", 1);
  PutRemoved(1, "archived", 3);

  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_EQ(report_.retold_outcome_count, 3);
}

TEST_F(OutcomeCheckTest, FindsKeptObjectsWithoutSessionAndSessionsThatNeverWere) {
  Tell(Outcome::kStored, "");
  Tell(Outcome::kStored, "never");
  Tell(Outcome::kRejected, "", "other");

  EXPECT_THAT(Found(), ElementsAre("UPLOAD_OUTCOME", "UPLOAD_ROW", "SESSION_UNKNOWN"));
}

TEST_F(OutcomeCheckTest, KnowsNothingOfSessionsWhoseEventsAreNoLongerKept) {
  Tell(Outcome::kStored, "long ago");
  PutRemoved(7, "archived", 0);

  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(OutcomeCheckTest, WhatForgottenUploadsWereToldCounts) {
  PutRemoved(1, "s", 3);
  Tell(Outcome::kStored, "s");
  Put(Table::kMeta, keys::ForgottenTally("s"), Session("s", 2, 0).SerializeAsString());
  // Of a session whose event is not kept any more.
  Put(Table::kMeta, keys::ForgottenTally("long ago"), Session("long ago", 7, 0).SerializeAsString());
  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_EQ(report_.retold_outcome_count, 0);

  Put(Table::kMeta, keys::ForgottenTally("s"), Session("s", 3, 0).SerializeAsString());
  EXPECT_THAT(Found(), ElementsAre("SESSION_OUTCOMES"));
}

}  // namespace
}  // namespace narthex::verify
