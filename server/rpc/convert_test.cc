// Names of resources as clients write them, page sizes, and rows as messages.

#include "server/rpc/convert.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/limits.h"

namespace narthex::rpc {
namespace {

using testing::SizeIs;

TEST(IdOfTest, TakesTheIdOfTheCollection) {
  EXPECT_EQ(*IdOf("uploads/abc", "uploads", "name"), "abc");
  EXPECT_EQ(*IdOf(absl::StrCat("uploads/", std::string(128, 'x')), "uploads", "name"), std::string(128, 'x'));
}

TEST(IdOfTest, RefusesEverythingElse) {
  for (const std::string& name :
       {std::string(), std::string("uploads"), std::string("uploads/"), std::string("abc"),
        std::string("/uploads/abc"), std::string("Uploads/abc"), std::string("uploads/a/b"),
        std::string("uploads/abc/"), std::string("uploadsx/abc"),
        absl::StrCat("uploads/", std::string(129, 'x'))}) {
    const absl::Status refused = IdOf(name, "uploads", "the_field").status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(ErrorReason(refused), "INVALID_FIELD") << name;
    EXPECT_EQ(ErrorMetadataOf(refused).at("field"), "the_field") << name;
  }
}

TEST(SessionRefTest, TakesAccessionIdsAndLabels) {
  EXPECT_EQ(*SessionRef("sessions/NARTHEX_E00001", "name"), "NARTHEX_E00001");
  EXPECT_EQ(*SessionRef("projects/P1/sessions/S1_MR1", "name"), "P1/S1_MR1");
}

TEST(SessionRefTest, RefusesEverythingElse) {
  for (const std::string& name :
       {std::string(), std::string("sessions/"), std::string("projects/P1"), std::string("projects/"),
        std::string("projects/P1/sessions/"), std::string("projects//sessions/L"),
        std::string("projects/sessions/L"), std::string("projects/a/b/sessions/L"),
        std::string("projects/P1/sessions/a/b"), std::string("projects/P1/subjects/L"),
        absl::StrCat("projects/P1/sessions/", std::string(300, 'x'))}) {
    EXPECT_EQ(ErrorReason(SessionRef(name, "name").status()), "INVALID_FIELD") << name;
  }
}

TEST(PageSizeTest, ZeroIsTheDefaultAndMuchIsTheMaximum) {
  EXPECT_EQ(*PageSize(0), limits::kPageSizeDefault.get());
  EXPECT_EQ(*PageSize(1), 1);
  EXPECT_EQ(*PageSize(limits::kPageSizeMax.get()), limits::kPageSizeMax.get());
  EXPECT_EQ(*PageSize(limits::kPageSizeMax.get() + 1), limits::kPageSizeMax.get());
  EXPECT_EQ(*PageSize(std::numeric_limits<int32_t>::max()), limits::kPageSizeMax.get());
  EXPECT_EQ(ErrorReason(PageSize(-1).status()), "INVALID_FIELD");
  EXPECT_EQ(ErrorReason(PageSize(std::numeric_limits<int32_t>::min()).status()), "INVALID_FIELD");
}

TEST(SetTimeTest, KeepsNanoseconds) {
  google::protobuf::Timestamp time;
  SetTime(absl::FromUnixNanos(1'600'000'000'123'456'789), &time);
  EXPECT_EQ(time.seconds(), 1'600'000'000);
  EXPECT_EQ(time.nanos(), 123'456'789);
  SetTime(absl::FromUnixNanos(-1), &time);
  EXPECT_EQ(time.seconds(), -1);
  EXPECT_EQ(time.nanos(), 999'999'999) << "nanos count forward, also before 1970";
}

TEST(ToProtoTest, AnOutcome) {
  prearchive::OutcomeRow row;
  row.set_sequence(7);
  row.set_outcome(static_cast<int>(prearchive::Outcome::kRejected));
  row.set_reason("IO_ERROR");
  row.set_digest("\x01\xff");
  row.set_size_bytes(12);
  v1::ObjectOutcome outcome = ToProto(row);
  EXPECT_EQ(outcome.sequence(), 7);
  EXPECT_EQ(outcome.outcome(), v1::ObjectOutcome::REJECTED);
  EXPECT_EQ(outcome.reason(), "STORAGE_ERROR") << "never a reason that clients do not know";
  EXPECT_EQ(outcome.digest(), "01ff");
  EXPECT_EQ(outcome.prearchive_session(), "") << "it belongs to none";

  row.set_session("abc");
  EXPECT_EQ(ToProto(row).prearchive_session(), "prearchiveSessions/abc");
}

TEST(ToProtoTest, EveryOutcomeAndStateHasItsName) {
  for (int i = 1; i <= static_cast<int>(prearchive::Outcome::kRejected); ++i) {
    EXPECT_EQ(v1::ObjectOutcome::Outcome_Name(i),
              prearchive::OutcomeName(static_cast<prearchive::Outcome>(i)));
  }
  for (int i = 1; i <= prearchive::kStateCount; ++i) {
    EXPECT_EQ(v1::PrearchiveSession::State_Name(i), prearchive::StateName(static_cast<prearchive::State>(i)));
  }
}

TEST(ToProtoTest, AnUpload) {
  prearchive::UploadRow row;
  row.set_id("u1");
  row.set_state(static_cast<int>(ingest::UploadState::kCommitted));
  row.set_digest_algorithm(static_cast<int>(ingest::DigestAlgorithm::kSha256));
  row.mutable_destination()->set_project("P1");
  row.mutable_destination()->set_label("L1");
  ingest::UploadProgress progress;
  progress.durable = {{0, 4}, {7, 7}};
  progress.outcome_counts = {{1, 5}, {6, 1}};
  progress.sessions = {"a", "b"};

  const v1::Upload upload = ToProto(row, progress);

  EXPECT_EQ(upload.name(), "uploads/u1");
  EXPECT_EQ(upload.state(), v1::Upload::COMMITTED);
  EXPECT_EQ(upload.destination().session(), "L1");
  ASSERT_THAT(upload.durable(), SizeIs(2));
  EXPECT_EQ(upload.durable(0).last(), 4);
  EXPECT_EQ(upload.outcome_counts().at("STORED"), 5);
  EXPECT_EQ(upload.outcome_counts().at("REJECTED"), 1);
  EXPECT_EQ(upload.prearchive_sessions(1), "prearchiveSessions/b");
}

TEST(ToProtoTest, ASessionOfThePrearchive) {
  prearchive::SessionRow row;
  row.set_id("abc");
  row.set_state(static_cast<int>(prearchive::State::kReady));
  row.set_version(9);
  row.mutable_key()->set_label("L1");
  row.add_scans()->set_id("1");
  EXPECT_EQ(ToProto(row, std::nullopt, false).name(), "prearchiveSessions/abc");
  EXPECT_EQ(ToProto(row, std::nullopt, false).etag(), "9");
  EXPECT_EQ(ToProto(row, std::nullopt, false).scan_count(), 1);
  EXPECT_THAT(ToProto(row, std::nullopt, false).scans(), SizeIs(0));
  EXPECT_THAT(ToProto(row, std::nullopt, true).scans(), SizeIs(1));
  EXPECT_FALSE(ToProto(row, std::nullopt, false).has_build_after_time());
  EXPECT_EQ(ToProto(row, absl::FromUnixSeconds(5), false).build_after_time().seconds(), 5);
  EXPECT_EQ(ToProto(row, std::nullopt, false).operation(), "");
}

TEST(ToProtoTest, HistoryShowsWhatDiffersAndNothingElse) {
  metadata::HistoryEntry entry;
  entry.old_json = R"({"label":"A","subject":"S","count":1})";
  entry.new_json = R"({"label":"B","subject":"S","count":2,"note":"x"})";
  const v1::HistoryEntry shown = ToProto(entry);
  EXPECT_THAT(shown.before(), SizeIs(3));
  EXPECT_EQ(shown.before().at("label"), "A");
  EXPECT_EQ(shown.before().at("count"), "1");
  EXPECT_EQ(shown.before().at("note"), "");
  EXPECT_THAT(shown.after(), SizeIs(3));
  EXPECT_EQ(shown.after().at("note"), "x");

  entry.old_json = "{ damaged";
  for (const auto& [name, value] : ToProto(entry).before()) EXPECT_EQ(value, "") << name;
}

}  // namespace
}  // namespace narthex::rpc
