// Uploads are forgotten when nothing of them waits any more, and not before; what was told still adds up.

#include "server/ingest/upload_retention.h"

#include <map>

#include "server/ingest/ingest_fixture.h"
#include "server/prearchive/keys.h"

namespace narthex::ingest {
namespace {

using prearchive::Outcome;
using prearchive::UploadRow;

class UploadRetentionTest : public IngestTest {
 protected:
  // Sends three objects (one of them twice) and gives their session's id.
  std::string Send(const UploadRow& upload, const phantom::Study& study) {
    auto stream = NewStream(upload, /*resumed=*/true);
    for (const int sequence : {0, 1, 2})
      EXPECT_TRUE(SendWhole(*stream, sequence, study.Instance(0, sequence)).ok());
    EXPECT_TRUE(SendWhole(*stream, 3, study.Instance(0, 0)).ok());
    EXPECT_TRUE(stream->Finish().ok());
    return uploads_.Progress(upload.id())->sessions.at(0);
  }

  void Archive(const std::string& id) { EXPECT_TRUE(prearchive_->Remove(id, "X_E00001").ok()); }

  ForgottenUploads Forget() {
    const auto forgotten = UploadRetention(index_).Forget(clock_.Now() - absl::Hours(24 * 90));
    EXPECT_TRUE(forgotten.ok()) << forgotten.status();
    return forgotten.ok() ? *forgotten : ForgottenUploads();
  }

  // What uploads that are known were told of the session, and what is kept of the others.
  std::map<int32_t, uint64_t> Told(const std::string& session) {
    std::map<int32_t, uint64_t> told;
    EXPECT_TRUE(index_
                    .Scan(staging::Table::kUploadObjects, "", "",
                          [&](absl::string_view, absl::string_view value) {
                            prearchive::OutcomeRow row;
                            row.ParseFromArray(value.data(), static_cast<int>(value.size()));
                            if (row.session() == session) ++told[row.outcome()];
                            return true;
                          })
                    .ok());
    const auto tally = index_.Get(staging::Table::kMeta, prearchive::keys::ForgottenTally(session));
    prearchive::SessionRow row;
    if (tally.ok() && tally->has_value()) EXPECT_TRUE(row.ParseFromString(**tally));
    for (const auto& [outcome, count] : row.outcome_counts()) told[outcome] += count;
    return told;
  }

  size_t Tallies() {
    size_t count = 0;
    const std::string prefix = prearchive::keys::ForgottenTally("");
    EXPECT_TRUE(index_
                    .Scan(staging::Table::kMeta, prefix, prearchive::keys::EndOf(prefix),
                          [&](absl::string_view, absl::string_view) {
                            ++count;
                            return true;
                          })
                    .ok());
    return count;
  }
};

TEST_F(UploadRetentionTest, WhatWaitsOrIsNotLongAgoStays) {
  const UploadRow upload = NewUpload();
  const std::string session = Send(upload, Study(3));
  clock_.Advance(absl::Hours(24 * 91));
  EXPECT_EQ(Forget().upload_count, 0);  // its session waits
  Archive(session);
  EXPECT_TRUE(uploads_.Get(upload.id()).ok());
  const UploadRow recent = NewUpload();

  const ForgottenUploads forgotten = Forget();

  EXPECT_EQ(forgotten.upload_count, 1);
  EXPECT_EQ(forgotten.object_count, 4);
  EXPECT_TRUE(absl::IsNotFound(uploads_.Get(upload.id()).status()));
  EXPECT_EQ(uploads_.Progress(upload.id())->settled_count, 0u);
  EXPECT_TRUE(uploads_.Get(recent.id()).ok());
  EXPECT_EQ(Forget().upload_count, 0);
}

TEST_F(UploadRetentionTest, ALateObjectKeepsAnOldUpload) {
  const UploadRow upload = NewUpload();
  Archive(Send(upload, Study(3)));
  clock_.Advance(absl::Hours(24 * 80));
  auto stream = NewStream(upload, /*resumed=*/true);
  ASSERT_TRUE(SendWhole(*stream, 4, Study(4).Instance(0, 3)).ok());
  ASSERT_TRUE(stream->Finish().ok());
  const UploadProgress progress = *uploads_.Progress(upload.id());
  for (const std::string& session : progress.sessions) prearchive_->Remove(session, "").IgnoreError();
  clock_.Advance(absl::Hours(24 * 20));

  EXPECT_EQ(Forget().upload_count, 0);
  clock_.Advance(absl::Hours(24 * 80));
  EXPECT_EQ(Forget().upload_count, 1);
}

TEST_F(UploadRetentionTest, WhatSessionsCountStillAddsUp) {
  const UploadRow first = NewUpload();
  const std::string session = Send(first, Study(3));
  clock_.Advance(absl::Hours(24 * 50));
  const UploadRow second = NewUpload();
  EXPECT_EQ(Send(second, Study(3)), session);
  const std::map<int32_t, uint64_t> all = Told(session);
  EXPECT_EQ(all, (std::map<int32_t, uint64_t>{{static_cast<int>(Outcome::kStored), 3},
                                              {static_cast<int>(Outcome::kDuplicate), 5}}));
  Archive(session);

  clock_.Advance(absl::Hours(24 * 50));
  EXPECT_EQ(Forget().upload_count, 1);
  EXPECT_EQ(Told(session), all);
  clock_.Advance(absl::Hours(24 * 50));
  EXPECT_EQ(Forget().upload_count, 1);

  EXPECT_EQ(Told(session), all);
  EXPECT_EQ(Tallies(), 1u);
}

TEST_F(UploadRetentionTest, CountsGoWithTheEventOfTheirSession) {
  const UploadRow upload = NewUpload();
  Archive(Send(upload, Study(3)));
  clock_.Advance(absl::Hours(24 * 91));
  Forget();
  ASSERT_EQ(Tallies(), 1u);
  staging::IndexBatch batch;
  batch.DeleteRange(staging::Table::kEvents, prearchive::keys::Number(0),
                    prearchive::keys::Number(1'000'000));
  ASSERT_TRUE(index_.Write(batch, staging::Durability::kPowerLoss).ok());

  Forget();

  EXPECT_EQ(Tallies(), 0u);
}

TEST_F(UploadRetentionTest, TheRequestThatMadeItMakesAnotherOne) {
  UploadRow row;
  row.set_user("ann");
  const auto first = uploads_.Create(row, "r1");
  ASSERT_TRUE(first.ok());
  clock_.Advance(absl::Hours(24 * 91));
  EXPECT_EQ(Forget().upload_count, 1);

  const auto again = uploads_.Create(row, "r1");

  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(again->id(), first->id());
}

}  // namespace
}  // namespace narthex::ingest
