// The language beyond the vectors: the checker, what the real one cannot do, bounds, and errors.
#include "imaging/anonymize/script.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/anonymize/record.h"

namespace narthex::anonymize {
namespace {

using dicom::DataSet;
using dicom::Encoding;
using dicom::Tag;
namespace tags = dicom::tags;

std::unique_ptr<DataSet> Person() {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  EXPECT_TRUE(data->SetText(tags::kPatientName, "Doe^John").ok());
  EXPECT_TRUE(data->SetText(tags::kPatientID, "PID-007").ok());
  EXPECT_TRUE(data->SetText(tags::kStudyDate, "20200229").ok());
  return data;
}

// The name after the script ran; the error's text if it failed.
std::string NameAfter(const std::string& text, ApplyContext context = {}, Variables variables = {},
                      CompileOptions options = {}) {
  const auto script = Script::Compile(text, options);
  if (!script.ok()) return std::string(script.status().message());
  const auto data = Person();
  const auto result = script->Apply(*data, variables, context);
  return result.ok() ? data->TextOrEmpty(tags::kPatientName) : std::string(result.status().message());
}

std::string Codes(const std::string& text, const CompileOptions& options = {}) {
  std::string codes;
  for (const Diagnostic& diagnostic : Check(text, options)) {
    absl::StrAppend(&codes, codes.empty() ? "" : " ", diagnostic.line, ":", diagnostic.column, ":",
                    diagnostic.code);
  }
  return codes;
}

TEST(ScriptTest, RunsTheDefaultSiteScript) {
  const auto script = Script::Compile(DefaultSiteScript());
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_THAT(Check(DefaultSiteScript()), testing::IsEmpty());
  const auto data = Person();
  ApplyContext context;

  ASSERT_TRUE(script->Apply(*data, {{"project", "P1"}, {"subject", "S1"}, {"session", "E1"}}, context).ok());

  EXPECT_EQ(data->GetText(tags::kStudyDescription), "P1");
  EXPECT_EQ(data->GetText(tags::kPatientName), "S1");
  EXPECT_EQ(data->GetText(tags::kPatientID), "E1");
}

TEST(CheckerTest, SaysLineAndColumn) {
  EXPECT_EQ(Codes("version \"6.6\"\n(0010,0010) := uppercas[\"x\"]\n"), "2:16:UNKNOWN_FUNCTION");
  EXPECT_THAT(Check("version \"6.6\"\n(0010,0010) := uppercas[\"x\"]\n")[0].message,
              testing::HasSubstr("do you mean uppercase?"));
  EXPECT_EQ(Codes("version \"6.6\"\n(0010,0010) := \"a\nb\n"), "2:16:SYNTAX");
  EXPECT_EQ(Codes("version \"6.6\"\n-(0010,001)\n-(0010,0010\n-(0010,0020)"), "2:11:SYNTAX 3:12:SYNTAX");
}

TEST(CheckerTest, FindsWhatWouldFailOrDoNothing) {
  const std::string v = "version \"6.6\"\n";
  EXPECT_EQ(Codes(v + "(0010,0010) := nobody"), "2:16:UNSET_VARIABLE");
  EXPECT_EQ(Codes(v + "name := \"x\"\n(0010,0010) := name\n(0010,0020) := subject"), "");
  EXPECT_EQ(Codes(v + "(0010,0010) := substring[(0010,0010), 1]"), "2:16:ARITY");
  EXPECT_EQ(Codes(v + "delete[(0010,0010)]"), "2:8:UNQUOTED_PATH");
  EXPECT_EQ(Codes(v + "mapReferencedUIDs[\"1.2\", (0008,1140)/(0008,1155)]"), "2:26:UNQUOTED_PATH");
  EXPECT_EQ(Codes(v + "-(0011,0010)"), "2:8:SYNTAX");
  EXPECT_EQ(Codes(v + "-(0010,00FC)"), "2:1:UNKNOWN_TAG");
  EXPECT_EQ(Codes(v + "-(0010,0010)/(0010,0020)"), "2:1:NO_SEQUENCE");
  EXPECT_EQ(Codes(v + "*/(0010,0010) := \"x\""), "2:1:AMBIGUOUS_TARGET");
  EXPECT_EQ(Codes(v + "(0010,0010) ~ \"(?=x)\" ? -(0010,0020)"), "2:15:REGEX");
  EXPECT_EQ(Codes(v + "hashUID[(0020,000D)]"), "2:1:RESULT_UNUSED");
  EXPECT_EQ(Codes(v + "reject[]\n-(0010,0010)"), "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "-(0010,0010)\n(0010,0010) = \"x\" ? -(0010,0020)"), "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "if (true[]) { -(0010,0010) } else { -(0010,0020) }"), "2:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "true[] ? reject[]\n-(0010,0010)"), "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "if ((0008,0060) = \"CT\") { reject[] } else { reject[] }\n-(0010,0010)\n-(0010,0020)"),
            "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "if ((0008,0060) = \"CT\") { reject[] }\n-(0010,0010)"), "");
  EXPECT_EQ(Codes(v + "-(0010,0010)\n-(0010,0010)"), "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "removeAllPrivateTags\n-(0019,{ACME}10)\n(0019,{ACME}10) := \"x\"\n-(0019,{ACME}10)"),
            "3:1:UNREACHABLE");
  EXPECT_EQ(Codes(v + "-(0010,0010)\nset[\"(0010,0010)\", \"x\"]\n(0010,0020) := (0010,0010)"), "");
  EXPECT_EQ(Codes(v + "export project \"xnat:imageSessionData/project\""), "2:1:EXPORT");
  EXPECT_EQ(Codes(v + "export session \"xnat:imageSessionData/fields/field[name=scanned]/field\""), "");
  EXPECT_EQ(Codes(v + "equals[(0010,0010), \"x\"] ? -(0010,0020)"), "2:8:EQUALS_PATH");
  EXPECT_EQ(Codes(v + "-(7FE0,0010)"), "2:1:PIXEL_DATA");
  EXPECT_EQ(Codes(v + "alterPixels[\"rectangle\", \"l=1,t=2\", \"solid\", \"v=0\"]"), "2:26:ALTER_PIXELS");
  EXPECT_EQ(Codes(v + "(0010,0010) := getURL[\"http://h/x\"]"), "2:16:URL_NOT_ALLOWED");
  EXPECT_EQ(Codes("version \"9\"\n"), "1:1:UNSUPPORTED_VERSION");
  EXPECT_EQ(Codes("removeAllPrivateTags"), "1:1:NEEDS_VERSION");
  EXPECT_EQ(
      Codes("-(0019,XXXX)\n(0010,0010) = \"x\" : (0010,0010) := urlEncode[\"a b\"]\n(0020,000D) := new UID"),
      "");
}

