// Objects to files, catalogs and rows of a new session.
#include "server/archive/filing.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/session/document.h"
#include "storage/archive/catalog.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

// Files that are handed to the writer at once: bounds memory, and gives the progress its steps.
constexpr size_t kPortion = 2000;

}  // namespace

metadata::Resource MakeResource(const ResourceKey& key) {
  metadata::Resource resource;
  resource.scan_id = key.first;
  resource.label = key.second;
  resource.format = "DICOM";
  resource.content = key.second == "DICOM" ? "RAW" : "SECONDARY";
  resource.catalog_path = absl::StrCat(archive::ResourceFolder(key.first, key.second), "/",
                                       archive::CatalogName(key.first, key.second));
  return resource;
}

metadata::Scan ToRow(const session::ScanModel& model) {
  metadata::Scan scan;
  scan.id = model.id;
  scan.type = model.type;
  scan.xsi_type = model.xsi_type;
  scan.series_instance_uid = model.series_instance_uid;
  scan.series_description = model.series_description;
  scan.modality = model.modality;
  scan.frames = model.frames;
  scan.quality = model.quality;
  scan.note = model.note;
  scan.start_time = model.start_time;
  scan.scanner = model.scanner.station;
  scan.scanner_manufacturer = model.scanner.manufacturer;
  scan.scanner_model = model.scanner.model;
  scan.body_part = model.body_part_examined;
  scan.protocol_name = model.protocol_name;
  for (const session::Parameter& parameter : model.parameters) {
    scan.parameters[parameter.name] = parameter.value;
  }
  return scan;
}

metadata::File ToRow(const FiledObject& filed, const std::string& scan_id,
                     const archive::WrittenFile& written) {
  metadata::File file;
  file.path = filed.path;
  file.scan_id = scan_id;
  file.resource = filed.resource;
  file.instance_uid = filed.object->sop_instance_uid;
  file.sop_class_uid = filed.object->sop_class_uid;
  if (!absl::SimpleAtoi(filed.object->instance_number, &file.instance_number)) file.instance_number = 0;
  file.size_bytes = static_cast<int64_t>(written.size_bytes);
  file.md5 = written.md5;
  file.sha256 = written.sha256;
  file.xxh3_received = filed.object->received_xxh3;
  file.xxh3_stored = written.xxh3;
  file.format = "DICOM";
  file.received_identity = filed.object->received_identity;
  return file;
}

archive::CatalogEntry ToEntry(const FiledObject& filed, const archive::WrittenFile& written,
                              const operations::Operation& operation) {
  archive::CatalogEntry entry;
  entry.uri = filed.path.substr(filed.path.rfind('/') + 1);
  entry.id = entry.uri;
  entry.name = entry.uri;
  entry.uid = filed.object->sop_instance_uid;
  int64_t number = 0;
  if (absl::SimpleAtoi(filed.object->instance_number, &number)) entry.instance_number = number;
  entry.format = "DICOM";
  entry.created_by = operation.user;
  entry.created_time = archive::XmlDateTime(absl::ToUnixMicros(operation.create_time));
  entry.created_event_id = operation.id;
  entry.md5 = absl::BytesToHexString(written.md5);
  entry.size_bytes = static_cast<int64_t>(written.size_bytes);
  return entry;
}

// Decides every object's path: always the same ones for the same objects.
void Archiver::NameObjects(Filing& filing) {
  const session::SessionModel& model = filing.built.model;
  std::map<std::string, archive::NameSet> names;
  for (size_t scan = 0; scan < model.scans.size(); ++scan) {
    filing.scan_ids.push_back(model.scans[scan].id);
    for (const session::ScanObject& in_scan : model.scans[scan].objects) {
      FiledObject filed;
      filed.object = &filing.built.objects[in_scan.index];
      filed.resource = in_scan.primary ? "DICOM" : "secondary";
      filed.scan = scan;
      const std::string folder = archive::ResourceFolder(model.scans[scan].id, filed.resource);
      filed.path = absl::StrCat(folder, "/", names[folder].Take(NameOf(model, *filed.object)));
      filing.objects.push_back(std::move(filed));
    }
  }
}

std::string Archiver::NameOf(const session::SessionModel& model, const prearchive::BuiltObject& object) {
  return archive::InstanceFileName({model.study_instance_uid, object.series_number, object.instance_number,
                                    object.sop_class_uid, object.sop_instance_uid});
}

