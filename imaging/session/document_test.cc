#include "imaging/session/document.h"

#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "imaging/session/xml.h"
#include "pugixml.hpp"

namespace narthex::session {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ScanModel SampleScan() {
  ScanModel scan;
  scan.id = "4";
  scan.series_instance_uid = "1.3.12";
  scan.type_name = "mr";
  scan.xsi_type = "xnat:mrScanData";
  scan.multi_value = "parameters/addParam";
  scan.modality = "MR";
  scan.type = "MPRAGE";
  scan.note = "moved < a little & \"more\"";
  scan.series_description = "t1_mpr";
  scan.start_date = "2006-12-14";
  scan.start_time = "09:41:58";
  scan.protocol_name = "prot";
  scan.body_part_examined = "BRAIN";
  scan.scanner = {"MEDPC", "SIEMENS", "TrioTim", "syngo MR B15"};
  scan.operator_name = "op";
  scan.frames = 176;
  scan.parameters = {
      {.name = "voxelRes.x", .value = "1", .unit = "mm", .xml = "parameters/voxelRes/@x", .numeric = true},
      {.name = "voxelRes.y", .value = "1.5", .unit = "mm", .xml = "parameters/voxelRes/@y", .numeric = true},
      {.name = "tr", .value = "2400", .unit = "ms", .xml = "parameters/tr", .numeric = true},
      {.name = "te",
       .value = "10,20",
       .unit = "ms",
       .xml = "parameters/te",
       .differs = true,
       .numeric = true},
      {.name = "coil", .value = "8Ch", .xml = "coil"},
      {.name = "contrast", .value = "Gd", .xml = "contrasts/contrastBolusV2/agent"},
  };
  return scan;
}

SessionModel SampleSession() {
  SessionModel session;
  session.study_instance_uid = "1.2.3";
  session.type_name = "mr";
  session.xsi_type = "xnat:mrSessionData";
  session.element = "MRSession";
  session.modality = "MR";
  session.date = "2006-12-14";
  session.time = "09:30:21";
  session.acquisition_site = "Sch\xc3\xb6n";
  session.scanner = {"MEDPC", "SIEMENS", "TrioTim", ""};
  session.operator_name = "op";
  session.session_type = "Head^DHead";
  session.study_id = "7";
  session.study_comments = "fine";
  session.accession_number = Phi<std::string>("A1");
  session.patient_id = Phi<std::string>("PID");
  session.patient_name = Phi<std::string>("Doe^J");
  session.patient_birth_date = Phi<std::string>("1990-01-01");
  session.patient_weight = "70.5";
  session.parameters = {
      {.name = "fieldStrength", .value = "2.89362", .unit = "T", .xml = "fieldStrength", .numeric = true}};
  session.scans = {SampleScan()};
  return session;
}

DocumentFacts SampleFacts() {
  DocumentFacts facts;
  facts.id = "XNAT_E00001";
  facts.project = "P1";
  facts.label = "S1_MR1";
  facts.subject_id = "XNAT_S00001";
  facts.scan_resources["4"] = {
      {.label = "DICOM", .uri = "SCANS/4/DICOM/scan_4_catalog.xml", .file_count = 176, .file_size = 33799750},
      {.label = "secondary",
       .uri = "SCANS/4/secondary/scan_4_secondary_catalog.xml",
       .file_count = 1,
       .file_size = 10}};
  facts.resources = {{.label = "NOTES",
                      .uri = "RESOURCES/NOTES/NOTES_catalog.xml",
                      .format = "TXT",
                      .content = "",
                      .file_count = 2,
                      .file_size = 20}};
  facts.fields = {{"handedness", "left"}};
  facts.note = "a remark";
  facts.shares = {{"P2", "OTHER"}};
  return facts;
}

TEST(DocumentTest, WritesXnatsElements) {
  const std::string xml = WriteSessionDocument(SampleSession(), SampleFacts());
  for (const char* piece : {
           "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
           "<xnat:MRSession xmlns:xnat=\"http://nrg.wustl.edu/xnat\" "
           "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
           "ID=\"XNAT_E00001\" project=\"P1\" label=\"S1_MR1\" session_type=\"Head^DHead\" modality=\"MR\" "
           "UID=\"1.2.3\" "
           "study_id=\"7\">",
           "<xnat:share label=\"OTHER\" project=\"P2\" />",
           "<xnat:note>a remark</xnat:note>",
           "<xnat:field name=\"studyComments\">fine</xnat:field>",
           "<xnat:subject_ID>XNAT_S00001</xnat:subject_ID>",
           "<xnat:scanner manufacturer=\"SIEMENS\" model=\"TrioTim\">MEDPC</xnat:scanner>",
           "<xnat:dcmPatientBirthDate>1990-01-01</xnat:dcmPatientBirthDate>",
           "<xnat:scan xsi:type=\"xnat:mrScanData\" ID=\"4\" type=\"MPRAGE\" UID=\"1.3.12\">",
           "<xnat:image_session_ID>XNAT_E00001</xnat:image_session_ID>",
           "<xnat:note>moved &lt; a little &amp; \"more\"</xnat:note>",
           "<xnat:file xsi:type=\"xnat:resourceCatalog\" label=\"DICOM\" "
           "URI=\"SCANS/4/DICOM/scan_4_catalog.xml\" format=\"DICOM\" "
           "content=\"RAW\" file_count=\"176\" file_size=\"33799750\" />",
           "<xnat:voxelRes x=\"1\" y=\"1.5\" />",
           "<xnat:tr>2400</xnat:tr>",
           "<xnat:addParam name=\"te\">10,20</xnat:addParam>",
           "<xnat:agent>Gd</xnat:agent>",
       }) {
    EXPECT_THAT(xml, HasSubstr(piece));
  }
  EXPECT_THAT(xml, Not(HasSubstr("<xnat:te>")));  // a number's element never holds two
}

TEST(DocumentTest, KeepsXnatsOrder) {
  const std::string xml = WriteSessionDocument(SampleSession(), SampleFacts());
  const char* kOrder[] = {"<xnat:sharing>",
                          "<xnat:date>",
                          "<xnat:time>",
                          "<xnat:note>",
                          "<xnat:resources>",
                          "<xnat:fields>",
                          "<xnat:acquisition_site>",
                          "<xnat:subject_ID>",
                          "<xnat:scanner ",
                          "<xnat:operator>",
                          "<xnat:scans>",
                          "<xnat:image_session_ID>",
                          "<xnat:quality>",
                          "<xnat:series_description>",
                          "<xnat:frames>",
                          "<xnat:file ",
                          "<xnat:startTime>",
                          "<xnat:contrasts>",
                          "<xnat:coil>",
                          "<xnat:parameters>",
                          "</xnat:scans>",
                          "<xnat:dcmAccessionNumber>",
                          "<xnat:dcmPatientId>",
                          "<xnat:dcmPatientName>",
                          "<xnat:dcmPatientBirthDate>",
                          "<xnat:dcmPatientWeight>",
                          "<xnat:fieldStrength>"};
  size_t at = 0;
  for (const char* element : kOrder) {
    const size_t found = xml.find(element, at);
    ASSERT_NE(found, std::string::npos) << element << " is missing or too early";
    at = found;
  }
}

TEST(DocumentTest, ReadsBackWhatItWrote) {
  const std::string xml = WriteSessionDocument(SampleSession(), SampleFacts());
  const auto read = ReadSessionDocument(xml, TypeRegistry::BuiltIn());
  ASSERT_TRUE(read.ok()) << read.status();

  EXPECT_EQ(WriteSessionDocument(read->session, read->facts), xml);
  EXPECT_EQ(read->facts.scan_resources, SampleFacts().scan_resources);
  EXPECT_EQ(read->facts.resources, SampleFacts().resources);
  EXPECT_EQ(read->facts.fields, SampleFacts().fields);
  EXPECT_EQ(read->session.xsi_type, "xnat:mrSessionData");
  EXPECT_EQ(read->session.patient_name.Reveal(), "Doe^J");
  EXPECT_EQ(ParameterValue(read->session.scans[0].parameters, "te"), "10,20");
  EXPECT_EQ(read->session.scans[0].frames, 176);
}

TEST(DocumentTest, HoldsWhatXmlCannot) {
  SessionModel session = SampleSession();
  session.operator_name = std::string(
      "a\x01"
      "b\xff"
      "c\0d\xed\xa0\x80",
      10);
  const std::string xml = WriteSessionDocument(session, SampleFacts());
  const auto read = ReadSessionDocument(xml, TypeRegistry::BuiltIn());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->session.operator_name, ::testing::StartsWith("a\xef\xbf\xbd"
                                                                 "b\xef\xbf\xbd"
                                                                 "c\xef\xbf\xbd"));
}

