// De-identified objects have no faults that the originals had not: dciodvfy over all real images. Slow: it
// starts a foreign program twice for each object.
#include <cstdio>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/testing.h"
#include "re2/re2.h"

namespace narthex::anonymize {
namespace {

constexpr char kSecret[] = "a secret of sixteen bytes or more";

// How often each kind of error is in `path`: without values, which de-identification changes.
std::map<std::string, int> Errors(const std::string& path) {
  std::map<std::string, int> errors;
  FILE* pipe = popen(absl::StrCat("dciodvfy '", path, "' 2>&1").c_str(), "r");
  if (pipe == nullptr) return errors;
  std::string text;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  pclose(pipe);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, "Error")) continue;
    std::string kind(line);
    RE2::GlobalReplace(&kind, R"([0-9]+(?:\.[0-9]+){2,})", "#");
    RE2::GlobalReplace(&kind, R"(UID [0-9#.]+)", "UID #");
    RE2::GlobalReplace(&kind, R"( = <[^>]*>|UID <[^>]*>|UID value <[^>]*>)", " <>");
    ++errors[kind];
  }
  return errors;
}

TEST(ConformanceTest, HasNoFaultsThatTheOriginalHadNot) {
  NX_NEED_SHARED();
  if (std::system("command -v dciodvfy > /dev/null 2>&1") != 0) {
    if (std::getenv("CI") != nullptr) FAIL() << "dciodvfy (package dicom3tools) is missing in CI";
    GTEST_SKIP() << "!!! NOT TESTED: dciodvfy (package dicom3tools) is not installed";
  }
  AnonymizationPlan plan;
  plan.profile = std::make_shared<Profile>(*ProfileOptions::Parse("basic"));
  plan.secret = kSecret;
  const std::string result = testing::TempDir() + "narthex_conformance.dcm";
  int objects = 0;

  for (const auto& path : SharedFiles(3 << 20)) {
    const std::string bytes = ReadFile(path);
    if (path.string().find('\'') != std::string::npos || !dicom::ParseObjectHeader(bytes).ok()) continue;
    if (path.filename() == "pet_ac_acr.ima") continue;  // many ACR-NEMA images in one file: no DICOM
    const std::map<std::string, int> before = Errors(path.string());
    // Of an original that dciodvfy could not read to its end, it has not seen the later faults.
    bool unreadable = false;
    for (const auto& [error, count] : before) {
      unreadable = unreadable || absl::StrContains(error, "Tags out of order") ||
                   absl::StrContains(error, "read failed");
    }
    if (unreadable) continue;
    ApplyContext context;
    Anonymizer anonymizer(plan, {}, context);
    const auto out = dicom::RewriteObject(bytes, anonymizer);
    ASSERT_TRUE(out.ok()) << path << out.status();
    std::ofstream(result, std::ios::binary) << *out;
    ++objects;
    for (const auto& [error, count] : Errors(result)) {
      const auto had = before.find(error);
      EXPECT_LE(count, had == before.end() ? 0 : had->second) << path << ": " << error;
    }
  }

  std::remove(result.c_str());
  EXPECT_GT(objects, 450);
}

}  // namespace
}  // namespace narthex::anonymize
