#include "server/archive/archiver.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "imaging/session/document.h"
#include "storage/archive/catalog.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

using prearchive::BuiltObject;
using prearchive::ConflictRow;
using prearchive::SessionRow;

// Files that are handed to the writer at once: bounds memory, and gives the progress its steps.
constexpr size_t kPortion = 2000;

// Between attempts while the database is away.
constexpr absl::Duration kFirstWait = absl::Milliseconds(200);
constexpr absl::Duration kLongestWait = absl::Seconds(5);

ConflictRow Found(int code, ConflictType type, absl::string_view message, absl::string_view remedy) {
  ConflictRow conflict;
  conflict.set_code(code);
  conflict.set_type(static_cast<int>(type));
  conflict.set_message(std::string(message));
  conflict.set_remedy(std::string(remedy));
  return conflict;
}

}  // namespace

// One file of a scan, and where it goes.
struct FiledObject {
  const BuiltObject* object = nullptr;
  std::string path;      // below the session's folder
  std::string resource;  // DICOM or secondary
  size_t scan = 0;       // index into the model's scans
};

struct Archiver::Filing {
  prearchive::BuiltSession built;
  metadata::Reservation reservation;
  std::string folder;  // below the archive
  std::vector<FiledObject> objects;
  absl::flat_hash_map<std::string, archive::WrittenFile> written;  // by path
  std::vector<metadata::Resource> resources;
};

absl::StatusOr<std::vector<ConflictRow>> Archiver::Check(const SessionRow& row) {
  std::vector<ConflictRow> found;
  const prearchive::SessionKeyRow& key = row.key();
  if (key.project().empty()) {
    found.push_back(Found(6, ConflictType::kFail, "the session belongs to no project",
                          "assign one: narthex prearchive update ID --project P"));
  }
  if (key.label().empty()) {
    found.push_back(Found(8, ConflictType::kFail, "the session has no label",
                          "give one: narthex prearchive update ID --label L"));
  }
  if (key.subject().empty()) {
    found.push_back(Found(11, ConflictType::kFail, "the session has no subject",
                          "give one: narthex prearchive update ID --subject S"));
  }
  if (key.project().empty()) return found;
  if (const auto project = with_.database.projects().Get(key.project()); !project.ok()) {
    if (!absl::IsNotFound(project.status())) return project.status();
    found.push_back(Found(6, ConflictType::kFail, absl::StrCat("there is no project ", key.project()),
                          "create it, or assign another one"));
    return found;
  }
  const auto existing = with_.database.session_reader().Get(absl::StrCat(key.project(), "/", key.label()),
                                                            metadata::Visibility::All());
  if (!existing.ok() && !absl::IsNotFound(existing.status())) return existing.status();
  if (existing.ok()) {
    found.push_back(
        Found(1, ConflictType::kConflict,
              absl::StrCat("session ", key.label(), " exists in the archive as ", existing->accession_id),
              "give this one another label: narthex prearchive update ID --label L"));
    if (existing->study_instance_uid != key.study_instance_uid()) {
      found.push_back(Found(5, ConflictType::kConflict, "the existing session has another Study Instance UID",
                            "give this one another label: narthex prearchive update ID --label L"));
    }
    if (!absl::EqualsIgnoreCase(existing->subject, key.subject())) {
      found.push_back(Found(4, ConflictType::kFail, "the existing session belongs to another subject",
                            "correct the subject, or give this one another label"));
    }
  } else if (!key.subject().empty()) {
    const auto subject = with_.database.subjects().Get(key.project(), key.subject());
    if (absl::IsNotFound(subject.status())) {
      found.push_back(
          Found(12, ConflictType::kWarn, absl::StrCat("subject ", key.subject(), " will be created"), ""));
    }
  }
  return found;
}

bool Archiver::Refuses(const std::vector<ConflictRow>& conflicts, ConflictPolicy policy) {
  return std::any_of(conflicts.begin(), conflicts.end(), [](const ConflictRow& conflict) {
    return conflict.type() != static_cast<int>(ConflictType::kWarn);
  });
}

