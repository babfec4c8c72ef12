// Uploads: made once for each request, told how far they are, and complete only when they are.

#include "server/ingest/uploads.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "server/ingest/ingest_fixture.h"

namespace narthex::ingest {
namespace {

using prearchive::Outcome;
using prearchive::OutcomeRow;
using prearchive::UploadRow;
using testing::ElementsAre;
using testing::Pair;
using testing::SizeIs;

class UploadsTest : public IngestTest {
 protected:
  UploadsTest() : upload_(NewUpload()) {}

  void Send(const std::vector<int>& sequences) {
    auto stream = NewStream(upload_, /*resumed=*/true);
    for (int sequence : sequences) {
      ASSERT_TRUE(SendWhole(*stream, sequence, study_.Instance(0, sequence)).ok());
    }
    ASSERT_TRUE(stream->Finish().ok());
  }
  void SendBroken(int sequence) {
    auto stream = NewStream(upload_, /*resumed=*/true);
    ASSERT_TRUE(stream->Whole(sequence, study_.Instance(0, sequence), Xxh3("wrong"), "").ok());
    ASSERT_TRUE(stream->Finish().ok());
  }

  const phantom::Study study_ = Study(10);
  const UploadRow upload_;
};

UploadRow Of(const std::string& user) {
  UploadRow row;
  row.set_user(user);
  return row;
}

TEST_F(UploadsTest, ARepeatedRequestIdGivesTheFirstUpload) {
  const auto first = uploads_.Create(Of("ann"), "r1");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->state(), static_cast<int>(UploadState::kOpen));
  EXPECT_EQ(first->digest_algorithm(), static_cast<int>(DigestAlgorithm::kXxh3));
  EXPECT_EQ(first->create_time_us(), absl::ToUnixMicros(clock_.Now()));

  EXPECT_EQ(uploads_.Create(Of("ann"), "r1")->id(), first->id());
  EXPECT_NE(uploads_.Create(Of("ann"), "r2")->id(), first->id());
  EXPECT_NE(uploads_.Create(Of("bob"), "r1")->id(), first->id());
  EXPECT_NE(uploads_.Create(Of("ann"), "")->id(), uploads_.Create(Of("ann"), "")->id());
}

TEST_F(UploadsTest, AnUploadSurvivesALossOfPower) {
  index_.LosePower();
  EXPECT_TRUE(uploads_.Get(upload_.id()).ok());
}

TEST_F(UploadsTest, AnUnknownUploadIsSaidToBeOne) {
  EXPECT_EQ(ErrorReason(uploads_.Get("none").status()), "UPLOAD_NOT_FOUND");
  EXPECT_EQ(ErrorReason(uploads_.Commit("none", 0, {}).status()), "UPLOAD_NOT_FOUND");
  EXPECT_EQ(ErrorReason(uploads_.ListOutcomes("none", -1, 10).status()), "UPLOAD_NOT_FOUND");
}

TEST_F(UploadsTest, ProgressNamesWhatIsDurableInRuns) {
  EXPECT_THAT(uploads_.Progress(upload_.id())->durable, SizeIs(0));
  Send({0, 1, 2, 5, 7, 8});
  SendBroken(3);

  const auto progress = uploads_.Progress(upload_.id());

  ASSERT_TRUE(progress.ok());
  EXPECT_THAT(progress->durable, ElementsAre(Pair(0, 2), Pair(5, 5), Pair(7, 8)));
  EXPECT_EQ(progress->settled_count, 6u);
  EXPECT_THAT(progress->sessions, ElementsAre(Sessions()[0].id()));
  EXPECT_THAT(progress->outcome_counts, ElementsAre(Pair(static_cast<int>(Outcome::kStored), 6),
                                                    Pair(static_cast<int>(Outcome::kRejected), 1)));
}

TEST_F(UploadsTest, ProgressOfOneUploadIsNotThatOfAnother) {
  Send({0, 1});
  EXPECT_EQ(uploads_.Progress(NewUpload().id())->settled_count, 0u);
}

TEST_F(UploadsTest, OutcomesAreListedInPages) {
  Send({0, 1, 2, 3, 4});

  const auto first = uploads_.ListOutcomes(upload_.id(), -1, 3);
  ASSERT_TRUE(first.ok());
  ASSERT_THAT(*first, SizeIs(3));
  EXPECT_EQ(first->back().sequence(), 2);
  const auto second = uploads_.ListOutcomes(upload_.id(), 2, 3);
  ASSERT_TRUE(second.ok());
  ASSERT_THAT(*second, SizeIs(2));
  EXPECT_EQ(second->front().sequence(), 3);
  EXPECT_THAT(*uploads_.ListOutcomes(upload_.id(), 4, 3), SizeIs(0));
}

TEST_F(UploadsTest, ACommitNamesTheSequencesThatAreMissing) {
  Send({0, 1, 3, 6});

  const absl::Status refused = uploads_.Commit(upload_.id(), 10, {}).status();

  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(refused), "UPLOAD_INCOMPLETE");
  EXPECT_EQ(ErrorMetadataOf(refused).at("missing"), "2-2,4-5,7-9");
  EXPECT_EQ(ErrorMetadataOf(refused).at("missing_count"), "6");
  EXPECT_EQ(uploads_.Get(upload_.id())->state(), static_cast<int>(UploadState::kOpen));

