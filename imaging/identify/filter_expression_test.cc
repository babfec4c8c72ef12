#include "imaging/identify/filter_expression.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imaging/dicom/header_facts.h"

namespace narthex::identify {
namespace {

namespace tags = dicom::tags;

dicom::HeaderFacts MrFacts() {
  return dicom::HeaderFactsBuilder()
      .Add(tags::kImageType, "ORIGINAL\\PRIMARY\\M")
      .Add(tags::kModality, "MR")
      .Add(tags::kSeriesDescription, "it's \"T1\" || true")
      .Add(tags::kSeriesNumber, "4")
      .Build();
}

TEST(FilterExpressionTest, Evaluates) {
  const struct {
    const char* text;
    bool holds;
  } kCases[] = {
      {"'#Modality#' == 'MR'", true},
      {"#Modality# == 'MR'", true},
      {"\"#Modality#\" == \"MR\"", true},
      {"'#Modality#' === 'MR'", true},
      {"'#Modality#' == 'mr'", false},
      {"'#Modality#' != 'PT'", true},
      {"'#Modality#' !== 'MR'", false},
      {"'#(0008,0060)#' == 'MR'", true},
      {"'x#Modality#y' == 'xMRy'", true},
      {"'#Modality#' == 'PT' || ('#Modality#' == 'MR' && '#SeriesDescription#' == 'PET Data')", false},
      {"'#Modality#' != 'PT' && !('#Modality#' == 'MR' && '#SeriesDescription#' == 'PET Data')", true},
      {"'#Modality#' == 'PT' || '#Modality#' == 'CT' || '#Modality#' == 'MR'", true},
      {"'#Modality#' ~ '^m'", true},
      {"'#Modality#' ~ 'R$'", true},
      {"'#Modality#' !~ 'ct|pt'", true},
      {"/^yes$/i.test('#BurnedInAnnotation#')", false},
      {"/^mr$/i.test('#Modality#')", true},
      {"/^mr$/.test('#Modality#')", false},
      {"!/^yes$/i.test('#BurnedInAnnotation#')", true},
      {"/a\\/b|[/]|M/.test('#Modality#')", true},
      {"'#BurnedInAnnotation#' == ''", true},  // absent is empty
      {"#BurnedInAnnotation#", false},
      {"#Modality#", true},
      {"!#BurnedInAnnotation#", true},
      {"!!#Modality#", true},
      {"'#SeriesNumber#' == 4", true},
      {"#SeriesNumber# == 4.0", true},
      {"'#SeriesNumber#' == '4.0'", false},
      {"'#ImageType#' ~ 'PRIMARY'", true},  // all values
      {"'#ImageType#' == 'ORIGINAL\\PRIMARY\\M'", true},
      {"'#SeriesDescription#' == 'it\\'s \"T1\" || true'", true},  // values are never parsed
      {"'#SeriesDescription#' == 'x'", false},
      {"'\\#Modality' == '\\#Modality'", true},
      {"true", true},
      {"false || true && true", true},
      {"true || false && false", true},  // && binds tighter
      {"(true || false) && false", false},
      {"((true))", true},
  };
  for (const auto& c : kCases) {
    RegexError error;
    const auto expression = FilterExpression::Parse(c.text, &error);
    ASSERT_NE(expression, nullptr) << c.text << ": " << error.message << " at " << error.offset;
    EXPECT_EQ(expression->Evaluate(MrFacts()), c.holds) << c.text;
  }
}

TEST(FilterExpressionTest, SaysWhereItIsWrong) {
  const struct {
    const char* text;
    size_t offset;
    const char* message;
  } kCases[] = {
      {"", 0, "expected 'text'"},
      {"'a' ==", 6, "expected 'text'"},
      {"'a' = 'b'", 4, "expected the end"},
      {"'a", 0, "quote is never closed"},
      {"'#a' == ''", 1, "never ends"},
      {"'#NoSuchTag#' == ''", 2, "NoSuchTag"},
      {"#Modality", 0, "never ends"},
      {"(true", 5, "expected ')'"},
      {"true)", 4, "expected the end"},
      {"/a.test('x')", 0, "never closed"},
      {"/a/g.test('x')", 3, "only flag"},
      {"/a/.match('x')", 4, ".test("},
      {"/(/.test('x')", 1, "missing"},
      {"'x' ~ 'ab(?=c)'", 9, "look-around"},
      {"'x' ~ '#Modality#'", 6, "may not contain"},
      {"require('fs')", 0, "expected 'text'"},
      {"'a' == 'b' &&", 13, "expected 'text'"},
  };
  for (const auto& c : kCases) {
    RegexError error;
    EXPECT_EQ(FilterExpression::Parse(c.text, &error), nullptr) << c.text;
    EXPECT_EQ(error.offset, c.offset) << c.text << ": " << error.message;
    EXPECT_THAT(error.message, ::testing::HasSubstr(c.message)) << c.text;
  }
}

TEST(FilterExpressionTest, BoundsItsDepthAndLength) {
  RegexError error;
  EXPECT_NE(FilterExpression::Parse(std::string(32, '(') + "true" + std::string(32, ')'), &error), nullptr);
  EXPECT_EQ(FilterExpression::Parse(std::string(33, '(') + "true" + std::string(33, ')'), &error), nullptr);
  EXPECT_EQ(FilterExpression::Parse(std::string(10'001, ' '), &error), nullptr);
  EXPECT_NE(FilterExpression::Parse(std::string(9'000, '!') + "true", &error), nullptr);
}

TEST(FilterExpressionTest, NamesWhatItWants) {
  RegexError error;
  const auto expression =
      FilterExpression::Parse("'#Modality#' == '' || /x/.test('#SeriesDescription# #Modality#')", &error);
  ASSERT_NE(expression, nullptr);
  EXPECT_THAT(expression->wanted(), ::testing::ElementsAre(tags::kModality, tags::kSeriesDescription));
}

}  // namespace
}  // namespace narthex::identify
