// Sessions of real images against what pydicom says of them (SESSIONS.json), and parameters that are known.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/shared_data.h"
#include "imaging/session/builder.h"
#include "imaging/session/conversion.h"
#include "imaging/session/document.h"

namespace narthex::session {
namespace {

using ::testing::AnyOf;
using ::testing::IsEmpty;

const dicom::AttributeSet& Wanted() {
  static const auto* const kWanted = new dicom::AttributeSet(TypeRegistry::BuiltIn().wanted());
  return *kWanted;
}

// The studies of all scannable files below `folders`, by Study Instance UID.
std::map<std::string, std::vector<dicom::HeaderFacts>> Studies(const std::set<std::string>& folders) {
  std::map<std::string, std::vector<dicom::HeaderFacts>> studies;
  for (const std::string& folder : folders) {
    const std::string path = absl::StrCat(dicom::SharedDataFolder(), "/", folder);
    if (!std::filesystem::is_directory(path)) continue;
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      absl::StatusOr<dicom::HeaderFacts> facts = dicom::ScanFile(file, {.attributes = &Wanted()});
      if (facts.ok()) studies[std::string(facts->study_instance_uid())].push_back(*std::move(facts));
    }
  }
  return studies;
}

SessionModel Build(const std::vector<dicom::HeaderFacts>& objects) {
  SessionBuilder builder(TypeRegistry::BuiltIn(), {});
  for (size_t i = 0; i < objects.size(); ++i) EXPECT_TRUE(builder.Add(objects[i], i).ok());
  absl::StatusOr<SessionModel> session = builder.Finish();
  EXPECT_TRUE(session.ok()) << session.status();
  return *std::move(session);
}

// The largest session in `folder`.
SessionModel Largest(const std::string& folder) {
  SessionModel largest;
  size_t count = 0;
  for (const auto& [uid, objects] : Studies({folder})) {
    if (objects.size() <= count) continue;
    count = objects.size();
    largest = Build(objects);
  }
  return largest;
}

const ScanModel* FindScan(const SessionModel& session, absl::string_view xsi_type) {
  for (const ScanModel& scan : session.scans) {
    if (scan.xsi_type == xsi_type) return &scan;
  }
  return nullptr;
}

double Value(const ScanModel& scan, absl::string_view name) {
  return NumberOf(ParameterValue(scan.parameters, name)).value_or(-1);
}

using Json = google::protobuf::Value;
const Json& Field(const Json& object, const char* name) {
  static const Json* const kNull = new Json;
  const auto found = object.struct_value().fields().find(name);
  return found == object.struct_value().fields().end() ? *kNull : found->second;
}

// Every study of SESSIONS.json: the same series, numbers, descriptions and modalities. Files that pydicom
// reads by force and that have no readable header for us may be missing; then the study is left out if it is
// not whole.
TEST(RealImagesTest, AgreesWithPydicomOnEveryStudy) {
  NARTHEX_REQUIRE_SHARED_DATA();
  Json sessions;
  const std::string json = dicom::ReadWhole(dicom::SharedDataFolder() + "/SESSIONS.json");
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &sessions).ok());

  std::set<std::string> folders;
  for (const Json& study : sessions.list_value().values()) {
    for (const Json& set : Field(study, "sets").list_value().values()) folders.insert(set.string_value());
  }
  const auto studies = Studies(folders);
  int compared = 0;
  for (const Json& study : sessions.list_value().values()) {
    const std::string uid = Field(study, "study").string_value();
    const auto found = studies.find(uid);
    if (found == studies.end() || uid.empty()) continue;
    const SessionModel session = Build(found->second);
    std::map<std::string, const ScanModel*> scans;
    for (const ScanModel& scan : session.scans) scans[scan.series_instance_uid] = &scan;
    for (const Json& series : Field(study, "series").list_value().values()) {
      const ScanModel* scan = scans[Field(series, "series").string_value()];
      if (scan == nullptr || scan->series_instance_uid.empty()) continue;
      if (static_cast<double>(scan->objects.size()) != Field(series, "files").number_value()) continue;
      ++compared;
      EXPECT_EQ(scan->series_number, Field(series, "number").string_value()) << uid;
      const std::string modality = Field(series, "modality").string_value();
      if (!modality.empty()) {
        EXPECT_EQ(scan->modality, modality) << uid;
      }
      EXPECT_EQ(scan->series_description,
                absl::StripAsciiWhitespace(Field(series, "description").string_value()))
          << uid;
    }
    // The document of every real session can be read back.
    const std::string xml = WriteSessionDocument(session, {});
    const auto read = ReadSessionDocument(xml, TypeRegistry::BuiltIn());
    ASSERT_TRUE(read.ok()) << uid << read.status();
    EXPECT_EQ(read->session.scans.size(), session.scans.size()) << uid;
    std::set<std::string> ids;
    for (const ScanModel& scan : session.scans)
      EXPECT_TRUE(ids.insert(scan.id).second) << uid << " " << scan.id;
  }
  RecordProperty("series_compared", compared);
  EXPECT_GE(compared, 60);
}

