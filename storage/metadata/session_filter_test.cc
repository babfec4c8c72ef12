#include "storage/metadata/session_filter.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"

namespace narthex::metadata {
namespace {

TEST(SessionFilterTest, PrintsInCanonicalForm) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", ""},
      {"  ", ""},
      {"modality=MR", "modality = MR"},
      {"modality = 'M\"R'", "modality = \"M\\\"R\""},
      {"a b", "a AND b"},
      {"a AND b OR c", "a AND b OR c"},  // OR binds tighter
      {"(a AND b) OR c", "(a AND b) OR c"},
      {"a b AND c d", "a AND b AND c AND d"},
      {"NOT a", "NOT a"},
      {"NOT (a b)", "NOT (a AND b)"},
      {"- a", "NOT a"},
      {"-(a OR b) c", "NOT (a OR b) AND c"},
      {"NOT NOT a", "NOT NOT a"},
      {"scans.parameters.tr>=2000", "scans.parameters.tr >= 2000"},
      {"sessionTime > 12:30", "sessionTime > 12:30"},
      {"label:*", "label:*"},
      {"ANDROID ORDER NOTE", "ANDROID AND ORDER AND NOTE"},
      {"((((a))))", "a"},
  };
  for (const auto& [text, expected] : table) {
    auto filter = SessionFilter::Parse(text);
    ASSERT_TRUE(filter.ok()) << text << ": " << filter.status();
    EXPECT_EQ(filter->ToString(), expected) << text;
  }
}

TEST(SessionFilterTest, ErrorsNameTheColumn) {
  const std::vector<std::pair<std::string, int>> table = {
      {"modality =", 11},
      {"modality = MR AND", 18},
      {"modality = MR OR", 17},
      {"AND a", 1},
      {"a AND AND b", 7},
      {"(a", 3},
      {"a)", 2},
      {"()", 2},
      {"nothing = 1", 1},
      {"a b nothing = 1", 5},
      {"label = \"open", 9},
      {"scanCount = many", 13},
      {"scanCount > nan", 13},
      {"scanCount > 0x10", 13},
      {"sessionDate > 2024-13-01", 15},
      {"sessionTime > 25:00", 15},
      {"createTime > yesterday", 14},
      {"status = OLD", 10},
      {"status > ACTIVE", 10},
      {"\"label\" = x", 1},
      {"label ! x", 7},
      {"= 1", 1},
      {"label = AND", 9},
      {"fields. = 1", 1},
      {"scans.nothing = 1", 1},
  };
  for (const auto& [text, column] : table) {
    const absl::Status status = SessionFilter::Parse(text).status();
    EXPECT_EQ(ErrorReason(status), "FILTER_INVALID") << text;
    EXPECT_EQ(ErrorMetadataOf(status)["column"], absl::StrCat(column)) << text << ": " << status;
  }
}

TEST(SessionFilterTest, LimitsAreEnforced) {
  EXPECT_FALSE(SessionFilter::Parse(std::string(9000, 'a')).ok());
  EXPECT_FALSE(SessionFilter::Parse(std::string(1000, '(') + "a" + std::string(1000, ')')).ok());
  EXPECT_FALSE(SessionFilter::Parse(std::string(1000, '-') + "a").ok());
  std::string many;
  for (int i = 0; i < 101; ++i) many += "a ";
  EXPECT_FALSE(SessionFilter::Parse(many).ok());
}

TEST(SessionFilterTest, CompilesToBoundParameters) {
  auto filter = SessionFilter::Parse("label = \"x'y\" AND scans.parameters.tr > 2000");
  ASSERT_TRUE(filter.ok());

  const SqlFragment sql = CompileFilter(*filter, 3);

  EXPECT_EQ(sql.sql,
            "((s.label = $3) AND EXISTS (SELECT 1 FROM scans c WHERE c.project_id = s.project_id "
            "AND c.session_id = s.session_id AND "
            "(number_of((c.parameters ->> $4)) > $5::double precision)))");
  EXPECT_EQ(sql.parameters, (std::vector<std::string>{"x'y", "tr", "2000"}));
  EXPECT_EQ(CompileFilter(SessionFilter(), 3).sql, "TRUE");
}

TEST(SessionFilterTest, TheNameOfAShareAtHomeIsNotTold) {
  const auto sql = [](const char* filter) {
    return CompileFilter(*SessionFilter::Parse(filter), 3, FilterTarget::kSessions, Shares::kNamedProjects)
        .sql;
  };

  EXPECT_EQ(sql("label = A"), "((s.label = $3) AND s.project_id = ANY($1))");
  EXPECT_EQ(sql("label != A"), "((s.label <> $3) OR s.project_id <> ALL($1))");
  EXPECT_EQ(
      sql("project = A"),
      "(((s.project_id = $3) AND s.project_id = ANY($1)) OR s.session_id = ANY(ARRAY(SELECT h.session_id "
      "FROM session_shares h WHERE (h.project_id = $4))))");
  EXPECT_EQ(sql("modality = MR"), "(s.modality = $3)");
}

TEST(SessionFilterTest, NegationsSayWhatNoValueMeans) {
  const SqlFragment sql =
      CompileFilter(*SessionFilter::Parse("NOT fields.dose = \"1\" AND NOT sessionDate > 2024-01-01"), 3);

  EXPECT_EQ(sql.sql,
            "((NOT ((s.fields @> $3::jsonb) IS TRUE)) AND (NOT ((s.session_date > $4::date) IS TRUE)))");
  EXPECT_EQ(sql.parameters.size(), 2u);
}