TEST(CheckerTest, KnowsWhereAVariableIsSet) {
  const std::string v = "version \"6.6\"\n", ct = "(0008,0060) = \"CT\" ? ";
  EXPECT_EQ(Codes(v + "(0010,0010) := n\nn := \"x\""), "2:16:UNSET_VARIABLE");
  EXPECT_TRUE(HasErrors(Check(v + "(0010,0010) := n\nn := \"x\"")));
  // Only under a condition: it may work, so it is a warning.
  EXPECT_EQ(Codes(v + ct + "n := \"x\"\n(0010,0010) := n"), "3:16:UNSET_VARIABLE");
  EXPECT_FALSE(HasErrors(Check(v + ct + "n := \"x\"\n(0010,0010) := n")));
  EXPECT_EQ(Codes(v + ct + "n := \"x\" : n := \"y\"\n(0010,0010) := n"), "");
  EXPECT_EQ(Codes(v + "n := \"z\"\n" + ct + "n := \"x\"\n(0010,0010) := n"), "");
  EXPECT_EQ(Codes(v + ct + "n := \"x\" : reject[]\n(0010,0010) := n"), "");
  EXPECT_EQ(Codes(v + "describe n \"which\"\n(0010,0010) := n"), "3:16:UNSET_VARIABLE");
  EXPECT_EQ(Codes(v + "if (true[]) { n := \"x\" }\n(0010,0010) := n"), "");
}

