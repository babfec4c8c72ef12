// Where objects go, and what is not kept: refusals, limits, destinations, full disks and failing indexes.

#include "absl/strings/str_cat.h"

#include "imaging/dicom/tag.h"
#include "imaging/phantom/element_writer.h"
#include "server/ingest/ingest_fixture.h"
#include "server/ingest/object_stream.h"

namespace narthex::ingest {
namespace {

using prearchive::Outcome;
using prearchive::OutcomeRow;
using prearchive::UploadRow;
using testing::SizeIs;

std::string PartTen(absl::string_view sop_class, absl::string_view sop_instance, absl::string_view study) {
  std::string bytes(128, '\0');
  bytes += "DICM";
  phantom::ElementWriter writer(&bytes);
  writer.Text(dicom::Tag(0x0002, 0x0010), "UI", "1.2.840.10008.1.2.1");
  if (!sop_class.empty()) writer.Text(dicom::Tag(0x0008, 0x0016), "UI", sop_class);
  if (!sop_instance.empty()) writer.Text(dicom::Tag(0x0008, 0x0018), "UI", sop_instance);
  if (!study.empty()) writer.Text(dicom::Tag(0x0020, 0x000D), "UI", study);
  writer.Text(dicom::Tag(0x0020, 0x000E), "UI", "1.2.3.4");
  writer.Us(dicom::Tag(0x0028, 0x0010), 1);
  return bytes;
}

class ObjectStreamRefusalTest : public IngestTest {};

TEST_F(ObjectStreamRefusalTest, EveryRefusalSaysWhy) {
  constexpr char kMr[] = "1.2.840.10008.5.1.4.1.1.4";
  const std::vector<std::pair<std::string, std::string>> objects = {
      {PartTen(kMr, "1.2.1", "1.2"), "STORED"},
      {PartTen(kMr, "1.2.2", ""), "REJECTED/MISSING_STUDY_INSTANCE_UID"},
      {PartTen(kMr, "", "1.2"), "REJECTED/MISSING_SOP_INSTANCE_UID"},
      {PartTen("", "1.2.3", "1.2"), "REJECTED/MISSING_SOP_CLASS_UID"},
      {PartTen(kMr, "../../etc", "1.2"), "REJECTED/INVALID_UID"},
      {PartTen("1.2.840.10008.1.3.10", "1.2.4", "1.2"), "REJECTED/DICOMDIR"},
      {"a text, and no image at all; but long enough to be one, so that it is looked at to its end",
       "REJECTED/NOT_DICOM"},
      {"", "REJECTED/NOT_DICOM"},
      {PartTen(kMr, "1.2.5", "1.2").substr(0, 190), "REJECTED/DICOM_TRUNCATED|TRUNCATED_HEADER"},
  };
  for (size_t i = 0; i < objects.size(); ++i) {
    const OutcomeRow outcome = SendOne(NewUpload(), 0, objects[i].first);
    const std::string told = Told().substr(2);
    EXPECT_TRUE(absl::StrContains(objects[i].second, told.substr(told.find('/') + 1)))
        << i << ": " << told << ", expected " << objects[i].second;
    EXPECT_EQ(outcome.digest(), Xxh3(objects[i].first)) << i;
    EXPECT_EQ(outcome.size_bytes(), objects[i].first.size()) << i;
  }
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
}

TEST_F(ObjectStreamRefusalTest, AnObjectBeyondTheLimitIsRefusedAsSoonAsThatIsKnown) {
  policies_ = std::make_unique<FixedPolicy>(5000);
  const std::string bytes = Study(1, 128).Instance(0, 0);
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(SendChunks(*stream, 0, bytes, 1000).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:REJECTED/OBJECT_TOO_LARGE");
  EXPECT_EQ(outcomes_[0].size_bytes(), 6000u);
  ExpectNothingIsKept();
}

// ---- where it goes ----------------------------------------------------------------------------------------

TEST_F(ObjectStreamRefusalTest, AnExplicitDestinationGoesBeforeTheHeader) {
  UploadRow upload = NewUpload("P1", "S1_MR1");
  upload.mutable_destination()->set_subject("S1");
  upload.mutable_destination()->set_auto_archive(2);
  SendOne(upload, 0, Study(1, 16, "P2").Instance(0, 0));

  ASSERT_THAT(Sessions(), SizeIs(1));
  const prearchive::SessionKeyRow key = Sessions()[0].key();
  EXPECT_EQ(key.project(), "P1");
  EXPECT_EQ(key.subject(), "S1");
  EXPECT_EQ(key.label(), "S1_MR1");
  EXPECT_EQ(key.auto_archive(), 2);
  EXPECT_EQ(key.source(), "grpc");
  EXPECT_EQ(key.study_instance_uid(), Study(1).study_instance_uid());
}

TEST_F(ObjectStreamRefusalTest, TheHeaderNamesTheProjectIfTheUploadDoesNot) {
  SendOne(NewUpload(""), 0, Study(1, 16, "P2").Instance(0, 0));

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].key().project(), "P2");
}

TEST_F(ObjectStreamRefusalTest, WhatNamesNoProjectOfTheSenderIsUnassigned) {
  SendOne(NewUpload(""), 0, Study(1, 16, "FOREIGN").Instance(0, 0));

  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].key().project(), "");
  EXPECT_FALSE(Sessions()[0].key().subject().empty());
}

TEST_F(ObjectStreamRefusalTest, AnExplicitProjectThatDoesNotExistIsAnErrorOfTheObject) {
  SendOne(NewUpload("NONE"), 0, Study(1, 16, "P2").Instance(0, 0));

  EXPECT_EQ(Told(), "0:REJECTED/PROJECT_NOT_FOUND");
  ExpectNothingIsKept();
}

