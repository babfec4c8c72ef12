#include "imaging/session/types.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/dicom/sop_class.h"

namespace narthex::session {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(TypesTest, LoadsTheBuiltInFiles) {
  const auto registry = TypeRegistry::Load({});
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_GE((*registry)->scan_types().size(), 30u);
  for (const auto& type : (*registry)->scan_types()) {
    EXPECT_THAT(type->xsi_type, StartsWith("xnat:")) << type->name;
    EXPECT_THAT(type->xsi_type, ::testing::EndsWith("ScanData")) << type->name;
    EXPECT_FALSE(type->description.empty()) << type->name;
  }
  for (const auto& type : (*registry)->session_types()) {
    EXPECT_THAT(type->xsi_type, ::testing::EndsWith("SessionData")) << type->name;
    EXPECT_THAT(type->element, ::testing::EndsWith("Session")) << type->name;
  }
}

TEST(TypesTest, MapsSopClassesAsXnatDoes) {
  const TypeRegistry& types = TypeRegistry::BuiltIn();
  const std::string k = "1.2.840.10008.5.1.4.1.1.";
  const struct {
    std::string sop_class;
    const char* name;
    const char* xsi_type;
    const char* session_xsi_type;
    bool primary;
  } kCases[] = {
      {k + "4", "mr", "xnat:mrScanData", "xnat:mrSessionData", true},
      {k + "4.1", "mr", "xnat:mrScanData", "xnat:mrSessionData", true},
      {k + "4.4", "mr", "xnat:mrScanData", "xnat:mrSessionData", true},  // legacy converted
      {k + "4.2", "mr-spectroscopy", "xnat:mrsScanData", "xnat:mrSessionData", true},
      {k + "2", "ct", "xnat:ctScanData", "xnat:ctSessionData", true},
      {k + "2.2", "ct", "xnat:ctScanData", "xnat:ctSessionData", true},
      {k + "128", "pet", "xnat:petScanData", "xnat:petSessionData", true},
      {k + "130", "pet", "xnat:petScanData", "xnat:petSessionData", true},
      {k + "128.1", "pet", "xnat:petScanData", "xnat:petSessionData", true},
      {k + "12.1", "xa", "xnat:xaScanData", "xnat:xaSessionData", true},
      {k + "13.1.1", "xa", "xnat:xaScanData", "xnat:xaSessionData", true},
      {k + "6.1", "us", "xnat:usScanData", "xnat:usSessionData", true},
      {k + "3.1", "us", "xnat:usScanData", "xnat:usSessionData", true},
      {k + "1", "cr", "xnat:crScanData", "xnat:crSessionData", true},
      {k + "1.1", "dx", "xnat:dxScanData", "xnat:dxSessionData", true},
      {k + "1.2", "mg", "xnat:mgScanData", "xnat:mgSessionData", true},
      {k + "1.3", "io", "xnat:ioScanData", "xnat:ioSessionData", true},
      {k + "20", "nm", "xnat:nmScanData", "xnat:nmSessionData", true},
      {k + "12.2", "rf", "xnat:rfScanData", "xnat:rfSessionData", true},
      {k + "77.1.5.4", "opt", "xnat:optScanData", "xnat:optSessionData", true},
      {k + "77.1.6", "sm", "xnat:smScanData", "xnat:smSessionData", true},
      {k + "9.1.1", "ecg", "xnat:ecgScanData", "xnat:ecgSessionData", true},
      {k + "481.2", "rt", "xnat:rtImageScanData", "xnat:rtSessionData", true},
      {k + "481.3", "rt-object", "xnat:rtImageScanData", "xnat:rtSessionData", false},
      {k + "7", "sc", "xnat:scScanData", "xnat:otherDicomSessionData", false},
      {k + "66.4", "seg", "xnat:segScanData", "xnat:otherDicomSessionData", false},
      {k + "88.33", "sr", "xnat:srScanData", "xnat:srSessionData", false},
      {k + "88.67", "sr", "xnat:srScanData", "xnat:srSessionData", false},
      {k + "11.1", "presentation-state", "xnat:otherDicomScanData", "xnat:otherDicomSessionData", false},
      {k + "66", "raw-data", "xnat:otherDicomScanData", "xnat:otherDicomSessionData", false},
      {"1.3.12.2.1107.5.9.1", "other", "xnat:otherDicomScanData", "xnat:otherDicomSessionData", false},
      {"9.9.9", "other", "xnat:otherDicomScanData", "xnat:otherDicomSessionData", false},
  };
  for (const auto& c : kCases) {
    const ScanType& type = types.TypeOf(c.sop_class, "");
    EXPECT_EQ(type.name, c.name) << c.sop_class;
    EXPECT_EQ(type.xsi_type, c.xsi_type) << c.sop_class;
    EXPECT_EQ(type.primary, c.primary) << c.sop_class;
    EXPECT_EQ(types.FindSessionType(type.session_type)->xsi_type, c.session_xsi_type) << c.sop_class;
  }
  EXPECT_EQ(types.TypeOf("9.9.9", "MR").name, "mr");  // an unknown class is known by its modality
  EXPECT_EQ(types.TypeOf("", "PT").name, "pet");
}

// Every medical image storage class that DCMTK knows has a type of its own, so that no picture lands among
// "other".
TEST(TypesTest, ClaimsAllImageStorageClasses) {
  for (const std::string& uid : dicom::StorageSopClasses()) {
    const absl::string_view name = dicom::SopClassName(uid);
    const bool image = name.find("ImageStorage") != absl::string_view::npos && name.find("DICO") != 0;
    if (!image || name.find("RETIRED") != absl::string_view::npos ||
        name.find("DRAFT") != absl::string_view::npos)
      continue;
    EXPECT_NE(TypeRegistry::BuiltIn().TypeOf(uid, "").name, "other") << uid << " " << name;
  }
}

TEST(TypesTest, OrdersModalities) {
  const TypeRegistry& types = TypeRegistry::BuiltIn();
  const char* kOrder[] = {"PT",  "MR", "CT", "XA", "US", "CR", "OPT", "MG", "DX", "NM", "EEG",
                          "ECG", "SM", "RF", "ES", "XC", "RG", "OT",  "SR", "SC", "ANN"};
  for (size_t i = 1; i < std::size(kOrder); ++i) {
    EXPECT_LT(types.ModalityRank(kOrder[i - 1]), types.ModalityRank(kOrder[i])) << kOrder[i];
  }
  EXPECT_GT(types.ModalityRank("??"), types.ModalityRank("ANN"));
}

TEST(TypesTest, WantsFunctionalGroupsToo) {
  const dicom::Tag kTiming(0x0018, 0x9112);
  EXPECT_THAT(TypeRegistry::BuiltIn().wanted(),
              Contains(dicom::TagPath(dicom::tags::kSharedFunctionalGroupsSequence, kTiming,
                                      dicom::tags::kRepetitionTime)));
  EXPECT_THAT(TypeRegistry::BuiltIn().wanted(), Contains(dicom::TagPath(dicom::tags::kPatientName)));
}

constexpr absl::string_view kOptoacoustic = R"(
[[modality]]
codes = ["PA"]
rank = 15

[[group]]
name = "pa"
attributes = [
  { name = "wavelength", dicom = "00189829", as = "number", unit = "nm", scale = 1000, xml = "parameters/addParam[@name='wavelength']" },
]

[[session_type]]
name = "pa"
xsi_type = "lab:paSessionData"
element = "PASession"
modality = "PA"
rank = 15

[[scan_type]]
name = "pa"
xsi_type = "lab:paScanData"
session_type = "pa"
modalities = ["PA"]
sop_classes = ["1.2.840.10008.5.1.4.1.1.6.3", "1.2.840.10008.5.1.4.1.1.6.1"]
attributes = ["pa", "geometry"]
)";

