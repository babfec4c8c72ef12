#include "server/ingest/admission.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/limits_gateway.h"

namespace narthex::ingest {
namespace {

TEST(PlacesTest, OneUserLeavesPlacesForOthers) {
  Places places("streams", "streams", 4, 2);
  auto first = places.Enter("bulk");
  auto second = places.Enter("bulk");
  ASSERT_TRUE(first.ok() && second.ok());

  const auto third = places.Enter("bulk");
  EXPECT_EQ(ErrorReason(third.status()), "OVERLOADED");
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorMetadataOf(third.status()).at("limit"), "streams_per_user");
  EXPECT_TRUE(places.Enter("scanner").ok()) << "another user must get in";
}

TEST(PlacesTest, PlacesAreGivenBack) {
  Places places("streams", "streams", 1, 1);
  for (int i = 0; i < 3; ++i) {
    auto place = places.Enter("a");
    ASSERT_TRUE(place.ok());
    const Places::Place moved = *std::move(place);
    EXPECT_EQ(places.count(), 1);
    EXPECT_EQ(ErrorReason(places.Enter("b").status()), "OVERLOADED");
  }
  EXPECT_EQ(places.count(), 0);
}

TEST(PlacesTest, LowerLimitsThrowNobodyOut) {
  Places places("streams", "streams", 4, 4);
  auto first = places.Enter("a");
  auto second = places.Enter("a");
  places.SetMax(1);
  EXPECT_EQ(places.count(), 2);
  EXPECT_FALSE(places.Enter("b").ok());
}

TEST(AdmissionTest, WhatLastsLeavesThreadsForShortCallsAndUploads) {
  EXPECT_LE(limits::kUploadStreamsMax + limits::kLongCallsMax + limits::kReceiverWatchesMax +
                limits::kReflectionCallsMax,
            limits::kServerThreadsMax - 128);
}

TEST(AdmissionTest, MemoryIsRefusedAsAWholeAndGivenBack) {
  Admission admission;
  admission.SetHeldBytesMax(100);
  EXPECT_TRUE(admission.Hold("a", 30).ok());
  EXPECT_EQ(ErrorReason(admission.Hold("a", 21)), "OVERLOADED");
  EXPECT_EQ(admission.held_bytes(), 30u);
  EXPECT_TRUE(admission.Hold("a", 20).ok());
  admission.Release("a", 50);
  EXPECT_EQ(admission.held_bytes(), 0u);
  EXPECT_TRUE(admission.Hold("a", 50).ok());
}

TEST(AdmissionTest, NoSenderTakesAllOfTheMemory) {
  Admission admission;
  admission.SetHeldBytesMax(64);
  uint64_t held = 0;
  for (const char* sender : {"bulk", "student", "scanner", "late"}) {
    uint64_t mine = 0;
    while (admission.Hold(sender, 1).ok()) ++mine;
    EXPECT_EQ(mine, (64 - held) / 2) << sender << " must find a half of what is left";
    held += mine;
  }
  EXPECT_EQ(admission.held_bytes(), held);
}

TEST(AdmissionTest, ALowerMemoryLimitHoldsForWhatComes) {
  Admission admission;
  admission.SetHeldBytesMax(0);
  EXPECT_FALSE(admission.Hold("a", 1).ok());
  admission.SetHeldBytesMax(10);
  ASSERT_TRUE(admission.Hold("a", 5).ok());
  admission.SetHeldBytesMax(2);
  EXPECT_FALSE(admission.Hold("b", 1).ok()) << "more is held than may be now";
}

TEST(AdmissionTest, SendersBehindAGatewayAreNotOneUser) {
  EXPECT_NE(SenderBehind("gateway", "10.0.0.1"), SenderBehind("gateway", "10.0.0.2"));
  EXPECT_NE(SenderBehind("gateway", "10.0.0.1"), "gateway");
}

}  // namespace
}  // namespace narthex::ingest
