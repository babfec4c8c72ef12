// The prearchive over real segments on a file system in memory and an index in memory. For the tests of this
// folder.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/digest.h"
#include "server/prearchive/prearchive.h"
#include "storage/fs/memory.h"

namespace narthex::prearchive {

class PrearchiveTest : public testing::Test {
 protected:
  PrearchiveTest() { Open(); }

  void Open() {
    prearchive_.reset();
    store_.reset();
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = 0;
    auto store = staging::StagingStore::Open(options, *files_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto prearchive = Prearchive::Open({.idle_build = absl::Seconds(60)}, *store_, *index_, clock_);
    ASSERT_TRUE(prearchive.ok()) << prearchive.status();
    prearchive_ = *std::move(prearchive);
  }

  static SessionKeyRow Key(const std::string& label = "S1_MR1") {
    SessionKeyRow key;
    key.set_project("P1");
    key.set_study_instance_uid("1.2.3");
    key.set_label(label);
    key.set_subject("S1");
    return key;
  }

  // Receives one object up to the point where only Commit is left.
  Arrived Receive(const std::string& uid, const std::string& bytes, const SessionKeyRow& key = Key()) {
    ArrivingObject object;
    object.key = key;
    object.sop_instance_uid = uid;
    object.series_instance_uid = uid.substr(0, uid.find('.'));
    object.duplicates = duplicates_;
    object.upload = "u1";
    object.sequence = next_sequence_++;
    auto reception = prearchive_->Begin(object);
    EXPECT_TRUE(reception.ok()) << reception.status();
    Arrived arrived;
    arrived.reception = *std::move(reception);
    arrived.outcome.set_upload("u1");
    arrived.outcome.set_sequence(object.sequence);
    arrived.outcome.set_sop_instance_uid(uid);
    arrived.outcome.set_series_instance_uid(object.series_instance_uid);
    const Reception::Verdict verdict = arrived.reception->Decide(Xxh3(bytes), Xxh3(bytes));
    switch (verdict) {
      case Reception::Verdict::kReplace:
      case Reception::Verdict::kContest:
      case Reception::Verdict::kStore: {
        EXPECT_TRUE(arrived.reception->Append(bytes).ok());
        ObjectRow row;
        row.set_received_xxh3(Xxh3(bytes));
        row.set_data_set_xxh3(Xxh3(bytes));
        row.set_size_bytes(bytes.size());
        EXPECT_TRUE(arrived.reception->Finish(row).ok());
        arrived.outcome.set_outcome(
            static_cast<int>(verdict == Reception::Verdict::kReplace   ? Outcome::kReplaced
                             : verdict == Reception::Verdict::kContest ? Outcome::kConflict
                                                                       : Outcome::kStored));
        break;
      }
      case Reception::Verdict::kDuplicate:
        arrived.outcome.set_outcome(static_cast<int>(Outcome::kDuplicate));
        break;
      case Reception::Verdict::kSameDataSet:
      case Reception::Verdict::kConflict:
        arrived.outcome.set_outcome(static_cast<int>(Outcome::kConflict));
        break;
    }
    return arrived;
  }

  OutcomeRow Commit(Arrived arrived) {
    std::vector<Arrived> batch;
    batch.push_back(std::move(arrived));
    auto outcomes = prearchive_->Commit(std::move(batch));
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    return outcomes.ok() ? outcomes->front() : OutcomeRow();
  }

  OutcomeRow Store(const std::string& uid, const std::string& bytes, const SessionKeyRow& key = Key()) {
    return Commit(Receive(uid, bytes, key));
  }

  std::vector<SessionRow> Sessions() {
    auto rows = prearchive_->List({});
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? *rows : std::vector<SessionRow>();
  }

  std::string BytesOf(const std::string& session, const std::string& uid) {
    const auto row = prearchive_->FindObject(session, uid);
    if (!row.ok()) return std::string(row.status().message());
    const auto log = prearchive_->OpenLog(session);
    if (!log.ok()) return std::string(log.status().message());
    std::string bytes;
    const absl::Status read = (*log)->Read(Prearchive::StoredObjectOf(*row), [&](absl::string_view piece) {
      bytes.append(piece.data(), piece.size());
      return absl::OkStatus();
    });
    EXPECT_TRUE(read.ok()) << read;
    return bytes;
  }

  // Invariant 2: outcomes, counts and rows say the same.
  void ExpectConsistent(const std::string& session) {
    const auto row = prearchive_->Get(session);
    ASSERT_TRUE(row.ok()) << row.status();
    const auto outcomes = prearchive_->ListOutcomes(session, 0, 100000);
    ASSERT_TRUE(outcomes.ok()) << outcomes.status();
    uint32_t total = 0;
    for (const auto& [outcome, count] : row->outcome_counts()) total += count;
    EXPECT_EQ(total, outcomes->size());
    uint32_t objects = 0;
    EXPECT_TRUE(prearchive_
                    ->ForEachObject(session,
                                    [&](const ObjectRow&) {
                                      ++objects;
                                      return absl::OkStatus();
                                    })
                    .ok());
    EXPECT_EQ(objects, row->object_count());
  }

  DuplicatePolicy duplicates_ = DuplicatePolicy::kKeep;
  FakeClock clock_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  std::unique_ptr<staging::StagingStore> store_;
  std::unique_ptr<Prearchive> prearchive_;
  int64_t next_sequence_ = 0;
};

}  // namespace narthex::prearchive
