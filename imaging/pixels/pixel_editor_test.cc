// Uncompressed objects through the rewriter: only the rectangles change.
#include "imaging/pixels/pixel_editor.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/deflate_stream.h"
#include "imaging/pixels/testing.h"

namespace narthex::pixels {
namespace {

using anonymize::PixelEdit;
using testing::HasSubstr;

const std::vector<PixelEdit>& Corner() {
  static const auto& edits = *new std::vector<PixelEdit>{{0, 0, 2, 1, 0, 1}};
  return edits;
}

TEST(PixelEditorTest, PassesObjectsWithoutEditsAsTheyAre) {
  const std::string bytes = NativeObject({}, std::string(24, 'x'));
  PixelOutcome outcome;

  EXPECT_EQ(*Edited(bytes, {}, 7, &outcome), bytes);
  EXPECT_FALSE(outcome.edited);
}

TEST(PixelEditorTest, ChangesOnlyTheRectangleWhateverThePieces) {
  const std::string behind =
      RawElement(dicom::Encoding::ExplicitLittle(), dicom::Tag(0xfffcfffc), "OB", "trailing", 8);
  const std::string bytes = NativeObject({}, std::string(24, 'x'), "OB", behind);
  std::string expected = bytes;
  expected.replace(expected.size() - behind.size() - 24, 2, 2, '\0');

  for (const size_t piece : {1u, 2u, 13u, 100u, 100'000u}) {
    PixelOutcome outcome;
    const auto out = Edited(bytes, Corner(), piece, &outcome);

    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(*out, expected);
    EXPECT_TRUE(outcome.edited);
    EXPECT_FALSE(outcome.decoded);
  }
}

TEST(PixelEditorTest, EditsEveryEncoding) {
  for (const absl::string_view syntax :
       {dicom::kImplicitVrLittleEndian, dicom::kExplicitVrLittleEndian, dicom::kExplicitVrBigEndian}) {
    Picture picture;
    picture.syntax = std::string(syntax);
    picture.allocated = picture.stored = 16;
    const std::string bytes = NativeObject(picture, std::string(48, 'x'));
    std::string expected = bytes;
    const bool big = syntax == dicom::kExplicitVrBigEndian;
    expected.replace(expected.size() - 48, 4, big ? "\x01\x02\x01\x02" : "\x02\x01\x02\x01");

    const auto out = Edited(bytes, {{0, 0, 2, 1, 0x102, 1}});

    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(*out, expected) << syntax;
  }
}

TEST(PixelEditorTest, EditsDeflatedObjects) {
  Picture picture;
  picture.syntax = std::string(dicom::kDeflatedExplicitVrLittleEndian);
  const std::string plain = NativeObject(picture, std::string(24, 'x'));
  const size_t meta_bytes = plain.find(std::string("\x08\x00\x18\x00UI", 6));
  const auto deflated = [&](absl::string_view data) {
    std::string out = plain.substr(0, meta_bytes);
    const dicom::PieceSink append = [&](absl::string_view bytes) {
      out.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    };
    dicom::DeflateStream stream;
    EXPECT_TRUE(stream.Add(data, append).ok() && stream.Finish(append).ok());
    return out;
  };
  std::string expected = plain.substr(meta_bytes);
  expected.replace(expected.size() - 24, 2, 2, '\0');

  const auto out = Edited(deflated(absl::string_view(plain).substr(meta_bytes)), Corner());

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(*out, deflated(expected));
}

TEST(PixelEditorTest, EditsColoursInBothLayouts) {
  Picture picture;
  picture.samples = 3;
  picture.photometric = "RGB";
  std::string pixels(72, 'x');

  std::string interleaved = pixels;
  interleaved.replace(0, 6, 6, '\0');
  EXPECT_THAT(*Edited(NativeObject(picture, pixels), Corner()), testing::EndsWith(interleaved));

  picture.planar = 1;
  std::string planar = pixels;
  for (const size_t plane : {0u, 24u, 48u}) planar.replace(plane, 2, 2, '\0');
  EXPECT_THAT(*Edited(NativeObject(picture, pixels), Corner()), testing::EndsWith(planar));
}

TEST(PixelEditorTest, EditsHalvedColours) {
  Picture picture;
  picture.samples = 3;
  picture.photometric = "YBR_FULL_422";
  std::string pixels(48, 'x');
  std::string expected = pixels;
  expected.replace(0, 4, std::string("\0\0\x80\x80", 4));

  EXPECT_THAT(*Edited(NativeObject(picture, pixels), Corner()), testing::EndsWith(expected));
  // The same name over whole colours.
  pixels.resize(72, 'x');
  std::string whole = pixels;
  whole.replace(0, 6, std::string("\0\x80\x80\0\x80\x80", 6));
  EXPECT_THAT(*Edited(NativeObject(picture, pixels), Corner()), testing::EndsWith(whole));
}

TEST(PixelEditorTest, RemovesTheIcon) {
  std::string bytes = NativeObject({}, std::string(24, 'x'));
  auto data = dicom::DataSet::Empty(dicom::Encoding::ExplicitLittle());
  data->EnsureSequence(dicom::Tag(0x00880200))
      .Append()
      .SetBytes(dicom::tags::kPixelData, dicom::Vr::kOB, "ab");
  bytes.insert(bytes.size() - 24 - 12, data->Write());

  const auto out = Edited(bytes, Corner());

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_FALSE(dicom::ParseObjectHeader(*out)->data->Has(dicom::Tag(0x00880200)));
}

TEST(PixelEditorTest, LeavesObjectsWithoutPixelsAlone) {
  const std::string bytes = ObjectAround({}, "");

  EXPECT_EQ(*Edited(bytes, Corner()), bytes);
}

TEST(PixelEditorTest, LeavesObjectsAloneThatNoRectangleTouches) {
  Picture picture;
  picture.syntax = "1.2.840.10008.1.2.4.70";
  const std::string bytes = EncapsulatedObject(picture, {"not even looked at"});

  EXPECT_EQ(*Edited(bytes, {{6, 4, 100, 100, 0, 1}}), bytes);
}

TEST(PixelEditorTest, EmptiesWhatFillsUpThePixels) {
  std::string expected(24, 'x');
  expected.replace(0, 2, 2, '\0');

  EXPECT_THAT(*Edited(NativeObject({}, std::string(24, 'x') + "filler"), Corner(), 5),
              testing::EndsWith(expected + std::string(6, '\0')));
}

TEST(PixelEditorTest, RefusesWhatContradictsItself) {
  const auto refusal = [](const Picture& picture, size_t pixels) {
    const auto out = Edited(NativeObject(picture, std::string(pixels, 'x')), Corner());
    EXPECT_EQ(ErrorReason(out.status()), "PIXELS_NOT_EDITABLE") << out.status();
    return std::string(out.status().message());
  };

  EXPECT_THAT(refusal({}, 22), HasSubstr("22 bytes of pixel data where the header says 24"));
  EXPECT_THAT(refusal({}, 48), HasSubstr("48 bytes"));
  Picture picture;
  picture.rows = 0;
  EXPECT_THAT(refusal(picture, 24), HasSubstr("Rows is 0"));
  picture = {};
  picture.allocated = 12;
  EXPECT_THAT(refusal(picture, 24), HasSubstr("12 bits"));
  picture = {};
  picture.stored = 9;
  EXPECT_THAT(refusal(picture, 24), HasSubstr("contradict"));
  picture = {};
  picture.samples = 3;
  EXPECT_THAT(refusal(picture, 72), HasSubstr("photometric"));
  picture = {};
  picture.syntax = "1.2.840.10008.1.2.4.70";
  EXPECT_THAT(refusal(picture, 24), HasSubstr("not compressed"));
}

TEST(PixelEditorTest, RefusesAnObjectThatEndsInsideItsPixels) {
  std::string bytes = NativeObject({}, std::string(24, 'x'));
  bytes.pop_back();

  EXPECT_EQ(ErrorReason(Edited(bytes, Corner()).status()), "TRUNCATED_PIXEL_DATA");
  EXPECT_EQ(*Edited(bytes, {}), bytes);
}

TEST(PixelEditorTest, RefusesVideo) {
  Picture picture;
  picture.syntax = "1.2.840.10008.1.2.4.102";
  picture.samples = 3;
  picture.photometric = "YBR_PARTIAL_420";

  const auto out = Edited(EncapsulatedObject(picture, {"movie!"}), Corner());

  EXPECT_EQ(ErrorReason(out.status()), "PIXELS_NOT_EDITABLE");
  EXPECT_THAT(std::string(out.status().message()), HasSubstr("H.264"));
}

TEST(PixelEditorTest, RefusesCompressedPixelsWithoutMetaGroup) {
  Picture picture;
  picture.syntax = "1.2.840.10008.1.2.5";
  std::string bytes = EncapsulatedObject(picture, {std::string(70, 'x')});
  bytes.erase(0, bytes.find(std::string("\x08\x00\x18\x00UI", 6)));
  KeepHeader keep;
  const std::vector<PixelEdit>& edits = Corner();
  PixelEditor editor(
      keep, [&]() -> const auto& { return edits; }, TestDecoder());

  const auto out = dicom::RewriteObject(bytes, editor, {picture.syntax});

  EXPECT_EQ(ErrorReason(out.status()), "PIXELS_NOT_EDITABLE") << out.status();
}

TEST(PixelEditorTest, DoesWhatAScriptWants) {
  anonymize::AnonymizationPlan plan;
  plan.secret = "a secret of sixteen bytes or more";
  const auto script = anonymize::Script::Compile(
      "version \"6.6\"\nalterPixels[\"rectangle\", \"l=0, t=0, r=1, b=0\", \"solid\", \"v=0\"]\n");
  ASSERT_TRUE(script.ok()) << script.status();
  plan.script = std::make_shared<anonymize::Script>(*script);
  anonymize::ApplyContext context;
  anonymize::Anonymizer anonymizer(plan, {}, context);
  PixelEditor editor(anonymizer);

  const auto out = dicom::RewriteObject(NativeObject({}, std::string(24, 'x')), editor);

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(*out, testing::EndsWith(std::string(2, '\0') + std::string(22, 'x')));
  const auto header = dicom::ParseObjectHeader(*out);
  EXPECT_EQ(header->data->TextOrEmpty(dicom::tags::kBurnedInAnnotation), "NO");
  EXPECT_THAT(*out, HasSubstr("113101"));
}

}  // namespace
}  // namespace narthex::pixels