// ---- when storage fails -----------------------------------------------------------------------------------

TEST_F(ObjectStreamRefusalTest, BelowTheWatermarkObjectsAreRefusedAndSentAgainLater) {
  const UploadRow upload = NewUpload();
  Open(/*free_space_min_bytes=*/64 << 20);
  files_->SetCapacity(1 << 20);
  const std::string bytes = Study(1).Instance(0, 0);
  const std::string large = LargeObject();
  auto stream = NewStream(upload);
  ASSERT_TRUE(SendWhole(*stream, 0, bytes).ok());
  ASSERT_TRUE(SendChunks(*stream, 1, large, 1 << 20).ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(), "0:REJECTED/DISK_FULL 1:REJECTED/DISK_FULL");
  EXPECT_TRUE(Sessions().empty());

  files_->SetCapacity(uint64_t{1} << 40);
  stream = NewStream(upload, /*resumed=*/true);
  ASSERT_TRUE(SendWhole(*stream, 0, bytes).ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(), "0:STORED");
}

TEST_F(ObjectStreamRefusalTest, ADiskThatFillsUpAcknowledgesNothingThatIsNotOnIt) {
  const phantom::Study study = Study(40, 128);
  const UploadRow upload = NewUpload();
  files_->SetCapacity(400 << 10);
  auto stream = NewStream(upload);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(SendWhole(*stream, i, study.Instance(0, i)).ok());
  const absl::Status finished = stream->Finish();

  // Whoever was told STORED is there after a power loss, whoever was not may send it again.
  std::vector<OutcomeRow> told = outcomes_;
  files_->SetCapacity(uint64_t{1} << 40);
  files_->LosePower();
  index_.LosePower();
  Open();
  int refused = 0;
  for (const OutcomeRow& outcome : told) {
    if (outcome.outcome() == static_cast<int>(Outcome::kStored)) {
      EXPECT_EQ(BytesOf(outcome.session(), outcome.sop_instance_uid()),
                study.Instance(0, static_cast<int>(outcome.sequence())));
    } else {
      ++refused;
      EXPECT_FALSE(Uploads::IsSettled(outcome)) << outcome.reason();
    }
  }
  EXPECT_TRUE(refused > 0 || !finished.ok());
  stream = NewStream(upload, /*resumed=*/true);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(SendWhole(*stream, i, study.Instance(0, i)).ok());
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 40u);
}

TEST_F(ObjectStreamRefusalTest, AnIndexThatFailsAcknowledgesNothing) {
  const phantom::Study study = Study(2);
  const UploadRow upload = NewUpload();
  auto stream = NewStream(upload);
  index_.FailWrites(true);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  const bool taken = SendWhole(*stream, 1, "no image").ok();  // the failure may be known already
  EXPECT_EQ(ErrorReason(stream->Finish()), "INDEX_ERROR");
  EXPECT_EQ(Told(), absl::StrCat("0:REJECTED/INDEX_ERROR", taken ? " 1:REJECTED/INDEX_ERROR" : ""));
  EXPECT_FALSE(outcomes_[0].detail().empty());

  index_.FailWrites(false);
  ExpectNothingIsKept();
  stream = NewStream(upload, /*resumed=*/true);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  ASSERT_TRUE(SendWhole(*stream, 1, "no image").ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(), "0:STORED 1:REJECTED/NOT_DICOM");
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
}

TEST_F(ObjectStreamRefusalTest, CommittingAtOnceTellsTheOutcomeOrTheErrorWithinTheCall) {
  const phantom::Study study = Study(3);
  auto stream = NewStream(NewUpload(), /*resumed=*/false, ObjectStream::Acks::kAtOnce);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  EXPECT_EQ(Told(), "0:STORED");
  ASSERT_TRUE(SendChunks(*stream, 1, study.Instance(0, 1), 1000).ok());
  ASSERT_TRUE(SendWhole(*stream, 2, "no image").ok());
  EXPECT_EQ(Told(), "0:STORED 1:STORED 2:REJECTED/NOT_DICOM");

  index_.FailWrites(true);
  EXPECT_EQ(ErrorReason(SendWhole(*stream, 3, study.Instance(0, 2))), "INDEX_ERROR");
  index_.FailWrites(false);
  EXPECT_EQ(ErrorReason(stream->Finish()), "INDEX_ERROR");

  EXPECT_EQ(Told(), "0:STORED 1:STORED 2:REJECTED/NOT_DICOM");
  EXPECT_EQ(Sessions()[0].object_count(), 2u);
}

TEST_F(ObjectStreamRefusalTest, AfterAnErrorOfTheStreamTheSenderIsToldAndNothingIsAcknowledged) {
  const phantom::Study study = Study(50);
  auto stream = NewStream(NewUpload());
  index_.FailWrites(true);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  // The stream's own thread finds it out; from then on nothing more is taken.
  size_t taken = 1;
  absl::Status sent;
  for (int i = 0; i < 10'000; ++i) {
    sent = SendWhole(*stream, 1 + i % 49, study.Instance(0, 1 + i % 49));
    if (!sent.ok()) break;
    ++taken;
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(ErrorReason(sent), "INDEX_ERROR");
  index_.FailWrites(false);
  EXPECT_EQ(ErrorReason(SendChunks(*stream, 60, study.Instance(0, 1), 1000)), "INDEX_ERROR");
  EXPECT_EQ(ErrorReason(stream->Finish()), "INDEX_ERROR");
  // Each that was taken before that is told, too.
  EXPECT_EQ(outcomes_.size(), taken);
  for (const OutcomeRow& outcome : outcomes_) EXPECT_EQ(outcome.reason(), "INDEX_ERROR");
  ExpectNothingIsKept();
}

}  // namespace
}  // namespace narthex::ingest
