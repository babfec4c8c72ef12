// Objects on their way to staging: whole and in chunks, broken in every way that the protocol knows, sent
// again, routed, and on a full disk.

#include "server/ingest/object_stream.h"

#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "server/ingest/ingest_fixture.h"

namespace narthex::ingest {
namespace {

using prearchive::ObjectRow;
using prearchive::Outcome;
using prearchive::OutcomeRow;
using prearchive::UploadRow;
using testing::SizeIs;

class ObjectStreamTest : public IngestTest {
 protected:
  ObjectRow RowOf(const OutcomeRow& outcome) {
    const auto row = prearchive_->FindObject(outcome.session(), outcome.sop_instance_uid());
    EXPECT_TRUE(row.ok()) << row.status();
    return row.ok() ? *row : ObjectRow();
  }

  // Everything of the outcome and the row that does not depend on the upload and the session.
  std::string Essence(const OutcomeRow& outcome) {
    const ObjectRow row = RowOf(outcome);
    return absl::StrCat(outcome.outcome(), "|", outcome.reason(), "|", outcome.sop_instance_uid(), "|",
                        outcome.series_instance_uid(), "|", outcome.digest(), "|", outcome.size_bytes(), "|",
                        row.facts(), "|", row.received_digest(), "|", row.received_xxh3(), "|",
                        row.data_set_xxh3(), "|", row.size_bytes(), "|", row.received_size_bytes());
  }

