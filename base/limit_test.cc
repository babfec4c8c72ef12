#include "base/limit.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/limit_table.h"
#include "base/limits.h"

namespace narthex {
namespace {

using ::testing::HasSubstr;

constinit Limit<int> kOfTest{64, 1, 256};

TEST(LimitTest, IsItsDefaultUntilItIsSet) {
  EXPECT_EQ(kOfTest.get(), 64);
  EXPECT_TRUE(63 < kOfTest && kOfTest + 1 == 65);

  kOfTest.Set(7);

  EXPECT_EQ(kOfTest.get(), 7);
  EXPECT_EQ(kOfTest.For(Origin::kArriving), 7);
  kOfTest.Set(64);
}

TEST(LimitTest, WhatIsStoredIsHeldAgainstTheMost) {
  EXPECT_EQ(kOfTest.For(Origin::kStored), 256);
  EXPECT_EQ(kOfTest.most(), 256);
}

TEST(LimitTest, IsNeverSetBeyondItsBounds) { EXPECT_DEATH(kOfTest.Set(257), ""); }

// Puts a limit back as it was.
class LimitTableTest : public ::testing::Test {
 protected:
  ~LimitTableTest() override { limits::kHeaderMaxBytes.Set(before_); }

 private:
  const int64_t before_ = limits::kHeaderMaxBytes.number();
};

TEST_F(LimitTableTest, NamesAreUniqueAndDefaultsCanBeSet) {
  std::set<absl::string_view> names;
  for (const NamedLimit& each : AllLimits()) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name;
    EXPECT_TRUE(SetLimit(each.name, std::to_string(each.limit->number())).ok()) << each.name;
  }
  EXPECT_GT(names.size(), 100u);
}

TEST_F(LimitTableTest, SetsNumbersAndSizesWithinTheBounds) {
  ASSERT_TRUE(SetLimit("header_max_bytes=65536").ok());
  EXPECT_EQ(limits::kHeaderMaxBytes.get(), 65536u);

  ASSERT_TRUE(SetLimit(" header_max_bytes = 64 MiB ").ok());
  EXPECT_EQ(limits::kHeaderMaxBytes.get(), size_t{64} << 20);

  ASSERT_TRUE(SetLimit("header_max_bytes", "256MiB").ok());
  EXPECT_EQ(limits::kHeaderMaxBytes.get(), limits::kHeaderMaxBytes.most());
}

TEST_F(LimitTableTest, SaysNameValueAndBoundsOfWhatIsBeyondThem) {
  const absl::Status status = SetLimit("header_max_bytes=1KiB");

  EXPECT_EQ(ErrorReason(status), "INVALID_FIELD");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("header_max_bytes may be 65536 to 268435456, not \"1KiB\""));
  EXPECT_EQ(limits::kHeaderMaxBytes.get(), size_t{32} << 20);
}

TEST_F(LimitTableTest, TakesNothingElseForANumber) {
  for (const char* text : {"", "-1", "+70000", "70000x", "7e4", "0x20000", "64 MB", "MiB",
                           "99999999999999999999", "9000000000000000000KiB", "65537.0"}) {
    EXPECT_FALSE(SetLimit("header_max_bytes", text).ok()) << text;
  }
  EXPECT_FALSE(SetLimit("sequence_max_depth=1KiB").ok());  // no size
  EXPECT_FALSE(SetLimit("header_max_bytes").ok());
  EXPECT_EQ(limits::kHeaderMaxBytes.get(), size_t{32} << 20);
}

TEST_F(LimitTableTest, TellsTheNearestNamesOfOneThatIsNotThere) {
  const absl::Status status = SetLimit("header_max_byte=70000");

  EXPECT_EQ(ErrorReason(status), "INVALID_FIELD");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("no limit \"header_max_byte\"; the nearest are header_max_bytes, "));
  EXPECT_FALSE(SetLimit(std::string(100'000, 'x'), "1").ok());
  EXPECT_FALSE(SetLimit("uid_max_bytes=65").ok());  // fixed
}

}  // namespace
}  // namespace narthex