TEST(SessionFilterTest, ConditionsOnScansAreAboutTheScanThatIsLookedFor) {
  auto filter = SessionFilter::Parse("scans.type = T1 AND NOT scans.frames > 3");
  const SqlFragment sql = CompileFilter(*filter, 3, FilterTarget::kScans);
  EXPECT_EQ(sql.sql, "((c.type = $3) AND (NOT (c.frames > $4::bigint)))");
  EXPECT_TRUE(CompileOrder("scans.parameters.tr desc, label", FilterTarget::kScans).ok());
  for (const char* refused : {"scans.parameters.tr", "scans.frames"})
    EXPECT_FALSE(CompileOrder(refused).ok()) << refused;
  EXPECT_FALSE(CompileOrder("fields.a'b").ok());
  EXPECT_TRUE(CompileOrder("fields.dose desc").ok());
}

TEST(SessionFilterTest, AStarBehindABackslashIsAStar) {
  const std::vector<std::vector<std::string>> table = {
      {"label = \"*x\"", "(s.label LIKE $1)", "%x"},
      {"label = \"x*\"", "(s.label LIKE $1)", "x%"},
      {"label = *x*", "(s.label LIKE $1)", "%x%"},
      {"label = \"\\*x\"", "(s.label = $1)", "*x"},
      {"label = \"x\\*\"", "(s.label = $1)", "x*"},
      {"label = \"\\**\"", "(s.label LIKE $1)", "*%"},
      {"label = \"*\"", "(s.label LIKE $1)", "%"},
      {"label = \"\\*\"", "(s.label = $1)", "*"},
      {"label != \"\\*x\"", "(s.label <> $1)", "*x"},
      {"label = \"a*b\"", "(s.label = $1)", "a*b"},
      {"fields.a = \"\\*\"", "(s.fields @> $1::jsonb)", "{\"a\":\"*\"}"},
  };
  for (const auto& row : table) {
    auto filter = SessionFilter::Parse(row[0]);
    ASSERT_TRUE(filter.ok()) << row[0] << ": " << filter.status();
    const SqlFragment sql = CompileFilter(*filter, 1);
    EXPECT_EQ(sql.sql, row[1]) << row[0];
    EXPECT_EQ(sql.parameters, std::vector<std::string>{row[2]}) << row[0];
    auto again = SessionFilter::Parse(filter->ToString());
    ASSERT_TRUE(again.ok()) << filter->ToString();
    EXPECT_EQ(*again->root(), *filter->root()) << row[0];
  }
}

TEST(SessionFilterTest, WhatDocumentsSayIsInATableOfItsOwn) {
  auto filter = SessionFilter::Parse("NOT document.dcmPatientId = \"x\"");
  ASSERT_TRUE(filter.ok());
  EXPECT_EQ(CompileFilter(*filter, 1).sql,
            "(NOT EXISTS (SELECT 1 FROM session_facts d WHERE d.project_id = s.project_id AND d.session_id = "
            "s.session_id AND (d.facts @> $1::jsonb)))");
  const absl::Status refused = CompileOrder("document.dcmPatientId").status();
  EXPECT_EQ(ErrorReason(refused), "ORDER_BY_INVALID");
  EXPECT_NE(CompileOrder("scans.frames").status().message().find("many scans"), std::string::npos);
}

// The fuzzer found that parentheses around NOT made the printed text deeper than the limit.
TEST(SessionFilterTest, ManyNegationsRoundTrip) {
  auto filter = SessionFilter::Parse(std::string(25, '-') + "a");
  ASSERT_TRUE(filter.ok());
  auto again = SessionFilter::Parse(filter->ToString());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again->root(), *filter->root());
}

// Whatever is accepted prints to text that parses to an equal filter.
TEST(SessionFilterTest, AcceptedTextRoundTrips) {
  const std::vector<std::string> pieces = {
      "a",          "AND", "OR",   "NOT",      "-",         "(",     ")",
      "=",          "!=",  "<",    ":",        "*",         "label", "scans.parameters.tr",
      "\"q\\\"\"",  "'s'", "2000", "\"\\*x\"", "\"*y\\*\"", " ",     "sessionDate",
      "2024-01-01", ",",   "\\"};
  constexpr unsigned kSeed = 20240131;
  std::mt19937 random(kSeed);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (unsigned n = random() % 10; n > 0; --n)
      absl::StrAppend(&text, pieces[random() % pieces.size()], random() % 3 ? " " : "");
    auto filter = SessionFilter::Parse(text);
    if (!filter.ok() || filter->empty()) continue;
    ++accepted;
    auto again = SessionFilter::Parse(filter->ToString());
    ASSERT_TRUE(again.ok()) << "seed " << kSeed << ": " << text << " -> " << filter->ToString() << ": "
                            << again.status();
    ASSERT_EQ(*again->root(), *filter->root())
        << "seed " << kSeed << ": " << text << " -> " << filter->ToString();
    (void)CompileFilter(*filter, 1);
  }
  EXPECT_GT(accepted, 500);
}

}  // namespace
}  // namespace narthex::metadata
