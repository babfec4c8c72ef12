// Goal: every real image scans to what pydicom reads in it (recorded in MANIFEST.jsonl), whole or in pieces,
// and everything else is refused. Nothing that anybody made may crash the scanner.
#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/shared_data.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

struct ManifestEntry {
  std::string path;
  bool is_dicom = false;
  std::map<std::string, std::string> dicom;  // without those that pydicom did not find
};

std::vector<ManifestEntry> ReadManifest() {
  std::vector<ManifestEntry> entries;
  std::ifstream file(SharedDataFolder() + "/MANIFEST.jsonl");
  for (std::string line; std::getline(file, line);) {
    Struct json;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(line, &json).ok()) << line;
    ManifestEntry entry;
    entry.path = json.fields().at("path").string_value();
    const auto dicom = json.fields().find("dicom");
    entry.is_dicom = dicom != json.fields().end() && dicom->second.has_struct_value();
    if (entry.is_dicom) {
      for (const auto& [key, value] : dicom->second.struct_value().fields()) {
        if (value.kind_case() == Value::kStringValue) entry.dicom[key] = value.string_value();
      }
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// pydicom drops empty component groups at the end of a name; we keep values as sent.
std::string WithoutEmptyGroups(std::string name) {
  while (absl::EndsWith(name, "=")) name.pop_back();
  return name;
}

// SpecificCharacterSet with several values stands in the manifest as Python prints a list.
std::string AsPythonList(absl::string_view charset) {
  if (!absl::StrContains(charset, "\\")) return std::string(charset);
  return absl::StrCat("['", absl::StrReplaceAll(charset, {{"\\", "', '"}}), "']");
}

std::map<std::string, std::string> AsManifest(const HeaderFacts& facts) {
  std::map<std::string, std::string> values = {
      {"ts", std::string(facts.transfer_syntax_uid())},
      {"sop_class", std::string(facts.sop_class_uid())},
      {"instance", std::string(facts.sop_instance_uid())},
      {"study", std::string(facts.study_instance_uid())},
      {"series", std::string(facts.series_instance_uid())},
      {"charset", AsPythonList(facts.specific_character_set())},
      {"modality", std::string(facts.Get(tags::kModality))},
      {"manufacturer", facts.Text(tags::kManufacturer)},
      {"model", facts.Text(tags::kManufacturerModelName)},
      {"series_number", std::string(facts.Get(tags::kSeriesNumber))},
      {"series_description", facts.Text(tags::kSeriesDescription)},
      {"patient_name", WithoutEmptyGroups(facts.Text(tags::kPatientName))},
      {"patient_id", facts.Text(tags::kPatientID)},
      {"study_date", std::string(facts.Get(tags::kStudyDate))},
      {"frames", std::string(facts.Get(tags::kNumberOfFrames))},
      {"burned_in", std::string(facts.Get(tags::kBurnedInAnnotation))},
      {"identity_removed", std::string(facts.Get(tags::kPatientIdentityRemoved))},
  };
  return values;
}

// Of these pydicom could not tell the transfer syntax, because they have no meta group; we guess it.
const std::map<std::string, std::string>& GuessedSyntaxes() {
  static const auto* const kGuessed = new std::map<std::string, std::string>{
      {"dicom-pydicom-testfiles/test_files/ExplVR_BigEndNoMeta.dcm", std::string(kExplicitVrBigEndian)},
      {"dicom-pydicom-testfiles/test_files/ExplVR_LitEndNoMeta.dcm", std::string(kExplicitVrLittleEndian)},
      {"dicom-pydicom-testfiles/test_files/rtstruct.dcm", std::string(kImplicitVrLittleEndian)},
      {"dicom-pydicom-testfiles/test_files/meta_missing_tsyntax.dcm", std::string(kImplicitVrLittleEndian)},
  };
  return *kGuessed;
}

// A bare data set in whose ninth value "DICM" stands at offset 128: pydicom took it for a preamble and read
// nothing, so the manifest says nothing about it. See ReadsBareDataSetWithMagicInside.
constexpr char kMagicInside[] = "dicom-misc-dcm4che/no_preamble_dicm_in_data";
// Ends inside a sequence behind all UIDs.
constexpr char kTruncatedPlan[] = "dicom-pydicom-testfiles/test_files/rtplan_truncated.dcm";

TEST(HeaderScannerRealTest, ReadsWhatPydicomReads) {
  NARTHEX_REQUIRE_SHARED_DATA();
  int compared = 0;
  for (const ManifestEntry& entry : ReadManifest()) {
    const bool is_directory = absl::StrContains(entry.path, "DICOMDIR");
    if (!entry.is_dicom || is_directory || entry.path == kMagicInside) continue;
    SCOPED_TRACE(entry.path);
    ScanOptions options;
    options.require_sop_uids = false;  // ten of pydicom's files have none
    const auto facts = ScanFile(SharedDataFolder() + "/" + entry.path, options);
    ASSERT_TRUE(facts.ok()) << facts.status();
    std::map<std::string, std::string> expected = entry.dicom;
    const auto guessed = GuessedSyntaxes().find(entry.path);
    if (guessed != GuessedSyntaxes().end()) expected["ts"] = guessed->second;
    for (const auto& [key, value] : AsManifest(*facts)) EXPECT_EQ(value, expected[key]) << key;
    EXPECT_EQ(facts->is_truncated(), entry.path == kTruncatedPlan);
    ++compared;
  }
  EXPECT_GE(compared, 517);
}

TEST(HeaderScannerRealTest, RefusesWhatIsNoImage) {
  NARTHEX_REQUIRE_SHARED_DATA();
  int refused = 0;
  for (const ManifestEntry& entry : ReadManifest()) {
    SCOPED_TRACE(entry.path);
    const auto facts = ScanFile(SharedDataFolder() + "/" + entry.path);
    if (absl::IsNotFound(facts.status())) {
      // The manifest lists the zip-slip archives, which are not handed out with the data.
      EXPECT_TRUE(absl::StrContains(entry.path, "zip-slip"));
      continue;
    }
    if (absl::StrContains(entry.path, "DICOMDIR") && entry.is_dicom) {
      EXPECT_EQ(ErrorReason(facts.status()), "DICOMDIR");
    } else if (absl::EndsWith(entry.path, "pet_ac_acr.ima")) {
      // ACR-NEMA: a data set without any UID. It is read and refused for what it lacks.
      EXPECT_EQ(ErrorReason(facts.status()), "MISSING_SOP_CLASS_UID");
    } else if (!entry.is_dicom) {
      EXPECT_EQ(ErrorReason(facts.status()), "NOT_DICOM") << facts.status();
    } else if (entry.dicom.count("sop_class") == 0) {
      EXPECT_EQ(ErrorReason(facts.status()), "MISSING_SOP_CLASS_UID");
    } else {
      EXPECT_TRUE(facts.ok()) << facts.status();
      continue;
    }
    ++refused;
  }
  EXPECT_GE(refused, 150);
}

TEST(HeaderScannerRealTest, ReadsBareDataSetWithMagicInside) {
  NARTHEX_REQUIRE_SHARED_DATA();
  ScanOptions options;
  options.require_sop_uids = false;
  const auto facts = ScanFile(SharedDataFolder() + "/" + kMagicInside, options);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_FALSE(facts->has_preamble());
  EXPECT_EQ(facts->Get(tags::kModality), "MG");
  EXPECT_EQ(facts->Get(tags::kManufacturerModelName), "Mammomat Novation DR");
}

TEST(HeaderScannerRealTest, PiecesGiveTheSameFactsAsTheWhole) {
  NARTHEX_REQUIRE_SHARED_DATA();
  for (const ManifestEntry& entry : ReadManifest()) {
    SCOPED_TRACE(entry.path);
    const std::string bytes = ReadWhole(SharedDataFolder() + "/" + entry.path);
    const auto whole = ScanWhole(bytes);
    for (size_t piece_bytes : {size_t{1}, size_t{13}, size_t{4096}}) {
      if (piece_bytes == 1 && bytes.size() > 64 << 10) continue;  // for speed
      ScanOptions options;
      options.object_size = bytes.size();
      HeaderScanner scanner(options);
      for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
        const auto state = scanner.Feed(absl::string_view(bytes).substr(at, piece_bytes));
        if (!state.ok() || *state == ScanState::kHeaderDone) break;
      }
      const auto pieces = scanner.Finish();
      ASSERT_EQ(pieces.ok(), whole.ok()) << pieces.status() << " against " << whole.status();
      if (whole.ok()) {
        EXPECT_TRUE(*pieces == *whole);
      } else {
        EXPECT_EQ(ErrorReason(pieces.status()), ErrorReason(whole.status()));
      }
    }
  }
}

TEST(HeaderScannerRealTest, FactsRoundTripAndDamagedOnesAreRefusedOrRead) {
  NARTHEX_REQUIRE_SHARED_DATA();
  for (const ManifestEntry& entry : ReadManifest()) {
    const auto facts = ScanFile(SharedDataFolder() + "/" + entry.path);
    if (!facts.ok()) continue;
    const auto decoded = HeaderFacts::Decode(facts->Encode());
    ASSERT_TRUE(decoded.ok()) << entry.path;
    EXPECT_TRUE(*decoded == *facts);
    EXPECT_EQ(decoded->sop_instance_uid(), facts->sop_instance_uid());
    EXPECT_EQ(decoded->study_instance_uid(), facts->study_instance_uid());
  }
}

TEST(HeaderScannerRealTest, EveryPrefixOfAFileIsSurvived) {
  NARTHEX_REQUIRE_SHARED_DATA();
  for (const char* name :
       {"dicom-pydicom-testfiles/test_files/CT_small.dcm", "dicom-pydicom-testfiles/test_files/image_dfl.dcm",
        "dicom-pydicom-testfiles/test_files/nested_priv_SQ.dcm"}) {
    const std::string bytes = ReadWhole(SharedDataFolder() + "/" + name);
    ASSERT_FALSE(bytes.empty()) << name;
    for (size_t size = 0; size < std::min<size_t>(bytes.size(), 8192); ++size) {
      ScanOptions options;
      options.require_sop_uids = false;
      ScanWhole(absl::string_view(bytes).substr(0, size), options).status().IgnoreError();
    }
  }
}

// Hundreds of crafted files: some are images with a flaw that we tolerate, most are refused; none may crash
// or hang.
TEST(HeaderScannerRealTest, SurvivesTheFuzzingCorpus) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const std::string tar = SharedDataFolder() + "/fuzz-dicom-pwnlab/fuzz_corpus_v2.tar.xz";
  std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), &archive_read_free);
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_all(reader.get());
  ASSERT_EQ(archive_read_open_filename(reader.get(), tar.c_str(), 64 << 10), ARCHIVE_OK);
  int scanned = 0;
  archive_entry* entry = nullptr;
  // Warnings are about names that this locale cannot show.
  for (int r; (r = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN;) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string bytes(static_cast<size_t>(archive_entry_size(entry)), '\0');
    ASSERT_EQ(archive_read_data(reader.get(), bytes.data(), bytes.size()),
              static_cast<la_ssize_t>(bytes.size()));
    for (bool thorough : {false, true}) {
      ScanOptions options;
      options.walk_all_sequences = thorough;
      const auto facts = ScanWhole(bytes, options);
      EXPECT_TRUE(facts.ok() || !ErrorReason(facts.status()).empty()) << archive_entry_pathname(entry);
      if (facts.ok()) {
        EXPECT_TRUE(HeaderFacts::Decode(facts->Encode()).ok());
      }
    }
    ++scanned;
  }
  EXPECT_GE(scanned, 355);
}

