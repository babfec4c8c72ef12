#include "imaging/identify/series_filter.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/header_facts.h"

namespace narthex::identify {
namespace {

namespace tags = dicom::tags;
using ::testing::HasSubstr;

dicom::HeaderFacts Facts(const std::vector<std::pair<dicom::Tag, std::string>>& header) {
  dicom::HeaderFactsBuilder builder;
  for (const auto& [tag, value] : header) builder.Add(tag, value);
  return builder.Build();
}

FilterVerdict Evaluate(FilterMode mode, absl::string_view text, const dicom::HeaderFacts& facts) {
  const auto filter = SeriesFilter::Parse(mode, text);
  EXPECT_TRUE(filter.ok()) << filter.status();
  return filter.ok() ? filter->Evaluate(facts) : FilterVerdict{};
}

TEST(SeriesFilterTest, DeniesWhatALineMatches) {
  const char* kText =
      "# no scouts\nlocalizer\n^t[12]\n[BurnedInAnnotation]\nyes\n[(0008,0008)]\nPATIENT_PROTOCOL\n";
  const struct {
    std::vector<std::pair<dicom::Tag, std::string>> header;
    int line;  // 0: allowed
  } kCases[] = {
      {{{tags::kSeriesDescription, "3-plane LOCALIZER"}}, 2},  // searched for, in any case
      {{{tags::kSeriesDescription, "T1 mprage"}}, 3},
      {{{tags::kSeriesDescription, "a t1"}}, 0},
      {{{tags::kSeriesDescription, "pd"}, {tags::kBurnedInAnnotation, "YES"}}, 5},
      {{{tags::kSeriesDescription, "pd"}, {tags::kBurnedInAnnotation, "NO"}}, 0},
      {{{tags::kImageType, "DERIVED\\SECONDARY\\PATIENT_PROTOCOL"}}, 7},  // in any of the values
      {{}, 0},
  };
  for (const auto& c : kCases) {
    const FilterVerdict verdict = Evaluate(FilterMode::kDenyList, kText, Facts(c.header));
    EXPECT_EQ(verdict.allowed, c.line == 0) << c.line;
    EXPECT_EQ(verdict.line, c.line);
  }
  EXPECT_EQ(Evaluate(FilterMode::kDenyList, kText, Facts({{tags::kBurnedInAnnotation, "yes"}})).reason,
            "deny-list line 5 (BurnedInAnnotation)");
}

TEST(SeriesFilterTest, AllowsOnlyWhatALineMatches) {
  const char* kText = "t1\n[Modality]\n^PT$";
  EXPECT_TRUE(Evaluate(FilterMode::kAllowList, kText, Facts({{tags::kSeriesDescription, "AX T1"}})).allowed);
  EXPECT_TRUE(Evaluate(FilterMode::kAllowList, kText, Facts({{tags::kModality, "PT"}})).allowed);
  const FilterVerdict verdict = Evaluate(FilterMode::kAllowList, kText, Facts({{tags::kModality, "MR"}}));
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.reason, "no line of the allow-list matches");
}

TEST(SeriesFilterTest, AsksForPresence) {
  const auto with = Facts({{tags::kPatientComments, "x"}});
  const auto without = Facts({});
  EXPECT_FALSE(Evaluate(FilterMode::kDenyList, "[PatientComments]\nEXISTS", with).allowed);
  EXPECT_TRUE(Evaluate(FilterMode::kDenyList, "[PatientComments]\nEXISTS", without).allowed);
  EXPECT_TRUE(Evaluate(FilterMode::kDenyList, "[PatientComments]\n!EXISTS", with).allowed);
  EXPECT_FALSE(Evaluate(FilterMode::kDenyList, "[PatientComments]\n!EXISTS", without).allowed);
  EXPECT_TRUE(
      Evaluate(FilterMode::kDenyList, "[PatientComments]\n.*", without).allowed);  // absent matches nothing
  EXPECT_FALSE(Evaluate(FilterMode::kDenyList, "^$", Facts({{tags::kSeriesDescription, ""}})).allowed);
}

TEST(SeriesFilterTest, EmptyFiltersAllowEverything) {
  for (FilterMode mode : {FilterMode::kDenyList, FilterMode::kAllowList, FilterMode::kModalityMap}) {
    EXPECT_TRUE(Evaluate(mode, "", Facts({})).allowed);
    EXPECT_TRUE(Evaluate(mode, "# nothing\n\n", Facts({})).allowed);
    EXPECT_TRUE(SeriesFilter::Parse(mode, "")->empty());
  }
  EXPECT_FALSE(SeriesFilter::Parse(FilterMode::kDenyList, "x")->empty());
}

// The example of XNAT's own tests.
TEST(SeriesFilterTest, MapsModalities) {
  const char* kText =
      "exclude: /^yes$/i.test('#BurnedInAnnotation#')\n"
      "PT: '#Modality#' == 'PT' || ('#Modality#' == 'MR' && '#SeriesDescription#' == 'PET Data')\n"
      "MR: '#Modality#' == 'MR'\n";
  const auto run = [&](std::vector<std::pair<dicom::Tag, std::string>> header) {
    return Evaluate(FilterMode::kModalityMap, kText, Facts(header));
  };
  EXPECT_EQ(run({{tags::kModality, "PT"}}).modality, "PT");
  EXPECT_EQ(run({{tags::kModality, "MR"}}).modality, "MR");
  EXPECT_EQ(run({{tags::kModality, "MR"}, {tags::kSeriesDescription, "PET Data"}}).modality, "PT");
  const FilterVerdict excluded = run({{tags::kModality, "MR"}, {tags::kBurnedInAnnotation, "Yes"}});
  EXPECT_FALSE(excluded.allowed);
  EXPECT_EQ(excluded.reason, "modality map line 1 (exclude)");
  const FilterVerdict nothing = run({{tags::kModality, "CT"}});
  EXPECT_FALSE(nothing.allowed);
  EXPECT_EQ(nothing.reason, "no expression of the modality map holds");
}

TEST(SeriesFilterTest, MapsTheRestToTheDefault) {
  const FilterVerdict verdict = Evaluate(FilterMode::kModalityMap, "MR: #Modality# == 'MR'\ndefault: OT",
                                         Facts({{tags::kModality, "CT"}}));
  EXPECT_TRUE(verdict.allowed);
  EXPECT_EQ(verdict.modality, "OT");
  EXPECT_TRUE(
      Evaluate(FilterMode::kModalityMap, "exclude: #Modality# == 'SR'", Facts({{tags::kModality, "CT"}}))
          .allowed);
}

TEST(SeriesFilterTest, NamesLineAndColumnOfErrors) {
  const struct {
    FilterMode mode;
    const char* text;
    const char* line;
    const char* column;
  } kCases[] = {
      {FilterMode::kDenyList, "fine\n(a", "2", "1"},
      {FilterMode::kDenyList, "  ab(?=c)", "1", "5"},
      {FilterMode::kAllowList, "[NoSuchTag]", "1", "2"},
      {FilterMode::kModalityMap, "MR '#Modality#' == 'MR'", "1", "1"},
      {FilterMode::kModalityMap, "MR: '#Modality#' = 'MR'", "1", "18"},
      {FilterMode::kModalityMap, "MR: true\nMR: true", "2", "1"},
      {FilterMode::kModalityMap, "MR:", "1", "3"},
      {FilterMode::kModalityMap, "default: a b", "1", "9"},
  };
  for (const auto& c : kCases) {
    const absl::Status status = SeriesFilter::Parse(c.mode, c.text).status();
    EXPECT_EQ(ErrorReason(status), "INVALID_SCRIPT") << c.text;
    EXPECT_EQ(ErrorMetadataOf(status)["line"], c.line) << c.text << status;
    EXPECT_EQ(ErrorMetadataOf(status)["column"], c.column) << c.text << status;
  }
  EXPECT_THAT(std::string(SeriesFilter::Parse(FilterMode::kDenyList, "(\nok\n[").status().message()),
              HasSubstr("line 3"));
}

TEST(SeriesFilterTest, RefusesTooMuch) {
  std::string many;
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&many, "x\n");
  EXPECT_EQ(ErrorReason(SeriesFilter::Parse(FilterMode::kDenyList, many).status()), "INVALID_SCRIPT");
}

TEST(SeriesFilterTest, NamesModes) {
  for (const char* name : {"deny", "blacklist", "BlackList"})
    EXPECT_EQ(*ParseFilterMode(name), FilterMode::kDenyList);
  for (const char* name : {"allow", "whitelist"}) EXPECT_EQ(*ParseFilterMode(name), FilterMode::kAllowList);
  for (const char* name : {"modality-map", "modalityMap"})
    EXPECT_EQ(*ParseFilterMode(name), FilterMode::kModalityMap);
  EXPECT_FALSE(ParseFilterMode("").ok());
  EXPECT_EQ(FilterModeName(FilterMode::kModalityMap), "modality-map");
}

TEST(SeriesFilterTest, NamesTheAttributesThatItWants) {
  EXPECT_THAT(SeriesFilter::Parse(FilterMode::kDenyList, "a\n[Modality]\nb\nc")->wanted(),
              ::testing::ElementsAre(tags::kModality, tags::kSeriesDescription));
}

}  // namespace
}  // namespace narthex::identify
