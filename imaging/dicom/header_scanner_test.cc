#include "imaging/dicom/header_scanner.h"

#include <zlib.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/limits.h"
#include "imaging/dicom/data_set_bytes.h"
#include "imaging/dicom/sop_class.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {
namespace {

constexpr Tag kUnwantedSequence(0x0008, 0x1111);

std::string Deflate(absl::string_view bytes) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, bytes.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string ReasonOf(absl::string_view bytes, const ScanOptions& options = {}) {
  return ErrorReason(ScanWhole(bytes, options).status());
}

TEST(HeaderScannerTest, StopsAtPixelDataAndSaysWhereItBegins) {
  const std::string header = Part10(
      kExplicitVrLittleEndian,
      DataSetBytes().SopUids().Add(tags::kPatientID, "LO", "P1 ").SeriesUids().Us(tags::kRows, 512).bytes());
  const std::string object =
      header + DataSetBytes().Add(tags::kPixelData, "OW", std::string(1000, 'x')).bytes();

  HeaderScanner scanner;
  const auto state = scanner.Feed(absl::string_view(object).substr(0, header.size() + 20));

  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(*state, ScanState::kHeaderDone);
  const auto facts = scanner.Finish();
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->header_bytes(), header.size());
  EXPECT_EQ(facts->bulk_tag(), tags::kPixelData);
  EXPECT_TRUE(facts->has_part10_header());
  EXPECT_EQ(facts->transfer_syntax_uid(), kExplicitVrLittleEndian);
  EXPECT_EQ(facts->sop_instance_uid(), "1.2.3.4");
  EXPECT_EQ(facts->Get(tags::kPatientID), "P1");
  EXPECT_EQ(facts->Get(tags::kRows), "512");
  EXPECT_EQ(facts->number_of_frames(), 1);
  EXPECT_FALSE(facts->has_private());
}

TEST(HeaderScannerTest, WithoutBulkDataTheHeaderReachesToTheEnd) {
  const std::string object = Part10(kExplicitVrLittleEndian, DataSetBytes().SopUids().SeriesUids().bytes());

  const auto facts = ScanWhole(object);

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->header_bytes(), object.size());
  EXPECT_EQ(facts->bulk_tag(), Tag());
}

class EncodingTest : public testing::TestWithParam<DataSetEncoding> {};

TEST_P(EncodingTest, BareDataSetsAreGuessedAndForcedOnesRead) {
  const std::string bytes = DataSetBytes(GetParam())
                                .SopUids()
                                .Add(tags::kModality, "CS", "MR")
                                .SeriesUids()
                                .Us(tags::kRows, 258)
                                .Us(tags::kColumns, 3)
                                .bytes();
  for (bool forced : {false, true}) {
    ScanOptions options;
    if (forced && GetParam() == DataSetEncoding::kImplicitBig) continue;  // has no transfer syntax
    if (forced) {
      options.transfer_syntax_uid =
          std::string(GetParam() == DataSetEncoding::kExplicitBig      ? kExplicitVrBigEndian
                      : GetParam() == DataSetEncoding::kImplicitLittle ? kImplicitVrLittleEndian
                                                                       : kExplicitVrLittleEndian);
    }
    const auto facts = ScanWhole(bytes, options);
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->encoding(), GetParam());
    EXPECT_EQ(facts->Get(tags::kRows), "258");
    EXPECT_EQ(facts->Get(tags::kColumns), "3");
    EXPECT_FALSE(facts->has_meta_group());
    EXPECT_FALSE(facts->transfer_syntax_uid().empty());
  }
}

INSTANTIATE_TEST_SUITE_P(All, EncodingTest,
                         testing::Values(DataSetEncoding::kExplicitLittle, DataSetEncoding::kImplicitLittle,
                                         DataSetEncoding::kExplicitBig, DataSetEncoding::kImplicitBig));

TEST(HeaderScannerTest, BelievesTheBytesRatherThanTheTransferSyntax) {
  const std::string implicit = DataSetBytes(DataSetEncoding::kImplicitLittle).SopUids().SeriesUids().bytes();
  const std::string explicit_vr = DataSetBytes().SopUids().SeriesUids().bytes();

  const auto lied_explicit = ScanWhole(Part10(kExplicitVrLittleEndian, implicit));
  const auto lied_implicit = ScanWhole(Part10(kImplicitVrLittleEndian, explicit_vr));
  const auto unnamed = ScanWhole(Part10("", implicit));

  ASSERT_TRUE(lied_explicit.ok() && lied_implicit.ok() && unnamed.ok());
  EXPECT_EQ(lied_explicit->encoding(), DataSetEncoding::kImplicitLittle);
  EXPECT_EQ(lied_explicit->transfer_syntax_uid(), kExplicitVrLittleEndian);
  EXPECT_EQ(lied_implicit->encoding(), DataSetEncoding::kExplicitLittle);
  EXPECT_EQ(unnamed->transfer_syntax_uid(), kImplicitVrLittleEndian);
}

