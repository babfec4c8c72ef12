// Dictionary, transfer syntaxes, SOP classes, attribute sets, header facts and character sets.
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/dicom/charset.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/element.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/sop_class.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {
namespace {

TEST(DictionaryTest, FindsByTagAndKeyword) {
  const DictionaryEntry* name = FindEntry(tags::kPatientName);
  ASSERT_NE(name, nullptr);
  EXPECT_EQ(name->keyword, "PatientName");
  EXPECT_EQ(name->vr, Vr::kPN);
  EXPECT_EQ(name->vm, "1");
  EXPECT_EQ(FindEntry("SliceThickness")->tag, tags::kSliceThickness);
  EXPECT_EQ(FindEntry("NoSuchKeyword"), nullptr);
  EXPECT_EQ(FindEntry(Tag(0x0010, 0x0011)), nullptr);
}

TEST(DictionaryTest, KnowsRepeatingGroupsAndRetiredAttributes) {
  EXPECT_EQ(FindEntry(Tag(0x6002, 0x3000))->keyword, "OverlayData");
  EXPECT_EQ(FindEntry(Tag(0x60ff, 0x3000)), nullptr) << "odd groups are private";
  EXPECT_EQ(FindEntry(Tag(0x5004, 0x3000))->keyword, "CurveData");
  EXPECT_EQ(FindEntry("OtherPatientIDs")->tag, Tag(0x0010, 0x1000));
  EXPECT_EQ(FindEntry("StudyComments")->tag, tags::kStudyComments);
}

TEST(DictionaryTest, ConstantsAgreeWithTheStandard) {
  for (const TagPath& path : AttributeSet::Default().paths()) {
    for (Tag tag : path.tags()) EXPECT_NE(FindEntry(tag), nullptr) << tag.ToString();
  }
  EXPECT_EQ(TagName(tags::kCTExposureSequence), "CTExposureSequence");
  EXPECT_EQ(TagName(tags::kExposureTimeInms), "ExposureTimeInms");
}

TEST(DictionaryTest, KnowsPrivateAttributesByTheirCreator) {
  const PrivateEntry* info = FindPrivateEntry("SIEMENS CSA HEADER ", Tag(0x0029, 0x1110));
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->vr, Vr::kOB);
  EXPECT_EQ(FindPrivateEntry("NOBODY", Tag(0x0029, 0x1110)), nullptr);
  EXPECT_EQ(DictionaryVr(Tag(0x0029, 0x0011)), Vr::kLO);
  EXPECT_EQ(DictionaryVr(Tag(0x0029, 0x1111)), Vr::kUN);
  EXPECT_EQ(DictionaryVr(Tag(0x0029, 0x0000)), Vr::kUL);
}

TEST(DictionaryTest, ParsesTags) {
  for (const char* text : {"PatientID", "(0010,0020)", "0010,0020", "00100020"}) {
    const auto tag = ParseTag(text);
    ASSERT_TRUE(tag.ok()) << text;
    EXPECT_EQ(*tag, tags::kPatientID);
  }
  for (const char* text : {"", "patientid", "(0010,002)", "0010;0020", "0010002g", "-0100020"}) {
    EXPECT_EQ(ErrorReason(ParseTag(text).status()), "INVALID_TAG") << text;
  }
}

TEST(TransferSyntaxTest, TellsHowToRead) {
  EXPECT_FALSE(FindTransferSyntax(kImplicitVrLittleEndian).explicit_vr);
  EXPECT_TRUE(FindTransferSyntax(kExplicitVrBigEndian).big_endian);
  EXPECT_TRUE(FindTransferSyntax(kDeflatedExplicitVrLittleEndian).deflated);
  EXPECT_TRUE(FindTransferSyntax("1.2.840.10008.1.2.4.90").encapsulated);
  EXPECT_FALSE(FindTransferSyntax("1.2.840.10008.1.2.4.90").lossy);
  const TransferSyntax& unknown = FindTransferSyntax("1.2.3.4.5");
  EXPECT_FALSE(unknown.known());
  EXPECT_TRUE(unknown.explicit_vr && unknown.encapsulated && !unknown.big_endian);
}

TEST(SopClassTest, NamesAndKinds) {
  EXPECT_EQ(SopClassName("1.2.840.10008.5.1.4.1.1.4"), "MRImageStorage");
  EXPECT_EQ(SopClassName("1.2.3"), "");
  EXPECT_TRUE(IsStorageSopClass("1.2.840.10008.5.1.4.1.1.2"));
  EXPECT_FALSE(IsStorageSopClass(kVerificationSopClass));
  EXPECT_GT(StorageSopClasses().size(), 100u);
}

TEST(AttributeSetTest, MakesATrie) {
  const TagPath nested(tags::kRequestAttributesSequence, tags::kCodeMeaning);
  const AttributeSet set({tags::kPatientID, nested, tags::kPatientID, tags::kRequestAttributesSequence});

  EXPECT_EQ(set.paths().size(), 3u);
  EXPECT_EQ(set.top_level_count(), 2u);
  EXPECT_TRUE(set.Contains(nested));
  EXPECT_FALSE(set.Contains(tags::kCodeMeaning));
  EXPECT_TRUE(set.With({tags::kCodeMeaning}).Contains(tags::kCodeMeaning));
  EXPECT_TRUE(set.nodes()[1].wanted && set.nodes()[1].children_begin != 0);
  EXPECT_TRUE(AttributeSet({}).paths().empty());
}

HeaderFacts SampleFacts() {
  HeaderFactsBuilder builder;
  builder.Add(tags::kTransferSyntaxUID, "1.2.840.10008.1.2.1")
      .Add(tags::kSpecificCharacterSet, "ISO_IR 100")
      .Add(tags::kSOPClassUID, "1.2")
      .Add(tags::kSOPInstanceUID, "1.2.3")
      .Add(tags::kPatientName, "M\xfcller^Hans")
      .Add(tags::kStudyDescription, "")
      .Add(TagPath(tags::kRequestAttributesSequence, tags::kRequestedProcedureDescription), "Head")
      .Add(tags::kNumberOfFrames, "12")
      .set_header_bytes(5'000'000'000)
      .set_bulk_tag(tags::kPixelData)
      .set_encoding(DataSetEncoding::kExplicitBig)
      .set_has_private(true);
  return builder.Build();
}

TEST(HeaderFactsTest, GivesBackWhatWasAdded) {
  const HeaderFacts facts = SampleFacts();
  EXPECT_EQ(facts.sop_instance_uid(), "1.2.3");
  EXPECT_EQ(facts.study_instance_uid(), "");
  EXPECT_EQ(facts.Text(tags::kPatientName), "Müller^Hans");
  EXPECT_TRUE(facts.Has(tags::kStudyDescription));
  EXPECT_FALSE(facts.Has(tags::kPatientID));
  EXPECT_EQ(facts.Get(TagPath(tags::kRequestAttributesSequence, tags::kRequestedProcedureDescription)),
            "Head");
  EXPECT_EQ(facts.Get(tags::kRequestedProcedureDescription), "");
  EXPECT_EQ(facts.number_of_frames(), 12);
  EXPECT_EQ(facts.header_bytes(), 5'000'000'000u);
  EXPECT_TRUE(facts.has_private());
  EXPECT_FALSE(facts.is_truncated());
  int values = 0;
  facts.ForEach([&](const TagPath&, Vr, absl::string_view) { ++values; });
  EXPECT_EQ(values, 8);
}

TEST(HeaderFactsTest, DecodeRefusesDamageAndNeverCrashes) {
  const HeaderFacts facts = SampleFacts();
  const std::string good = facts.Encode();
  const auto decoded = HeaderFacts::Decode(good);
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(*decoded == facts);
  EXPECT_EQ(decoded->specific_character_set(), "ISO_IR 100");

  EXPECT_EQ(ErrorReason(HeaderFacts::Decode("").status()), "BAD_HEADER_FACTS");
  for (size_t size = 0; size < good.size(); ++size) {
    const auto cut = HeaderFacts::Decode(absl::string_view(good).substr(0, size));
    if (cut.ok()) {
      EXPECT_LE(cut->Encode().size(), size);
    }
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (char value : {'\0', '\x7f', '\xff'}) {
      std::string bad = good;
      bad[at] = value;
      const auto damaged = HeaderFacts::Decode(bad);
      if (damaged.ok()) damaged->ForEach([](const TagPath&, Vr, absl::string_view) {});
    }
  }
}

TEST(HeaderFactsTest, MovedFromFactsAreEmpty) {
  HeaderFacts facts = SampleFacts();
  const HeaderFacts moved = std::move(facts);
  EXPECT_EQ(moved.sop_class_uid(), "1.2");
  EXPECT_EQ(facts.Get(tags::kSOPClassUID), "");  // NOLINT(bugprone-use-after-move): that is what is tested
}

TEST(CharsetTest, SingleByteSets) {
  EXPECT_EQ(ToUtf8("Buc^J\xe9r\xf4me", "ISO_IR 100"), "Buc^Jérôme");
  EXPECT_EQ(ToUtf8("\xc4ukasz", "ISO_IR 101"), "Äukasz");
  EXPECT_EQ(ToUtf8("\xbb\xee\xda", "ISO_IR 144"), "Люк");
  EXPECT_EQ(ToUtf8("\xc4\xe9\xef\xed", "ISO_IR 126"), "Διον");
  EXPECT_EQ(ToUtf8("\xf9\xf8\xe5\xef", "ISO_IR 138"), "שרון");
  EXPECT_EQ(ToUtf8("\xe2\xc8", "ISO_IR 127"), "\u0642\u0628");
  EXPECT_EQ(ToUtf8("\xa1\xa2", "ISO_IR 166"), "กข");
  EXPECT_EQ(ToUtf8("\xd4\xcf\xc0\xde", "ISO_IR 13"), "ﾔﾏﾀﾞ");
  EXPECT_EQ(ToUtf8("\xa4", "ISO_IR 203"), "€");
  EXPECT_EQ(ToUtf8("\xfd", "ISO_IR 148"), "ı");
}

// PS3.5 annexes H, I, J, K.
TEST(CharsetTest, Iso2022Examples) {
  EXPECT_EQ(ToUtf8("Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
                   "\\ISO 2022 IR 87", TextKind::kPersonName),
            "Yamada^Tarou=山田^太郎=やまだ^たろう");
  EXPECT_EQ(
      ToUtf8("Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
             "\\ISO 2022 IR 149", TextKind::kPersonName),
      "Hong^Gildong=洪^吉洞=홍^길동");
  EXPECT_EQ(ToUtf8("Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "\\ISO 2022 IR 58",
                   TextKind::kPersonName),
            "Zhang^XiaoDong=张^小东=");
  EXPECT_EQ(ToUtf8("\x1b$(D0!\x1b(B", "ISO 2022 IR 6\\ISO 2022 IR 159"), "丂");
}

TEST(CharsetTest, WholeSets) {
  EXPECT_EQ(ToUtf8("Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", "ISO_IR 192"),
            "Wang^XiaoDong=王^小東");
  EXPECT_EQ(ToUtf8("\xcd\xf5^\xd0\xa1\xb6\xab", "GB18030"), "王^小东");
  EXPECT_EQ(ToUtf8("\xcd\xf5^\xd0\xa1\xb6\xab", "GBK"), "王^小东");
}

TEST(CharsetTest, NeverFailsAndNeverGivesBadUtf8) {
  EXPECT_EQ(ToUtf8("a\xff"
                   "b",
                   "ISO_IR 192"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(ToUtf8("\xed\xa0\x80", "ISO_IR 192"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(ToUtf8("plain", "NO SUCH SET"), "plain");
  EXPECT_FALSE(CharacterSet("NO SUCH SET").known());
  EXPECT_TRUE(CharacterSet("iso-ir 100").known());
  EXPECT_EQ(ToUtf8("J\xe9r\xf4me", ""), "Jérôme") << "undeclared Latin 1";
  EXPECT_EQ(ToUtf8("J\xc3\xa9r", ""), "Jér") << "undeclared UTF-8";
  for (const char* terms :
       {"", "ISO_IR 6", "ISO_IR 13", "ISO_IR 192", "GB18030", "GBK", "ISO_IR 166",
        "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", "\\ISO 2022 IR 149", "\\ISO 2022 IR 58"}) {
    uint32_t seed = 1;
    for (int round = 0; round < 200; ++round) {
      std::string noise;
      for (int i = 0; i < 40; ++i) {
        seed = seed * 1664525 + 1013904223;
        noise.push_back(seed >> 30 == 0 ? '\x1b' : static_cast<char>(seed >> 24));
      }
      const std::string once = ToUtf8(noise, terms, TextKind::kPersonName);
      EXPECT_EQ(ToUtf8(once, "ISO_IR 192"), once) << terms;
    }
  }
}

TEST(ElementTest, TrimsAndRenders) {
  EXPECT_EQ(TrimValue("  a b \0", Vr::kLO), "a b");
  EXPECT_EQ(TrimValue(absl::string_view(" a\0\0", 4), Vr::kUI), "a");
  EXPECT_EQ(TrimValue("  text ", Vr::kLT), "  text");
  EXPECT_EQ(RenderNumbers(absl::string_view("\xff\xff\1\0", 4), Vr::kSS, false), "-1\\1");
  EXPECT_EQ(RenderNumbers(absl::string_view("\x10\x00\x20\x00", 4), Vr::kAT, false), "(0010,0020)");
  EXPECT_EQ(RenderNumbers(absl::string_view("\x00\x10\x00\x20", 4), Vr::kAT, true), "(0010,0020)");
  EXPECT_EQ(RenderNumbers("abc", Vr::kUL, false), "");
}

}  // namespace
}  // namespace narthex::dicom
