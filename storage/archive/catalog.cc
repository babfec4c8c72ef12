#include "storage/archive/catalog.h"

#include <algorithm>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include <pugixml.hpp>

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"

namespace narthex::archive {
namespace {

constexpr char kNamespace[] = "http://nrg.wustl.edu/catalog";
constexpr char kSchemaInstance[] = "http://www.w3.org/2001/XMLSchema-instance";
constexpr char kSizeField[] = "size_in_bytes";
constexpr int kMaxDepth = 32;  // fixed: what was written stays readable

absl::Status Invalid(absl::string_view what) {
  return InvalidArgument("CATALOG_INVALID", absl::StrCat("not a catalog: ", what), {});
}

// What XML 1.0 has no way to write.
std::string XmlText(absl::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(),
      [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 && c != '\t' && c != '\n' && c != '\r';
      },
      '?');
  return out;
}

void Attribute(pugi::xml_node node, const char* name, absl::string_view value) {
  if (!value.empty()) node.append_attribute(name).set_value(XmlText(value).c_str());
}

void MetaField(pugi::xml_node fields, absl::string_view name, absl::string_view value) {
  pugi::xml_node field = fields.append_child("cat:metaField");
  Attribute(field, "name", name);
  field.text().set(XmlText(value).c_str());
}

void WriteEntry(pugi::xml_node entries, const CatalogEntry& entry) {
  pugi::xml_node node = entries.append_child("cat:entry");
  if (!entry.uid.empty()) node.append_attribute("xsi:type").set_value("cat:dcmEntry");
  Attribute(node, "ID", entry.id.empty() ? entry.uri : entry.id);
  Attribute(node, "UID", entry.uid);
  Attribute(node, "URI", entry.uri);
  Attribute(node, "name", entry.name);
  Attribute(node, "format", entry.format);
  Attribute(node, "content", entry.content);
  if (entry.instance_number) Attribute(node, "instanceNumber", absl::StrCat(*entry.instance_number));
  Attribute(node, "createdBy", entry.created_by);
  Attribute(node, "createdEventId", entry.created_event_id);
  Attribute(node, "createdTime", entry.created_time);
  Attribute(node, "modifiedBy", entry.modified_by);
  Attribute(node, "modifiedEventId", entry.modified_event_id);
  Attribute(node, "modifiedTime", entry.modified_time);
  Attribute(node, "digest", entry.md5);
  if (!entry.size_bytes && entry.meta_fields.empty()) return;
  pugi::xml_node fields = node.append_child("cat:metaFields");
  for (const auto& [name, value] : entry.meta_fields) MetaField(fields, name, value);
  if (entry.size_bytes) MetaField(fields, kSizeField, absl::StrCat(*entry.size_bytes));
}

// "cat:entry" -> "entry": documents may bind any prefix.
absl::string_view LocalName(const pugi::xml_node& node) {
  const absl::string_view name = node.name();
  const size_t colon = name.find(':');
  return colon == absl::string_view::npos ? name : name.substr(colon + 1);
}

// As it can be written again: names that differ in what cannot are one name.
std::string Get(const pugi::xml_node& node, const char* name) {
  return XmlText(node.attribute(name).value());
}

std::map<std::string, std::string> ReadMetaFields(const pugi::xml_node& parent) {
  std::map<std::string, std::string> fields;
  for (const pugi::xml_node& list : parent.children()) {
    if (LocalName(list) != "metaFields") continue;
    for (const pugi::xml_node& field : list.children()) {
      if (LocalName(field) == "metaField") fields[Get(field, "name")] = XmlText(field.text().get());
    }
  }
  return fields;
}

bool IsSafeUri(absl::string_view uri) {
  if (uri.empty() || uri.size() > 4096 || uri.front() == '/' || absl::StrContains(uri, "\\")) return false;
  return !absl::StrContains(absl::StrCat("/", uri, "/"), "/../");
}

absl::StatusOr<CatalogEntry> ReadEntry(const pugi::xml_node& node) {
  CatalogEntry entry;
  entry.uri = Get(node, "URI");
  if (entry.uri.empty()) return Invalid("an entry has no URI");
  if (!IsSafeUri(entry.uri)) return Invalid("an entry's URI leaves the folder");
  entry.id = Get(node, "ID");
  if (entry.id == entry.uri) entry.id.clear();
  entry.name = Get(node, "name");
  entry.uid = Get(node, "UID");
  entry.format = Get(node, "format");
  entry.content = Get(node, "content");
  entry.created_by = Get(node, "createdBy");
  entry.created_time = Get(node, "createdTime");
  entry.created_event_id = Get(node, "createdEventId");
  entry.modified_by = Get(node, "modifiedBy");
  entry.modified_time = Get(node, "modifiedTime");
  entry.modified_event_id = Get(node, "modifiedEventId");
  entry.md5 = Get(node, "digest");
  int64_t number;
  if (absl::SimpleAtoi(Get(node, "instanceNumber"), &number)) entry.instance_number = number;
  entry.meta_fields = ReadMetaFields(node);
  const auto size = entry.meta_fields.find(kSizeField);
  if (size != entry.meta_fields.end() && absl::SimpleAtoi(size->second, &number)) {
    entry.size_bytes = number;
    entry.meta_fields.erase(size);
  }
  return entry;
}

// Entries of this level and of the sets below.
absl::Status ReadEntries(const pugi::xml_node& parent, int depth, std::vector<CatalogEntry>& entries) {
  if (depth > kMaxDepth) return Invalid("sets are nested too deep");
  for (const pugi::xml_node& child : parent.children()) {
    const absl::string_view name = LocalName(child);
    if (name == "entry") {
      NX_ASSIGN_OR_RETURN(CatalogEntry entry, ReadEntry(child));
      entries.push_back(std::move(entry));
    } else if (name == "entries" || name == "sets" || name == "entrySet") {
      NX_RETURN_IF_ERROR(ReadEntries(child, depth + 1, entries));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string WriteCatalog(const Catalog& catalog) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version").set_value("1.0");
  declaration.append_attribute("encoding").set_value("UTF-8");
  pugi::xml_node root = document.append_child(catalog.dicom ? "cat:DCMCatalog" : "cat:Catalog");
  Attribute(root, "ID", catalog.id);
  Attribute(root, "UID", catalog.uid);
  Attribute(root, "name", catalog.name);
  Attribute(root, "description", catalog.description);
  root.append_attribute("xmlns:cat").set_value(kNamespace);
  root.append_attribute("xmlns:xsi").set_value(kSchemaInstance);
  if (!catalog.audit.empty() || !catalog.meta_fields.empty()) {
    pugi::xml_node fields = root.append_child("cat:metaFields");
    if (!catalog.audit.empty()) MetaField(fields, "AUDIT", WriteAudit(catalog.audit));
    for (const auto& [name, value] : catalog.meta_fields) MetaField(fields, name, value);
  }
  pugi::xml_node entries = root.append_child("cat:entries");
  for (const CatalogEntry& entry : catalog.entries) WriteEntry(entries, entry);
  std::ostringstream out;
  document.save(out, " ", pugi::format_indent);
  return out.str();
}

absl::StatusOr<Catalog> ReadCatalog(absl::string_view xml) {
  if (xml.size() > limits::kCatalogMaxBytes)
    return Invalid(absl::StrCat("larger than ", limits::kCatalogMaxBytes >> 30, " GiB"));
  pugi::xml_document document;
  const pugi::xml_parse_result parsed =
      document.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed) return Invalid(absl::StrCat(parsed.description(), " at byte ", parsed.offset));
  const pugi::xml_node root = document.document_element();
  const absl::string_view name = LocalName(root);
  if (name != "DCMCatalog" && name != "Catalog") return Invalid("its root is no Catalog");
  Catalog catalog;
  catalog.dicom = name == "DCMCatalog";
  catalog.uid = Get(root, "UID");
  catalog.id = Get(root, "ID");
  catalog.name = Get(root, "name");
  catalog.description = Get(root, "description");
  catalog.meta_fields = ReadMetaFields(root);
  const auto audit = catalog.meta_fields.find("AUDIT");
  if (audit != catalog.meta_fields.end()) {
    catalog.audit = ReadAudit(audit->second);
    catalog.meta_fields.erase(audit);
  }
  NX_RETURN_IF_ERROR(ReadEntries(root, 0, catalog.entries));
  return catalog;
}

std::string WriteAudit(const std::vector<CatalogAudit>& audit) {
  return absl::StrJoin(audit, "|", [](std::string* out, const CatalogAudit& line) {
    absl::StrAppend(out, line.event_id, ":", line.date, "=");
    absl::StrAppend(out, absl::StrJoin(line.counts, ";", [](std::string* part, const auto& count) {
                      absl::StrAppend(part, count.first, ":", count.second);
                    }));
  });
}

std::vector<CatalogAudit> ReadAudit(absl::string_view text) {
  std::vector<CatalogAudit> audit;
  for (absl::string_view line : absl::StrSplit(text, '|', absl::SkipEmpty())) {
    const size_t colon = line.find(':'), equals = line.rfind('=');
    if (colon == absl::string_view::npos || equals == absl::string_view::npos || equals < colon) continue;
    CatalogAudit read;
    read.event_id = std::string(line.substr(0, colon));
    read.date = std::string(line.substr(colon + 1, equals - colon - 1));
    for (absl::string_view part : absl::StrSplit(line.substr(equals + 1), ';', absl::SkipEmpty())) {
      const std::vector<absl::string_view> pair = absl::StrSplit(part, ':');
      int64_t count = 0;
      if (pair.size() == 2 && absl::SimpleAtoi(pair[1], &count)) read.counts[std::string(pair[0])] = count;
    }
    audit.push_back(std::move(read));
  }
  return audit;
}

std::string JavaDate(int64_t unix_us) {
  return absl::FormatTime("%a %b %d %H:%M:%S GMT %E4Y", absl::FromUnixMicros(unix_us), absl::UTCTimeZone());
}

std::string XmlDateTime(int64_t unix_us) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%E3S", absl::FromUnixMicros(unix_us), absl::UTCTimeZone());
}

}  // namespace narthex::archive