  void ExpectWholeAndChunkedAgree(const std::string& bytes, size_t chunk_size) {
    auto whole = NewStream(NewUpload("P1", "WHOLE"));
    ASSERT_TRUE(SendWhole(*whole, 0, bytes).ok());
    ASSERT_TRUE(whole->Finish().ok());
    ASSERT_EQ(Told(), "0:STORED");
    const OutcomeRow first = outcomes_[0];

    auto chunked = NewStream(NewUpload("P1", "CHUNKED"));
    ASSERT_TRUE(SendChunks(*chunked, 0, bytes, chunk_size).ok());
    ASSERT_TRUE(chunked->Finish().ok());
    ASSERT_EQ(Told(), "0:STORED");

    EXPECT_EQ(Essence(outcomes_[0]), Essence(first));
    EXPECT_EQ(BytesOf(first.session(), first.sop_instance_uid()), bytes);
    EXPECT_EQ(BytesOf(outcomes_[0].session(), first.sop_instance_uid()), bytes);
  }
};

TEST_F(ObjectStreamTest, WholeAndChunkedGiveTheSame) {
  const std::string bytes = Study(1).Instance(0, 0);
  ExpectWholeAndChunkedAgree(bytes, 1000);
}

TEST_F(ObjectStreamTest, OneChunkThatIsTheObjectGivesTheSame) {
  const std::string bytes = Study(1).Instance(0, 0);
  ExpectWholeAndChunkedAgree(bytes, bytes.size());
}

TEST_F(ObjectStreamTest, ALargeObjectGivesTheSameWholeAndStreamed) {
  const std::string bytes = LargeObject();
  ASSERT_GT(bytes.size(), limits::kChunkMaxBytes);
  ExpectWholeAndChunkedAgree(bytes, 700'000);
}

TEST_F(ObjectStreamTest, EveryObjectGetsOneOutcome) {
  const phantom::Study study = Study(200);
  auto stream = NewStream(NewUpload());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(SendWhole(*stream, i, study.Instance(0, i)).ok());
  ASSERT_TRUE(stream->Finish().ok());

  ASSERT_THAT(outcomes_, SizeIs(200));
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(outcomes_[i].sequence(), i);
    EXPECT_EQ(outcomes_[i].outcome(), static_cast<int>(Outcome::kStored));
    EXPECT_EQ(outcomes_[i].sop_instance_uid(), study.SopInstanceUid(0, i));
  }
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 200u);
}

TEST_F(ObjectStreamTest, Sha256UploadsAreCheckedBySha256) {
  const UploadRow upload = NewUpload("P1", "", DigestAlgorithm::kSha256);
  const std::string bytes = Study(1).Instance(0, 0);
  const std::string large = LargeObject();
  auto stream = NewStream(upload);
  ASSERT_TRUE(stream->Whole(0, bytes, Sha256(bytes), "").ok());
  ASSERT_TRUE(stream->Whole(1, bytes, Xxh3(bytes), "").ok());
  const std::string digest = Sha256(large);
  ASSERT_TRUE(SendChunks(*stream, 2, large, 1 << 20, [&](ObjectStream::Chunk& chunk) {
                if (chunk.last) chunk.digest = digest;
              }).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:REJECTED/DIGEST_MISMATCH 2:STORED");
  EXPECT_EQ(outcomes_[0].digest(), Sha256(bytes));
  EXPECT_EQ(RowOf(outcomes_[0]).received_xxh3(), Xxh3(bytes));
  EXPECT_EQ(RowOf(outcomes_[2]).received_digest(), digest);
  EXPECT_EQ(RowOf(outcomes_[2]).received_xxh3(), Xxh3(large));
}

TEST_F(ObjectStreamTest, OwnPiecesNeedNoDigests) {
  const UploadRow upload = NewUpload();
  const std::string bytes = Study(1, 400).Instance(0, 0);
  auto stream = NewStream(upload);
  ASSERT_TRUE(SendChunks(*stream, 0, bytes, 50'000, [&](ObjectStream::Chunk& chunk) {
                chunk.own = true;
                chunk.crc32c = 0;
                chunk.digest = "";
                chunk.size_bytes = 0;
              }).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED");
  EXPECT_EQ(outcomes_[0].digest(), Xxh3(bytes));
  EXPECT_EQ(RowOf(outcomes_[0]).stored_xxh3(), Xxh3(bytes));
}

// ---- the protocol -----------------------------------------------------------------------------------------

struct Breach {
  std::string name;
  // Sends what the protocol does not allow; object 0 was sent before.
  std::function<absl::Status(ObjectStream&, absl::string_view bytes)> send;
  std::string told;
};

class BreachTest : public ObjectStreamTest, public testing::WithParamInterface<Breach> {
 public:
  static ObjectStream::Chunk Piece(int64_t sequence, absl::string_view bytes, size_t offset, size_t size) {
    return ChunkOf(sequence, bytes, offset, size);
  }
  static absl::Status Both(ObjectStream& stream, const ObjectStream::Chunk& a, const ObjectStream::Chunk& b) {
    EXPECT_TRUE(stream.Add(a).ok());
    return stream.Add(b);
  }
};

TEST_P(BreachTest, EndsTheStreamAndEarlierObjectsAreAnswered) {
  const phantom::Study study = Study(2);
  const std::string next = study.Instance(0, 1);
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());

  EXPECT_EQ(ErrorReason(GetParam().send(*stream, next)), "UPLOAD_PROTOCOL");
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), GetParam().told);
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
}