TEST(HeaderScannerTest, MetaGroupWithoutPreambleIsRead) {
  const std::string object = Part10(kExplicitVrLittleEndian, DataSetBytes().SopUids().SeriesUids().bytes());

  for (size_t cut : {size_t{128}, size_t{132}}) {
    const auto facts = ScanWhole(absl::string_view(object).substr(cut));
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_FALSE(facts->has_part10_header());
    EXPECT_TRUE(facts->has_meta_group());
    EXPECT_EQ(facts->header_bytes(), object.size() - cut);
  }
}

TEST(HeaderScannerTest, ReadsDeflatedDataSets) {
  const std::string plain = DataSetBytes().SopUids().SeriesUids().Us(tags::kRows, 7).bytes();
  const std::string prefix = Part10(kDeflatedExplicitVrLittleEndian, "");

  for (size_t piece : {size_t{1}, size_t{1000000}}) {
    const std::string object = prefix + Deflate(plain);
    HeaderScanner scanner;
    for (size_t at = 0; at < object.size(); at += piece) {
      ASSERT_TRUE(scanner.Feed(absl::string_view(object).substr(at, piece)).ok());
    }
    const auto facts = scanner.Finish();
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_TRUE(facts->is_deflated());
    EXPECT_EQ(facts->Get(tags::kRows), "7");
    EXPECT_EQ(facts->header_bytes(), prefix.size());
  }
}

TEST(HeaderScannerTest, RefusesDeflateBombsAndCorruptStreams) {
  // 40 MB of one value of blanks deflate to 40 kB.
  const std::string bomb =
      DataSetBytes().SopUids().Add(Tag(0x0009, 0x1010), "OB", std::string(40 << 20, ' ')).bytes();
  const std::string prefix = Part10(kDeflatedExplicitVrLittleEndian, "");

  EXPECT_EQ(ReasonOf(prefix + Deflate(bomb)), "HEADER_TOO_LARGE");
  EXPECT_EQ(ReasonOf(prefix + "\xff\xff\xff this is not deflated"), "MALFORMED_HEADER");
}

TEST(HeaderScannerTest, CapturesFirstItemsOfWantedSequences) {
  DataSetBytes data;
  data.SopUids().SeriesUids();
  data.Head(tags::kRadiopharmaceuticalInformationSequence, "SQ", kUndefinedLength)
      .Item()
      .Add(tags::kRadiopharmaceutical, "LO", "FDG ")
      .Head(tags::kRadionuclideCodeSequence, "SQ", kUndefinedLength)
      .Item()
      .Add(tags::kCodeMeaning, "LO", "F18")
      .EndItem()
      .EndSequence()
      .EndItem()
      .Item()
      .Add(tags::kRadiopharmaceutical, "LO", "OTHER ")
      .EndItem()
      .EndSequence();

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  const Tag info = tags::kRadiopharmaceuticalInformationSequence;
  EXPECT_EQ(facts->Get(TagPath(info, tags::kRadiopharmaceutical)), "FDG");
  EXPECT_EQ(facts->Get(TagPath(info, tags::kRadionuclideCodeSequence, tags::kCodeMeaning)), "F18");
}

TEST(HeaderScannerTest, ReadsImplicitItemsInsideUnWithoutLength) {
  DataSetBytes data;
  data.SopUids().SeriesUids();
  data.Head(tags::kRadiopharmaceuticalInformationSequence, "UN", kUndefinedLength)
      .Raw(DataSetBytes(DataSetEncoding::kImplicitLittle)
               .Item()
               .Add(tags::kRadiopharmaceutical, "LO", "FDG ")
               .EndItem()
               .EndSequence()
               .bytes());
  data.Add(Tag(0x0054, 0x1000), "CS", "STATIC");

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->Get(TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceutical)),
            "FDG");
  EXPECT_EQ(facts->Get(tags::kSeriesType), "STATIC");
}

TEST(HeaderScannerTest, BinaryNumbersBecomeDecimals) {
  const Tag fd(0x0018, 0x9087);
  DataSetBytes data;
  data.SopUids().Head(fd, "FD", 16);
  const double values[] = {1000, 0.1};
  data.Raw(absl::string_view(reinterpret_cast<const char*>(values), sizeof values)).SeriesUids();

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->Get(fd), "1000\\0.1");
}

