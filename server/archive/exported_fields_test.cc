#include "server/archive/exported_fields.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/limits_storage.h"

namespace narthex::archiving {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(ExportedValuesTest, TheFirstObjectHoldsAndALaterScriptOverrides) {
  prearchive::ExportedValues site, project;
  site.Add("note", "a");
  site.Add("note", "b");
  site.Add("note", "a");
  site.Add("operator", "x");
  project.Add("operator", "y");

  site.Override(project);

  EXPECT_EQ(site.rows().at("note").value(), "a");
  EXPECT_EQ(site.rows().at("note").differing_count(), 1u);
  EXPECT_EQ(site.rows().at("operator").value(), "y");
}

TEST(ExportedFieldsTest, DistributesValuesAndTellsNamesOnly) {
  prearchive::ExportedValues exported;
  exported.Add("note", "a remark");
  exported.Add("acquisition_site", "Saint Louis");
  exported.Add("operator", "RT");
  exported.Add("session_type", "baseline");
  exported.Add("fields/coil", "32");
  exported.Add("fields/coil", "64");

  const ExportedFields fields = ExportedFieldsOf(exported, {{"coil", FieldType::kInteger, true, {}, ""}});
  session::SessionModel model;
  model.operator_name = "of the header";
  Describe(fields, model);

  EXPECT_EQ(fields.note, "a remark");
  EXPECT_EQ(model.acquisition_site, "Saint Louis");
  EXPECT_EQ(model.operator_name, "RT");
  EXPECT_EQ(model.session_type, "baseline");
  EXPECT_THAT(fields.fields, ElementsAre(Pair("coil", "32")));
  EXPECT_THAT(
      fields.remarks,
      ElementsAre("exported by a script: acquisition_site, coil, note, operator, session_type",
                  "exported with other values by some objects, of which the first was taken: coil (1)"));
}

TEST(ExportedFieldsTest, LeavesOutWhatDoesNotFit) {
  prearchive::ExportedValues exported;
  exported.Add("fields/dose", "much");
  exported.Add("fields/coil", "head");
  exported.Add("fields/long", std::string(limits::kCustomFieldMaxBytes + 1, 'x'));
  exported.Add("note", std::string(2501, 'x'));

  const ExportedFields fields = ExportedFieldsOf(exported, {{"dose", FieldType::kFloat, false, {}, ""},
                                                            {"coil", FieldType::kString, false, {"knee"}, ""},
                                                            {"missing", FieldType::kString, true, {}, ""}});

  EXPECT_EQ(fields.note, "");
  EXPECT_THAT(fields.fields, IsEmpty());
  EXPECT_THAT(
      fields.remarks,
      ElementsAre("not exported: coil (does not fit what the project defines), dose (does not fit what "
                  "the project defines), long (is too long), note (is too long)"));
}

TEST(ExportedFieldsTest, AnArchivedSessionKeepsWhatItHas) {
  ExportedFields exported;
  exported.note = "new";
  exported.fields = {{"coil", "32"}, {"dose", "1"}, {"same", "x"}};
  std::string note = "of a person";
  Fields fields = {{"coil", "64"}, {"same", "x"}};

  FillIn(exported, note, fields);

  EXPECT_EQ(note, "of a person");
  EXPECT_THAT(fields, ElementsAre(Pair("coil", "64"), Pair("dose", "1"), Pair("same", "x")));
  EXPECT_THAT(exported.remarks,
              ElementsAre("kept as the session had them, though exported otherwise: coil, note"));
}

}  // namespace
}  // namespace narthex::archiving