using T = BreachTest;
INSTANTIATE_TEST_SUITE_P(
    Protocol, BreachTest,
    testing::Values(
        Breach{"Gap",
               [](ObjectStream& s, absl::string_view b) {
                 return T::Both(s, T::Piece(1, b, 0, 100), T::Piece(1, b, 200, 100));
               },
               "0:STORED 1:REJECTED/OBJECT_ABANDONED"},
        Breach{"TheSameChunkTwice",
               [](ObjectStream& s, absl::string_view b) {
                 return T::Both(s, T::Piece(1, b, 0, 100), T::Piece(1, b, 0, 100));
               },
               "0:STORED 1:REJECTED/OBJECT_ABANDONED"},
        Breach{"BeginsBehindItsBeginning",
               [](ObjectStream& s, absl::string_view b) { return s.Add(T::Piece(1, b, 100, 100)); },
               "0:STORED"},
        Breach{"OversizedChunk",
               [](ObjectStream& s, absl::string_view) {
                 static const std::string* big = new std::string(limits::kChunkMaxBytes + 1, 'x');
                 return s.Add(T::Piece(1, *big, 0, big->size()));
               },
               "0:STORED 1:REJECTED/OBJECT_ABANDONED"},
        Breach{"NegativeSequence",
               [](ObjectStream& s, absl::string_view b) { return s.Whole(-1, b, Xxh3(b), ""); }, "0:STORED"},
        Breach{"NegativeSequenceOfAChunk",
               [](ObjectStream& s, absl::string_view b) { return s.Add(T::Piece(-7, b, 0, 100)); },
               "0:STORED"},
        Breach{"NegativeOffset",
               [](ObjectStream& s, absl::string_view b) {
                 ObjectStream::Chunk chunk = T::Piece(1, b, 0, 100);
                 chunk.offset = -1;
                 return s.Add(chunk);
               },
               "0:STORED"},
        Breach{"TwoObjectsInTurns",
               [](ObjectStream& s, absl::string_view b) {
                 return T::Both(s, T::Piece(1, b, 0, 100), T::Piece(2, b, 0, 100));
               },
               "0:STORED 1:REJECTED/OBJECT_ABANDONED"},
        Breach{"AWholeObjectWithinAnother",
               [](ObjectStream& s, absl::string_view b) {
                 EXPECT_TRUE(s.Add(T::Piece(1, b, 0, 100)).ok());
                 return s.Whole(2, b, Xxh3(b), "");
               },
               "0:STORED 1:REJECTED/OBJECT_ABANDONED"}),
    [](const auto& info) { return info.param.name; });

// ---- broken bytes -----------------------------------------------------------------------------------------

TEST_F(ObjectStreamTest, WhatDoesNotMatchItsDigestIsRefusedAndTheNextObjectIsNot) {
  const phantom::Study study = Study(5);
  const std::string large = LargeObject();
  const std::string wrong = Xxh3("something else");
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(stream->Whole(0, study.Instance(0, 0), wrong, "").ok());
  ASSERT_TRUE(SendChunks(*stream, 1, study.Instance(0, 1), 1000, [&](auto& chunk) {
                if (chunk.last) chunk.digest = wrong;
              }).ok());
  ASSERT_TRUE(SendChunks(*stream, 2, study.Instance(0, 2), 1000, [&](auto& chunk) {
                if (chunk.last) ++chunk.size_bytes;
              }).ok());
  ASSERT_TRUE(SendChunks(*stream, 3, study.Instance(0, 3), 1000, [&](auto& chunk) {
                if (chunk.offset == 0) ++chunk.crc32c;
              }).ok());
  ASSERT_TRUE(SendChunks(*stream, 4, large, 1 << 20, [&](auto& chunk) {
                if (chunk.last) chunk.digest = wrong;
              }).ok());
  ASSERT_TRUE(SendChunks(*stream, 5, large, 1 << 20, [&](auto& chunk) {
                if (chunk.last) ++chunk.crc32c;
              }).ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(),
            "0:REJECTED/DIGEST_MISMATCH 1:REJECTED/DIGEST_MISMATCH 2:REJECTED/DIGEST_MISMATCH "
            "3:REJECTED/DIGEST_MISMATCH 4:REJECTED/DIGEST_MISMATCH 5:REJECTED/DIGEST_MISMATCH");
  ExpectNothingIsKept();

  stream = NewStream(NewUpload());
  ASSERT_TRUE(SendChunks(*stream, 0, study.Instance(0, 3), 1000, [&](auto& chunk) {
                if (chunk.offset == 0) ++chunk.crc32c;
              }).ok());
  ASSERT_TRUE(SendChunks(*stream, 1, study.Instance(0, 4), 1000).ok());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Told(), "0:REJECTED/DIGEST_MISMATCH 1:STORED");
}

