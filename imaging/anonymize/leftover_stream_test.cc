// Values that are searched while they pass.
#include <memory>
#include <random>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/leftover.h"
#include "imaging/dicom/data_set_bytes.h"
#include "imaging/dicom/rewriter.h"

namespace narthex::anonymize {
namespace {

Identifiers Names() {
  Identifiers identifiers;
  identifiers.Add("PatientName", "Rumpelstiltskin");
  identifiers.Add("PatientID", "AB12");  // short: whole words only
  identifiers.Add("ReferringPhysicianName", "M\xC3\xBCllerin");
  return identifiers;
}

// What the search says of `text` in pieces of at most `most` bytes, as "PatientID 2, PatientName 1".
std::string Found(const std::string& text, size_t most, unsigned seed) {
  const Identifiers identifiers = Names();
  StreamSearch search(identifiers);
  std::mt19937 random(seed);
  for (size_t at = 0; at < text.size();) {
    const size_t take = std::min<size_t>(1 + random() % most, text.size() - at);
    search.Add(absl::string_view(text).substr(at, take));
    at += take;
  }
  LeftoverReport report;
  search.Finish("(0042,0011)", "EncapsulatedDocument", &report);
  EXPECT_EQ(report.searched_bytes, static_cast<int64_t>(text.size()));
  std::string all;
  for (const Leftover& found : report.found) absl::StrAppend(&all, found.source, " ", found.count, ";");
  return all;
}

TEST(StreamSearchTest, FindsTermsWhereverPiecesAndWindowsEnd) {
  constexpr size_t kWindow = 256 << 10;
  for (int shift = -40; shift <= 40; shift += 1) {
    std::string text(kWindow + 100 + shift, '.');
    absl::StrAppend(&text, "rumpelSTILTSKIN", " xAB12 ab12, AB12x M\xDCLLERIN");
    text.append(2 * kWindow - text.size() + shift, '.');
    absl::StrAppend(&text, "ab12");
    EXPECT_EQ(Found(text, 300'000, static_cast<unsigned>(shift + 40)),
              "PatientName 1;PatientID 2;ReferringPhysicianName 1;")
        << shift;
  }
  EXPECT_EQ(Found("AB12", 1, 1), "PatientID 1;");
  EXPECT_EQ(Found("", 1, 1), "");
}

// A document beyond what is held with the header, which a script leaves as it is.
std::string Object(const std::string& document) {
  dicom::DataSetBytes data;
  data.SopUids()
      .Add(dicom::tags::kPatientName, "PN", "Rumpelstiltskin^Max ")
      .SeriesUids()
      .Add(dicom::tags::kEncapsulatedDocument, "OB", document);
  return std::string(data.bytes());
}

LeftoverReport SearchedWhileRewritten(const std::string& object, size_t piece, std::string* out) {
  auto script = Script::Compile("version \"6.6\"\n(0010,0010) := \"S1\"");
  EXPECT_TRUE(script.ok());
  AnonymizationPlan plan;
  plan.script = std::make_shared<Script>(*std::move(script));
  plan.check_leftovers = true;
  ApplyContext context;
  Anonymizer anonymizer(plan, {}, context);
  dicom::HeaderRewriter rewriter(anonymizer, [out](absl::string_view bytes) {
    out->append(bytes.data(), bytes.size());
    return absl::OkStatus();
  });
  for (size_t at = 0; at < object.size(); at += piece) {
    const absl::Status added = rewriter.Add(absl::string_view(object).substr(at, piece));
    EXPECT_TRUE(added.ok()) << added;
  }
  EXPECT_TRUE(rewriter.Finish().ok());
  return anonymizer.outcome().leftovers;
}

TEST(LargeDocumentTest, IsSearchedWhileItPassesAsItIs) {
  std::string document(3 << 20, '%');
  const std::string name = "for rumpelstiltskin, ";
  document.replace(2'000'001, name.size(), name);
  for (const size_t piece : {size_t{1000}, size_t{65536}, size_t{8 << 20}}) {
    std::string out;

    const LeftoverReport report = SearchedWhileRewritten(Object(document), piece, &out);

    ASSERT_EQ(report.found.size(), 1u) << piece;
    EXPECT_EQ(report.found[0].name, "EncapsulatedDocument");
    EXPECT_EQ(report.found[0].source, "PatientName");
    EXPECT_GT(report.searched_bytes, int64_t{3 << 20});
    EXPECT_TRUE(absl::EndsWith(out, document)) << piece;
  }
}

TEST(LargeDocumentTest, ThatIsCutShortPassesAndIsSearchedAsFarAsItGoes) {
  std::string document(3 << 20, '%');
  document.replace(1'500'000, 15, "rumpelstiltskin");
  std::string object = Object(document);
  object.resize(object.size() - 100'000);
  std::string out;

  const LeftoverReport report = SearchedWhileRewritten(object, 70'000, &out);

  EXPECT_EQ(report.found.size(), 1u);
  EXPECT_TRUE(absl::EndsWith(out, document.substr(0, document.size() - 100'000)));
}

}  // namespace
}  // namespace narthex::anonymize