TEST(HeaderScannerTest, RefusesWhatItMust) {
  const auto object = [](const DataSetBytes& data) { return Part10(kExplicitVrLittleEndian, data.bytes()); };
  EXPECT_EQ(ReasonOf(""), "NOT_DICOM");
  EXPECT_EQ(ReasonOf("x"), "NOT_DICOM");
  EXPECT_EQ(ReasonOf(std::string(5000, '\0')), "NOT_DICOM");
  EXPECT_EQ(
      ReasonOf(
          "PK\x03\x04 and so on, a zip file that somebody sends as an image, long enough to be looked at."),
      "NOT_DICOM");
  EXPECT_EQ(ReasonOf(object(DataSetBytes().Add(tags::kSOPInstanceUID, "UI", "1.2").SeriesUids())),
            "MISSING_SOP_CLASS_UID");
  EXPECT_EQ(ReasonOf(object(DataSetBytes().Add(tags::kSOPClassUID, "UI", "1.2").SeriesUids())),
            "MISSING_SOP_INSTANCE_UID");
  EXPECT_EQ(ReasonOf(object(DataSetBytes().SopUids().Add(tags::kStudyInstanceUID, "UI", "../../etc"))),
            "INVALID_UID");
  EXPECT_EQ(
      ReasonOf(object(DataSetBytes().SopUids().Add(tags::kStudyInstanceUID, "UI", std::string(66, '1')))),
      "INVALID_UID");
  EXPECT_EQ(ReasonOf(object(DataSetBytes().SopUids().Head(tags::kPatientName, "PN", 1000).Raw("x"))),
            "TRUNCATED_HEADER");
  EXPECT_EQ(ReasonOf(object(DataSetBytes().Add(tags::kSOPClassUID, "UI", kMediaStorageDirectoryStorage))),
            "DICOMDIR");
}

TEST(HeaderScannerTest, MissingStudyAndPaddedUidsAreNoErrors) {
  DataSetBytes data;
  data.Add(tags::kSOPClassUID, "UI", absl::string_view("1.2.840.10008.5.1.4.1.1.4\0", 26))
      .Add(tags::kSOPInstanceUID, "UI", "1.2.3.4 ");

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->sop_class_uid(), "1.2.840.10008.5.1.4.1.1.4");
  EXPECT_EQ(facts->sop_instance_uid(), "1.2.3.4");
  EXPECT_EQ(facts->study_instance_uid(), "");
}

TEST(HeaderScannerTest, WhatIsBrokenBehindTheUidsIsKept) {
  DataSetBytes data;
  data.SopUids().SeriesUids().Us(tags::kRows, 2).Head(Tag(0x0040, 0x0275), "SQ", 5000).Raw("too short");

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(facts->is_truncated());
  EXPECT_EQ(facts->Get(tags::kRows), "2");
}

// `depth` sequences within each other, without lengths or with.
std::string Nested(int depth, bool with_lengths) {
  std::string inner;
  for (int i = 0; i < depth; ++i) {
    DataSetBytes level;
    if (with_lengths) {
      const auto size = static_cast<uint32_t>(inner.size());
      level.Head(kUnwantedSequence, "SQ", size + 8).Item(size).Raw(inner);
    } else {
      level.Head(kUnwantedSequence, "SQ", kUndefinedLength).Item().Raw(inner).EndItem().EndSequence();
    }
    inner = level.bytes();
  }
  return inner;
}

TEST(HeaderScannerTest, BoundsNestingWithoutRecursion) {
  const auto object = [](const std::string& nested) {
    return Part10(kExplicitVrLittleEndian, DataSetBytes().SopUids().Raw(nested).SeriesUids().bytes());
  };
  ScanOptions thorough;
  thorough.walk_all_sequences = true;

  EXPECT_EQ(ReasonOf(object(Nested(limits::kSequenceMaxDepth.get(), false))), "");
  EXPECT_EQ(ReasonOf(object(Nested(limits::kSequenceMaxDepth.get() + 1, false))), "HEADER_TOO_DEEP");
  EXPECT_EQ(ReasonOf(object(Nested(20000, false))), "HEADER_TOO_DEEP");
  // With lengths, they are passed over like any value, unless the caller has to know.
  EXPECT_EQ(ReasonOf(object(Nested(2000, true))), "");
  EXPECT_EQ(ReasonOf(object(Nested(limits::kSequenceMaxDepth.get(), true)), thorough), "");
  EXPECT_EQ(ReasonOf(object(Nested(2000, true)), thorough), "HEADER_TOO_DEEP");
}

