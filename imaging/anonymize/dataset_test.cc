// Data sets: reading, changing, writing.
#include "imaging/dicom/dataset.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"

namespace narthex::anonymize {
namespace {

using dicom::DataSet;
using dicom::Encoding;
using dicom::Item;
using dicom::Tag;
using dicom::Vr;
namespace tags = dicom::tags;

// (0008,1140) with two items, and a name; explicit VR little endian, written by hand.
std::string Sample(bool undefined) {
  const std::string item_body(
      "\x08\x00\x50\x11UI\x02\x00"
      "1\0",
      10);
  std::string sequence;
  for (int i = 0; i < 2; ++i) {
    sequence += std::string("\xfe\xff\x00\xe0", 4) +
                (undefined ? std::string(4, '\xff') : std::string("\x0a\0\0\0", 4)) + item_body;
    if (undefined) sequence += std::string("\xfe\xff\x0d\xe0\0\0\0\0", 8);
  }
  std::string bytes("\x08\x00\x40\x11SQ\0\0", 8);
  bytes += undefined ? std::string(4, '\xff') : std::string("\x24\0\0\0", 4);
  bytes += sequence;
  if (undefined) bytes += std::string("\xfe\xff\xdd\xe0\0\0\0\0", 8);
  return bytes + std::string(
                     "\x10\x00\x10\x00PN\x08\x00"
                     "Doe^John",
                     16);
}

TEST(DataSetTest, KeepsTheKindOfLengthsWhenAnItemChanges) {
  for (const bool undefined : {false, true}) {
    const std::string bytes = Sample(undefined);
    auto data = DataSet::Parse(bytes, Encoding::ExplicitLittle());
    ASSERT_TRUE(data.ok()) << data.status();
    ASSERT_EQ((*data)->Write(), bytes);

    Item& item = (*data)->Find(Tag(0x00081140))->sequence()->item(1);
    ASSERT_TRUE(item.SetText(Tag(0x00081155), "1.2.3").ok());
    const std::string changed = (*data)->Write();

    EXPECT_EQ(changed.size(), bytes.size() + 8 + 6);
    auto again = DataSet::Parse(changed, Encoding::ExplicitLittle());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->Find(Tag(0x00081140))->sequence()->item(1).GetText(Tag(0x00081155)), "1.2.3");
    ASSERT_TRUE((*again)->Find(Tag(0x00081140))->sequence()->item(1).Remove(Tag(0x00081155)));
    EXPECT_EQ((*again)->Write(), bytes);
  }
}

TEST(DataSetTest, RefusesDamageWithoutCrash) {
  const std::string bytes = Sample(true);
  for (size_t size = 1; size < bytes.size(); ++size) {
    const auto data = DataSet::Parse(bytes.substr(0, size), Encoding::ExplicitLittle());
    if (!data.ok()) {
      EXPECT_EQ(ErrorReason(data.status()), "MALFORMED_HEADER");
    }
  }
  std::string deep;
  for (int i = 0; i < 1000; ++i)
    deep += std::string("\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", 20);
  EXPECT_EQ(DataSet::Parse(deep, Encoding::ExplicitLittle()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(DataSetTest, BecomesUtf8OnlyWhenItMust) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  data->SetBytes(tags::kSpecificCharacterSet, Vr::kCS, "ISO_IR 100");
  data->SetBytes(tags::kPatientName, Vr::kPN, "M\xfcller^J\xf6rg");
  Item& item = data->EnsureSequence(Tag(0x00081140)).Append();
  item.SetBytes(Tag(0x00081030), Vr::kLO,
                "Sch\xe4"
                "del");

  ASSERT_TRUE(data->SetText(tags::kStudyDescription, "Größe").ok());
  EXPECT_EQ(data->SpecificCharacterSet(), "ISO_IR 100");
  EXPECT_EQ(data->GetText(tags::kStudyDescription), "Größe");
  ASSERT_TRUE(data->SetText(tags::kStudyDescription, "山田").ok());

  EXPECT_EQ(data->SpecificCharacterSet(), "ISO_IR 192");
  EXPECT_EQ(data->GetText(tags::kStudyDescription), "山田");
  EXPECT_EQ(data->GetText(tags::kPatientName), "Müller^Jörg");
  EXPECT_EQ(data->Find(Tag(0x00081140))->sequence()->item(0).GetText(Tag(0x00081030)), "Schädel");
}

TEST(DataSetTest, WritesNumbersInTheByteOrderOfTheDataSet) {
  for (const bool big : {false, true}) {
    auto data = DataSet::Empty({true, big});
    ASSERT_TRUE(data->SetText(tags::kRows, "258").ok());
    ASSERT_TRUE(data->SetText(Tag(0x00189087), "1000.5").ok());
    EXPECT_EQ(data->Find(tags::kRows)->value(), big ? "\x01\x02" : "\x02\x01");
    EXPECT_EQ(data->GetText(tags::kRows), "258");
    EXPECT_EQ(data->GetText(Tag(0x00189087)), "1000.5");
    EXPECT_EQ(ErrorReason(data->SetText(tags::kRows, "many")), "ANONYMIZATION_FAILED");
    const auto again = data->Clone();
    ASSERT_TRUE(again.ok());
    EXPECT_EQ((*again)->GetText(tags::kRows), "258");
  }
}

TEST(DataSetTest, RemovesAllOfSeveralElementsWithOneTag) {
  const std::string name(
      "\x10\x00\x10\x00PN\x02\x00"
      "AB",
      10);
  auto data = DataSet::Parse(name + name, Encoding::ExplicitLittle());
  ASSERT_TRUE(data.ok());
  auto other = (*data)->Clone();
  ASSERT_TRUE(other.ok());

  EXPECT_TRUE((*data)->Remove(tags::kPatientName));
  ASSERT_TRUE((*other)->SetText(tags::kPatientName, "X").ok());

  EXPECT_EQ((*data)->Write(), "");
  EXPECT_EQ((*other)->elements().size(), 1u);
}

TEST(DataSetTest, ReadsSequencesInUnknownVr) {
  // (0029,1020) UN of undefined length, holding implicit VR little endian, as PS3.5 section 6.2.2 has it.
  std::string bytes(
      "\x29\x00\x20\x10UN\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\x10\0\0\0\x10\x00\x10\x00\x08\0\0\0"
      "Doe^John"
      "\xfe\xff\xdd\xe0\0\0\0\0",
      12 + 8 + 16 + 8);
  auto data = DataSet::Parse(bytes, Encoding::ExplicitLittle());
  ASSERT_TRUE(data.ok()) << data.status();
  dicom::Sequence* sequence = (*data)->Find(Tag(0x00291020))->sequence();
  ASSERT_NE(sequence, nullptr);
  EXPECT_EQ(sequence->item(0).GetText(tags::kPatientName), "Doe^John");

  ASSERT_TRUE(sequence->item(0).SetText(tags::kPatientName, "A").ok());
  auto again = DataSet::Parse((*data)->Write(), Encoding::ExplicitLittle());

  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->Find(Tag(0x00291020))->vr(), Vr::kUN);
  EXPECT_EQ((*again)->Find(Tag(0x00291020))->sequence()->item(0).GetText(tags::kPatientName), "A");
}

TEST(DataSetTest, ReservesPrivateBlocks) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  EXPECT_EQ(*data->ReservePrivateTag(0x0019, "ONE", 0x08), Tag(0x0019, 0x1008));
  EXPECT_EQ(*data->ReservePrivateTag(0x0019, "TWO", 0x08), Tag(0x0019, 0x1108));
  EXPECT_EQ(*data->ReservePrivateTag(0x0019, "ONE", 0x09), Tag(0x0019, 0x1009));
  EXPECT_EQ(data->PrivateCreatorOf(Tag(0x0019, 0x11ff)), "TWO");
}

}  // namespace
}  // namespace narthex::anonymize