TEST_F(ObjectStreamTest, AnObjectThatTheSenderGivesUpLeavesNothing) {
  const std::string small = Study(1).Instance(0, 0);
  const std::string large = LargeObject();
  auto stream = NewStream(NewUpload());
  for (const auto& [sequence, bytes] : {std::pair(0, &small), std::pair(1, &large)}) {
    ASSERT_TRUE(SendChunks(*stream, sequence, bytes->substr(0, bytes->size() - 10), 1 << 20, [](auto& chunk) {
                  chunk.last = false;
                }).ok());
    ObjectStream::Chunk end;
    end.sequence = sequence;
    end.offset = static_cast<int64_t>(bytes->size() - 10);
    end.abandon = true;
    ASSERT_TRUE(stream->Add(end).ok());
  }
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:REJECTED/OBJECT_ABANDONED 1:REJECTED/OBJECT_ABANDONED");
  ExpectNothingIsKept();
}

TEST_F(ObjectStreamTest, AStreamThatEndsWithinAnObjectLeavesNothingOfIt) {
  for (const std::string& bytes : {Study(1).Instance(0, 0), LargeObject()}) {
    auto stream = NewStream(NewUpload());
    ASSERT_TRUE(SendChunks(*stream, 0, bytes.substr(0, bytes.size() - 2), 1 << 20, [](auto& chunk) {
                  chunk.last = false;
                }).ok());
    ASSERT_TRUE(stream->Finish().ok());
    EXPECT_EQ(Told(), "0:REJECTED/OBJECT_ABANDONED");
    ExpectNothingIsKept();
  }
}

TEST_F(ObjectStreamTest, AStreamThatIsDestroyedWithinAnObjectLeavesNothingOfIt) {
  const std::string bytes = LargeObject();
  {
    auto stream = NewStream(NewUpload());
    ASSERT_TRUE(stream->Add(ChunkOf(0, bytes, 0, 1 << 20)).ok());
    ASSERT_TRUE(stream->Add(ChunkOf(0, bytes, 1 << 20, 1 << 20)).ok());
  }
  ExpectNothingIsKept();
}

// ---- the same again ---------------------------------------------------------------------------------------

TEST_F(ObjectStreamTest, CopiesOfALargeObjectAreNotStored) {
  const std::string bytes = LargeObject();
  std::string other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  std::string other_preamble = bytes;
  other_preamble[0] = 'x';
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(SendChunks(*stream, 0, bytes, 1 << 20).ok());
  ASSERT_TRUE(SendChunks(*stream, 1, bytes, 1 << 20).ok());
  ASSERT_TRUE(SendChunks(*stream, 2, other, 1 << 20).ok());
  ASSERT_TRUE(SendChunks(*stream, 3, other_preamble, 1 << 20).ok());
  ASSERT_TRUE(SendWhole(*stream, 4, bytes).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(),
            "0:STORED 1:DUPLICATE/SAME_BYTES 2:CONFLICT/SAME_INSTANCE 3:DUPLICATE/SAME_DATA_SET "
            "4:DUPLICATE/SAME_BYTES");
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
  EXPECT_EQ(Sessions()[0].size_bytes(), bytes.size());
  EXPECT_EQ(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()), bytes);

  Open();  // what a crash leaves is not more either
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
  EXPECT_EQ(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()), bytes);
}