TEST(HeaderScannerRealTest, TextOfItemsUsesTheirOwnCharacterSet) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const TagPath path(Tag(0x0032, 0x1064), tags::kPatientName);
  const AttributeSet attributes = AttributeSet::Default().With({path});
  ScanOptions options;
  options.attributes = &attributes;
  options.require_sop_uids = false;
  for (const char* name : {"chrSQEncoding.dcm", "chrSQEncoding1.dcm"}) {
    const auto facts =
        ScanFile(SharedDataFolder() + "/dicom-pydicom-testfiles/charset_files/" + name, options);
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->Text(path), "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう") << name;
  }
}

TEST(HeaderScannerRealTest, EnhancedObjectsGiveFunctionalGroups) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const auto facts = ScanFile(SharedDataFolder() + "/dicom-mr-philips-achieva-parrec/DICOM/T1.dcm");
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->number_of_frames(), 10);
  EXPECT_NE(
      facts->GetFunctional(tags::kPixelSpacing, TagPath(tags::kPixelMeasuresSequence, tags::kPixelSpacing)),
      "");
  EXPECT_NE(facts->GetFunctional(tags::kEchoTime, TagPath(tags::kMREchoSequence, tags::kEffectiveEchoTime)),
            "");
  EXPECT_NE(facts->GetFunctional(tags::kRepetitionTime,
                                 TagPath(tags::kMRTimingAndRelatedParametersSequence, tags::kRepetitionTime)),
            "");
}

}  // namespace
}  // namespace narthex::dicom
