// Objects on their way through the site's script: what is stored, what is known of it, and that nothing of
// the original stays.

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "server/ingest/ingest_fixture.h"
#include "storage/metadata/database.h"

namespace narthex::ingest {
namespace {

using prearchive::ObjectRow;
using prearchive::OutcomeRow;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr char kMapsUids[] =
    "version \"6.1\"\n"
    "(0010,0010) := subject\n"
    "(0010,0020) := session\n"
    "-(0010,0030)\n"
    "(0020,000D) := hashUID[(0020,000D)]\n"
    "(0020,000E) := hashUID[(0020,000E)]\n"
    "(0008,0018) := hashUID[(0008,0018)]\n";

class SiteScriptTest : public IngestTest {
 protected:
  SiteScriptTest() {
    auto plans = deidentify::Plans::Open(stores_->scripts(), {});
    EXPECT_TRUE(plans.ok()) << plans.status();
    plans_ = *std::move(plans);
  }

  void SetSite(const std::string& text, bool enabled = true) {
    metadata::Script script;
    script.text = text;
    script.enabled = enabled;
    const auto set = plans_->Set(script, {.user = "admin"});
    ASSERT_TRUE(set.ok()) << set.status();
  }
  std::unique_ptr<ObjectStream> NewStream(const prearchive::UploadRow& upload) {
    outcomes_.clear();
    return std::make_unique<ObjectStream>(
        StreamDependencies{*prearchive_, uploads_, *policies_, plans_.get()}, upload, projects_, false,
        [this](const std::vector<OutcomeRow>& outcomes) {
          outcomes_.insert(outcomes_.end(), outcomes.begin(), outcomes.end());
        });
  }
  void Send(const prearchive::UploadRow& upload, const std::string& bytes, size_t chunk_size = 0) {
    auto stream = NewStream(upload);
    const absl::Status sent =
        chunk_size == 0 ? SendWhole(*stream, 0, bytes) : SendChunks(*stream, 0, bytes, chunk_size);
    ASSERT_TRUE(sent.ok()) << sent;
    ASSERT_TRUE(stream->Finish().ok());
  }
  // All files of the staging folder and all rows of the index.
  std::string EverythingKept() {
    std::string all;
    for (int table = 0; table < staging::kTableCount; ++table) {
      EXPECT_TRUE(index_
                      .Scan(static_cast<staging::Table>(table), "", "",
                            [&](absl::string_view key, absl::string_view value) {
                              absl::StrAppend(&all, key, value);
                              return true;
                            })
                      .ok());
    }
    EXPECT_TRUE(
        fs::VisitTree(*files_, "/staging", [&](const std::string& path, fs::FileInfo::Type) -> absl::Status {
          const auto bytes = fs::ReadFile(*files_, fs::JoinPath("/staging", path), uint64_t{1} << 30);
          if (bytes.ok()) absl::StrAppend(&all, path, *bytes);
          return absl::OkStatus();
        }).ok());
    return all;
  }

  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  std::unique_ptr<deidentify::Plans> plans_;
};

TEST_F(SiteScriptTest, WhatTheScriptRemovesIsNowhere) {
  SetSite(kMapsUids);
  const std::string bytes = Study(1).Instance(0, 0);
  const auto raw = dicom::ScanWhole(bytes);
  ASSERT_TRUE(raw.ok());
  const std::string name(raw->Get(dicom::tags::kPatientName));
  const std::string birth(raw->Get(dicom::tags::kPatientBirthDate));
  ASSERT_FALSE(name.empty());
  ASSERT_FALSE(birth.empty());

  auto upload = NewUpload("P1", "S1_MR1");
  upload.mutable_destination()->set_subject("S1");
  Send(upload, bytes);

  ASSERT_EQ(Told(), "0:STORED");
  const std::string kept = EverythingKept();
  for (const std::string& gone :
       {name, birth, std::string(raw->study_instance_uid()), std::string(raw->series_instance_uid()),
        std::string(raw->sop_instance_uid())}) {
    EXPECT_THAT(kept, Not(HasSubstr(gone))) << gone;
  }
  const ObjectRow row = *prearchive_->FindObject(outcomes_[0].session(), outcomes_[0].sop_instance_uid());
  const auto facts = dicom::HeaderFacts::Decode(row.facts());
  EXPECT_EQ(facts->Get(dicom::tags::kPatientName), "S1");
  EXPECT_EQ(facts->Get(dicom::tags::kPatientID), "S1_MR1");
  EXPECT_TRUE(row.anonymized());
  EXPECT_THAT(row.applied(), SizeIs(1));
  const std::string stored = BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid());
  EXPECT_EQ(Xxh3(stored), row.stored_xxh3());
  EXPECT_EQ(stored.size(), row.size_bytes());
  EXPECT_EQ(Xxh3(bytes), row.received_xxh3());
  EXPECT_THAT(stored, HasSubstr("XNAT DicomEdit 6 Script"));
}

TEST_F(SiteScriptTest, LargeObjectsPassAsSmallOnes) {
  SetSite(kMapsUids);
  const std::string bytes = LargeObject();
  const std::string name(dicom::ScanWhole(bytes)->Get(dicom::tags::kPatientName));
  auto upload = NewUpload("P1", "WHOLE");
  upload.mutable_destination()->set_subject("S1");
  Send(upload, bytes);
  ASSERT_EQ(Told(), "0:STORED");
  const std::string whole = BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid());