TEST(ScriptTest, DoesWhatTheRealOneCannot) {
  const std::string v = "version \"6.6\"\n";
  EXPECT_EQ(NameAfter(v + "x := \"me\"\n(0010,0010) := x"), "me");
  auto data = Person();
  const auto script = Script::Compile(v + "(0019,{3M (odd/name)}01) := \"v\"");
  ASSERT_TRUE(script.ok()) << script.status();
  ApplyContext context;
  ASSERT_TRUE(script->Apply(*data, {}, context).ok());
  EXPECT_EQ(data->TextOrEmpty(Tag(0x0019, 0x0010)), "3M (odd/name)");
}

TEST(ScriptTest, JoinsLinesAndIgnoresComments) {
  EXPECT_EQ(NameAfter("version \"6.6\" // which\n\n// a comment\n(0010,0010) := concatenate[\"a\", \\\n  "
                      "\"b\"] // end\n"),
            "ab");
  EXPECT_EQ(
      NameAfter("version \"6.6\"\r\nif ((0010,0020) = \"PID-007\")\r\n{\r\n(0010,0010) := \"in\" }\r\n"),
      "in");
}

TEST(ScriptTest, LooksUpAndFetchesOnlyWhatIsAllowed) {
  ApplyContext context;
  context.lookup = std::make_shared<const LookupTable>(*ParseLookupTable("// table\npid/PID-007 = SUBJ-1\n"));
  EXPECT_EQ(NameAfter("version \"6.6\"\n(0010,0010) := lookup[\"pid\", (0010,0020)]", context), "SUBJ-1");
  EXPECT_THAT(NameAfter("version \"6.6\"\n(0010,0010) := lookup[\"other\", (0010,0020)]", context),
              testing::HasSubstr("no entry"));

  CompileOptions options;
  options.url_hosts = {"names.example.org"};
  context.fetch_url = [](absl::string_view url) -> absl::StatusOr<std::string> {
    return absl::StrCat(" got ", url, "\n");
  };
  EXPECT_EQ(NameAfter("version \"6.6\"\n(0010,0010) := getURL[\"https://names.example.org/1\"]", context, {},
                      options),
            "got https://names.example.org/1");
  EXPECT_THAT(NameAfter("version \"6.6\"\nu := \"http://names.example.org@evil/\"\n(0010,0010) := getURL[u]",
                        context, {}, options),
              testing::HasSubstr("not allowed"));
}

TEST(ScriptTest, ARepetitionSetsOnlyWhatVariablesGive) {
  ApplyContext context;
  context.repeats = true;
  const Variables variables{{"subject", "S2"}, {"project", "P"}};
  const std::string v = "version \"6.6\"\n";
  EXPECT_EQ(NameAfter(v + "(0010,0010) := subject", context, variables), "S2");
  EXPECT_EQ(NameAfter(v + "n := concatenate[project, \"-\", subject]\n(0010,0010) := n", context, variables),
            "P-S2");
  EXPECT_EQ(NameAfter(v + "project = \"P\" ? (0010,0010) := subject", context, variables), "S2");
  // These map, append or take away: the object has their result.
  for (const char* line :
       {"(0010,0010) := concatenate[(0010,0010), subject]", "(0010,0010) := hashUID[(0020,000D)]",
        "(0010,0010) := newUID[]", "-(0010,0010)", "delete[\"(0010,0010)\"]", "reject[]",
        "(0010,0010) := lookup[\"none\", (0010,0020)]", "n := (0010,0020)\n(0010,0010) := n"}) {
    EXPECT_EQ(NameAfter(v + line, context, variables), "Doe^John") << line;
  }
}