  Send({2, 4, 5, 7, 8, 9});
  ASSERT_TRUE(uploads_.Commit(upload_.id(), 10, {}).ok());
  EXPECT_EQ(uploads_.Get(upload_.id())->state(), static_cast<int>(UploadState::kCommitted));
  EXPECT_TRUE(uploads_.Commit(upload_.id(), 10, {}).ok()) << "it may be repeated";
}

TEST_F(UploadsTest, ACommitDoesNotCountWhatMustBeSentAgain) {
  Send({0});
  SendBroken(1);

  const absl::Status refused = uploads_.Commit(upload_.id(), 2, {}).status();

  EXPECT_EQ(ErrorReason(refused), "UPLOAD_INCOMPLETE");
  EXPECT_EQ(ErrorMetadataOf(refused).at("missing"), "1-1");
}

TEST_F(UploadsTest, ACommitNamesTheDigestsThatAreMissing) {
  Send({0, 1});
  SendBroken(2);
  const std::string there = Xxh3(study_.Instance(0, 0));
  const std::string broken = Xxh3(study_.Instance(0, 2));

  const absl::Status refused = uploads_.Commit(upload_.id(), 0, {there, broken}).status();

  EXPECT_EQ(ErrorReason(refused), "UPLOAD_INCOMPLETE");
  EXPECT_EQ(ErrorMetadataOf(refused).at("missing"), absl::BytesToHexString(broken));
  Send({2});
  EXPECT_TRUE(uploads_.Commit(upload_.id(), 3, {there, broken}).ok());
}

TEST_F(UploadsTest, ACommitNamesAHundredOfTheMissingDigestsAndCountsAll) {
  std::vector<std::string> manifest;
  for (int i = 0; i < 250; ++i) manifest.push_back(Xxh3(absl::StrCat(i)));

  const absl::Status refused = uploads_.Commit(upload_.id(), 0, manifest).status();

  EXPECT_EQ(ErrorMetadataOf(refused).at("missing_count"), "250");
  EXPECT_EQ(ErrorMetadataOf(refused).at("missing").size(), 100u * 33 - 1);
}

TEST_F(UploadsTest, AnUploadOfNothingCanBeCommitted) {
  EXPECT_TRUE(uploads_.Commit(upload_.id(), 0, {}).ok());
}

TEST_F(UploadsTest, OnlyPassingReasonsAreNotFinal) {
  OutcomeRow outcome;
  outcome.set_outcome(static_cast<int>(Outcome::kRejected));
  for (const char* reason :
       {"DIGEST_MISMATCH", "DISK_FULL", "OBJECT_ABANDONED", "SESSION_BUSY", "SEGMENT_FAILED", "STORAGE_ERROR",
        "DATABASE_UNAVAILABLE", "OVERLOADED",
        // As rows hold them; on the wire they are SESSION_BUSY, STORAGE_ERROR, OVERLOADED.
        "SESSION_REMOVED", "IO_ERROR", "TOO_MANY_FILES"}) {
    outcome.set_reason(reason);
    EXPECT_FALSE(Uploads::IsSettled(outcome)) << reason;
  }
  for (const char* reason : {"NOT_DICOM", "INVALID_UID", "PROJECT_NOT_FOUND", "OBJECT_TOO_LARGE"}) {
    outcome.set_reason(reason);
    EXPECT_TRUE(Uploads::IsSettled(outcome)) << reason;
  }
  outcome.set_outcome(static_cast<int>(Outcome::kDuplicate));
  outcome.set_reason("DISK_FULL");
  EXPECT_TRUE(Uploads::IsSettled(outcome));
}

}  // namespace
}  // namespace narthex::ingest
