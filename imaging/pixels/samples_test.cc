#include "imaging/pixels/samples.h"

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/pixels/testing.h"

namespace narthex::pixels {
namespace {

absl::StatusOr<SampleSummary> Summary(const std::string& bytes, size_t piece = size_t{1} << 30) {
  return SummarizeSamples(
      [&](const auto& sink) -> absl::Status {
        for (absl::string_view rest = bytes; !rest.empty();
             rest.remove_prefix(std::min(piece, rest.size()))) {
          if (const absl::Status added = sink(rest.substr(0, piece)); !added.ok()) return added;
        }
        return absl::OkStatus();
      },
      "", TestDecoder());
}

SampleRelation Relation(const std::string& one, const std::string& other) {
  const auto a = Summary(one), b = Summary(other, 7);
  EXPECT_TRUE(a.ok()) << a.status();
  EXPECT_TRUE(b.ok()) << b.status();
  return a.ok() && b.ok() ? Compare(*a, *b) : SampleRelation::kIncomparable;
}

// 24 pixels of 12 bits.
std::string Deep(bool big, int flaw = 0) {
  std::string pixels;
  for (int i = 0; i < 24; ++i)
    AppendNumber(static_cast<uint64_t>(i * 170 + (i == 5 ? flaw : 0)), 2, big, &pixels);
  return pixels;
}

Picture DeepPicture(absl::string_view syntax) {
  Picture picture;
  picture.syntax = std::string(syntax);
  picture.allocated = 16;
  picture.stored = 12;
  return picture;
}

TEST(SamplesTest, AreTheSameInEveryUncompressedEncoding) {
  const std::string little = NativeObject(DeepPicture(dicom::kExplicitVrLittleEndian), Deep(false));
  const std::string implicit = NativeObject(DeepPicture(dicom::kImplicitVrLittleEndian), Deep(false));
  const std::string big = NativeObject(DeepPicture(dicom::kExplicitVrBigEndian), Deep(true));

  EXPECT_EQ(Relation(little, implicit), SampleRelation::kSame);
  EXPECT_EQ(Relation(little, big), SampleRelation::kSame);
  EXPECT_EQ(Relation(little, NativeObject(DeepPicture(dicom::kExplicitVrBigEndian), Deep(true, 1))),
            SampleRelation::kDifferent);
}

TEST(SamplesTest, BytesInBigEndianWordsAreSwapped) {
  Picture picture;
  std::string pixels, swapped;
  for (int i = 0; i < 24; ++i) pixels += static_cast<char>(i * 9);
  for (int i = 0; i < 24; ++i) swapped += pixels[static_cast<size_t>(i ^ 1)];
  Picture big = picture;
  big.syntax = std::string(dicom::kExplicitVrBigEndian);

  EXPECT_EQ(Relation(NativeObject(picture, pixels), NativeObject(big, swapped, "OW")), SampleRelation::kSame);
  EXPECT_EQ(Relation(NativeObject(picture, pixels), NativeObject(big, pixels, "OB")), SampleRelation::kSame);
  EXPECT_EQ(Relation(NativeObject(picture, pixels), NativeObject(big, pixels, "OW")),
            SampleRelation::kDifferent);
}

TEST(SamplesTest, ColoursSideBySideOrOneAfterTheOther) {
  Picture picture;
  picture.samples = 3;
  picture.frames = 2;
  picture.photometric = "RGB";
  Picture planar = picture;
  planar.planar = 1;
  std::string together, apart;
  const auto value = [](int frame, int pixel, int sample) {
    return static_cast<char>(frame * 100 + pixel * 3 + sample);
  };
  for (int frame = 0; frame < 2; ++frame) {
    for (int pixel = 0; pixel < 24; ++pixel) {
      for (int sample = 0; sample < 3; ++sample) together += value(frame, pixel, sample);
    }
    for (int sample = 0; sample < 3; ++sample) {
      for (int pixel = 0; pixel < 24; ++pixel) apart += value(frame, pixel, sample);
    }
  }

  EXPECT_EQ(Relation(NativeObject(picture, together), NativeObject(planar, apart)), SampleRelation::kSame);
  EXPECT_EQ(Relation(NativeObject(picture, together), NativeObject(picture, apart)),
            SampleRelation::kDifferent);
  Picture ybr = picture;
  ybr.photometric = "YBR_FULL";
  EXPECT_EQ(Relation(NativeObject(picture, together), NativeObject(ybr, together)),
            SampleRelation::kIncomparable);
}

TEST(SamplesTest, OnlyStoredBitsAndPromisedPixelsCount) {
  const Picture picture = DeepPicture(dicom::kExplicitVrLittleEndian);
  std::string overlay = Deep(false);
  for (size_t i = 1; i < overlay.size(); i += 2) overlay[i] = static_cast<char>(overlay[i] | 0x40);
  Picture narrow = picture;  // the same values in other cells
  narrow.stored = 16;

  EXPECT_EQ(Relation(NativeObject(picture, Deep(false)), NativeObject(picture, overlay)),
            SampleRelation::kSame);
  EXPECT_EQ(Relation(NativeObject(picture, Deep(false)), NativeObject(narrow, Deep(false))),
            SampleRelation::kSame);
  EXPECT_EQ(Relation(NativeObject(narrow, Deep(false)), NativeObject(narrow, overlay)),
            SampleRelation::kDifferent);
  EXPECT_EQ(Relation(NativeObject(picture, Deep(false)), NativeObject(picture, Deep(false) + "padding.")),
            SampleRelation::kSame);
}

TEST(SamplesTest, FramesInFragmentsAreThoseOneAfterTheOther) {
  Picture picture = DeepPicture(dicom::kExplicitVrLittleEndian);
  picture.frames = 2;
  const std::string pixels = Deep(false) + Deep(false, 3);
  Picture fragments = picture;
  fragments.syntax = "1.2.840.10008.1.2.1.98";  // encapsulated, uncompressed

  EXPECT_EQ(
      Relation(NativeObject(picture, pixels), EncapsulatedObject(fragments, {Deep(false), Deep(false, 3)})),
      SampleRelation::kSame);
  EXPECT_EQ(
      Relation(NativeObject(picture, pixels), EncapsulatedObject(fragments, {Deep(false), Deep(false)})),
      SampleRelation::kDifferent);
}

TEST(SamplesTest, WhatCannotBeReadSaysWhy) {
  Picture picture = DeepPicture("1.2.840.10008.1.2.4.80");
  const auto damaged = Summary(EncapsulatedObject(picture, {"no such stream at all"}));
  EXPECT_EQ(ErrorReason(damaged.status()), "PIXEL_DECODING_FAILED");
  EXPECT_EQ(ErrorMetadataOf(damaged.status())["why"], "the compressed pixels are damaged");
  picture.syntax = "1.2.840.10008.1.2.4.102";  // MPEG-4
  const auto film = Summary(EncapsulatedObject(picture, {"film"}));
  EXPECT_EQ(ErrorReason(film.status()), "PIXELS_NOT_EDITABLE");
  EXPECT_THAT(ErrorMetadataOf(film.status())["why"], testing::HasSubstr("cannot be decoded"));
  const auto few = Summary(NativeObject(DeepPicture(dicom::kExplicitVrLittleEndian), "few"));
  EXPECT_FALSE(few.ok());
}

TEST(SamplesTest, WithoutPixelsNothingIsThere) {
  const auto none = Summary(ObjectAround({}, ""));
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_FALSE(none->present);
}

}  // namespace
}  // namespace narthex::pixels
