// export: which field a script means, and which value it gets.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/limits.h"
#include "base/limits_storage.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/export_target.h"

namespace narthex::anonymize {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

std::unique_ptr<dicom::DataSet> Object(dicom::Tag tag, absl::string_view value) {
  auto data = dicom::DataSet::Empty(dicom::Encoding::ExplicitLittle());
  EXPECT_TRUE(data->SetText(tag, value).ok());
  return data;
}

std::map<std::string, std::string> ExportsOf(const std::string& text, dicom::DataSet& data,
                                             bool repeats = false) {
  const auto script = Script::Compile("version \"6.6\"\n" + text);
  EXPECT_TRUE(script.ok()) << script.status();
  ApplyContext context;
  context.repeats = repeats;
  const auto result = script->Apply(data, {{"project", "P1"}, {"subject", "S1"}, {"session", "E1"}}, context);
  EXPECT_TRUE(result.ok()) << result.status();
  std::map<std::string, std::string> exports;
  if (!result.ok()) return exports;
  for (const auto& [target, value] : result->exports) exports[target] = value.Reveal();
  return exports;
}

TEST(ExportTargetTest, KnowsTheFieldsOfASessionAndMakesTheRestCustomFields) {
  EXPECT_EQ(ExportTargetOf("xnat:mrSessionData/note"), "note");
  EXPECT_EQ(ExportTargetOf("xnat:imageSessionData/acquisition_site"), "acquisition_site");
  EXPECT_EQ(ExportTargetOf("Operator"), "operator");
  EXPECT_EQ(ExportTargetOf(" xnat:petSessionData/session_type "), "session_type");
  EXPECT_EQ(ExportTargetOf("xnat:mrSessionData/fields/field[name=coil]/field"), "fields/coil");
  EXPECT_EQ(ExportTargetOf("xnat:experimentData/xnat:fields/xnat:field[@name='Site no.']"),
            "fields/Site_no.");
  EXPECT_EQ(ExportTargetOf("fields/coil"), "fields/coil");
  EXPECT_EQ(ExportTargetOf("xnat:mrSessionData/coil"), "fields/coil");
  EXPECT_EQ(ExportTargetOf("my visit"), "fields/my_visit");
  EXPECT_EQ(ExportTargetOf("xnat:mrSessionData/dose/interval"), "fields/dose_interval");
}

TEST(ExportTargetTest, LeavesWhatHeadersAndRoutingSay) {
  for (const char* path :
       {"", "/", "xnat:mrSessionData", "fields/field[name=]", "fields/field[2]", "xnat:mrSessionData/project",
        "xnat:mrSessionData/label", "subject_ID", "xnat:imageSessionData/date",
        "xnat:imageSessionData/scans/scan[ID=1]/type", "xnat:mrSessionData/dcmPatientName", "fields"}) {
    EXPECT_EQ(ExportTargetOf(path), std::nullopt) << path;
  }
  EXPECT_EQ(ExportTargetOf(std::string(limits::kLabelMaxBytes + 1, 'x')), std::nullopt);
}

TEST(ExportTest, GivesTheValueAtThatStatement) {
  auto data = Object(dicom::tags::kPatientName, "Doe^Jane");
  EXPECT_THAT(ExportsOf("describe who \"whoever\"\n"
                        "who := lowercase[(0010,0010)]\n"
                        "export who \"xnat:mrSessionData/note\"\n"
                        "who := \"changed\"\n"
                        "(0010,0010) := \"gone\"\n"
                        "export session \"fields/of\"",
                        *data),
              ElementsAre(Pair("fields/of", "E1"), Pair("note", "doe^jane")));
}

TEST(ExportTest, TheLastExportToAFieldHolds) {
  auto data = Object(dicom::tags::kModality, "CT");
  EXPECT_THAT(ExportsOf("a := \"one\"\nb := \"two\"\n"
                        "export a \"xnat:mrSessionData/note\"\nexport b \"xnat:ctSessionData/note\"",
                        *data),
              ElementsAre(Pair("note", "two")));
}

TEST(ExportTest, SaysNothingOfAnAbsentAttributeAndOfNamesThatAreTaken) {
  auto data = Object(dicom::tags::kModality, "CT");
  EXPECT_THAT(ExportsOf("a := (0010,0010)\nexport a \"note\"\nexport project \"label\"\ndescribe z \"?\"\n"
                        "export z \"fields/z\"",
                        *data),
              IsEmpty());
}

TEST(ExportTest, CutsLongValuesAndTakesControlCharactersOut) {
  auto data = Object(dicom::tags::kModality, "CT");
  const std::string path = "\"fields/long\"";
  const auto exports = ExportsOf(
      "a := \"" + std::string(limits::kCustomFieldMaxBytes * 2, 'x') + "\"\nexport a " + path, *data);
  ASSERT_EQ(exports.count("fields/long"), 1u);
  EXPECT_EQ(exports.at("fields/long").size(), limits::kCustomFieldMaxBytes.get() + 1);
  EXPECT_THAT(ExportsOf("a := \"b\x01\x7f c\"\nexport a \"note\"", *data), ElementsAre(Pair("note", "b c")));
}

TEST(ExportTest, ASecondRunExportsNoValueOfTheObject) {
  auto data = Object(dicom::tags::kPatientName, "Doe^Jane");
  EXPECT_THAT(ExportsOf("a := (0010,0010)\nexport a \"note\"\nexport session \"fields/of\"", *data, true),
              ElementsAre(Pair("fields/of", "E1")));
}

TEST(ExportTest, WhatIdentifiesInAnExportedValueIsALeftover) {
  auto data = Object(dicom::tags::kPatientName, "Doeringer^Jane");
  auto script = Script::Compile("version \"6.6\"\na := (0010,0010)\nexport a \"note\"\n(0010,0010) := \"\"");
  ASSERT_TRUE(script.ok());
  AnonymizationPlan plan;
  plan.script = std::make_shared<Script>(*std::move(script));
  plan.check_leftovers = true;
  ApplyContext context;
  Anonymizer anonymizer(plan, {}, context);
  dicom::ObjectHeader header;
  header.data = std::move(data);
  ASSERT_TRUE(anonymizer.EditHeader(header).ok());
  ASSERT_EQ(anonymizer.outcome().leftovers.found.size(), 1u);
  EXPECT_EQ(anonymizer.outcome().leftovers.found[0].name, "export note");
  EXPECT_EQ(anonymizer.outcome().leftovers.found[0].source, "PatientName");
}

}  // namespace
}  // namespace narthex::anonymize
