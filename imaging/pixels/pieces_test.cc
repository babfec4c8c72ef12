// Goal: an object is read alike, however its bytes are cut: the pieces are chosen by the network, and what is
// removed and blanked must not depend on it. Method: real objects, each as it is and damaged, go whole and in
// random pieces through the scanner of headers and through the rewriter with what changes headers and pixels.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/shared_data.h"
#include "imaging/pixels/testing.h"

namespace narthex::pixels {
namespace {

constexpr uint32_t kSeed = 20'261'126;
constexpr uintmax_t kObjectMaxBytes = 15'000;
constexpr int kDamagedEach = 60;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  size_t Below(size_t n) { return n == 0 ? 0 : engine_() % n; }
  char Byte() { return static_cast<char>(engine_()); }

 private:
  std::mt19937 engine_;
};

std::vector<std::string> RealObjects() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dicom::SharedDataFolder())) {
    if (entry.is_regular_file() && entry.file_size() <= kObjectMaxBytes) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> objects;
  for (const auto& path : paths) {
    std::string bytes = dicom::ReadWhole(path);
    if (dicom::ParseObjectHeader(bytes).ok()) objects.push_back(std::move(bytes));
  }
  return objects;
}

// Where something like the head of an element in explicit VR is, from `at` on.
size_t HeadFrom(const std::string& bytes, size_t at) {
  for (; at + 12 < bytes.size(); ++at) {
    const absl::string_view vr = absl::string_view(bytes).substr(at + 4, 2);
    if (vr == "SQ" || vr == "UN" || vr == "OB" || vr == "LO" || vr == "UI") return at;
  }
  return 0;
}

// It loses its VR, its length, or both: then the reader must look further to know what follows.
void DamageHead(size_t head, Random& random, std::string* bytes) {
  if (head == 0) return;
  const size_t how = random.Below(4);
  if (how == 0) {
    bytes->erase(head + 4, 4);
  } else if (how == 1) {
    bytes->replace(head + 4, 4, "\xff\xff\xff\xff");
  } else {
    bytes->replace(head + 4, 2, "UN");
    if (how == 2) bytes->replace(head + 8, 4, "\xff\xff\xff\xff");
  }
}

// Mostly of the header: there is the structure.
std::string Damaged(std::string bytes, const std::vector<std::string>& all, Random& random) {
  for (size_t changes = 1 + random.Below(4); changes > 0 && bytes.size() > 160; --changes) {
    const size_t at = 128 + random.Below(std::min<size_t>(bytes.size() - 128, 4000));
    switch (random.Below(7)) {
      case 0:
        bytes[at] = random.Byte();
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.Below(8));
        break;
      case 2:
        bytes.erase(at, random.Below(16));
        break;
      case 3:
        bytes.insert(at, random.Below(16), random.Byte());
        break;
      case 4:
        if (random.Below(4) == 0) bytes.resize(at);
        break;
      case 5:
        DamageHead(HeadFrom(bytes, at), random, &bytes);
        break;
      default:
        const std::string& other = all[random.Below(all.size())];
        bytes.insert(at, other, random.Below(other.size()), random.Below(64));
    }
  }
  return bytes;
}

// The sizes of the pieces: all small, all of one size, or mixed.
class Pieces {
 public:
  explicit Pieces(Random& random) : random_(random), kind_(random.Below(3)), size_(1 + random.Below(40)) {}
  size_t Next() {
    if (kind_ == 0) return 1 + random_.Below(13);
    return kind_ == 1 ? size_ : 1 + random_.Below(4000);
  }

 private:
  Random& random_;
  const size_t kind_, size_;
};

// What comes out, or the reason.
std::string Rewritten(absl::string_view bytes, dicom::HeaderEditor& editor, Pieces* pieces) {
  std::string out;
  dicom::HeaderRewriter rewriter(editor, [&](absl::string_view put) {
    out.append(put.data(), put.size());
    return absl::OkStatus();
  });
  absl::Status status;
  while (status.ok() && !bytes.empty()) {
    const absl::string_view piece = bytes.substr(0, pieces == nullptr ? bytes.size() : pieces->Next());
    status = rewriter.Add(piece);
    bytes.remove_prefix(piece.size());
  }
  if (status.ok()) status = rewriter.Finish();
  return status.ok() ? out : absl::StrCat("refused: ", ErrorReason(status));
}

std::string Blanked(absl::string_view bytes, Pieces* pieces) {
  DecoderOptions options;
  options.program = "/nowhere/narthex-pixels";
  const std::vector<anonymize::PixelEdit> edits = {{.left = 1, .top = 1, .right = 9, .bottom = 9}};
  KeepHeader keep;
  PixelEditor editor(
      keep, [&]() -> const auto& { return edits; }, options);
  return Rewritten(bytes, editor, pieces);
}

std::string Deidentified(absl::string_view bytes, Pieces* pieces) {
  static const auto& plan = *new anonymize::AnonymizationPlan([] {
    anonymize::AnonymizationPlan made;
    made.secret = "a secret of sixteen bytes";
    made.profile = std::make_shared<anonymize::Profile>(*anonymize::ProfileOptions::Parse("basic"));
    return made;
  }());
  anonymize::ApplyContext context;
  anonymize::Anonymizer anonymizer(plan, {{"subject", "S"}}, context);
  return Rewritten(bytes, anonymizer, pieces);
}

std::string Scanned(absl::string_view bytes, Pieces* pieces) {
  dicom::ScanOptions options;
  options.object_size = bytes.size();
  dicom::HeaderScanner scanner(options);
  while (!bytes.empty()) {
    const absl::string_view piece = bytes.substr(0, pieces == nullptr ? bytes.size() : pieces->Next());
    const auto state = scanner.Feed(piece);
    if (!state.ok() || *state == dicom::ScanState::kHeaderDone) break;
    bytes.remove_prefix(piece.size());
  }
  const auto facts = scanner.Finish();
  return facts.ok() ? facts->Encode() : absl::StrCat("refused: ", ErrorReason(facts.status()));
}

std::string Told(const std::string& result) {
  return absl::StartsWith(result, "refused: ") ? result : "accepted";
}

constexpr std::pair<const char*, std::string (*)(absl::string_view, Pieces*)> kPasses[] = {
    {"blanked", Blanked}, {"de-identified", Deidentified}, {"scanned", Scanned}};

TEST(PiecesTest, ObjectsAreReadAlikeHoweverTheyAreCut) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const std::vector<std::string> objects = RealObjects();
  ASSERT_GT(objects.size(), 150u);
  Random random(kSeed);
  int accepted = 0;

  for (size_t i = 0; i < objects.size(); ++i) {
    for (int round = 0; round <= kDamagedEach; ++round) {
      const std::string bytes = round == 0 ? objects[i] : Damaged(objects[i], objects, random);
      for (const auto& [name, pass] : kPasses) {
        const std::string whole = pass(bytes, nullptr);
        Pieces pieces(random);
        const std::string cut = pass(bytes, &pieces);
        ASSERT_TRUE(cut == whole) << name << ", seed " << kSeed << ", object " << i << ", round " << round
                                  << ": " << Told(whole) << " against " << Told(cut);
        accepted += Told(whole) == "accepted" ? 1 : 0;
      }
      // Pixel data that the reader took for header would be stored as they are.
      const auto header = dicom::ParseObjectHeader(bytes);
      ASSERT_FALSE(header.ok() && header->data->Has(dicom::tags::kPixelData)) << "object " << i;
    }
  }

  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace narthex::pixels
