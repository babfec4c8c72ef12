#include "imaging/identify/router.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/header_facts.h"

namespace narthex::identify {
namespace {

namespace tags = dicom::tags;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

class FakeProjects : public ProjectDirectory {
 public:
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    const auto found = projects_.find(std::string(candidate));
    if (found == projects_.end()) return std::nullopt;
    return found->second;
  }

 private:
  // P2 is also called "Brain Study".
  std::map<std::string, std::string> projects_ = {
      {"P1", "P1"}, {"P2", "P2"}, {"Brain Study", "P2"}, {"P-3", "P-3"}};
};

class FakeStudies : public StudyRoutingTable {
 public:
  std::optional<StudyRoute> Find(absl::string_view uid) const override {
    if (uid != "1.2.3") return std::nullopt;
    return route;
  }
  StudyRoute route{"P1", "RoutedSubject", "Routed Label"};
};

using Header = std::vector<std::pair<dicom::Tag, std::string>>;

dicom::HeaderFacts Facts(const Header& header) {
  dicom::HeaderFactsBuilder builder;
  for (const auto& [tag, value] : header) builder.Add(tag, value);
  return builder.Build();
}

Destination RouteBy(const RoutingConfig& config, const Header& header, const ArrivalContext& arrival = {}) {
  const auto router = Router::Create(config);
  EXPECT_TRUE(router.ok()) << router.status();
  const auto to = router->Route(Facts(header), arrival, FakeProjects());
  EXPECT_TRUE(to.ok()) << to.status();
  return *to;
}

TEST(RouterTest, ReadsAssignmentsInCommentsAsXnatDoes) {
  const struct {
    const char* comment;
    const char* project;  // "" unassigned
  } kCases[] = {
      {"Project:P1", "P1"},
      {"project : P1", "P1"},
      {"PROJECT\t:\tP1", "P1"},
      {"Project:P1 Subject:S1 Session:E1 AA:true", "P1"},
      {"Project:P1,Subject:S1", "P1"},
      {"Project:P1;Subject:S1", "P1"},
      {"see also; Project:P-3", "P-3"},
      {"x Project:P1 Project:P2", "P2"},  // the last one wins
      {"Project:P1 Project:P2", "P1"},    // ... but one at the very beginning comes before it
      {"x Project:P1 Project:P9", ""},    // ... also if it is no project
      {"MyProject:P1", ""},               // not a word of its own
      {"Project:P1.5", ""},               // '.' neither belongs to the value nor separates
      {"Project:P1 Project:P2.5", "P1"},  // ... so the one before counts
      {"Project:", ""},
      {"Project: ,P1", ""},  // assigns nothing
      {"Project P1", ""},
      {"Project=P1", ""},
      {"first line\nProject:P1", "P1"},
      {"one\ntwo\nProject:P1", ""},  // Java's .* does not cross lines
      {"Project:\nP1", "P1"},        // but blanks after the colon may be a line's end
      {"Project:P1\nrest", "P1"},
      {"Project:P1\nrest\nmore", ""},
      {"Project:P1\n", "P1"},
      {"xProject:P2;Project:P1", "P1"},
      {"Projet:P2 Project:P1", "P1"},
  };
  for (const auto& c : kCases) {
    for (dicom::Tag tag : {tags::kPatientComments, tags::kStudyComments, tags::kAdditionalPatientHistory}) {
      EXPECT_EQ(RouteBy({}, {{tag, c.comment}}).project, c.project) << tag.ToString() << " " << c.comment;
    }
  }
}

TEST(RouterTest, TakesSubjectSessionAndAutoArchiveFromComments) {
  const Destination to = RouteBy({}, {{tags::kPatientName, "Doe^John"},
                                      {tags::kPatientID, "0042"},
                                      {tags::kPatientComments, "Project:P1 Subject:S1 Session:E1 AA:true"}});
  EXPECT_EQ(to.project, "P1");
  EXPECT_EQ(to.subject, "S1");
  EXPECT_EQ(to.label, "E1");
  EXPECT_EQ(to.auto_archive, AutoArchive::kYes);
  EXPECT_EQ(to.project_by.stage, Stage::kComment);
  EXPECT_EQ(to.project_by.attribute, "PatientComments");
}

TEST(RouterTest, ReadsAutoArchiveWords) {
  const struct {
    const char* comment;
    std::optional<AutoArchive> result;
  } kCases[] = {
      {"AA:true", AutoArchive::kYes},
      {"aa:T", AutoArchive::kYes},
      {"AA:TRUE", AutoArchive::kYes},
      {"AA:f", AutoArchive::kNo},
      {"AA : False", AutoArchive::kNo},
      {"AA:yes", std::nullopt},
      {"AA:tru", std::nullopt},
      {"AA:", std::nullopt},
      {"", std::nullopt},
      {"BAA:true", std::nullopt},
  };
  for (const auto& c : kCases)
    EXPECT_EQ(RouteBy({}, {{tags::kStudyComments, c.comment}}).auto_archive, c.result) << c.comment;
  // A value that means nothing leaves the next comment to speak; a site rule comes first.
  EXPECT_EQ(RouteBy({}, {{tags::kPatientComments, "AA:maybe"}, {tags::kStudyComments, "AA:f"}}).auto_archive,
            AutoArchive::kNo);
  EXPECT_EQ(RouteBy({.auto_archive_rules = "(0008,1030):^(t).*"},
                    {{tags::kStudyDescription, "trial"}, {tags::kStudyComments, "AA:f"}})
                .auto_archive,
            AutoArchive::kYes);
}

TEST(RouterTest, FallsThroughTheProjectChainInOrder) {
  const RoutingConfig config = {.receiver_project = "(0012,0020):(.*)",
                                .project_rules = "(0012,0010):(.*)\n(0012,0040):(.*)",
                                .legacy_project_rules = "(0008,0080):(.*)"};
  const FakeStudies studies;
  // Each candidate in its place; those before it name no project. Removing the first that counts shows the
  // next.
  Header header = {{tags::kStudyInstanceUID, "1.2.3"},
                   {tags::kInstitutionName, "P2"},
                   {tags::kAccessionNumber, "P1"},
                   {tags::kStudyDescription, "P2"},
                   {tags::kAdditionalPatientHistory, "Project:P1"},
                   {tags::kStudyComments, "Project:P2"},
                   {tags::kPatientComments, "Project:P-3"},
                   {dicom::Tag(0x0012, 0x0040), "P2"},
                   {dicom::Tag(0x0012, 0x0010), "P-3"},
                   {dicom::Tag(0x0012, 0x0020), "P2"}};
  const struct {
    Stage stage;
    int line;
    const char* attribute;
    const char* project;
  } kOrder[] = {
      {Stage::kReceiverExpression, 1, "ClinicalTrialProtocolID", "P2"},
      {Stage::kSiteRule, 1, "ClinicalTrialSponsorName", "P-3"},
      {Stage::kSiteRule, 2, "ClinicalTrialSubjectID", "P2"},
      {Stage::kStudyTable, 0, "", "P1"},
      {Stage::kComment, 0, "PatientComments", "P-3"},
      {Stage::kComment, 0, "StudyComments", "P2"},
      {Stage::kComment, 0, "AdditionalPatientHistory", "P1"},
      {Stage::kAttribute, 0, "StudyDescription", "P2"},
      {Stage::kAttribute, 0, "AccessionNumber", "P1"},
      {Stage::kLegacyRule, 1, "InstitutionName", "P2"},
      {Stage::kFallback, 0, "", ""},
  };
  for (const auto& expected : kOrder) {
    const Destination to = RouteBy(config, header, {.studies = &studies});
    EXPECT_EQ(to.project_by.stage, expected.stage) << StageName(expected.stage);
    EXPECT_EQ(to.project_by.line, expected.line) << StageName(expected.stage);
    EXPECT_EQ(to.project_by.attribute, expected.attribute) << StageName(expected.stage);
    EXPECT_EQ(to.project, expected.project) << StageName(expected.stage);
    if (expected.stage == Stage::kStudyTable) {
      header[0].second = "9.9.9";  // a study that is not in the table
    } else if (header.size() > 1) {
      header.back().second = "NO_SUCH_PROJECT";
      // What was last is now tried in vain; drop it, so that the next iteration shows its successor.
      header.pop_back();
    }
  }
}

TEST(RouterTest, NeedsAnExistingProjectEverywhere) {
  EXPECT_EQ(RouteBy({}, {{tags::kStudyDescription, "Brain Study"}}).project, "P2");  // an alias
  EXPECT_EQ(RouteBy({}, {{tags::kStudyDescription, "Head^P1"}}).project, "");        // the whole value
  EXPECT_EQ(RouteBy({}, {{tags::kStudyDescription, "nope"}, {tags::kAccessionNumber, " P1 "}}).project, "P1");
  EXPECT_EQ(RouteBy({.project_rules = "PatientID:(\\w+)-.*"},
                    {{tags::kPatientID, "P9-1"}, {tags::kStudyDescription, "P2"}})
                .project,
            "P2");
  EXPECT_EQ(RouteBy({}, {}).project, "");
}

TEST(RouterTest, RoutesByAeTitle) {
  const RoutingConfig config = {.project_rules = "CalledAETitle:XNAT_(.*)\nCallingAETitle:(P.)SCAN"};
  EXPECT_EQ(RouteBy(config, {}, {.called_ae = "XNAT_P1"}).project, "P1");
  EXPECT_EQ(RouteBy(config, {}, {.called_ae = "XNAT_P1  ", .calling_ae = "P2SCAN"}).project, "P1");
  EXPECT_EQ(RouteBy(config, {}, {.called_ae = "OTHER", .calling_ae = "P2SCAN"}).project, "P2");
  EXPECT_EQ(RouteBy(config, {}).project, "");
}

TEST(RouterTest, NamesSubjectAndSessionByTheHeader) {
  const Header header = {{tags::kPatientName, "Doe^John"}, {tags::kPatientID, "PID 007/b"}};
  EXPECT_EQ(RouteBy({}, header).subject, "Doe_John");
  EXPECT_EQ(RouteBy({}, header).label, "PID_007_b");
  EXPECT_EQ(RouteBy({}, header).label_by.attribute, "PatientID");
  EXPECT_EQ(RouteBy({}, {}).subject, "");
  EXPECT_EQ(RouteBy({}, {}).label, "dicom_upload");
  EXPECT_EQ(RouteBy({}, {}).label_by.stage, Stage::kFallback);
}

TEST(RouterTest, CleansWhatRulesAndTableSay) {
  const RoutingConfig config = {.subject_rules = "PatientID:(.*)-.*", .session_rules = "PatientID:.*-(.*)"};
  const Destination by_rules = RouteBy(config, {{tags::kPatientID, "S 1-E.1"}});
  EXPECT_EQ(by_rules.subject, "S_1");
  EXPECT_EQ(by_rules.label, "E_1");

  const FakeStudies studies;
  const Destination by_table =
      RouteBy({}, {{tags::kStudyInstanceUID, "1.2.3"}, {tags::kPatientID, "x"}}, {.studies = &studies});
  EXPECT_EQ(by_table.project, "P1");
  EXPECT_EQ(by_table.subject, "RoutedSubject");
  EXPECT_EQ(by_table.label, "Routed_Label");
}

TEST(RouterTest, LetsReceiversGoFirst) {
  const RoutingConfig config = {.receiver_subject = "PatientID:(.).*",
                                .receiver_session = "PatientID:.(.).*",
                                .subject_rules = "PatientID:..(.).*",
                                .session_rules = "PatientID:...(.).*"};
  const Destination to = RouteBy(config, {{tags::kPatientID, "abcd"}});
  EXPECT_EQ(to.subject, "a");
  EXPECT_EQ(to.label, "b");
  EXPECT_EQ(to.subject_by.stage, Stage::kReceiverExpression);
}

TEST(RouterTest, NeverLeavesTheProjectThatAReceiverIsBoundTo) {
  const Header header = {{tags::kStudyDescription, "P2"}, {tags::kPatientName, "Doe"}};
  EXPECT_EQ(RouteBy({.fixed_project = "P1", .fixed_subject = "S9"}, header).project, "P1");
  EXPECT_EQ(RouteBy({.fixed_project = "P1", .fixed_subject = "S9"}, header).subject, "S9");
  EXPECT_EQ(RouteBy({.fixed_project = "GONE"}, header).project, "");
}

TEST(RouterTest, ObeysTheExplicitDestination) {
  const Header header = {{tags::kPatientComments, "Project:P2 Subject:S2 Session:E2"}};
  const Destination to = RouteBy({.fixed_project = "P2", .project_rules = "PatientComments:.*(P2).*"}, header,
                                 {.project = "P1", .subject = "S1", .label = "E1"});
  EXPECT_EQ(to.project, "P1");
  EXPECT_EQ(to.subject, "S1");
  EXPECT_EQ(to.label, "E1");
  EXPECT_EQ(to.project_by.stage, Stage::kExplicit);
  EXPECT_EQ(RouteBy({}, header, {.project = "P1"}).subject, "S2");  // what is not given is looked up
}

TEST(RouterTest, RefusesAnExplicitDestinationThatIsNone) {
  const auto router = Router::Create({});
  const Header header = {{tags::kStudyDescription, "P1"}};
  EXPECT_EQ(ErrorReason(router->Route(Facts(header), {.project = "GONE"}, FakeProjects()).status()),
            "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(router->Route(Facts(header), {.subject = "a b"}, FakeProjects()).status()),
            "INVALID_FIELD");
  EXPECT_EQ(ErrorReason(router->Route(Facts(header), {.label = "../x"}, FakeProjects()).status()),
            "INVALID_FIELD");
}

TEST(RouterTest, ExplainsStepByStep) {
  const RoutingConfig config = {.project_rules = "# by protocol\n(0018,1030):(P.)_.*"};
  const Header header = {{tags::kProtocolName, "head"},
                         {tags::kStudyDescription, "nope"},
                         {tags::kAccessionNumber, "P1"},
                         {tags::kPatientName, "Secret^Name"}};
  const Destination to = RouteBy(config, header, {.trace = Trace::kWithoutValues});
  std::vector<std::string> lines;
  for (const Step& step : to.trace) lines.push_back(step.ToString());
  EXPECT_THAT(
      lines,
      IsSupersetOf({"project: site rule, line 2, ProtocolName: no match",
                    "project: receiver expression: not configured",
                    "project: study routing table: not configured",
                    "project: comment, PatientComments: absent or empty",
                    "project: attribute, StudyDescription: no such project, or not for this sender",
                    "project: attribute, AccessionNumber: taken", "subject: attribute, PatientName: taken",
                    "session: attribute, PatientID: absent or empty", "session: fallback: taken"}));
  for (const std::string& line : lines) {
    EXPECT_THAT(line, Not(HasSubstr("Secret"))) << "values only on request";
    EXPECT_THAT(line, Not(HasSubstr("nope")));
  }

  const Destination with_values = RouteBy(config, header, {.trace = Trace::kWithValues});
  lines.clear();
  for (const Step& step : with_values.trace) lines.push_back(step.ToString());
  EXPECT_THAT(lines, Contains("subject: attribute, PatientName, \"Secret_Name\": taken"));
  EXPECT_THAT(lines, Contains("session: fallback, \"dicom_upload\": taken"));
  EXPECT_TRUE(RouteBy(config, header).trace.empty());
}

TEST(RouterTest, NamesTheAttributesThatItWants) {
  const auto router = Router::Create({.session_rules = "(0018,1030):(.*)"});
  EXPECT_THAT(router->wanted(),
              IsSupersetOf({tags::kProtocolName, tags::kPatientComments, tags::kStudyComments,
                            tags::kAdditionalPatientHistory, tags::kStudyDescription, tags::kAccessionNumber,
                            tags::kPatientName, tags::kPatientID, tags::kStudyInstanceUID}));
}

TEST(RouterTest, RefusesBadRules) {
  EXPECT_EQ(ErrorReason(Router::Create({.session_rules = "x"}).status()), "INVALID_SCRIPT");
}

}  // namespace
}  // namespace narthex::identify
