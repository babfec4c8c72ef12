#include "server/ingest/admission.h"

#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace narthex::ingest {
namespace {

TEST(AdmissionTest, OneUserLeavesPlacesForOthers) {
  Admission admission;
  admission.SetStreamsMax(4);
  admission.SetStreamsPerUserMax(2);
  auto first = admission.Enter("bulk");
  auto second = admission.Enter("bulk");
  ASSERT_TRUE(first.ok() && second.ok());

  const auto third = admission.Enter("bulk");
  EXPECT_EQ(ErrorReason(third.status()), "OVERLOADED");
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorMetadataOf(third.status()).at("limit"), "upload_streams_per_user");
  EXPECT_TRUE(admission.Enter("scanner").ok()) << "another user must get in";
}

TEST(AdmissionTest, PlacesAreGivenBack) {
  Admission admission;
  admission.SetStreamsMax(1);
  for (int i = 0; i < 3; ++i) {
    auto place = admission.Enter("a");
    ASSERT_TRUE(place.ok());
    const Admission::Place moved = *std::move(place);
    EXPECT_EQ(admission.stream_count(), 1);
    EXPECT_EQ(ErrorReason(admission.Enter("b").status()), "OVERLOADED");
  }
  EXPECT_EQ(admission.stream_count(), 0);
}

TEST(AdmissionTest, LowerLimitsThrowNobodyOut) {
  Admission admission;
  auto first = admission.Enter("a");
  auto second = admission.Enter("a");
  admission.SetStreamsMax(1);
  EXPECT_EQ(admission.stream_count(), 2);
  EXPECT_FALSE(admission.Enter("b").ok());
}

TEST(AdmissionTest, MemoryIsRefusedAsAWholeAndGivenBack) {
  Admission admission;
  admission.SetHeldBytesMax(100);
  EXPECT_TRUE(admission.Hold(60).ok());
  EXPECT_EQ(ErrorReason(admission.Hold(41)), "OVERLOADED");
  EXPECT_EQ(admission.held_bytes(), 60u);
  EXPECT_TRUE(admission.Hold(40).ok());
  admission.Release(100);
  EXPECT_EQ(admission.held_bytes(), 0u);
}

}  // namespace
}  // namespace narthex::ingest