TEST(DocumentTest, WritesScansAlone) {
  const std::string xml = WriteScanFragment(SampleScan(), SampleFacts());
  EXPECT_THAT(xml, ::testing::StartsWith("<xnat:scan xmlns:xnat="));
  pugi::xml_document parsed;
  ASSERT_TRUE(parsed.load_string(xml.c_str()));
  EXPECT_EQ(TextAt(parsed.document_element(), "parameters/voxelRes/@y"), "1.5");
}

// A document as XNAT 1.8 writes it; composed after xnat.xsd, with elements that we do not know.
TEST(DocumentTest, ReadsXnatsDocuments) {
  const auto read = ReadSessionDocument(
      R"(<?xml version="1.0" encoding="UTF-8"?>
<xnat:PETSession ID="X_E1" project="P" label="L" UID="1.2" xmlns:xnat="http://nrg.wustl.edu/xnat"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <!-- hidden_fields[x="1"] -->
  <xnat:sharing><xnat:share project="Q"/></xnat:sharing>
  <xnat:date>2020-01-02</xnat:date>
  <xnat:scans><xnat:scan ID="2" type="AC" xsi:type="xnat:petScanData"><xnat:quality>questionable</xnat:quality>
    <xnat:parameters><xnat:facility>F</xnat:facility><xnat:unheardOf/></xnat:parameters></xnat:scan></xnat:scans>
  <xnat:tracer><xnat:name>FDG</xnat:name><xnat:dose units="Bq">370000000</xnat:dose></xnat:tracer>
</xnat:PETSession>)",
      TypeRegistry::BuiltIn());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->session.xsi_type, "xnat:petSessionData");
  EXPECT_EQ(read->session.scans[0].quality, "questionable");
  EXPECT_EQ(ParameterValue(read->session.scans[0].parameters, "facility"), "F");
  EXPECT_EQ(ParameterValue(read->session.parameters, "tracer.dose"), "370000000");
  EXPECT_THAT(WriteSessionDocument(read->session, read->facts),
              HasSubstr("<xnat:dose units=\"Bq\">370000000</xnat:dose>"));
}

TEST(DocumentTest, RefusesWhatIsNoSession) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  std::string closed = "<x:MRSession xmlns:x=\"y\">";
  for (int i = 0; i < 100; ++i) closed += "<a>";
  for (int i = 0; i < 100; ++i) closed += "</a>";
  closed += "</x:MRSession>";
  for (const std::string& bad : {std::string(), std::string("text"), std::string("<a"),
                                 std::string("<xnat:Project/>"), deep, closed}) {
    EXPECT_EQ(ErrorReason(ReadSessionDocument(bad, TypeRegistry::BuiltIn()).status()), "INVALID_FIELD")
        << bad.substr(0, 40);
  }
}

}  // namespace
}  // namespace narthex::session
