// What the prearchive keeps is clean, also after a crash; then one thing is broken.

#include "server/verify/index_check.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/digest.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"
#include "storage/fs/memory.h"

namespace narthex::verify {
namespace {

namespace keys = prearchive::keys;
using staging::Table;
using testing::ElementsAre;
using testing::IsEmpty;

class IndexCheckTest : public testing::Test {
 protected:
  IndexCheckTest() {
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = 0;
    store_ = *staging::StagingStore::Open(options, *files_);
    prearchive_ = *prearchive::Prearchive::Open({}, *store_, *index_, clock_);
    for (const std::string uid : {"1.1", "1.2", "1.2"}) session_ = Receive(uid);
  }

  // Returns the id of the session that took the object.
  std::string Receive(const std::string& uid, bool commit = true) {
    prearchive::ArrivingObject object;
    object.key.set_project("P1");
    object.key.set_study_instance_uid("1");
    object.key.set_label("A");
    object.sop_instance_uid = uid;
    object.upload = "u";
    object.sequence = next_sequence_++;
    prearchive::Arrived arrived;
    arrived.reception = *prearchive_->Begin(object);
    const std::string bytes = "pixels of " + uid;
    const bool store =
        arrived.reception->Decide(Xxh3(bytes), Xxh3(bytes)) == prearchive::Reception::Verdict::kStore;
    if (store) {
      prearchive::ObjectRow row;
      row.set_received_xxh3(Xxh3(bytes));
      row.set_stored_xxh3(Xxh3(bytes));
      row.set_size_bytes(bytes.size());
      EXPECT_TRUE(arrived.reception->Append(bytes).ok());
      EXPECT_TRUE(arrived.reception->Finish(row).ok());
    }
    arrived.outcome.set_outcome(
        static_cast<int>(store ? prearchive::Outcome::kStored : prearchive::Outcome::kDuplicate));
    arrived.outcome.set_sop_instance_uid(uid);
    const std::string session = arrived.reception->session_id();
    std::vector<prearchive::Arrived> batch;
    batch.push_back(std::move(arrived));
    if (commit) {
      EXPECT_TRUE(prearchive_->Commit(std::move(batch)).ok());
    }
    return session;
  }

  void Delete(Table table, const std::string& key) {
    staging::IndexBatch batch;
    batch.Delete(table, key);
    ASSERT_TRUE(index_->Write(batch, staging::Durability::kPowerLoss).ok());
  }

  Report Check() {
    Report report;
    const absl::Status status = CheckIndex(*index_, *store_, report);
    EXPECT_TRUE(status.ok()) << status;
    return report;
  }

  static std::vector<std::string> Kinds(const std::vector<Report::Finding>& findings) {
    std::vector<std::string> kinds;
    for (const Report::Finding& finding : findings) kinds.push_back(finding.kind);
    return kinds;
  }

  FakeClock clock_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  std::unique_ptr<staging::StagingStore> store_;
  std::unique_ptr<prearchive::Prearchive> prearchive_;
  int64_t next_sequence_ = 0;
  std::string session_;
};

TEST_F(IndexCheckTest, WhatThePrearchiveKeepsIsClean) {
  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_THAT(Kinds(report.unfinished), IsEmpty());
}

TEST_F(IndexCheckTest, ObjectsBehindTheIndexAreNoFinding) {
  Receive("1.3", /*commit=*/false);

  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_THAT(Kinds(report.unfinished), ElementsAre("OBJECT_UNINDEXED"));
}

TEST_F(IndexCheckTest, FindsBytesThatAreGone) {
  ASSERT_TRUE(store_->Remove(session_).ok());

  EXPECT_THAT(Kinds(Check().findings), testing::Contains("OBJECT_UNREADABLE"));
}

TEST_F(IndexCheckTest, FindsMissingRows) {
  Delete(Table::kInstances, keys::Instance(session_, "1.1"));
  EXPECT_THAT(Kinds(Check().findings), ElementsAre("INSTANCE_ROW"));

  Delete(Table::kOutcomes, keys::Object(session_, 1));
  EXPECT_THAT(Kinds(Check().findings), ElementsAre("INSTANCE_ROW", "OUTCOME_ROW", "SESSION_OUTCOMES"));
}

TEST_F(IndexCheckTest, FindsAMissingObject) {
  Delete(Table::kObjects, keys::Object(session_, 2));

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("SESSION_COUNT"));
}

TEST_F(IndexCheckTest, FindsRowsOfASessionThatIsNotThere) {
  Delete(Table::kSessions, session_);

  EXPECT_THAT(Kinds(Check().findings), ElementsAre("ORPHAN_ROW", "ORPHAN_ROW", "ORPHAN_ROW", "SESSION_KEY",
                                                   "ORPHAN_ROW", "ORPHAN_ROW"));
}

TEST_F(IndexCheckTest, ARemovedSessionLeavesNothing) {
  ASSERT_TRUE(prearchive_->Remove(session_, "").ok());

  const Report report = Check();

  EXPECT_THAT(Kinds(report.findings), IsEmpty());
  EXPECT_THAT(Kinds(report.unfinished), IsEmpty());
}

}  // namespace
}  // namespace narthex::verify
