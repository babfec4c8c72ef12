// The filler against a naive twin that looks at every sample by itself.
#include "imaging/pixels/rectangle_filler.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narthex::pixels {
namespace {

using anonymize::PixelEdit;

std::string FilledInPieces(const RectangleFiller& filler, std::string bytes, size_t piece) {
  for (size_t at = 0; at < bytes.size(); at += piece)
    filler.Fill(at, bytes.data() + at, std::min(piece, bytes.size() - at));
  return bytes;
}

PixelGeometry Grey(uint32_t rows, uint32_t columns, int bits) {
  PixelGeometry geometry;
  geometry.rows = rows;
  geometry.columns = columns;
  geometry.bits_allocated = geometry.bits_stored = bits;
  geometry.high_bit = bits - 1;
  geometry.photometric = "MONOCHROME2";
  return geometry;
}

TEST(RectangleFillerTest, FillsEveryFrameAndNothingElse) {
  PixelGeometry geometry = Grey(3, 4, 8);
  geometry.frames = 2;
  const RectangleFiller filler(geometry, {PixelEdit{1, 1, 3, 3, 7, 1}});

  const std::string filled = FilledInPieces(filler, "xxxxxxxxxxxxxxxxxxxxxxxxrest", 100);

  EXPECT_EQ(filled, std::string("xxxxx\7\7xx\7\7xxxxxx\7\7xx\7\7x\0\0\0\0", 28));
}

TEST(RectangleFillerTest, WritesValuesAsTheStoredBitsDemand) {
  PixelGeometry geometry = Grey(1, 1, 16);
  geometry.bits_stored = 12;
  geometry.high_bit = 11;
  const auto fill = [&](int64_t value) {
    const RectangleFiller filler(geometry, {PixelEdit{0, 0, 1, 1, value, 1}});
    return FilledInPieces(filler, "??", 2);
  };

  EXPECT_EQ(fill(0x123), "\x23\x01");
  EXPECT_EQ(fill(100'000), "\xff\x0f");  // cut to twelve bits
  EXPECT_EQ(fill(-5), std::string(2, '\0'));
  geometry.is_signed = true;
  EXPECT_EQ(fill(-5), "\xfb\xff");
  EXPECT_EQ(fill(100'000), "\xff\x07");
  geometry.is_signed = false;
  geometry.high_bit = 15;
  EXPECT_EQ(fill(0x123), "\x30\x12");
  geometry.big_endian = true;
  EXPECT_EQ(fill(0x123), "\x12\x30");
}

TEST(RectangleFillerTest, WritesFloatsAndWideSamples) {
  PixelGeometry geometry = Grey(1, 1, 32);
  const std::vector<PixelEdit> edits = {PixelEdit{0, 0, 1, 1, 2, 1}};

  EXPECT_EQ(FilledInPieces(RectangleFiller(geometry, edits), "????", 3), std::string("\2\0\0\0", 4));
  geometry.is_float = true;
  EXPECT_EQ(FilledInPieces(RectangleFiller(geometry, edits), "????", 1), std::string("\0\0\0\x40", 4));
  geometry.bits_allocated = 64;
  EXPECT_EQ(FilledInPieces(RectangleFiller(geometry, edits), "????????", 5),
            std::string("\0\0\0\0\0\0\0\x40", 8));
}

TEST(RectangleFillerTest, MakesYbrGreyAndWidensToPairs) {
  PixelGeometry geometry = Grey(1, 4, 8);
  geometry.samples = 3;
  geometry.photometric = "YBR_FULL_422";
  geometry.chroma_pairs = true;

  const RectangleFiller filler(geometry, {PixelEdit{1, 0, 2, 1, 9, 1}});

  EXPECT_EQ(FilledInPieces(filler, "yybryybr", 3), "\x09\x09\x80\x80yybr");
}

TEST(RectangleFillerTest, LeavesAllWhenTheRectangleLiesOutside) {
  const RectangleFiller filler(Grey(2, 2, 8), {PixelEdit{2, 0, 9, 9, 0, 1}, PixelEdit{0, 5, 9, 9, 0, 1}});

  EXPECT_TRUE(filler.empty());
  EXPECT_EQ(FilledInPieces(filler, "abcd", 4), "abcd");
}

// Where sample `s` of a pixel lies, in bits from the beginning of the value.
uint64_t BitOf(const PixelGeometry& g, uint64_t frame, uint64_t row, uint64_t column, uint64_t s) {
  const uint64_t pixel = row * g.columns + column;
  const uint64_t plane = uint64_t{g.rows} * g.columns;
  const uint64_t index =
      g.planar ? (frame * g.samples + s) * plane + pixel : (frame * plane + pixel) * g.samples + s;
  uint64_t bit = index * static_cast<uint64_t>(g.bits_allocated);
  if (g.swapped_words) bit ^= 8;
  return bit;
}

TEST(RectangleFillerTest, AgreesWithANaiveTwinOnRandomImages) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(random() % n); };
  for (int round = 0; round < 400; ++round) {
    constexpr int kBits[] = {1, 8, 16, 32};
    PixelGeometry g = Grey(1 + below(9), 1 + below(9), kBits[below(4)]);
    g.frames = 1 + below(3);
    if (g.bits_allocated > 1 && below(2) == 1) {
      g.samples = 3;
      g.photometric = "RGB";
      g.planar = below(2) == 1;
    }
    g.big_endian = below(2) == 1 && g.bits_allocated > 8;
    g.swapped_words = below(2) == 1 && g.bits_allocated <= 8;
    std::vector<PixelEdit> edits;
    for (int i = 0; i < 2; ++i) {
      const int64_t left = below(10), top = below(10);
      edits.push_back({left, top, left + 1 + below(5), top + 1 + below(5), 0, 1});
    }
    std::string bytes(g.TotalBytes() + (g.TotalBytes() & 1), '\xff');
    std::string expected = bytes;
    for (uint64_t frame = 0; frame < g.frames; ++frame) {
      for (const PixelEdit& edit : edits) {
        for (int64_t row = edit.top; row < std::min<int64_t>(edit.bottom, g.rows); ++row) {
          for (int64_t column = edit.left; column < std::min<int64_t>(edit.right, g.columns); ++column) {
            for (uint64_t s = 0; s < g.samples; ++s) {
              for (int k = 0; k < g.bits_allocated; ++k) {
                const uint64_t bit = BitOf(g, frame, row, column, s) + (g.bits_allocated == 1 ? 0 : k);
                auto& byte = expected[bit / 8];
                byte = static_cast<char>(byte & ~(1 << (bit % 8)));
              }
            }
          }
        }
      }
    }

    EXPECT_EQ(FilledInPieces(RectangleFiller(g, edits), bytes, 1 + below(20)), expected) << "round " << round;
  }
}

}  // namespace
}  // namespace narthex::pixels
