#include "storage/archive/catalog.h"

#include <string>

#include "gtest/gtest.h"

#include "base/error.h"

namespace narthex::archive {
namespace {

// The form of a catalog that XNAT wrote (UIDs and names shortened).
constexpr char kXnat[] = R"(<?xml version="1.0" encoding="UTF-8"?>
<cat:DCMCatalog UID="1.3.12.0.0.0" xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <cat:metaFields>
  <cat:metaField name="AUDIT">14:Wed Jan 09 18:05:57 GMT 2019=Added:176</cat:metaField>
 </cat:metaFields>
 <cat:entries>
  <cat:entry xsi:type="cat:dcmEntry" ID="TESTID.MR.999.4.53.agkqek.dcm" UID="1.3.12.2.176" URI="TESTID.MR.999.4.53.agkqek.dcm" name="TESTID.MR.999.4.53.agkqek.dcm" format="DICOM" instanceNumber="53" createdBy="admin" createdEventId="14" createdTime="2019-01-09T18:05:57.343" digest="4dcb184fe566523b94bee851e18f02ba">
   <cat:metaFields>
    <cat:metaField name="size_in_bytes">192046</cat:metaField>
   </cat:metaFields>
  </cat:entry>
 </cat:entries>
</cat:DCMCatalog>
)";

TEST(CatalogTest, ReadsWhatXnatWroteAndWritesItBack) {
  auto catalog = ReadCatalog(kXnat);

  ASSERT_TRUE(catalog.ok()) << catalog.status();
  EXPECT_TRUE(catalog->dicom);
  EXPECT_EQ(catalog->uid, "1.3.12.0.0.0");
  ASSERT_EQ(catalog->audit.size(), 1u);
  EXPECT_EQ(catalog->audit[0].event_id, "14");
  EXPECT_EQ(catalog->audit[0].date, "Wed Jan 09 18:05:57 GMT 2019");
  EXPECT_EQ(catalog->audit[0].counts.at("Added"), 176);
  ASSERT_EQ(catalog->entries.size(), 1u);
  EXPECT_EQ(catalog->entries[0].md5, "4dcb184fe566523b94bee851e18f02ba");
  EXPECT_EQ(catalog->entries[0].size_bytes, 192046);
  EXPECT_EQ(catalog->entries[0].instance_number, 53);
  EXPECT_EQ(catalog->entries[0].created_time, "2019-01-09T18:05:57.343");
  EXPECT_EQ(WriteCatalog(*catalog), kXnat);
}

// Control characters are not XML; a reader that takes them must not hold two of what is written as one.
TEST(CatalogTest, WhatCannotBeWrittenIsReplacedWhenItIsRead) {
  const auto catalog = ReadCatalog(
      "<Catalog><metaFields><metaField name='AUDIT'>1:d=\x01Removed:21;&quot;h:176</metaField>"
      "<metaField name='a&#1;'>x</metaField><metaField name='a&#2;'>y</metaField></metaFields></Catalog>");

  ASSERT_TRUE(catalog.ok()) << catalog.status();
  EXPECT_EQ(catalog->meta_fields, (std::map<std::string, std::string>{{"a?", "y"}}));
  const std::string written = WriteCatalog(*catalog);
  const auto again = ReadCatalog(written);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(WriteCatalog(*again), written);
}

TEST(CatalogTest, AnythingRoundTrips) {
  Catalog catalog;
  catalog.dicom = false;
  catalog.id = "x<>&\"'";
  catalog.description = "Zeile\nzwei \xc3\xa4";
  catalog.audit = {{"1", JavaDate(1547057157343000), {{"Added", 3}, {"Removed", 1}}}, {"2", "d", {}}};
  catalog.meta_fields = {{"a", "b"}};
  CatalogEntry plain;
  plain.uri = "sub/b.nii.gz";
  plain.id = "other";
  plain.content = "RAW";
  plain.meta_fields = {{"k", "<v>"}};
  catalog.entries = {plain};

  auto again = ReadCatalog(WriteCatalog(catalog));

  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, catalog);
  EXPECT_EQ(catalog.audit[0].date, "Wed Jan 09 18:05:57 GMT 2019");
  EXPECT_EQ(XmlDateTime(1547057157343000), "2019-01-09T18:05:57.343");
  catalog.name = std::string("a\x01\x02", 3);
  EXPECT_TRUE(ReadCatalog(WriteCatalog(catalog)).ok());
}

TEST(CatalogTest, FlattensSetsWithAnyPrefix) {
  auto catalog = ReadCatalog(
      "<c:Catalog xmlns:c=\"http://nrg.wustl.edu/catalog\"><c:sets><c:entrySet><c:entries><c:entry "
      "URI=\"a\"/></c:entries>"
      "</c:entrySet></c:sets><c:entries><c:entry URI=\"b\"/></c:entries><c:tags/></c:Catalog>");

  ASSERT_TRUE(catalog.ok()) << catalog.status();
  ASSERT_EQ(catalog->entries.size(), 2u);
  EXPECT_EQ(catalog->entries[0].uri, "a");
}

TEST(CatalogTest, RefusesWhatIsNoCatalog) {
  for (const char* xml : {"", "x", "<a/>", "<cat:Catalog>", "<Catalog><entries><entry/></entries></Catalog>",
                          "<Catalog><entries><entry URI=\"../x\"/></entries></Catalog>",
                          "<Catalog><entries><entry URI=\"/etc/passwd\"/></entries></Catalog>",
                          "<Catalog><entries><entry URI=\"a/..\"/></entries></Catalog>"}) {
    EXPECT_EQ(ErrorReason(ReadCatalog(xml).status()), "CATALOG_INVALID") << xml;
  }
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "<sets>";
  EXPECT_FALSE(ReadCatalog("<Catalog>" + deep + "</Catalog>").ok());
  // Entities are not expanded.
  auto bomb = ReadCatalog("<!DOCTYPE x [<!ENTITY a \"aaaa\">]><Catalog name=\"&a;\"/>");
  ASSERT_TRUE(bomb.ok()) << bomb.status();
  EXPECT_EQ(bomb->name, "&a;");
}

}  // namespace
}  // namespace narthex::archive