// Writes those of the named objects that are not there yet.
absl::Status Archiver::WriteObjects(Filing& filing, archive::SessionWriter& writer,
                                    const prearchive::SessionRow& row, operations::Progress& progress) {
  if (writer.state() == archive::SessionWriter::State::kWriting) {
    NX_ASSIGN_OR_RETURN(const auto log, with_.prearchive.OpenLog(row.id()));
    for (size_t begin = 0; begin < filing.objects.size(); begin += kPortion) {
      if (progress.cancelled()) {
        return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED",
                     "archiving was cancelled; nothing was filed");
      }
      const size_t end = std::min(begin + kPortion, filing.objects.size());
      std::vector<archive::FileSource> sources;
      for (size_t i = begin; i < end; ++i) {
        const FiledObject& filed = filing.objects[i];
        sources.push_back(
            {filed.path, [log, script = filing.script.get(), object = filed.object](
                             const archive::ByteSink& sink) { return script->Write(*log, *object, sink); }});
      }
      NX_RETURN_IF_ERROR(writer.WriteFiles(sources));
      progress.Report(static_cast<int64_t>(end), static_cast<int64_t>(filing.objects.size()));
    }
  }
  for (archive::WrittenFile& file : writer.files()) {
    std::string path = file.path;
    filing.written.emplace(std::move(path), std::move(file));
  }
  return absl::OkStatus();
}

absl::Status Archiver::WriteCatalogs(Filing& filing, archive::SessionWriter& writer,
                                     const operations::Operation& operation) {
  const session::SessionModel& model = filing.built.model;
  std::map<ResourceKey, archive::Catalog> catalogs;
  for (const FiledObject& filed : filing.objects) {
    const auto written = filing.written.find(filed.path);
    if (written == filing.written.end()) {
      return Internal("INTERNAL", absl::StrCat("file ", filed.path, " was not written"));
    }
    const ResourceKey key = filing.KeyOf(filed);
    archive::Catalog& catalog = catalogs[key];
    catalog.uid = model.scans[filed.scan].series_instance_uid;
    catalog.entries.push_back(ToEntry(filed, written->second, operation));
    metadata::Resource& resource = filing.resources.try_emplace(key, MakeResource(key)).first->second;
    ++resource.file_count;
    resource.size_bytes += static_cast<int64_t>(written->second.size_bytes);
  }
  std::vector<archive::FileSource> sources;
  for (auto& [key, catalog] : catalogs) {
    catalog.audit.push_back({operation.id,
                             archive::JavaDate(absl::ToUnixMicros(operation.create_time)),
                             {{"Added", static_cast<int64_t>(catalog.entries.size())}}});
    sources.push_back(
        {filing.resources.at(key).catalog_path,
         [xml = archive::WriteCatalog(catalog)](const archive::ByteSink& sink) { return sink(xml); }});
  }
  if (writer.state() == archive::SessionWriter::State::kWriting) return writer.WriteFiles(sources);
  return absl::OkStatus();
}

metadata::NewSession Archiver::Describe(const Filing& filing, const prearchive::SessionRow& row,
                                        const operations::Operation& operation) const {
  const session::SessionModel& model = filing.built.model;
  metadata::NewSession added;
  metadata::Session& session = added.session;
  session.accession_id = filing.reservation.accession_id;
  session.uid = filing.reservation.uid;
  session.project = row.key().project();
  session.subject = row.key().subject();
  session.subject_id = filing.reservation.subject_id;
  session.label = row.key().label();
  session.study_instance_uid = model.study_instance_uid;
  session.modality = model.modality;
  session.session_type = model.xsi_type;
  session.session_date = model.date;
  session.session_time = model.time;
  session.scanner = model.scanner.station;
  session.scanner_manufacturer = model.scanner.manufacturer;
  session.scanner_model = model.scanner.model;
  session.acquisition_site = model.acquisition_site;
  session.description = model.session_type;
  session.note = filing.exported.note;
  session.fields = filing.exported.fields;
  session.folder = filing.folder;
  if (operation.arguments.count("quarantine") > 0) session.status = metadata::SessionStatus::kQuarantine;

  session::DocumentFacts facts;
  facts.id = session.accession_id;
  facts.project = session.project;
  facts.label = session.label;
  facts.subject_id = session.subject_id;
  facts.note = session.note;
  facts.fields = session.fields;
  for (const auto& [key, resource] : filing.resources) {
    facts.scan_resources[resource.scan_id].push_back(
        {resource.label, resource.catalog_path, resource.format, resource.content,
         static_cast<uint64_t>(resource.file_count), static_cast<uint64_t>(resource.size_bytes)});
    added.resources.push_back(resource);
  }
  added.document = Phi<std::string>(session::WriteSessionDocument(model, facts));
  for (const session::ScanModel& scan : model.scans) added.scans.push_back(ToRow(scan));
  for (const FiledObject& filed : filing.objects) {
    added.files.push_back(ToRow(filed, filing.ScanId(filed), filing.written.at(filed.path)));
  }
  return added;
}

}  // namespace narthex::archiving