TEST(ScriptTest, ErrorsNameTheLineAndNoPatientValue) {
  const std::string message = NameAfter("version \"6.6\"\n\n(0010,0010) := substring[(0010,0010), 0, 99]");
  EXPECT_THAT(message, testing::HasSubstr("line 3"));
  EXPECT_THAT(message, testing::Not(testing::HasSubstr("Doe")));
  EXPECT_THAT(NameAfter("version \"6.6\"\n(0008,0020) := shiftDateByIncrement[(0010,0010), 1]"),
              testing::Not(testing::HasSubstr("Doe")));
}

TEST(ScriptTest, StopsAtItsBounds) {
  ApplyContext context;
  context.max_steps = 1000;
  std::string text = "version \"6.6\"\n";
  for (int i = 0; i < 2000; ++i) text += "(0010,0010) := \"x\"\n";
  EXPECT_THAT(NameAfter(text, context), testing::HasSubstr("more than 1000 steps"));
  std::string doubling = "version \"6.6\"\ns := \"0123456789\"\n";
  for (int i = 0; i < 60; ++i) doubling += "s := concatenate[s, s]\n";
  EXPECT_THAT(NameAfter(doubling), testing::HasSubstr("too"));
  EXPECT_THAT(NameAfter("version \"6.6\"\n(0010,0010) := " + std::string(1000, '{')),
              testing::HasSubstr("nested"));
  EXPECT_THAT(NameAfter("version \"6.6\"\n(0008,1140)[900000]/(0010,0010) := \"x\""),
              testing::HasSubstr("far beyond"));
}

TEST(ScriptTest, RecordsPixelEdits) {
  const auto script = Script::Compile(
      "version \"6.6\"\nalterPixels[\"rectangle\", \"l=1, t=2, r=10, b=20\", \"solid\", \"v=5\"]");
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_TRUE(script->alters_pixels());
  const auto data = Person();
  ApplyContext context;

  const auto result = script->Apply(*data, {}, context);

  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->pixel_edits.size(), 1u);
  EXPECT_EQ(result->pixel_edits[0].left, 1);
  EXPECT_EQ(result->pixel_edits[0].bottom, 21);
  EXPECT_EQ(data->GetText(tags::kBurnedInAnnotation), "NO");
  EXPECT_EQ(
      data->Find(tags::kDeidentificationMethodCodeSequence)->sequence()->item(0).GetText(tags::kCodeValue),
      "113101");
}

TEST(RecordTest, AppendsAndNeverOverwrites) {
  const auto script = Script::Compile(DefaultSiteScript());
  ASSERT_TRUE(script.ok());
  const auto data = Person();
  ASSERT_TRUE(data->SetText(tags::kDeidentificationMethod, "Former").ok());
  ASSERT_TRUE(AppendMethodCodes(*data, {{"1", "OTHER", "", "Former"}}).ok());
  EXPECT_FALSE(AlreadyApplied(*data, *script));

  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(RecordDeidentification(*data, "Narthex site script", {CodeOf(*script)}).ok());

  EXPECT_TRUE(AlreadyApplied(*data, *script));
  EXPECT_EQ(data->GetText(tags::kDeidentificationMethod), "Former\\Narthex site script");
  EXPECT_EQ(data->Find(tags::kDeidentificationMethodCodeSequence)->sequence()->size(), 2u);
  EXPECT_EQ(data->GetText(tags::kPatientIdentityRemoved), "YES");
}

TEST(ScriptTest, TreatsElementsBehindThePixelsWithoutCreatingAny) {
  const auto script =
      Script::Compile("version \"6.6\"\n(0010,0010) := \"new\"\n(0010,0020) = \"PID-007\" ? -(FFFC,FFFC)\n");
  ASSERT_TRUE(script.ok()) << script.status();
  const auto header = Person();
  auto trailing = DataSet::Empty(Encoding::ExplicitLittle());
  trailing->SetBytes(tags::kDataSetTrailingPadding, dicom::Vr::kOB, "abcd");
  ApplyContext context;

  ASSERT_TRUE(script->ApplyTrailing(*trailing, *header, {}, context).ok());

  EXPECT_TRUE(trailing->elements().empty());
}

}  // namespace
}  // namespace narthex::anonymize
