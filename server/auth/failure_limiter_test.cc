// The limit on failures: who is limited, for how long, and that many addresses cost bounded memory.
#include "server/auth/failure_limiter.h"

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/limits_server.h"

namespace narthex::auth {
namespace {

TEST(FailureLimiterTest, LimitsOneKeyAndGivesBackWithTime) {
  FakeClock clock;
  FailureLimiter limiter(clock);
  for (int i = 0; i < limits::kAuthenticationFailuresMax; ++i) {
    EXPECT_TRUE(limiter.MayTry("10.0.0.1")) << i;
    limiter.Fail("10.0.0.1");
  }
  EXPECT_FALSE(limiter.MayTry("10.0.0.1"));
  EXPECT_TRUE(limiter.MayTry("10.0.0.2"));
  clock.Advance(absl::Seconds(limits::kAuthenticationFailureSeconds.get()));
  EXPECT_TRUE(limiter.MayTry("10.0.0.1"));
  limiter.Fail("10.0.0.1");
  EXPECT_FALSE(limiter.MayTry("10.0.0.1"));
}

TEST(FailureLimiterTest, FailingOnDoesNotProlongItForEver) {
  FakeClock clock;
  FailureLimiter limiter(clock);
  for (int i = 0; i < 10 * limits::kAuthenticationFailuresMax; ++i) limiter.Fail("a");
  clock.Advance(absl::Seconds(limits::kAuthenticationFailureSeconds.get()));
  EXPECT_TRUE(limiter.MayTry("a"));
}

TEST(FailureLimiterTest, KeepsBoundedMemory) {
  FakeClock clock;
  FailureLimiter limiter(clock);
  for (int i = 0; i < limits::kAuthenticationFailuresMax; ++i) limiter.Fail("worst");
  for (size_t i = 0; i < 3 * limits::kAuthenticationKeysMax; ++i) limiter.Fail(absl::StrCat("address ", i));
  EXPECT_LE(limiter.size(), limits::kAuthenticationKeysMax.get());
  EXPECT_FALSE(limiter.MayTry("worst")) << "many others must not wash it away";
}

TEST(FailureLimiterTest, AddressesWithoutPortsAndNetworksOfSixtyFourBits) {
  EXPECT_EQ(AddressKey("ipv4:10.0.0.1:5000"), "10.0.0.1");
  EXPECT_EQ(AddressKey("ipv6:[2001:db8::1]:5000"), AddressKey("ipv6:%5B2001:db8::ffff%5D:6000"));
  EXPECT_NE(AddressKey("ipv6:[2001:db8::1]:5000"), AddressKey("ipv6:[2001:db8:0:1::1]:5000"));
  EXPECT_EQ(AddressKey("unix:"), "unix:");
  EXPECT_EQ(AddressKey(""), "");
}

}  // namespace
}  // namespace narthex::auth
