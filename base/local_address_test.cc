#include "base/local_address.h"

#include <gtest/gtest.h>

namespace narthex {
namespace {

TEST(LocalAddressTest, IsThisMachineAndNothingElse) {
  for (const char* address :
       {"unix:/run/narthex", "localhost:1", "127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "::1:1"}) {
    EXPECT_TRUE(IsLocalAddress(address)) << address;
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", ":1", "*:1", "10.0.0.1:1", "127.evil.example:1",
                              "localhost.example:1", "dns:///localhost:1", "narthex:1"}) {
    EXPECT_FALSE(IsLocalAddress(address)) << address;
  }
  EXPECT_TRUE(IsLocalHost("::1"));
  EXPECT_FALSE(IsLocalHost(""));
}

}  // namespace
}  // namespace narthex
