// The other direction: session documents to models.
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_sessions.h"
#include "imaging/session/document.h"
#include "imaging/session/xml.h"
#include "pugixml.hpp"

namespace narthex::session {
namespace {

absl::Status Invalid(absl::string_view message) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat("session document: ", message),
                         {{"field", "document"}});
}

class DepthCheck : public pugi::xml_tree_walker {
 public:
  bool for_each(pugi::xml_node& node) override { return depth() < limits::kDocumentMaxDepth; }
};

int64_t Number(absl::string_view text) {
  int64_t number = 0;
  return absl::SimpleAtoi(text, &number) && number >= 0 ? number : 0;
}

Scanner ReadScanner(pugi::xml_node parent) {
  const pugi::xml_node node = ChildNamed(parent, "scanner");
  return {node.text().get(), node.attribute("manufacturer").value(), node.attribute("model").value(),
          node.attribute("softwareVersion").value()};
}

ResourceCatalog ReadCatalog(pugi::xml_node node) {
  return {.label = node.attribute("label").value(),
          .uri = node.attribute("URI").value(),
          .format = node.attribute("format").value(),
          .content = node.attribute("content").value(),
          .file_count = static_cast<uint64_t>(Number(node.attribute("file_count").value())),
          .file_size = static_cast<uint64_t>(Number(node.attribute("file_size").value()))};
}

Parameters ReadParameters(pugi::xml_node node, const std::vector<const AttributeSpec*>& specs,
                          absl::string_view multi_value) {
  Parameters parameters;
  for (const AttributeSpec* spec : specs) {
    if (spec->xml.empty()) continue;
    Parameter parameter{
        .name = spec->name,
        .value = TextAt(node, spec->xml),
        .unit = spec->unit,
        .xml = spec->xml,
        .numeric = spec->conversion == Conversion::kNumber || spec->conversion == Conversion::kInteger,
        .xml_units = spec->xml_units};
    if (parameter.value.empty() && parameter.numeric && !multi_value.empty()) {
      parameter.value = TextAt(node, absl::StrCat(multi_value, "[@name='", spec->name, "']"));
    }
    // Only documents tell what differed by the look of it.
    parameter.differs =
        parameter.numeric && (absl::StrContains(parameter.value, ',') || parameter.value == "multi");
    if (!parameter.value.empty()) parameters.push_back(std::move(parameter));
  }
  return parameters;
}

ScanModel ReadScan(pugi::xml_node node, const TypeRegistry& types) {
  ScanModel scan;
  scan.id = node.attribute("ID").value();
  scan.type = node.attribute("type").value();
  scan.series_instance_uid = node.attribute("UID").value();
  scan.xsi_type = node.attribute("xsi:type").value();
  scan.note = ChildText(node, "note");
  scan.quality = ChildText(node, "quality");
  scan.series_description = ChildText(node, "series_description");
  scan.type_name = ChildText(node, "series_class");
  scan.scanner = ReadScanner(node);
  scan.modality = ChildText(node, "modality");
  scan.frames = Number(ChildText(node, "frames"));
  scan.operator_name = ChildText(node, "operator");
  scan.start_time = ChildText(node, "startTime");
  scan.start_date = ChildText(node, "start_date");
  scan.requested_procedure_description = ChildText(node, "requestedProcedureDescription");
  scan.protocol_name = ChildText(node, "protocolName");
  scan.body_part_examined = ChildText(node, "bodyPartExamined");
  const ScanType* type = types.FindScanType(scan.type_name);
  if (type == nullptr || type->xsi_type != scan.xsi_type) type = types.FindScanTypeByXsi(scan.xsi_type);
  if (type == nullptr) return scan;
  scan.type_name = type->name;
  scan.multi_value = type->multi_value;
  scan.parameters = ReadParameters(node, type->attributes, type->multi_value);
  return scan;
}

