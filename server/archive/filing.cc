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

// Decides every object's path (always the same ones for the same objects), and writes those that are not
// there yet.
absl::Status Archiver::WriteObjects(Filing& filing, archive::SessionWriter& writer,
                                    const prearchive::SessionRow& row, operations::Progress& progress) {
  const session::SessionModel& model = filing.built.model;
  std::map<std::string, archive::NameSet> names;
  for (size_t scan = 0; scan < model.scans.size(); ++scan) {
    for (const session::ScanObject& in_scan : model.scans[scan].objects) {
      FiledObject filed;
      filed.object = &filing.built.objects[in_scan.index];
      filed.resource = in_scan.primary ? "DICOM" : "secondary";
      filed.scan = scan;
      const std::string folder = archive::ResourceFolder(model.scans[scan].id, filed.resource);
      const std::string name = archive::InstanceFileName(
          {model.study_instance_uid, filed.object->series_number, filed.object->instance_number,
           filed.object->sop_class_uid, filed.object->sop_instance_uid});
      filed.path = absl::StrCat(folder, "/", names[folder].Take(name));
      filing.objects.push_back(std::move(filed));
    }
  }
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
        sources.push_back({filed.path, [log, object = &filed.object->bytes](const archive::ByteSink& sink) {
                             return log->Read(*object, sink);
                           }});
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
  const int64_t now = absl::ToUnixMicros(operation.create_time);
  std::map<std::pair<size_t, std::string>, archive::Catalog> catalogs;
  std::map<std::pair<size_t, std::string>, int64_t> sizes;
  for (const FiledObject& filed : filing.objects) {
    const auto written = filing.written.find(filed.path);
    if (written == filing.written.end()) {
      return Internal("INTERNAL", absl::StrCat("file ", filed.path, " was not written"));
    }
    archive::Catalog& catalog = catalogs[{filed.scan, filed.resource}];
    catalog.uid = model.scans[filed.scan].series_instance_uid;
    archive::CatalogEntry entry;
    entry.uri = filed.path.substr(filed.path.rfind('/') + 1);
    entry.id = entry.uri;
    entry.name = entry.uri;
    entry.uid = filed.object->sop_instance_uid;
    int64_t number = 0;
    if (absl::SimpleAtoi(filed.object->instance_number, &number)) entry.instance_number = number;
    entry.format = "DICOM";
    entry.created_by = operation.user;
    entry.created_time = archive::XmlDateTime(now);
    entry.created_event_id = operation.id;
    entry.md5 = absl::BytesToHexString(written->second.md5);
    entry.size_bytes = static_cast<int64_t>(written->second.size_bytes);
    sizes[{filed.scan, filed.resource}] += static_cast<int64_t>(written->second.size_bytes);
    catalog.entries.push_back(std::move(entry));
  }
  std::vector<archive::FileSource> sources;
  for (auto& [key, catalog] : catalogs) {
    const std::string& scan_id = model.scans[key.first].id;
    catalog.audit.push_back(
        {operation.id, archive::JavaDate(now), {{"Added", static_cast<int64_t>(catalog.entries.size())}}});
    metadata::Resource resource;
    resource.scan_id = scan_id;
    resource.label = key.second;
    resource.format = "DICOM";
    resource.content = key.second == "DICOM" ? "RAW" : "SECONDARY";
    resource.catalog_path = absl::StrCat(archive::ResourceFolder(scan_id, key.second), "/",
                                         archive::CatalogName(scan_id, key.second));
    resource.file_count = static_cast<int64_t>(catalog.entries.size());
    resource.size_bytes = sizes[key];
    sources.push_back({resource.catalog_path, [xml = archive::WriteCatalog(catalog)](
                                                  const archive::ByteSink& sink) { return sink(xml); }});
    filing.resources.push_back(std::move(resource));
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
  session.study_instance_uid = row.key().study_instance_uid();
  session.modality = model.modality;
  session.session_type = model.xsi_type;
  session.session_date = model.date;
  session.session_time = model.time;
  session.scanner = model.scanner.station;
  session.scanner_manufacturer = model.scanner.manufacturer;
  session.scanner_model = model.scanner.model;
  session.acquisition_site = model.acquisition_site;
  session.description = model.session_type;
  session.folder = filing.folder;
  if (operation.arguments.count("quarantine") > 0) session.status = metadata::SessionStatus::kQuarantine;

  session::DocumentFacts facts;
  facts.id = session.accession_id;
  facts.project = session.project;
  facts.label = session.label;
  facts.subject_id = session.subject_id;
  for (const metadata::Resource& resource : filing.resources) {
    facts.scan_resources[resource.scan_id].push_back(
        {resource.label, resource.catalog_path, resource.format, resource.content,
         static_cast<uint64_t>(resource.file_count), static_cast<uint64_t>(resource.size_bytes)});
  }
  added.document = Phi<std::string>(session::WriteSessionDocument(model, facts));
  added.resources = filing.resources;

  for (const session::ScanModel& model_scan : model.scans) {
    metadata::Scan scan;
    scan.id = model_scan.id;
    scan.type = model_scan.type;
    scan.xsi_type = model_scan.xsi_type;
    scan.series_instance_uid = model_scan.series_instance_uid;
    scan.series_description = model_scan.series_description;
    scan.modality = model_scan.modality;
    scan.frames = model_scan.frames;
    scan.quality = model_scan.quality;
    scan.note = model_scan.note;
    scan.start_time = model_scan.start_time;
    scan.scanner = model_scan.scanner.station;
    scan.scanner_manufacturer = model_scan.scanner.manufacturer;
    scan.scanner_model = model_scan.scanner.model;
    scan.body_part = model_scan.body_part_examined;
    scan.protocol_name = model_scan.protocol_name;
    for (const session::Parameter& parameter : model_scan.parameters) {
      scan.parameters[parameter.name] = parameter.value;
    }
    added.scans.push_back(std::move(scan));
  }
  for (const FiledObject& filed : filing.objects) {
    const archive::WrittenFile& written = filing.written.at(filed.path);
    metadata::File file;
    file.path = filed.path;
    file.scan_id = model.scans[filed.scan].id;
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
    added.files.push_back(std::move(file));
  }
  return added;
}

}  // namespace narthex::archiving