TEST(TypesTest, TakesANewTypeWithoutRecompiling) {
  const std::string folder = ::testing::TempDir() + "/narthex_types";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/pa.toml") << kOptoacoustic;
  std::ofstream(folder + "/readme.txt") << "not a type file";
  const auto types = TypeRegistry::LoadDirectory(folder);
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(types.ok()) << types.status();

  EXPECT_EQ((*types)->TypeOf("1.2.840.10008.5.1.4.1.1.6.3", "").name, "pa");
  EXPECT_EQ((*types)->TypeOf("1.2.840.10008.5.1.4.1.1.6.1", "").name, "pa");  // taken from the built-in `us`
  EXPECT_EQ((*types)->TypeOf("", "PA").attributes.size(), 7u);
  EXPECT_LT((*types)->ModalityRank("MR"), (*types)->ModalityRank("PA"));
  EXPECT_LT((*types)->ModalityRank("PA"), (*types)->ModalityRank("CT"));
  EXPECT_THAT((*types)->wanted(), Contains(dicom::TagPath(dicom::Tag(0x0018, 0x9829))));
}

TEST(TypesTest, TakesNoFolderForNoFiles) {
  EXPECT_TRUE(TypeRegistry::LoadDirectory("").ok());
  EXPECT_TRUE(TypeRegistry::LoadDirectory("/nowhere/at/all").ok());
}