absl::StatusOr<std::string> Archiver::Archive(const operations::Operation& operation,
                                              operations::Progress& progress) {
  absl::StatusOr<std::string> archived = TryArchive(operation, progress);
  // Without its database the archive can neither refuse nor accept: it waits.
  for (absl::Duration wait = kFirstWait; absl::IsUnavailable(archived.status());
       wait = std::min(2 * wait, kLongestWait)) {
    if (progress.cancelled()) break;
    if (!progress.SleepFor(wait)) {
      return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
                   "the operation goes on at the next start");
    }
    archived = TryArchive(operation, progress);
  }
  const std::string reason = ErrorReason(archived.status());
  if (!archived.ok() && reason != "ARCHIVE_CONFLICT" && reason != "SHUTTING_DOWN") {
    Fail(operation.target, archived.status());
  }
  return archived;
}

absl::StatusOr<std::string> Archiver::TryArchive(const operations::Operation& operation,
                                                 operations::Progress& progress) {
  const std::string& id = operation.target;
  // After a crash behind the transaction, only the tidying up is left.
  NX_ASSIGN_OR_RETURN(const auto committed, with_.database.sessions().FindRequest(operation.id));
  const auto row = with_.prearchive.Get(id);
  if (!row.ok()) {
    if (absl::IsNotFound(row.status()) && committed) return committed->accession_id;
    return row.status();
  }
  if (row->state() != static_cast<int>(prearchive::State::kArchiving)) {
    // The process died between the operation's row and the session's.
    NX_RETURN_IF_ERROR(with_.prearchive
                           .Apply(id, prearchive::Event::kArchive,
                                  [&](SessionRow& changed) { changed.set_operation(operation.id); })
                           .status());
  }
  if (!committed) {
    NX_ASSIGN_OR_RETURN(const std::vector<ConflictRow> conflicts, Check(*row));
    int policy = 0;
    if (const auto it = operation.arguments.find("policy"); it != operation.arguments.end()) {
      if (!absl::SimpleAtoi(it->second, &policy)) policy = 0;
    }
    if (Refuses(conflicts, static_cast<ConflictPolicy>(policy))) {
      std::vector<std::string> texts;
      for (const ConflictRow& conflict : conflicts)
        texts.push_back(absl::StrCat(conflict.code(), ": ", conflict.message()));
      NX_RETURN_IF_ERROR(with_.prearchive
                             .Apply(id, prearchive::Event::kArchiveConflict,
                                    [&](SessionRow& changed) {
                                      changed.clear_conflicts();
                                      for (const ConflictRow& conflict : conflicts)
                                        *changed.add_conflicts() = conflict;
                                    })
                             .status());
      return FailedPrecondition(
          "ARCHIVE_CONFLICT",
          absl::StrCat("session ", id, " cannot be archived: ", absl::StrJoin(texts, "; ")),
          {{"session", id}});
    }
  }
  auto filed = committed ? Tidy(operation, committed->accession_id) : File(operation, progress, *row);
  if (!filed.ok()) return filed.status();
  NX_RETURN_IF_ERROR(with_.prearchive.Remove(id, *filed));
  Metrics::Global().Count("sessions_archived_total", "Sessions that went into the archive.");
  Log(LogLevel::kInfo, "session archived",
      {{"session", id}, {"accession", *filed}, {"operation", operation.id}});
  return filed;
}

// The database knows the session; at most its journal is left to be removed.
absl::StatusOr<std::string> Archiver::Tidy(const operations::Operation& operation,
                                           const std::string& accession_id) {
  NX_ASSIGN_OR_RETURN(const metadata::Session session,
                      with_.database.session_reader().Get(accession_id, metadata::Visibility::All(true)));
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation.id;
  options.folder = session.folder;
  const auto writer = archive::SessionWriter::Open(options, with_.file_system);
  // Without our journal there is nothing to do: Finish was the last step before the crash.
  if (absl::IsAlreadyExists(writer.status())) return accession_id;
  NX_RETURN_IF_ERROR(writer.status());
  if ((*writer)->state() != archive::SessionWriter::State::kPublished) {
    NX_RETURN_IF_ERROR((*writer)->Abandon());
    return DataLoss("ARCHIVED_BYTES_CORRUPT",
                    absl::StrCat("the folder of session ", accession_id, " is gone"),
                    {{"session", accession_id}});
  }
  NX_RETURN_IF_ERROR((*writer)->Finish());
  return accession_id;
}

