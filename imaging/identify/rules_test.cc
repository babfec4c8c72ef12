#include "imaging/identify/rules.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/limits_routing.h"
#include "imaging/dicom/header_facts.h"

namespace narthex::identify {
namespace {

using ::testing::HasSubstr;

dicom::HeaderFacts Facts(dicom::Tag tag, absl::string_view value) {
  return dicom::HeaderFactsBuilder().Add(tag, value).Build();
}

// What the one rule `line` makes of `value` in PatientID; "-" if nothing.
std::string Apply(absl::string_view line, absl::string_view value) {
  const auto rules = RuleSet::Parse(line, "rules");
  EXPECT_TRUE(rules.ok()) << rules.status();
  if (!rules.ok() || rules->rules().size() != 1) return "?";
  const Rule& rule = rules->rules()[0];
  std::string scratch;
  const dicom::HeaderFacts facts = Facts(dicom::tags::kPatientID, value);
  return rule.Apply(rule.source.Value(facts, {.called = "SCAN_P7", .calling = "MRC35"}, scratch))
      .value_or("-");
}

TEST(RulesTest, AppliesRulesAsXnatDoes) {
  const struct {
    const char* rule;
    const char* value;
    const char* result;
  } kCases[] = {
      {"(0010,0020):^([^_]+)_.*$:1", "P1_0042", "P1"},
      {"(0010,0020):^([^_]+)_.*$", "P1_0042", "P1"},  // group 1 is the default
      {"(0010,0020):^([^_]+)_(.*)$:2", "P1_0042", "0042"},
      {"(0010,0020):.*:0", "P1_0042", "P1_0042"},
      {"(0010,0020):P1:0", "P1_0042", "-"},      // the whole value must match
      {"(0010,0020):(x)?P1.*", "P1_0042", "-"},  // the group took no part
      {"(0010,0020):(x*)P1.*", "P1_0042", "-"},  // the group is empty
      {"(0010,0020):(.*) t:_ r:-", "a_b_c", "a-b-c"},
      {"(0010,0020):(.*):1 t:_ r:", "a_b_c", "abc"},
      {"(0010,0020):(.*) t:(\\w)(\\d) r:$2$1", "a1b2", "1a2b"},
      {"(0010,0020):(a:b):1", "a:b", "a:b"},  // colons in the expression
      {"(0010,0020):a:(\\d+)", "a:17", "17"},
      {"(0010,0020):.*:0 t:x r:y r:z", "x r:yx", "zx"},  // the last " r:" separates
      {"PatientID:(.*)", "P1\\P2", "P1"},                // the first value
      {"PatientID:(.*)", "  P1 ", "P1"},
      {"CalledAETitle:SCAN_(.*)", "", "P7"},
      {"callingaetitle:(MR).*", "", "MR"},
      {"00100020:(.*)", "P1", "P1"},
      {"  (0010,0020):(P1)  ", "P1", "P1"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Apply(c.rule, c.value), c.result) << c.rule << " on " << c.value;
}

TEST(RulesTest, LimitsTheResultTo64Bytes) {
  EXPECT_EQ(Apply("PatientID:(.*)", std::string(100, 'x')), std::string(64, 'x'));
  EXPECT_EQ(Apply("PatientID:(.*) t:x r:yyyy", std::string(100, 'x')), std::string(64, 'y'));
}

TEST(RulesTest, ReadsWholeTexts) {
  const auto rules =
      RuleSet::Parse("# projects\n\n(0008,1030):(\\w+).*\r\n  # more\nAccessionNumber:(\\d+)\n", "rules");
  ASSERT_TRUE(rules.ok()) << rules.status();

  ASSERT_EQ(rules->rules().size(), 2u);
  EXPECT_EQ(rules->rules()[0].line, 3);
  EXPECT_EQ(rules->rules()[0].source.name(), "StudyDescription");
  EXPECT_EQ(rules->rules()[1].line, 5);
  EXPECT_EQ(rules->rules()[1].source.tag(), dicom::tags::kAccessionNumber);
}

TEST(RulesTest, KeepsBackslashesOfLongText) {
  const auto rules = RuleSet::Parse("PatientComments:(.*)", "rules");
  ASSERT_TRUE(rules.ok());
  std::string scratch;
  EXPECT_EQ(rules->rules()[0].source.Value(Facts(dicom::tags::kPatientComments, "a\\b"), {}, scratch),
            "a\\b");
}

TEST(RulesTest, NamesLineAndColumnOfErrors) {
  const struct {
    const char* text;
    const char* line;
    const char* column;
    const char* message;
  } kCases[] = {
      {"hello", "1", "1", "a rule is"},
      {"# fine\n  NoSuchTag:(.*)", "2", "3", "NoSuchTag"},
      {"(0010,00):(.*)", "1", "1", "(0010,00)"},
      {"(0010,0020)(.*)", "1", "12", "must follow (0010,0020)"},
      {"(0010,0020):", "1", "13", "regular expression"},
      {"(0010,0020):(a", "1", "13", "missing"},
      {"(0010,0020):ab(?=c)(d)", "1", "15", "look-around"},
      {"(0010,0020):abc", "1", "13", "takes group 1, and the expression has 0"},
      {"(0010,0020):(abc):2", "1", "19", "takes group 2"},
      {"(0010,0020):(abc):99", "1", "19", "a group number is 0 to 31"},
      {"(0010,0020):(abc) t:[ r:x", "1", "21", "never closed"},
      {"(0010,0020):(abc) t:x r:$1", "1", "25", "there is no group 1"},
  };
  for (const auto& c : kCases) {
    const absl::Status status = RuleSet::Parse(c.text, "site project rules").status();
    EXPECT_EQ(ErrorReason(status), "INVALID_SCRIPT") << c.text;
    EXPECT_EQ(ErrorMetadataOf(status)["line"], c.line) << c.text << ": " << status;
    EXPECT_EQ(ErrorMetadataOf(status)["column"], c.column) << c.text << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("site project rules")) << c.text;
  }
}

TEST(RulesTest, ReportsAllBadLines) {
  const absl::Status status = RuleSet::Parse("bad\n(0010,0020):(.*)\nworse", "rules").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 3"));
}

TEST(RulesTest, RefusesTooMuch) {
  std::string many;
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&many, "PatientID:(.*)\n");
  EXPECT_EQ(ErrorReason(RuleSet::Parse(many, "rules").status()), "INVALID_SCRIPT");
  EXPECT_EQ(ErrorReason(RuleSet::Parse(std::string(70'000, '\n'), "rules").status()), "INVALID_SCRIPT");
}

TEST(RuleSetTest, RulesThatAreStoredStayInForceUnderLowerLimits) {
  const std::string long_rule =
      absl::StrCat("(0010,0020):", std::string(limits::kRegexMaxBytes + 1, 'x'), ":0");
  std::string many;
  for (size_t i = 0; i <= limits::kRulesMax; ++i) many += "(0010,0020):x:0\n";

  for (const std::string& text : {long_rule, many}) {
    EXPECT_FALSE(RuleSet::Parse(text, "rules").ok());
    EXPECT_TRUE(RuleSet::Parse(text, "rules", Origin::kStored).ok());
  }
}

}  // namespace
}  // namespace narthex::identify