TEST(HeaderScannerTest, ReadsWhatIsStoredUpToTheMostThatMayBeSet) {
  const auto object = [](int depth) {
    return Part10(kExplicitVrLittleEndian,
                  DataSetBytes().SopUids().Raw(Nested(depth, false)).SeriesUids().bytes());
  };
  ScanOptions stored;
  stored.origin = Origin::kStored;

  EXPECT_EQ(ReasonOf(object(limits::kSequenceMaxDepth + 1), stored), "");
  EXPECT_EQ(ReasonOf(object(limits::kSequenceMaxDepth.most()), stored), "");
  EXPECT_EQ(ReasonOf(object(limits::kSequenceMaxDepth.most() + 1), stored), "HEADER_TOO_DEEP");
}

TEST(HeaderScannerTest, BoundsElementsAndSize) {
  std::string many = DataSetBytes().SopUids().bytes();
  for (size_t i = 0; i <= limits::kHeaderMaxElements; ++i) many.append("\x09\0\x10\0LO\0\0", 8);
  std::string large = DataSetBytes().SopUids().bytes();
  for (int i = 0; i < 20; ++i)
    large += DataSetBytes().Add(Tag(0x0009, 0x1010), "OB", std::string(2 << 20, 'x')).bytes();

  EXPECT_EQ(ReasonOf(Part10(kExplicitVrLittleEndian, many)), "HEADER_TOO_LARGE");
  EXPECT_EQ(ReasonOf(Part10(kExplicitVrLittleEndian, large)), "HEADER_TOO_LARGE");
}

TEST(HeaderScannerTest, LargeValuesBehindTheUidsAreBulkData) {
  DataSetBytes data;
  data.SopUids().SeriesUids();
  const std::string header = Part10(kExplicitVrLittleEndian, data.bytes());
  const std::string object =
      header + DataSetBytes().Add(tags::kEncapsulatedDocument, "OB", std::string(5 << 20, 'x')).bytes();

  const auto facts = ScanWhole(object);

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->header_bytes(), header.size());
  EXPECT_EQ(facts->bulk_tag(), tags::kEncapsulatedDocument);
}

TEST(HeaderScannerTest, ToleratesOddities) {
  DataSetBytes data;
  data.SopUids()
      .Add(Tag(0x0008, 0x0000), "UL", "1234")  // a group length, late
      .Add(tags::kManufacturer, "LO", "ODD")   // an odd length
      .Raw(
          absl::string_view("\x09\0\x10\0??\0\0", 8))  // the VR of senders that do not know it (short length)
      .Raw(absl::string_view("\x09\0\x01\x10\x04\0\0\0"
                             "abcd",
                             12))         // an implicit element among explicit ones
      .Add(tags::kPatientID, "ZZ", "P1")  // a VR of the future
      .EndItem()                          // ends nothing
      .SeriesUids()
      .Add(tags::kModality, "CS", "CT")  // out of order
      .Us(tags::kRows, 5);

  const auto facts = ScanWhole(Part10(kExplicitVrLittleEndian, data.bytes()));

  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->Get(tags::kManufacturer), "ODD");
  EXPECT_EQ(facts->Get(tags::kPatientID), "P1");
  EXPECT_EQ(facts->Get(tags::kModality), "CT");
  EXPECT_EQ(facts->Get(tags::kRows), "5");
  EXPECT_TRUE(facts->has_private());
  EXPECT_FALSE(facts->is_truncated());
}

TEST(HeaderScannerTest, ErrorsNameNoPatient) {
  const std::string object =
      Part10(kExplicitVrLittleEndian, DataSetBytes()
                                          .SopUids()
                                          .Add(tags::kPatientName, "PN", "Winterbottom^")
                                          .Add(tags::kStudyInstanceUID, "UI", "Winterbottom^")
                                          .bytes());

  const auto facts = ScanWhole(object);

  ASSERT_FALSE(facts.ok());
  EXPECT_FALSE(absl::StrContains(facts.status().ToString(), "Winterbottom^"));
}

TEST(HeaderScannerTest, CanBeUsedAgain) {
  const std::string good = Part10(kExplicitVrLittleEndian, DataSetBytes().SopUids().SeriesUids().bytes());
  HeaderScanner scanner;
  EXPECT_FALSE(scanner.Feed(std::string(2000, 'x')).ok());
  EXPECT_FALSE(scanner.Feed(good).ok()) << "an error stays";

  for (int i = 0; i < 3; ++i) {
    scanner.Reset(good.size());
    ASSERT_TRUE(scanner.Feed(good).ok());
    const auto facts = scanner.Finish();
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->series_instance_uid(), "1.2.3.1");
  }
}

}  // namespace
}  // namespace narthex::dicom
