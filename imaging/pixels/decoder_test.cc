// Compressed pixels: decoded by another process, which may crash.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/pixels/decoder_process.h"
#include "imaging/pixels/testing.h"

namespace narthex::pixels {
namespace {

TEST(DecoderProcessTest, SaysWhenTheProgramIsMissing) {
  DecoderOptions options;
  options.program = "/nowhere/narthex-pixels";

  EXPECT_EQ(ErrorReason(DecoderProcess::Start(options).status()), "PIXEL_DECODER_UNAVAILABLE");
}

}  // namespace
}  // namespace narthex::pixels