void ReadFields(pugi::xml_node root, SessionDocument& document) {
  for (pugi::xml_node field : ChildNamed(root, "fields").children()) {
    const std::string name = field.attribute("name").value();
    if (name == "studyComments") {
      document.session.study_comments = field.text().get();
    } else if (!name.empty()) {
      document.facts.fields[name] = field.text().get();
    }
  }
}

const SessionType* FindByElement(const TypeRegistry& types, absl::string_view element) {
  for (const auto& type : types.session_types()) {
    if (type->element == element) return type.get();
  }
  return nullptr;
}

// An attribute in the schema; an element in some documents.
std::string EitherText(pugi::xml_node node, const char* name) {
  const std::string text = node.attribute(name).value();
  return text.empty() ? ChildText(node, name) : text;
}

void ReadSession(pugi::xml_node root, const TypeRegistry& types, SessionDocument& document) {
  SessionModel& session = document.session;
  session.modality = root.attribute("modality").value();
  session.study_instance_uid = root.attribute("UID").value();
  session.date = ChildText(root, "date");
  session.time = ChildText(root, "time");
  session.acquisition_site = ChildText(root, "acquisition_site");
  session.scanner = ReadScanner(root);
  session.operator_name = ChildText(root, "operator");
  session.session_type = EitherText(root, "session_type");
  session.accession_number = Phi<std::string>(ChildText(root, "dcmAccessionNumber"));
  session.patient_id = Phi<std::string>(ChildText(root, "dcmPatientId"));
  session.patient_name = Phi<std::string>(ChildText(root, "dcmPatientName"));
  session.patient_birth_date = Phi<std::string>(ChildText(root, "dcmPatientBirthDate"));
  session.patient_weight = ChildText(root, "dcmPatientWeight");
  session.study_id = EitherText(root, "study_id");
  session.element = std::string(LocalName(root));
  if (const SessionType* type = FindByElement(types, session.element)) {
    session.type_name = type->name;
    session.xsi_type = type->xsi_type;
    session.parameters = ReadParameters(root, type->attributes, "");
  }
}

void ReadFacts(pugi::xml_node root, DocumentFacts& facts) {
  facts.id = root.attribute("ID").value();
  facts.project = root.attribute("project").value();
  facts.label = root.attribute("label").value();
  facts.subject_id = ChildText(root, "subject_ID");
  facts.prearchive_path = ChildText(root, "prearchivePath");
  // The other place where XNAT's versions have it.
  if (facts.prearchive_path.empty()) facts.prearchive_path = root.attribute("prearchivePath").value();
  facts.note = ChildText(root, "note");
  for (pugi::xml_node share : ChildNamed(root, "sharing").children()) {
    facts.shares.emplace_back(share.attribute("project").value(), share.attribute("label").value());
  }
  for (pugi::xml_node resource : ChildNamed(root, "resources").children())
    facts.resources.push_back(ReadCatalog(resource));
}

}  // namespace

absl::StatusOr<SessionDocument> ReadSessionDocument(absl::string_view xml, const TypeRegistry& types) {
  if (xml.size() > limits::kDocumentMaxBytes) return Invalid("it is larger than 64 MiB");
  pugi::xml_document parsed;
  const pugi::xml_parse_result result =
      parsed.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!result) return Invalid(absl::StrCat("not XML: ", result.description(), " at byte ", result.offset));
  DepthCheck depth;
  if (!parsed.traverse(depth)) return Invalid("nested over 64 levels");
  const pugi::xml_node root = parsed.document_element();
  if (!absl::EndsWith(LocalName(root), "Session")) return Invalid("the outermost element is no session");
  SessionDocument document;
  ReadSession(root, types, document);
  ReadFacts(root, document.facts);
  ReadFields(root, document);
  for (pugi::xml_node node : ChildNamed(root, "scans").children()) {
    if (LocalName(node) != "scan") continue;
    ScanModel scan = ReadScan(node, types);
    for (pugi::xml_node file : node.children()) {
      if (LocalName(file) == "file") document.facts.scan_resources[scan.id].push_back(ReadCatalog(file));
    }
    document.session.scans.push_back(std::move(scan));
  }
  return document;
}

}  // namespace narthex::session