TEST(RealImagesTest, DescribesSiemensPrisma) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const SessionModel session = Largest("dicom-mr-siemens-prisma-dualecho");
  EXPECT_EQ(session.xsi_type, "xnat:mrSessionData");
  EXPECT_THAT(absl::AsciiStrToUpper(session.scanner.manufacturer), ::testing::HasSubstr("SIEMENS"));
  EXPECT_THAT(session.scanner.model, ::testing::HasSubstr("Prisma"));
  EXPECT_NEAR(NumberOf(ParameterValue(session.parameters, "fieldStrength")).value_or(0), 3, 0.2);
  const ScanModel* scan = FindScan(session, "xnat:mrScanData");
  ASSERT_NE(scan, nullptr);
  EXPECT_GT(Value(*scan, "tr"), 100);
  EXPECT_EQ(ParameterValue(scan->parameters, "te"), "11");  // the first of the two echoes: one series each
  EXPECT_THAT(std::string(ParameterValue(scan->parameters, "orientation")), AnyOf("Tra", "Sag", "Cor"));
  EXPECT_GT(Value(*scan, "voxelRes.x"), 0.1);
  EXPECT_GT(Value(*scan, "fov.x"), 100);
}

TEST(RealImagesTest, DescribesSiemensSkyra) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const SessionModel session = Largest("dicom-mr-siemens-skyra");
  EXPECT_EQ(session.xsi_type, "xnat:mrSessionData");
  EXPECT_THAT(session.scanner.model, ::testing::HasSubstr("Skyra"));
  EXPECT_GE(session.scans.size(), 1u);
  for (const ScanModel& scan : session.scans) {
    EXPECT_GT(Value(scan, "tr"), 0) << scan.id;
    EXPECT_GT(Value(scan, "flip"), 0) << scan.id;
    EXPECT_FALSE(scan.start_time.empty()) << scan.id;
  }
}

TEST(RealImagesTest, DescribesGeCt) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const SessionModel session = Largest("dicom-ct-ge-hispeed");
  EXPECT_EQ(session.xsi_type, "xnat:ctSessionData");
  EXPECT_EQ(session.modality, "CT");
  const ScanModel* scan = FindScan(session, "xnat:ctScanData");
  ASSERT_NE(scan, nullptr);
  EXPECT_GE(Value(*scan, "kvp"), 80);
  EXPECT_LE(Value(*scan, "kvp"), 140);
  EXPECT_FALSE(ParameterValue(scan->parameters, "convolutionKernel").empty());
  EXPECT_EQ(Value(*scan, "rescale.slope"), 1);
  EXPECT_GT(Value(*scan, "voxelRes.z"), 0);
}

TEST(RealImagesTest, DescribesPetCt) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const SessionModel session = Largest("dicom-petct-ge-discovery-tcia");
  EXPECT_EQ(session.xsi_type, "xnat:petSessionData");
  EXPECT_EQ(session.modality, "PT");
  const ScanModel* pet = FindScan(session, "xnat:petScanData");
  ASSERT_NE(pet, nullptr);
  EXPECT_EQ(ParameterValue(pet->parameters, "units"), "BQML");
  const double half_life =
      NumberOf(ParameterValue(session.parameters, "tracer.isotope.half-life")).value_or(0);
  EXPECT_NEAR(half_life, 6588, 10);  // fluorine 18
  EXPECT_GT(NumberOf(ParameterValue(session.parameters, "tracer.dose")).value_or(0), 1e7);
}

TEST(RealImagesTest, DescribesEnhancedMr) {
  NARTHEX_REQUIRE_SHARED_DATA();
  int enhanced = 0;
  for (const auto& [uid, objects] : Studies({"dicom-mr-enhanced-multiframe"})) {
    const SessionModel session = Build(objects);
    for (const ScanModel& scan : session.scans) {
      if (scan.type_name != "mr") continue;
      ++enhanced;
      EXPECT_GT(scan.frames, 1) << uid;
      EXPECT_GT(Value(scan, "tr"), 0) << uid;
      EXPECT_GT(Value(scan, "voxelRes.x"), 0) << uid;
      EXPECT_FALSE(ParameterValue(scan.parameters, "orientation").empty()) << uid;
    }
  }
  EXPECT_GE(enhanced, 2);
}

TEST(RealImagesTest, PutsReportsAndStructuresAside) {
  NARTHEX_REQUIRE_SHARED_DATA();
  const SessionModel rt = Largest("dicom-rt-dicompyler");
  std::set<std::string> types;
  for (const ScanModel& scan : rt.scans) {
    types.insert(scan.type_name);
    if (scan.type_name == "rt-object") {
      EXPECT_EQ(scan.primary_count(), 0u) << scan.id;
    }
  }
  EXPECT_TRUE(types.count("rt-object") > 0) << absl::StrJoin(types, " ");
}

}  // namespace
}  // namespace narthex::session
