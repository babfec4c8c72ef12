#include "server/deidentify/plan_editor.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::deidentify {
namespace {

using dicom::DataSet;
using dicom::Encoding;
using dicom::Tag;
namespace tags = dicom::tags;
using std::string_literals::operator""s;

std::shared_ptr<const Plan> Renaming() {
  Plan plan;
  plan.steps.script = std::make_shared<anonymize::Script>(
      *anonymize::Script::Compile("version \"6.6\"\n(0010,0010) := \"A\"\n(0008,0018) := \"1.9\"\n"));
  plan.steps.secret = "a secret of sixteen bytes";
  plan.steps.check_leftovers = true;
  return std::make_shared<const Plan>(std::move(plan));
}

std::string Number(size_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(value >> 8 * i & 0xff));
  return bytes;
}

// An object of a patient, with `bulk` and what stands behind it.
std::string Object(const std::string& bulk, const std::string& behind) {
  auto meta = DataSet::Empty(Encoding::ExplicitLittle());
  meta->SetBytes(tags::kTransferSyntaxUID, dicom::Vr::kUI, dicom::kExplicitVrLittleEndian);
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  data->SetBytes(tags::kSOPClassUID, dicom::Vr::kUI, "1.2.840.10008.5.1.4.1.1.7");
  data->SetBytes(tags::kSOPInstanceUID, dicom::Vr::kUI, "1.2.3");
  data->SetBytes(tags::kPatientName, dicom::Vr::kPN, "Winterbottom^Rosalind");
  return std::string(128, '\0') + "DICM" + meta->Write() + data->Write() + bulk + behind;
}

std::string Native(size_t size) { return "\xe0\x7f\x10\x00OW\0\0"s + Number(size) + std::string(size, '\1'); }

std::string Fragments(size_t count, size_t size) {
  std::string bulk = "\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0"s;
  for (size_t i = 0; i < count; ++i) bulk += "\xfe\xff\x00\xe0"s + Number(size) + std::string(size, '\1');
  return bulk + "\xfe\xff\xdd\xe0\0\0\0\0"s;
}

std::string Padding(const std::string& text) {
  return "\xfc\xff\xfc\xffOB\0\0"s + Number(text.size()) + text;
}

class PlanEditorTest : public testing::Test {
 protected:
  // What is found in `object`, of which only the first `head_bytes` are at hand.
  anonymize::LeftoverReport Look(const std::string& object, size_t head_bytes, bool with_rest = true) {
    PlanEditor::Options options;
    options.check_leftovers = true;
    options.pass_pixels = true;
    PlanEditor editor(Renaming(), std::move(options));
    const auto facts = dicom::ScanWhole(object);
    EXPECT_TRUE(facts.ok()) << facts.status();
    read_from_.reset();
    const ObjectRest rest{*facts, object.size(),
                          [&](uint64_t offset, const std::function<absl::Status(absl::string_view)>& sink) {
                            read_from_ = offset;
                            return sink(absl::string_view(object).substr(offset));
                          }};
    const auto edited =
        EditHead(editor, absl::string_view(object).substr(0, head_bytes), {}, with_rest ? &rest : nullptr);
    EXPECT_TRUE(edited.ok()) << edited.status();
    if (edited.ok()) EXPECT_EQ(edited->sop_instance_uid(), "1.9");
    return editor.outcome().leftovers;
  }

  std::optional<uint64_t> read_from_;
};

TEST_F(PlanEditorTest, WhatStandsBehindThePixelsIsSearched) {
  for (const std::string& bulk : {Native(100), Native(300'000), Fragments(3, 10), Fragments(3, 100'000)}) {
    for (const std::string& behind :
         {Padding("by Winterbottom."),
          "\xe1\x7f\x10\x00LO\x06\0ACME  "s + "\xe1\x7f\x01\x10LO\x0c\0Winterbottom"s}) {
      const std::string object = Object(bulk, behind);
      const auto report = Look(object, std::min<size_t>(object.size(), 20'000));
      ASSERT_EQ(report.found.size(), 1u);
      EXPECT_EQ(report.found[0].source, "PatientName");
      EXPECT_EQ(report.found[0].count, 1);
    }
  }
}

TEST_F(PlanEditorTest, NamesThatStandOnlyBehindThePixelsAreLookedForThere) {
  // (7FE1,1001) of VR PN, and the same name in another element.
  const std::string behind =
      "\xe1\x7f\x10\x00LO\x04\0ACME"s + "\xe1\x7f\x01\x10PN\x08\0Quendel "s + Padding("Quendel was here");
  const auto report = Look(Object(Native(10), behind), 20'000);
  EXPECT_EQ(report.found.size(), 2u);
}

TEST_F(PlanEditorTest, AnObjectThatEndsWithItsPixelsIsNotReadToItsEnd) {
  EXPECT_TRUE(Look(Object(Native(300'000), ""), 20'000).clean());
  EXPECT_FALSE(read_from_.has_value());

  EXPECT_TRUE(Look(Object(Fragments(3, 100'000), ""), 20'000).clean());
  EXPECT_EQ(read_from_, 20'000u);
}

}  // namespace
}  // namespace narthex::deidentify
