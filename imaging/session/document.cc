#include "imaging/session/document.h"

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "imaging/session/xml.h"
#include "pugixml.hpp"

namespace narthex::session {
namespace {

constexpr char kXnat[] = "http://nrg.wustl.edu/xnat";
constexpr char kXsi[] = "http://www.w3.org/2001/XMLSchema-instance";
constexpr size_t kNoteMaxBytes = 2500;  // fixed: xnat.xsd

void DeclareNamespaces(pugi::xml_node node) {
  node.append_attribute("xmlns:xnat").set_value(kXnat);
  node.append_attribute("xmlns:xsi").set_value(kXsi);
}

void AppendScanner(pugi::xml_node parent, const Scanner& scanner, bool with_software) {
  if (scanner.station.empty() && scanner.manufacturer.empty() && scanner.model.empty()) return;
  pugi::xml_node node = parent.append_child("xnat:scanner");
  SetAttribute(node, "manufacturer", scanner.manufacturer);
  SetAttribute(node, "model", scanner.model);
  if (with_software) SetAttribute(node, "softwareVersion", scanner.software_version);
  if (!scanner.station.empty()) node.text().set(XmlText(scanner.station).c_str());
}

void AppendCatalog(pugi::xml_node parent, const char* element, const ResourceCatalog& catalog) {
  pugi::xml_node node = parent.append_child(element);
  node.append_attribute("xsi:type").set_value("xnat:resourceCatalog");
  SetAttribute(node, "label", catalog.label);
  SetAttribute(node, "URI", catalog.uri);
  SetAttribute(node, "format", catalog.format);
  SetAttribute(node, "content", catalog.content);
  SetAttribute(node, "file_count", absl::StrCat(catalog.file_count));
  SetAttribute(node, "file_size", absl::StrCat(catalog.file_size));
}

void AppendParameter(pugi::xml_node parent, const Parameter& parameter, absl::string_view multi_value) {
  if (parameter.xml.empty()) return;
  // A number's element takes one number: what differs goes to the elements for that, by name.
  if (parameter.differs && parameter.numeric && !multi_value.empty()) {
    MakePath(parent, absl::StrCat(multi_value, "[@name='", parameter.name, "']"))
        .text()
        .set(XmlText(parameter.value).c_str());
    return;
  }
  const absl::string_view xml = parameter.xml;
  const size_t at = xml.find("/@");
  pugi::xml_node node = MakePath(parent, xml.substr(0, at));
  if (at == absl::string_view::npos) {
    node.text().set(XmlText(parameter.value).c_str());
  } else {
    SetAttribute(node, std::string(xml.substr(at + 2)).c_str(), parameter.value);
  }
  if (parameter.xml_units) SetAttribute(node, "units", parameter.unit);
}

// The order of <parameters> in xnat.xsd; what is not listed comes where it was written, before addParam.
constexpr const char* kMrParameters[] = {"voxelRes",
                                         "orientation",
                                         "subjectPosition",
                                         "fov",
                                         "matrix",
                                         "partitions",
                                         "tr",
                                         "te",
                                         "deltaTE",
                                         "ti",
                                         "flip",
                                         "sequence",
                                         "origin",
                                         "imageType",
                                         "scanSequence",
                                         "seqVariant",
                                         "scanOptions",
                                         "acqType",
                                         "coil",
                                         "pixelBandwidth",
                                         "echoSpacing",
                                         "acqTime",
                                         "diffusion"};
constexpr const char* kCtParameters[] = {"voxelRes",
                                         "orientation",
                                         "rescale",
                                         "kvp",
                                         "acquisitionNumber",
                                         "imageType",
                                         "options",
                                         "collectionDiameter",
                                         "distanceSourceToDetector",
                                         "distanceSourceToPatient",
                                         "gantryTilt",
                                         "tableHeight",
                                         "rotationDirection",
                                         "exposureTime",
                                         "xrayTubeCurrent",
                                         "exposure",
                                         "filter",
                                         "generatorPower",
                                         "focalSpots",
                                         "convolutionKernel",
                                         "collimationWidth",
                                         "tableSpeed",
                                         "tableFeedPerRotation",
                                         "pitchFactor",
                                         "estimatedDoseSaving",
                                         "ctDIvol",
                                         "derivation",
                                         "contrastBolus",
                                         "fov"};

template <size_t n>
size_t RankIn(const char* const (&order)[n], absl::string_view name) {
  return static_cast<size_t>(std::find(std::begin(order), std::end(order), name) - std::begin(order));
}

void SortParameters(pugi::xml_node scan, absl::string_view xsi_type) {
  pugi::xml_node parameters = ChildNamed(scan, "parameters");
  std::vector<std::pair<size_t, pugi::xml_node>> children;
  for (pugi::xml_node child : parameters.children()) {
    const absl::string_view name = LocalName(child);
    size_t rank = xsi_type == "xnat:mrScanData"   ? RankIn(kMrParameters, name)
                  : xsi_type == "xnat:ctScanData" ? RankIn(kCtParameters, name)
                                                  : 0;
    if (name == "addParam") rank = std::size(kCtParameters) + std::size(kMrParameters);
    children.emplace_back(rank, child);
  }
  std::stable_sort(children.begin(), children.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [rank, child] : children) parameters.append_move(child);
}

// In xnat.xsd's order: what every image scan has, what the modality adds (PET before MR), its parameters.
void AppendParameters(pugi::xml_node parent, const Parameters& parameters, absl::string_view multi_value) {
  const auto part = [](const Parameter& parameter) {
    return absl::StartsWith(parameter.xml, "contrasts")     ? 0
           : absl::StartsWith(parameter.xml, "tracer/")     ? 1
           : absl::StartsWith(parameter.xml, "parameters/") ? 3
                                                            : 2;
  };
  for (int wanted = 0; wanted < 4; ++wanted) {
    for (const Parameter& parameter : parameters) {
      if (part(parameter) == wanted) AppendParameter(parent, parameter, multi_value);
    }
  }
}

void FillScan(pugi::xml_node node, const ScanModel& scan, const DocumentFacts& facts) {
  SetAttribute(node, "xsi:type", scan.xsi_type);
  SetAttribute(node, "ID", scan.id);
  SetAttribute(node, "type", scan.type);
  SetAttribute(node, "UID", scan.series_instance_uid);
  AppendText(node, "image_session_ID", facts.id);
  AppendText(node, "note", absl::string_view(scan.note).substr(0, kNoteMaxBytes));
  AppendText(node, "quality", scan.quality);
  AppendText(node, "series_description", scan.series_description);
  AppendText(node, "series_class", scan.type_name);
  AppendScanner(node, scan.scanner, /*with_software=*/true);
  AppendText(node, "modality", scan.modality);
  if (scan.frames > 0) AppendText(node, "frames", absl::StrCat(scan.frames));
  AppendText(node, "operator", absl::string_view(scan.operator_name).substr(0, 255));
  if (const auto found = facts.scan_resources.find(scan.id); found != facts.scan_resources.end()) {
    for (const ResourceCatalog& catalog : found->second) AppendCatalog(node, "xnat:file", catalog);
  }
  AppendText(node, "startTime", scan.start_time);
  AppendText(node, "start_date", scan.start_date);
  AppendText(node, "requestedProcedureDescription", scan.requested_procedure_description);
  AppendText(node, "protocolName", scan.protocol_name);
  AppendText(node, "bodyPartExamined", scan.body_part_examined);
  AppendParameters(node, scan.parameters, scan.multi_value);
  SortParameters(node, scan.xsi_type);
}

void AppendFields(pugi::xml_node root, const SessionModel& session, const DocumentFacts& facts) {
  std::map<std::string, std::string> fields = facts.fields;
  if (!session.study_comments.empty()) fields.emplace("studyComments", session.study_comments);
  if (fields.empty()) return;
  pugi::xml_node parent = root.append_child("xnat:fields");
  for (const auto& [name, value] : fields) {
    pugi::xml_node field = parent.append_child("xnat:field");
    SetAttribute(field, "name", name);
    field.text().set(XmlText(value).c_str());
  }
}

void AppendSharing(pugi::xml_node root, const DocumentFacts& facts) {
  if (facts.shares.empty()) return;
  pugi::xml_node sharing = root.append_child("xnat:sharing");
  for (const auto& [project, label] : facts.shares) {
    pugi::xml_node share = sharing.append_child("xnat:share");
    SetAttribute(share, "label", label);
    SetAttribute(share, "project", project);
  }
}

// In the order of xnat.xsd: experimentData, subjectAssessorData, imageSessionData, then the modality's own.
void FillSession(pugi::xml_node root, const SessionModel& session, const DocumentFacts& facts) {
  SetAttribute(root, "ID", facts.id);
  SetAttribute(root, "project", facts.project);
  SetAttribute(root, "label", facts.label);
  SetAttribute(root, "session_type", session.session_type);
  SetAttribute(root, "modality", session.modality);
  SetAttribute(root, "UID", session.study_instance_uid);
  SetAttribute(root, "study_id", session.study_id);
  AppendSharing(root, facts);
  AppendText(root, "date", session.date);
  AppendText(root, "time", session.time);
  AppendText(root, "note", absl::string_view(facts.note).substr(0, kNoteMaxBytes));
  if (!facts.resources.empty()) {
    pugi::xml_node resources = root.append_child("xnat:resources");
    for (const ResourceCatalog& catalog : facts.resources) AppendCatalog(resources, "xnat:resource", catalog);
  }
  AppendFields(root, session, facts);
  AppendText(root, "acquisition_site", session.acquisition_site);
  AppendText(root, "subject_ID", facts.subject_id);
  AppendScanner(root, session.scanner, /*with_software=*/false);
  AppendText(root, "operator", absl::string_view(session.operator_name).substr(0, 255));
  AppendText(root, "prearchivePath", facts.prearchive_path);
  pugi::xml_node scans = root.append_child("xnat:scans");
  for (const ScanModel& scan : session.scans) FillScan(scans.append_child("xnat:scan"), scan, facts);
  AppendText(root, "dcmAccessionNumber", session.accession_number.Reveal());
  AppendText(root, "dcmPatientId", session.patient_id.Reveal());
  AppendText(root, "dcmPatientName", session.patient_name.Reveal());
  AppendText(root, "dcmPatientBirthDate", session.patient_birth_date.Reveal());
  AppendText(root, "dcmPatientWeight", session.patient_weight);
  AppendParameters(root, session.parameters, "");
}

std::string Print(const pugi::xml_document& document, unsigned flags) {
  std::ostringstream text;
  document.save(text, " ", flags, pugi::encoding_utf8);
  return std::move(text).str();
}

}  // namespace

std::string WriteSessionDocument(const SessionModel& session, const DocumentFacts& facts) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version").set_value("1.0");
  declaration.append_attribute("encoding").set_value("UTF-8");
  const std::string element = session.element.empty() ? "OtherDicomSession" : session.element;
  pugi::xml_node root = document.append_child(absl::StrCat("xnat:", element).c_str());
  DeclareNamespaces(root);
  FillSession(root, session, facts);
  return Print(document, pugi::format_default);
}

std::string WriteScanFragment(const ScanModel& scan, const DocumentFacts& facts) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("xnat:scan");
  DeclareNamespaces(root);
  FillScan(root, scan, facts);
  return Print(document, pugi::format_default | pugi::format_no_declaration);
}

}  // namespace narthex::session
