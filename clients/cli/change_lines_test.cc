#include "clients/cli/change_lines.h"

#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace narthex::cli {
namespace {

class ChangeLinesTest : public testing::Test {
 protected:
  v1::AttributeChange& Add(const std::string& action, const std::string& path, const std::string& keyword,
                           const std::string& before, const std::string& after) {
    v1::AttributeChange& change = *changes_.Add();
    change.set_action(action);
    change.set_path(path);
    change.set_keyword(keyword);
    change.set_before(before);
    change.set_after(after);
    change.set_object_count(3);
    return change;
  }
  std::string Printed(const ChangeStyle& style) {
    std::ostringstream out;
    PrintChanges(out, changes_, style);
    return out.str();
  }

  google::protobuf::RepeatedPtrField<v1::AttributeChange> changes_;
};

TEST_F(ChangeLinesTest, ShowsWhatIsChangedThenAddedThenRemoved) {
  Add("removed", "(0008,0080)", "InstitutionName", "St Elsewhere", "").set_object_count(2);
  Add("changed", "(0010,0010)", "PatientName", "Doe^John", "S1");
  Add("changed", "(0010,0020)", "PatientID", "4711", "E1").set_varying(true);
  Add("added", "(0012,0062)", "PatientIdentityRemoved", "", "YES");

  EXPECT_EQ(Printed({.object_count = 3}),
            "changed: 2 attributes\n"
            "~ (0010,0010) PatientName  \"Doe^John\" -> \"S1\"\n"
            "~ (0010,0020) PatientID    \"4711\" -> \"E1\", and others\n"
            "added: 1 attribute\n"
            "+ (0012,0062) PatientIdentityRemoved  \"YES\"\n"
            "removed: 1 attribute\n"
            "- (0008,0080) InstitutionName  \"St Elsewhere\" (2 of 3)\n");
}

TEST_F(ChangeLinesTest, CutsLongValuesToTheLine) {
  Add("changed", "(0008,0018)", "SOPInstanceUID", std::string(60, '1'), "2.25.7");
  Add("removed", "(0010,4000)", "PatientComments", "Grüße aus München, und noch viel mehr als das", "");

  EXPECT_EQ(Printed({.object_count = 3, .width = 60}),
            "changed: 1 attribute\n"
            "~ (0008,0018) SOPInstanceUID  \"111111111111111…\" -> \"2.25.7\"\n"
            "removed: 1 attribute\n"
            "- (0010,4000) PatientComments  \"Grüße aus München, und noc…\"\n");
}

TEST_F(ChangeLinesTest, ShowsWhereLongValuesDiffer) {
  const std::string alike = "Per DICOM PS 3.15 AnnexE. Details in 0012,0064";
  Add("changed", "(0012,0063)", "DeidentificationMethod", alike, alike + "\\Script");

  EXPECT_EQ(Printed({.object_count = 3, .width = 80}),
            "changed: 1 attribute\n"
            "~ (0012,0063) DeidentificationMethod  \"…2,0064\" -> \"…2,0064\\Script\"\n");
}

TEST_F(ChangeLinesTest, CountsRemovedPrivateAttributesByCreator) {
  Add("removed", "(0019,0010)", "", "ACME 1.1", "");
  Add("removed", "(0019,1001)", "", "a", "").set_creator("ACME 1.1");
  Add("removed", "(0019,1002)", "", "b", "").set_creator("ACME 1.1");
  Add("removed", "(0008,1140)[0]/(0021,1002)", "", "b", "").set_creator("OTHER");
  changes_.Mutable(3)->set_object_count(1);
  Add("removed", "(0023,1080)", "", "<1 item>", "").set_creator("WITH ITEMS");
  Add("removed", "(0023,1080)[0]/(0040,0255)", "PerformedProcedureTypeDescription", "", "");
  Add("removed", "(0010,0030)", "PatientBirthDate", "19170317", "");

  EXPECT_EQ(Printed({.object_count = 3, .colour = true, .sum_up_private = true}),
            "removed: 1 attribute\n"
            "\033[31m- (0010,0030) PatientBirthDate  \"19170317\"\033[0m\n"
            "removed, private: 6 attributes\n"
            "\033[31m- (0008,1140)[0]/(0021,xxxx) {OTHER}  1 attribute (1 of 3)\033[0m\n"
            "\033[31m- (0019,xxxx) {ACME 1.1}  3 attributes\033[0m\n"
            "\033[31m- (0023,xxxx) {WITH ITEMS}  2 attributes\033[0m\n");
}

// What a script puts in front of a terminal must not command it.
TEST_F(ChangeLinesTest, HasNoControlCharacters) {
  Add("added", "(0010,4000)", "", "", "a\033[2Jb\n");
  EXPECT_EQ(Printed({}).find('\033'), std::string::npos);
}

}  // namespace
}  // namespace narthex::cli