absl::Status Archiver::RemoveLeftovers(const std::function<bool(const std::string& operation_id)>& ended) {
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> operations,
                      archive::ListUnfinished(with_.archive_root, with_.file_system));
  for (const std::string& operation : operations) {
    if (!ended(operation)) continue;
    NX_RETURN_IF_ERROR(archive::RemoveIncoming(with_.archive_root, operation, with_.file_system));
    Log(LogLevel::kInfo, "leftover of an archive operation removed", {{"operation", operation}});
  }
  return absl::OkStatus();
}

void Archiver::Fail(absl::string_view id, const absl::Status& status) {
  const auto failed = with_.prearchive.Apply(id, prearchive::Event::kArchiveFailed, [&](SessionRow& row) {
    row.set_error(std::string(status.message()));
  });
  if (!failed.ok()) Log(LogLevel::kError, "state not changed", {{"session", id}, {"error", failed.status()}});
}

absl::StatusOr<std::unique_ptr<archive::SessionWriter>> Archiver::OpenWriter(const SessionRow& row,
                                                                             const std::string& operation_id,
                                                                             Filing& filing) {
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation_id;
  options.folder = archive::SessionFolder(row.key().project(), row.key().label());
  auto writer = archive::SessionWriter::Open(options, with_.file_system);
  if (absl::IsAlreadyExists(writer.status())) {
    // The folder of a session of that label which was deleted: its files stay, so this one lies beside it.
    options.folder = absl::StrCat(options.folder, ".", filing.reservation.accession_id);
    writer = archive::SessionWriter::Open(options, with_.file_system);
  }
  if (writer.ok()) filing.folder = options.folder;
  return writer;
}

absl::StatusOr<std::string> Archiver::File(const operations::Operation& operation,
                                           operations::Progress& progress, const SessionRow& row) {
  Filing filing;
  NX_ASSIGN_OR_RETURN(filing.reservation, with_.database.sessions().Reserve(
                                              row.key().project(), row.key().subject(), operation.id));
  NX_ASSIGN_OR_RETURN(filing.built, prearchive::BuildModel(with_.prearchive, with_.types, row.id()));
  NX_ASSIGN_OR_RETURN(const auto writer, OpenWriter(row, operation.id, filing));
  absl::Status written = WriteObjects(filing, *writer, row, progress);
  if (written.ok()) written = WriteCatalogs(filing, *writer, operation);
  if (written.ok()) written = writer->Publish();
  if (!written.ok()) {
    if (ErrorReason(written) != "SHUTTING_DOWN") writer->Abandon().IgnoreError();
    return written;
  }
  metadata::Change change;
  change.user = operation.user;
  change.request_id = operation.id;
  auto committed = with_.database.sessions().Commit(Describe(filing, row, operation), change);
  if (!committed.ok()) {
    // Unknown or unavailable: the files stay, and the next attempt (or start) goes on from here.
    if (absl::IsUnavailable(committed.status())) return committed.status();
    writer->Abandon().IgnoreError();
    return committed.status();
  }
  NX_RETURN_IF_ERROR(writer->Finish());
  return committed->accession_id;
}

// Decides every object's path (always the same ones for the same objects), and writes those that are not
// there yet.
absl::Status Archiver::WriteObjects(Filing& filing, archive::SessionWriter& writer, const SessionRow& row,
                                    operations::Progress& progress) {
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

metadata::NewSession Archiver::Describe(const Filing& filing, const SessionRow& row,
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
