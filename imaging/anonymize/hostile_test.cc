// Damaged and hostile objects: nothing crashes, and what is accepted can be read again. Planted names are
// gone.
#include <archive.h>
#include <archive_entry.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/diff.h"
#include "imaging/anonymize/testing.h"

namespace narthex::anonymize {
namespace {

constexpr char kSecret[] = "a secret of sixteen bytes or more";

constexpr char kBusyScript[] =
    "version \"6.6\"\n"
    "(0010,0010) := \"S\"\n"
    "*/(0010,0010) ?= \"S\"\n"
    "-*/(0008,0090)\n"
    "hashUIDList[*/(0008,1155), */(0020,000D), */(0008,0018)]\n"
    "blankValues[collectValues[(0010,0020), */(0010,0030)]]\n"
    "retainPrivateTags[(0019,{SIEMENS MR HEADER}XX), */(0029,{SIEMENS CSA HEADER}10)]\n"
    "scalePatientAgeAndDobFromStudyDate[]\n"
    "(0008,1030) ~ \".*[Hh]ead.*\" ? (0008,1030) := \"HEAD\" : -(0008,1030)\n"
    "removeAllPrivateTags\n";

AnonymizationPlan ProfilePlan() {
  AnonymizationPlan plan;
  plan.profile = std::make_shared<Profile>(*ProfileOptions::Parse(
      "basic,clean-descriptors,clean-structured-content,retain-modified-dates,retain-safe-private"));
  plan.secret = kSecret;
  plan.check_leftovers = true;
  return plan;
}

AnonymizationPlan ScriptPlan() {
  AnonymizationPlan plan;
  const auto script = Script::Compile(kBusyScript);
  EXPECT_TRUE(script.ok()) << script.status();
  plan.script = std::make_shared<Script>(*script);
  plan.secret = kSecret;
  return plan;
}

absl::StatusOr<std::string> Anonymize(const AnonymizationPlan& plan, absl::string_view bytes) {
  ApplyContext context;
  context.max_steps = 2'000'000;
  Anonymizer anonymizer(plan, {{"subject", "S1"}, {"session", "E1"}, {"project", "P1"}}, context);
  return dicom::RewriteObject(bytes, anonymizer);
}

// Runs both plans; what comes out must be readable, and the preview must not fail on it.
void Try(absl::string_view bytes, const std::string& what) {
  static const AnonymizationPlan* plans[] = {new AnonymizationPlan(ProfilePlan()),
                                             new AnonymizationPlan(ScriptPlan())};
  for (const AnonymizationPlan* plan : plans) {
    const auto out = Anonymize(*plan, bytes);
    if (!out.ok()) {
      EXPECT_NE(ErrorReason(out.status()), "") << what << ": " << out.status();
      continue;
    }
    const auto before = dicom::ParseObjectHeader(bytes);
    const auto after = dicom::ParseObjectHeader(*out);
    ASSERT_TRUE(before.ok()) << what;
    ASSERT_TRUE(after.ok()) << what << ": " << after.status();
    DiffDataSets(*before->data, *after->data);
  }
}

TEST(HostileTest, SurvivesTheFuzzCorpus) {
  NX_NEED_SHARED();
  struct archive* reader = archive_read_new();
  archive_read_support_filter_all(reader);
  archive_read_support_format_tar(reader);
  const std::string path = SharedFolder() + "/data/fuzz-dicom-pwnlab/fuzz_corpus_v2.tar.xz";
  ASSERT_EQ(archive_read_open_filename(reader, path.c_str(), 1 << 16), ARCHIVE_OK);
  int files = 0;

  struct archive_entry* entry;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    std::string bytes(static_cast<size_t>(archive_entry_size(entry)), '\0');
    if (bytes.empty()) continue;
    ASSERT_EQ(archive_read_data(reader, bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
    Try(bytes, archive_entry_pathname(entry));
    ++files;
  }

  archive_read_free(reader);
  EXPECT_GT(files, 200);
}

TEST(HostileTest, SurvivesRandomDamage) {
  NX_NEED_SHARED();
  constexpr uint32_t kSeed = 20'261'123;
  std::mt19937 random(kSeed);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  int tried = 0;

  for (const auto& path : SharedFiles(64 << 10)) {
    const std::string original = ReadFile(path);
    if (original.size() < 200 || !dicom::ParseObjectHeader(original).ok()) continue;
    for (int round = 0; round < 4; ++round) {
      std::string bytes = original;
      for (size_t i = 0, count = 1 + below(8); i < count; ++i)
        bytes[132 + below(bytes.size() - 132)] = static_cast<char>(below(256));
      if (below(4) == 0) bytes.resize(below(bytes.size()));
      Try(bytes, path.string());
      ++tried;
    }
  }

  EXPECT_GT(tried, 300) << "seed " << kSeed;
}

TEST(HostileTest, TakesObjectsInAnyPieces) {
  NX_NEED_SHARED();
  const AnonymizationPlan plan = ProfilePlan();
  int objects = 0;
  for (const auto& path : SharedFiles(40 << 10)) {
    const std::string bytes = ReadFile(path);
    const auto whole = Anonymize(plan, bytes);
    if (++objects % 8 != 0) continue;
    for (const size_t size : {1u, 7u, 4096u}) {
      ApplyContext context;
      Anonymizer anonymizer(plan, {{"subject", "S1"}, {"session", "E1"}, {"project", "P1"}}, context);
      std::string out;
      dicom::HeaderRewriter rewriter(anonymizer, [&](absl::string_view piece) {
        out.append(piece.data(), piece.size());
        return absl::OkStatus();
      });
      absl::Status status;
      for (size_t at = 0; at < bytes.size() && status.ok(); at += size)
        status = rewriter.Add(absl::string_view(bytes).substr(at, size));
      if (status.ok()) status = rewriter.Finish();
      EXPECT_EQ(status.ok(), whole.ok()) << path << status;
      if (status.ok() && whole.ok()) {
        EXPECT_TRUE(out == *whole) << path << " in pieces of " << size;
      }
    }
  }
}

TEST(PlantedTest, NamesAreGoneFromHeaders) {
  NX_NEED_SHARED();
  const std::map<std::string, std::vector<std::string>> planted = {
      {"derived-pet-medcon", {"winterbottom", "mrn-0098231", "st elsewhere", "olga", "rudolf"}},
      {"dicom-burnedin-pixels", {"kaufman", "davidson", "rodgers"}},
  };
  const AnonymizationPlan plan = ProfilePlan();
  int objects = 0;

  for (const auto& path : SharedFiles(16 << 20)) {
    for (const auto& [folder, names] : planted) {
      if (!absl::StrContains(path.string(), "/" + folder + "/")) continue;
      const auto out = Anonymize(plan, ReadFile(path));
      if (!out.ok()) continue;  // the other formats; imaging/format has them
      ++objects;
      const std::string text = absl::AsciiStrToLower(*out);
      for (const std::string& name : names)
        EXPECT_FALSE(absl::StrContains(text, name)) << path << " " << name;
    }
  }

  EXPECT_GT(objects, 3);
}

}  // namespace
}  // namespace narthex::anonymize
