#include "storage/archive/layout.h"

#include <string>

#include "gtest/gtest.h"

#include "base/limits.h"

namespace narthex::archive {
namespace {

// Names that XNAT gave these instances (test resources of xnat-web).
TEST(LayoutTest, HashesAsXnatDoes) {
  constexpr char kMr[] = "1.2.840.10008.5.1.4.1.1.4";
  EXPECT_EQ(InstanceHash(kMr, "1.2.840.113654.2.45.2.124897"), "2z66eu");
  EXPECT_EQ(InstanceHash(kMr, "1.2.840.113654.2.45.2.122578"), "2z4u60");
  EXPECT_EQ(InstanceHash(kMr, "1.2.840.113654.2.45.2.122283"), "2z4ryn");
  EXPECT_EQ(InstanceHash(kMr, "1.2.840.113654.2.45.2.110894"), "2yjtva");
  EXPECT_EQ(InstanceHash("", ""), "qp");  // 31 * 31
}

TEST(LayoutTest, NamesInstancesAsXnatDoes) {
  EXPECT_EQ(InstanceFileName({"1.2.276.0.7230010.3.1.2.0.31909.1624637609.925", "5", "20",
                              "1.2.840.10008.5.1.4.1.1.4", "1.2.840.113654.2.45.2.124897"}),
            "1.2.276.0.7230010.3.1.2.0.31909.1624637609.925-5-20-2z66eu.dcm");
  EXPECT_EQ(InstanceFileName({"1.2", "", " ", "1", "2"}),
            "1.2-no-value-for-SeriesNumber-no-value-for-InstanceNumber-1ya.dcm");
  EXPECT_EQ(InstanceFileName({"../a", "1", "2", "1", "2"}), "_._a-1-2-1ya.dcm");
}

TEST(LayoutTest, EveryComponentIsSafe) {
  EXPECT_EQ(SanitizeComponent("S1_MR-1.2"), "S1_MR-1.2");
  EXPECT_EQ(SanitizeComponent(""), "_");
  EXPECT_EQ(SanitizeComponent("."), "_");
  EXPECT_EQ(SanitizeComponent(".."), "__");
  EXPECT_EQ(SanitizeComponent("../../etc/passwd"), "_._.._etc_passwd");
  EXPECT_EQ(SanitizeComponent(".hidden"), "_hidden");
  EXPECT_EQ(SanitizeComponent("a b\\c:d\n\xc3\xa4"), "a_b_c_d___");
  EXPECT_EQ(SanitizeComponent("nul"), "_nul");
  EXPECT_EQ(SanitizeComponent("COM1.txt"), "_COM1.txt");
  EXPECT_EQ(SanitizeComponent("console"), "console");
  EXPECT_EQ(SanitizeComponent("end."), "end_");
  const std::string a = SanitizeComponent(std::string(500, 'a') + ".dcm");
  const std::string b = SanitizeComponent(std::string(501, 'a') + ".dcm");
  EXPECT_EQ(a.size(), limits::kFileNameMaxBytes);
  EXPECT_EQ(a.substr(a.size() - 4), ".dcm");
  EXPECT_NE(a, b);
}

TEST(LayoutTest, FoldersAndCatalogsAsInXnat) {
  EXPECT_EQ(SessionFolder("P1", "S1_MR1"), "P1/arc001/S1_MR1");
  EXPECT_EQ(ResourceFolder("4", "DICOM"), "SCANS/4/DICOM");
  EXPECT_EQ(ResourceFolder("4-MR1", "secondary"), "SCANS/4-MR1/secondary");
  EXPECT_EQ(ResourceFolder("", "notes"), "RESOURCES/notes");
  EXPECT_EQ(CatalogName("4", "DICOM"), "scan_4_catalog.xml");
  EXPECT_EQ(CatalogName("4", "secondary"), "scan_4_secondary_catalog.xml");
  EXPECT_EQ(CatalogName("4", "NIFTI"), "NIFTI_catalog.xml");
  EXPECT_EQ(CatalogName("", "notes"), "notes_catalog.xml");
}

TEST(LayoutTest, CollisionsGetASuffix) {
  NameSet names;
  EXPECT_EQ(names.Take("a.dcm"), "a.dcm");
  EXPECT_EQ(names.Take("a.dcm"), "a-2.dcm");
  EXPECT_EQ(names.Take("A.dcm"), "A-3.dcm");
  EXPECT_EQ(names.Take("b"), "b");
  EXPECT_EQ(names.Take("b"), "b-2");
  EXPECT_EQ(names.Take("a-2.dcm"), "a-2-2.dcm");
}

}  // namespace
}  // namespace narthex::archive