TEST_F(ObjectStreamTest, CopiesOfASmallObjectAreNotStored) {
  const std::string bytes = Study(1).Instance(0, 0);
  std::string other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  std::string other_preamble = bytes;
  other_preamble[0] = 'x';
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(SendWhole(*stream, 0, bytes).ok());
  ASSERT_TRUE(SendWhole(*stream, 1, bytes).ok());
  ASSERT_TRUE(SendWhole(*stream, 2, other).ok());
  ASSERT_TRUE(SendWhole(*stream, 3, other_preamble).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:DUPLICATE/SAME_BYTES 2:CONFLICT/SAME_INSTANCE 3:DUPLICATE/SAME_DATA_SET");
  EXPECT_EQ(Sessions()[0].object_count(), 1u);
}

// ---- preambles --------------------------------------------------------------------------------------------

TEST_F(ObjectStreamTest, PreamblesAreClearedWhereThePolicySaysSo) {
  policies_ = std::make_unique<FixedPolicy>(limits::kObjectMaxBytes, /*clears_preambles=*/true);
  std::string small = Study(1).Instance(0, 0);
  std::string large = LargeObject();
  const std::string bare = Study(3).Instance(0, 1).substr(132);  // has none
  const std::string kept[] = {small, large, bare};
  for (std::string* bytes : {&small, &large}) bytes->replace(0, 2, "MZ");
  auto stream = NewStream(NewUpload());
  ASSERT_TRUE(SendWhole(*stream, 0, small).ok());
  ASSERT_TRUE(SendChunks(*stream, 1, large, 1 << 20).ok());
  ASSERT_TRUE(SendWhole(*stream, 2, bare).ok());
  ASSERT_TRUE(SendWhole(*stream, 3, small).ok());
  ASSERT_TRUE(SendChunks(*stream, 4, large, 1 << 20).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:STORED 2:STORED 3:DUPLICATE/SAME_BYTES 4:DUPLICATE/SAME_BYTES");
  const std::string received[] = {small, large, bare};
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(outcomes_[i].digest(), Xxh3(received[i]));  // what the sender compares
    EXPECT_EQ(BytesOf(outcomes_[i].session(), outcomes_[i].sop_instance_uid()), kept[i]);
    const auto row = RowOf(outcomes_[i]);
    EXPECT_EQ(row.stored_xxh3(), Xxh3(kept[i]));
    EXPECT_EQ(row.received_xxh3(), Xxh3(received[i]));
    EXPECT_FALSE(row.anonymized());
  }

  Open();  // as a crash leaves them
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(BytesOf(outcomes_[i].session(), outcomes_[i].sop_instance_uid()), kept[i]) << i;
}

TEST_F(ObjectStreamTest, AResumedUploadAnswersWhatIsSettledWithoutStoringItAgain) {
  const phantom::Study study = Study(3);
  const UploadRow upload = NewUpload();
  auto stream = NewStream(upload);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  ASSERT_TRUE(SendWhole(*stream, 1, "this is no image").ok());
  ASSERT_TRUE(stream->Whole(2, study.Instance(0, 2), Xxh3("wrong"), "").ok());
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_EQ(Told(), "0:STORED 1:REJECTED/NOT_DICOM 2:REJECTED/DIGEST_MISMATCH");
  std::vector<std::string> before;
  for (const OutcomeRow& outcome : outcomes_) before.push_back(outcome.SerializeAsString());

  clock_.Advance(absl::Seconds(10));
  stream = NewStream(upload, /*resumed=*/true);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());
  ASSERT_TRUE(SendChunks(*stream, 1, "this is no image", 3).ok());
  ASSERT_TRUE(SendWhole(*stream, 2, study.Instance(0, 2)).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:REJECTED/NOT_DICOM 2:STORED");
  EXPECT_EQ(outcomes_[0].SerializeAsString(), before[0]);
  EXPECT_EQ(outcomes_[1].SerializeAsString(), before[1]);
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 2u);
  EXPECT_EQ(Sessions()[0].outcome_counts().at(static_cast<int>(Outcome::kStored)), 2u);
  EXPECT_EQ(Sessions()[0].outcome_counts().count(static_cast<int>(Outcome::kDuplicate)), 0u);
}

TEST_F(ObjectStreamTest, AResumedUploadSkipsTheChunksOfASettledLargeObject) {
  const std::string large = LargeObject();
  const UploadRow upload = NewUpload();
  auto stream = NewStream(upload);
  ASSERT_TRUE(SendChunks(*stream, 0, large, 1 << 20).ok());
  ASSERT_TRUE(stream->Finish().ok());

  stream = NewStream(upload, /*resumed=*/true);
  ASSERT_TRUE(SendChunks(*stream, 0, large, 1 << 20).ok());
  ASSERT_TRUE(SendWhole(*stream, 1, Study(2).Instance(0, 1)).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:STORED");
}

// ---- what an object is ------------------------------------------------------------------------------------

}  // namespace
}  // namespace narthex::ingest
