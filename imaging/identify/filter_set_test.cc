#include "imaging/identify/filter_set.h"

#include <gtest/gtest.h>

#include "imaging/dicom/header_facts.h"

namespace narthex::identify {
namespace {

dicom::HeaderFacts Described(absl::string_view description) {
  dicom::HeaderFactsBuilder builder;
  builder.Add({dicom::tags::kSeriesDescription}, description);
  return builder.Build();
}

SeriesFilter Deny(absl::string_view text) {
  auto filter = SeriesFilter::Parse(FilterMode::kDenyList, text);
  EXPECT_TRUE(filter.ok()) << filter.status();
  return *std::move(filter);
}

TEST(FilterSetTest, AllowsEverythingWithoutFilters) {
  EXPECT_TRUE(FilterSet().Evaluate("P1", Described("localizer")).allowed);
}

TEST(FilterSetTest, AsksTheSiteFirstAndThenTheProject) {
  FilterSet filters;
  filters.Set("", Deny("localizer"));
  filters.Set("P1", Deny("# ours\nscout"));

  EXPECT_EQ(filters.Evaluate("P1", Described("Localizer 1")).reason,
            "site filter: deny-list line 1 (SeriesDescription)");
  EXPECT_EQ(filters.Evaluate("P1", Described("SCOUT")).reason,
            "project filter: deny-list line 2 (SeriesDescription)");
  EXPECT_TRUE(filters.Evaluate("P2", Described("SCOUT")).allowed);
  EXPECT_TRUE(filters.Evaluate("", Described("SCOUT")).allowed);
  EXPECT_TRUE(filters.Evaluate("P1", Described("T1w")).allowed);
  EXPECT_NE(filters.Find("P1"), nullptr);
  EXPECT_EQ(filters.Find("P2"), nullptr);
}

TEST(FilterSetTest, WantsWhatItsFiltersAskFor) {
  FilterSet filters;
  filters.Set("", Deny("[BurnedInAnnotation]\nyes"));
  filters.Set("P1", Deny("[PatientComments]\nEXISTS"));

  const auto wanted = filters.wanted();

  EXPECT_EQ(wanted.size(), 2u);
}

}  // namespace
}  // namespace narthex::identify