  upload = NewUpload("P2", "WHOLE");
  upload.mutable_destination()->set_subject("S1");
  Send(upload, bytes, 700'000);

  ASSERT_EQ(Told(), "0:STORED");
  EXPECT_EQ(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()), whole);
  EXPECT_THAT(EverythingKept(), Not(HasSubstr(name)));
}

TEST_F(SiteScriptTest, ObjectsInPiecesConflictAsWholeOnes) {
  SetSite(kMapsUids);
  const auto upload = NewUpload();
  const std::string bytes = Study(1, 400).Instance(0, 0);
  ASSERT_GT(bytes.size(), size_t{256} << 10);
  std::string other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  Send(upload, bytes, 50'000);
  ASSERT_EQ(Told(), "0:STORED");

  Send(upload, other);
  const OutcomeRow whole = outcomes_.at(0);
  Send(upload, other, 50'000);
  const OutcomeRow pieces = outcomes_.at(0);
  Send(upload, bytes, 50'000);

  EXPECT_EQ(Told(), "0:DUPLICATE/SAME_BYTES");
  EXPECT_EQ(whole.reason(), "SAME_INSTANCE");
  EXPECT_THAT(whole.detail(), HasSubstr("pixel"));
  EXPECT_EQ(pieces.detail(), whole.detail());
}

TEST_F(SiteScriptTest, WhatStandsBehindThePixelsStaysBehindThem) {
  SetSite(kMapsUids);
  // (FFFC,FFFC) Data Set Trailing Padding, too short to be let through without a copy, and one that is not.
  for (const uint32_t padding : {100u, 20'000u}) {
    std::string trailer("\xfc\xff\xfc\xffOB\0\0", 8);
    for (int shift = 0; shift < 32; shift += 8) trailer.push_back(static_cast<char>(padding >> shift));
    trailer.append(padding, 'p');
    const std::string bytes = Study(1, 64).Instance(0, 0) + trailer;
    std::vector<std::string> stored;
    for (const size_t chunk_size : {0, 1000}) {
      auto upload = NewUpload(chunk_size == 0 ? "P1" : "P2", absl::StrCat("S", padding));
      upload.mutable_destination()->set_subject("S1");
      Send(upload, bytes, chunk_size);
      ASSERT_EQ(Told(), "0:STORED");
      stored.push_back(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()));
    }
    EXPECT_TRUE(absl::EndsWith(stored[0], bytes.substr(bytes.size() - trailer.size() - 64 * 64 * 2)));
    EXPECT_TRUE(stored[0] == stored[1]);
  }
}

TEST_F(SiteScriptTest, ResendsAreDuplicatesAndStudiesStayTogether) {
  SetSite("version \"6.1\"\n(0008,0018) := newUID[]\n(0020,000D) := newUID[]\n");
  const phantom::Study study = Study(3);
  auto upload = NewUpload("P1", "L");
  for (int round = 0; round < 2; ++round) {
    auto stream = NewStream(upload);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(SendWhole(*stream, i, study.Instance(0, i)).ok());
    ASSERT_TRUE(stream->Finish().ok());
    EXPECT_EQ(Told(), round == 0 ? "0:STORED 1:STORED 2:STORED"
                                 : "0:DUPLICATE/SAME_BYTES 1:DUPLICATE/SAME_BYTES 2:DUPLICATE/SAME_BYTES");
    Open();  // as after a restart
  }
  ASSERT_THAT(Sessions(), SizeIs(1));
  EXPECT_EQ(Sessions()[0].object_count(), 3u);
  EXPECT_THAT(EverythingKept(),
              Not(HasSubstr(std::string(dicom::ScanWhole(study.Instance(0, 0))->study_instance_uid()))));
}

TEST_F(SiteScriptTest, OtherBytesOfAnInstanceWhoseUidWasReplacedConflict) {
  SetSite(kMapsUids);
  const std::string first = Study(1).Instance(0, 0);
  std::string second = first;
  second.back() = static_cast<char>(second.back() ^ 1);
  auto upload = NewUpload("P1", "L");
  Send(upload, first);
  ASSERT_EQ(Told(), "0:STORED");

  Send(upload, second);

  EXPECT_EQ(Told(), "0:CONFLICT/SAME_INSTANCE");
}

TEST_F(SiteScriptTest, WhatTheScriptRefusesLeavesNothing) {
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {"version \"6.1\"\nreject[]\n", "REJECTED_BY_SCRIPT"},
           {"version \"6.1\"\n(0010,0010) := uppercase[(0018,9999)]\n", "ANONYMIZATION_FAILED"},
           {"version \"6.1\"\n-(0008,0018)\n", "ANONYMIZATION_FAILED"}}) {
    SetSite(text);
    const std::string small = Study(1).Instance(0, 0);
    Send(NewUpload("P1", "L"), small);
    EXPECT_EQ(Told(), absl::StrCat("0:REJECTED/", reason)) << text;
    Send(NewUpload("P1", "L"), LargeObject(), 700'000);
    EXPECT_EQ(Told(), absl::StrCat("0:REJECTED/", reason)) << text;
    ExpectNothingIsKept();
    EXPECT_THAT(EverythingKept(),
                Not(HasSubstr(std::string(dicom::ScanWhole(small)->Get(dicom::tags::kPatientName)))));
  }
}

TEST_F(SiteScriptTest, RectanglesAreBlankedOnTheWay) {
  SetSite("version \"6.6\"\nalterPixels[\"rectangle\", \"l=0, t=0, r=9, b=9\", \"solid\", \"v=77\"]\n");
  const std::string bytes = LargeObject();
  auto upload = NewUpload("P1", "L");

  Send(upload, bytes, 700'000);

  ASSERT_EQ(Told(), "0:STORED");
  const std::string stored = BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid());
  std::string blank;
  for (int i = 0; i < 10; ++i) blank += std::string("\x4d\0", 2);
  EXPECT_THAT(bytes, Not(HasSubstr(blank)));
  EXPECT_THAT(stored, HasSubstr(blank));
  EXPECT_THAT(stored, HasSubstr("113101"));
}

TEST_F(SiteScriptTest, AReceiverMayBeWithoutScript) {
  SetSite(kMapsUids);
  const std::string bytes = Study(1).Instance(0, 0);
  auto upload = NewUpload("P1", "L");
  upload.set_skip_anonymization(true);

  Send(upload, bytes);

  ASSERT_EQ(Told(), "0:STORED");
  EXPECT_EQ(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()), bytes);
}

TEST_F(SiteScriptTest, WhatWasDoneBySenderIsVerifiedAndNotDoneTwice) {
  SetSite(kMapsUids);
  const std::string bytes = Study(1).Instance(0, 0);
  auto upload = NewUpload("P1", "L");
  Send(upload, bytes);
  ASSERT_EQ(Told(), "0:STORED");
  const std::string done = BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid());
  upload = NewUpload("P2", "L");
  upload.set_locally_anonymized(true);

  Send(upload, bytes);
  EXPECT_EQ(Told(), "0:REJECTED/NOT_ANONYMIZED");
  Send(upload, done);
  ASSERT_EQ(Told(), "0:STORED");
  EXPECT_EQ(BytesOf(outcomes_[0].session(), outcomes_[0].sop_instance_uid()), done);

  // Another version is another script.
  SetSite(absl::StrCat(kMapsUids, "-(0008,0080)\n"));
  Send(upload, done);
  EXPECT_EQ(Told(), "0:REJECTED/NOT_ANONYMIZED");
}

}  // namespace
}  // namespace narthex::ingest