TEST(TypesTest, NamesFileAndLineOfErrors) {
  const struct {
    const char* text;
    const char* line;
    const char* message;
  } kCases[] = {
      {"x = \n", "1", "column"},
      {"\nnonsense = 1\n", "2", "unknown key 'nonsense'"},
      {"[[scan_type]]\nname = \"x\"\n", "1", "'xsi_type' is missing"},
      {"[[scan_type]]\nname = \"x\"\nxsi_type = \"a:b\"\nsession_type = \"nope\"\n", "1",
       "no session type 'nope'"},
      {"[[scan_type]]\nname = \"x\"\nxsi_type = \"a:b\"\nsession_type = \"mr\"\nattributes = [\"gone\"]\n",
       "1", "no attribute group 'gone'"},
      {"[[scan_type]]\nname = \"x\"\nxsi_type = \"a:b\"\nsession_type = \"mr\"\nprimary = \"yes\"\n", "5",
       "true or false"},
      {"[[group]]\nname = \"g\"\nattributes = [\n  { name = \"a\", dicom = \"NoSuchKeyword\" },\n]\n", "4",
       "NoSuchKeyword"},
      {"[[group]]\nname = \"g\"\nattributes = [{ name = \"a\", dicom = \"Rows\", as = \"colour\" }]\n", "3",
       "none of text, number"},
      {"[[group]]\nname = \"g\"\nattributes = [{ name = \"a\", dicom = \"Rows\", xml = \"a b\" }]\n", "3",
       "XML path"},
      {"[[group]]\nname = \"g\"\nattributes = [{ name = \"a\", dicom = \"PixelSpacing[x]\" }]\n", "3",
       "index of a value"},
      {"[[group]]\nname = \"g\"\nattributes = [{ dicom = \"Rows\" }]\n", "3", "'name' is missing"},
      {"[[group]]\nname = 3\nattributes = []\n", "2", "text in quotes"},
      {"[[session_type]]\nname = \"s\"\nxsi_type = \"a:b\"\nelement = \"S\"\nrank = -1\n", "5",
       "0 to 1000000"},
      {"[[scan_type]]\nname = \"x\"\nxsi_type = \"a:b\"\nsession_type = \"mr\"\nsop_classes = [\"1.2\"]\n"
       "[[scan_type]]\nname = \"y\"\nxsi_type = \"a:b\"\nsession_type = \"mr\"\nsop_classes = [\"1.2\"]\n",
       "6", "claimed by another"},
      {"[[group]]\nname = \"a'b\"\nattributes = []\n", "2", "a name is"},
      {"group = 1\n", "1", "expected [[group]]"},
      {"group = [1]\n", "1", "expected [[group]]"},
  };
  for (const auto& c : kCases) {
    const TypeFile file{"mine.toml", c.text};
    const absl::Status status = TypeRegistry::Load({file}).status();
    EXPECT_EQ(ErrorReason(status), "INVALID_SCRIPT") << c.text;
    EXPECT_EQ(ErrorMetadataOf(status)["line"], c.line) << c.text << status;
    EXPECT_EQ(ErrorMetadataOf(status)["file"], "mine.toml") << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.text;
  }
}

}  // namespace
}  // namespace narthex::session
