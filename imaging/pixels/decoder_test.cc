// Compressed pixels: decoded by another process, which may crash.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/limits_pixels.h"
#include "imaging/anonymize/testing.h"
#include "imaging/pixels/decoder_process.h"
#include "imaging/pixels/fragment_filter.h"
#include "imaging/pixels/frame_decoder.h"
#include "imaging/pixels/testing.h"

namespace narthex::pixels {
namespace {

using anonymize::PixelEdit;
using testing::HasSubstr;

constexpr char kEncapsulatedUncompressed[] = "1.2.840.10008.1.2.1.98";
constexpr char kRle[] = "1.2.840.10008.1.2.5";

Picture Compressed(const std::string& syntax) {
  Picture picture;
  picture.syntax = syntax;
  return picture;
}

FrameJob Job(const std::string& syntax) {
  FrameJob job;
  job.transfer_syntax_uid = syntax;
  job.rows = 4;
  job.columns = 6;
  return job;
}

std::string PixelsOf(const std::string& object, size_t size) { return object.substr(object.size() - size); }

TEST(ProtocolTest, GivesBackRequestsAndRefusesOthers) {
  FrameJob job = Job(kRle);
  job.samples = 3;
  job.bits_allocated = 16;
  job.bits_stored = 12;
  job.is_signed = true;
  job.colours = Colours::kYbrToRgb;
  const std::string request = EncodeRequest(job, 77);
  FrameJob read;
  size_t uid_bytes = 0;
  uint64_t compressed = 0;

  ASSERT_TRUE(DecodeRequestHead(request.substr(0, kRequestHeadBytes), &read, &uid_bytes, &compressed));
  EXPECT_EQ(compressed, 77u);
  EXPECT_EQ(request.substr(kRequestHeadBytes), kRle);
  EXPECT_EQ(uid_bytes, std::string(kRle).size());
  read.transfer_syntax_uid = kRle;
  EXPECT_EQ(EncodeRequest(read, 77), request);
  for (size_t i = 0; i < 28; ++i) {
    std::string damaged = request.substr(0, kRequestHeadBytes);
    damaged[i] = '\xee';
    // Never accepted with another size than it says.
    if (DecodeRequestHead(damaged, &read, &uid_bytes, &compressed)) {
      EXPECT_LE(read.FrameBytes(), limits::kFrameMaxBytes.get());
    }
  }
}

TEST(DecoderProcessTest, SaysWhenTheProgramIsMissing) {
  DecoderOptions options;
  options.program = "/nowhere/narthex-pixels";

  EXPECT_EQ(ErrorReason(DecoderProcess::Start(options).status()), "PIXEL_DECODER_UNAVAILABLE");
}

// Programs that are no decoder behave as one would that hostile pixels have taken over.
TEST(DecoderProcessTest, SurvivesDecodersThatCrashLieOrHang) {
  struct Case {
    const char* program;
    const char* message;
  };
  const std::string script = absl::StrCat(::testing::TempDir(), "/no_decoder_", getpid());
  for (const Case& decoder :
       {Case{"/bin/true", "crashed"}, Case{"/bin/cat", "no sensible answer"},
        Case{"/usr/bin/yes", "no sensible answer"}, Case{"/usr/bin/tail", "too long"}}) {
    // Without the arguments that a decoder gets.
    std::ofstream(script) << "#!/bin/sh\nexec " << decoder.program << "\n";
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    DecoderOptions options;
    options.program = script;
    options.frame_timeout = absl::Milliseconds(300);
    const auto out = Edited(EncapsulatedObject(Compressed(kRle), {std::string(200, 'x')}),
                            {PixelEdit{0, 0, 1, 1, 0, 1}}, 1000, nullptr, options);

    EXPECT_EQ(ErrorReason(out.status()), "PIXEL_DECODING_FAILED") << decoder.program;
    EXPECT_THAT(std::string(out.status().message()), HasSubstr(decoder.message)) << decoder.program;
  }
  std::filesystem::remove(script);
}

TEST(DecoderProcessTest, RunsInASandbox) {
  auto decoder = DecoderProcess::Start(TestDecoder());
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  std::string frame;
  const auto put = [&](absl::string_view bytes) {
    frame += std::string(bytes);
    return absl::OkStatus();
  };
  ASSERT_TRUE((*decoder)->Decode(Job(kEncapsulatedUncompressed), std::string(24, 'x'), put).ok());
  EXPECT_EQ(frame, std::string(24, 'x'));

  std::ifstream children(absl::StrCat("/proc/self/task/", gettid(), "/children"));
  std::string child;
  children >> child;
  const std::string status = anonymize::ReadFile("/proc/" + child + "/status");

  EXPECT_THAT(status, HasSubstr("Name:\tnarthex-pixels"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
#endif
  const std::string environment = anonymize::ReadFile("/proc/" + child + "/environ");
  EXPECT_EQ(environment.find("HOME="), std::string::npos);
  EXPECT_LT(environment.size(), 100u);
}

TEST(DecoderProcessTest, RefusesDamagedFramesOfEveryCodec) {
  for (const char* syntax : {kRle, kEncapsulatedUncompressed, "1.2.840.10008.1.2.4.50",
                             "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
                             "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
                             "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201"}) {
    for (const std::string& frame :
         {std::string("\xff\xd8\xff garbage"), std::string(), std::string(20, '\0')}) {
      const auto out = Edited(EncapsulatedObject(Compressed(syntax), {frame}), {PixelEdit{0, 0, 1, 1, 0, 1}});

      EXPECT_EQ(ErrorReason(out.status()), "PIXEL_DECODING_FAILED") << syntax << " " << out.status();
    }
  }
}

// An RLE frame: a header that names `offsets`, then `body`.
std::string RleFrame(const std::vector<uint32_t>& offsets, const std::string& body) {
  std::string frame;
  AppendNumber(offsets.size(), 4, false, &frame);
  for (const uint32_t offset : offsets) AppendNumber(offset, 4, false, &frame);
  frame.resize(64, '\0');
  return frame + body;
}

TEST(RleDecoderTest, UnpacksRunsAndLiterals) {
  FrameJob job = Job(kRle);
  job.rows = 1;
  std::string frame;

  EXPECT_EQ(DecodeRle(job,
                      RleFrame({64},
                               "\x02"
                               "abc\x80\xfe"
                               "d"),
                      &frame),
            DecodeResult::kOk);
  EXPECT_EQ(frame, "abcddd");
  job.columns = 2;
  job.bits_allocated = 16;
  EXPECT_EQ(DecodeRle(job,
                      RleFrame({64, 67},
                               "\x01"
                               "AB"
                               "\x01"
                               "ab"),
                      &frame),
            DecodeResult::kOk);
  EXPECT_EQ(frame, "aAbB");
}

// DCMTK 3.6.7 reads beyond the frame for some of these.
TEST(RleDecoderTest, RefusesHeadersThatLie) {
  FrameJob job = Job(kRle);
  job.rows = 1;
  std::string frame;

  for (const uint32_t offset : {0u, 63u, 66u, 70u, 1000u, 0x7fffffffu, 0xffffffffu}) {
    EXPECT_EQ(DecodeRle(job,
                        RleFrame({offset},
                                 "\xfb"
                                 "x"),
                        &frame),
              DecodeResult::kUnreadable)
        << offset;
  }
  EXPECT_EQ(DecodeRle(job,
                      RleFrame({64},
                               "\xfc"
                               "x"),
                      &frame),
            DecodeResult::kUnreadable);
  EXPECT_EQ(DecodeRle(job,
                      RleFrame({64},
                               "\x05"
                               "abc"),
                      &frame),
            DecodeResult::kUnreadable);
  EXPECT_EQ(DecodeRle(job,
                      RleFrame({64, 64},
                               "\xfb"
                               "x"),
                      &frame),
            DecodeResult::kWrongForm);
  EXPECT_EQ(DecodeRle(job, RleFrame({64}, ""), &frame), DecodeResult::kUnreadable);
}

TEST(FragmentFilterTest, PutsFragmentsTogetherByTheOffsetTable) {
  Picture picture = Compressed(kEncapsulatedUncompressed);
  picture.frames = 2;
  std::string table(8, '\0');
  table[4] = 8 + 10 + 8 + 14;
  const std::string behind =
      RawElement(dicom::Encoding::ExplicitLittle(), dicom::Tag(0xfffcfffc), "OB", "tail", 4);
  const std::string object = EncapsulatedObject(
      picture, {std::string(10, 'a'), std::string(14, 'b'), std::string(24, 'c')}, table, behind);

  for (const size_t piece : {1u, 7u, 10'000u}) {
    PixelOutcome outcome;
    const auto out = Edited(object, {PixelEdit{0, 0, 2, 1, 0, 1}}, piece, &outcome);

    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(PixelsOf(*out, 48 + behind.size()), std::string(2, '\0') + std::string(8, 'a') +
                                                      std::string(14, 'b') + std::string(2, '\0') +
                                                      std::string(22, 'c') + behind);
    EXPECT_TRUE(outcome.decoded);
    const auto header = dicom::ParseObjectHeader(*out);
    EXPECT_EQ(header->syntax.uid, dicom::kExplicitVrLittleEndian);
  }
}

TEST(FragmentFilterTest, PadsAnOddNumberOfBytes) {
  Picture picture = Compressed(kEncapsulatedUncompressed);
  picture.rows = picture.columns = 3;

  const auto out = Edited(EncapsulatedObject(picture, {"123456789 "}), {PixelEdit{0, 0, 1, 1, 0, 1}});

  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(PixelsOf(*out, 14), std::string("\x0a\0\0\0", 4) + std::string("\0"
                                                                           "23456789\0",
                                                                           10));
}

TEST(FragmentFilterTest, RefusesAnotherNumberOfFrames) {
  Picture picture = Compressed(kEncapsulatedUncompressed);
  picture.frames = 2;
  const std::string frame(24, 'x');

  const auto fewer = Edited(EncapsulatedObject(picture, {frame}), {PixelEdit{0, 0, 1, 1, 0, 1}});
  const auto more = Edited(EncapsulatedObject(picture, {frame, frame, frame}), {PixelEdit{0, 0, 1, 1, 0, 1}});

  EXPECT_EQ(ErrorReason(fewer.status()), "PIXELS_NOT_EDITABLE");
  EXPECT_THAT(std::string(fewer.status().message()), HasSubstr("1 frames where the header says 2"));
  EXPECT_EQ(ErrorReason(more.status()), "PIXELS_NOT_EDITABLE");
}

TEST(FrameDividerTest, KnowsFramesByTheirBeginning) {
  FrameDivider jpeg(2, "1.2.840.10008.1.2.4.70");
  jpeg.SetOffsetTable("");

  EXPECT_TRUE(jpeg.BeginsFrame("\xff\xd8\xff\xc3"));
  EXPECT_FALSE(jpeg.BeginsFrame("more"));
  EXPECT_TRUE(jpeg.BeginsFrame("\xff\xd8\xff\xc3"));

  FrameDivider rle(2, kRle);
  EXPECT_TRUE(rle.BeginsFrame("a"));
  EXPECT_TRUE(rle.BeginsFrame("b"));
}

TEST(FrameDividerTest, LeavesNonsensicalOffsetTablesOutOfAccount) {
  for (const std::string& table :
       {std::string(8, '\0'), std::string("\1\0\0\0\5\0\0\0", 8), std::string(4, '\0')}) {
    FrameDivider divider(2, kRle);
    divider.SetOffsetTable(table);
    EXPECT_TRUE(divider.BeginsFrame("a"));
    EXPECT_TRUE(divider.BeginsFrame("b"));
  }
}

}  // namespace
}  // namespace narthex::pixels
