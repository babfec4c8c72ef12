#include "server/archive/file_work.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/archive/catalog.h"

namespace narthex::archiving {
namespace {

// A short change of files waits for another one, not for a long merge.
constexpr int kHoldAttempts = 30;
constexpr absl::Duration kHoldWait = absl::Milliseconds(100);
constexpr int kFilesPage = 50'000;

absl::Status CheckUsable(const metadata::Session& session) {
  if (session.purge_state != metadata::PurgeState::kNone) {
    return FailedPrecondition("SESSION_PURGED",
                              absl::StrCat("the files of session ", session.accession_id, " were purged"),
                              {{"session", session.accession_id}});
  }
  if (session.status == metadata::SessionStatus::kActive ||
      session.status == metadata::SessionStatus::kQuarantine) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "SESSION_NOT_ACTIVE",
      absl::StrCat("the status of session ", session.accession_id, " does not allow changes"),
      {{"session", session.accession_id}});
}

archive::CatalogEntry ToEntry(const metadata::File& file, const std::string& folder) {
  archive::CatalogEntry entry;
  entry.uri = file.path.substr(folder.size() + 1);
  entry.id = entry.uri;
  entry.name = fs::BaseName(entry.uri);
  entry.uid = file.instance_uid;
  if (!file.instance_uid.empty()) entry.instance_number = file.instance_number;
  entry.format = file.format;
  entry.md5 = absl::BytesToHexString(file.md5);
  entry.size_bytes = file.size_bytes;
  return entry;
}

}  // namespace

FileWork::~FileWork() {
  if (!keep_) Abandon();
}

void FileWork::Abandon() {
  if (writer_) {
    const absl::Status abandoned = writer_->Abandon();
    if (!abandoned.ok())
      Log(LogLevel::kWarning, "files not taken back", {{"operation", id_}, {"error", abandoned}});
    with_.file_system.RemoveTree(Place(absl::StrCat(kRemovedFolder, "/", id_))).IgnoreError();
  }
  if (held_) with_.database.holds().Release(id_).IgnoreError();
}

std::string FileWork::Place(const std::string& path) const {
  return fs::JoinPath(fs::JoinPath(with_.archive_root, contents_.session.folder), path);
}

absl::Status FileWork::Open(const std::string& accession_id) {
  accession_id_ = accession_id;
  NX_ASSIGN_OR_RETURN(contents_.session,
                      with_.database.session_reader().Get(accession_id, metadata::Visibility::All(true)));
  NX_RETURN_IF_ERROR(CheckUsable(contents_.session));
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.folder = contents_.session.folder;
  options.operation_id = id_;
  options.into_existing = true;
  options.base_version = contents_.session.etag;
  NX_ASSIGN_OR_RETURN(writer_, archive::SessionWriter::Open(options, with_.file_system));
  return absl::OkStatus();
}

absl::Status FileWork::Hold() {
  absl::Status held;
  for (int attempt = 0; attempt < kHoldAttempts; ++attempt) {
    if (attempt > 0) absl::SleepFor(kHoldWait);
    held = with_.database.holds().Hold(accession_id_, id_, "resource");
    if (ErrorReason(held) != "SESSION_BUSY") break;
  }
  NX_RETURN_IF_ERROR(held);
  held_ = true;
  const std::string folder = contents_.session.folder;
  NX_ASSIGN_OR_RETURN(contents_, ReadContents(with_.database.session_reader(), accession_id_));
  if (contents_.session.folder != folder) {
    contents_.session.folder = folder;
    return Error(absl::StatusCode::kAborted, "SESSION_BUSY", "the session's files moved meanwhile; try again",
                 {{"session", accession_id_}});
  }
  return CheckUsable(contents_.session);
}

absl::StatusOr<std::vector<metadata::File>> FileWork::FilesOf(const metadata::ResourceKey& key) const {
  std::vector<metadata::File> files;
  metadata::SessionReader::FileQuery query;
  query.scan_id = key.scan_id;
  query.resource = key.label;
  query.page.size = kFilesPage;
  do {
    NX_ASSIGN_OR_RETURN(auto list, with_.database.session_reader().ListFiles(accession_id_, query));
    for (metadata::File& file : list.files) files.push_back(std::move(file));
    query.page.token = list.next_page_token;
  } while (!query.page.token.empty());
  return files;
}

void FileWork::Describe(const metadata::Scan& scan) {
  for (metadata::Scan& row : contents_.scans) {
    if (row.id == scan.id) row = scan;
  }
}

absl::Status FileWork::WriteCatalog(const metadata::Resource& resource,
                                    const std::vector<metadata::File>& files,
                                    const metadata::Change& change) {
  archive::Catalog catalog;
  catalog.dicom = resource.format == "DICOM";
  for (const metadata::Scan& scan : contents_.scans) {
    if (catalog.dicom && scan.id == resource.scan_id) catalog.uid = scan.series_instance_uid;
  }
  // Who added what, and when, is in the former catalog; what cannot be read is in the database's history.
  std::map<std::string, archive::CatalogEntry> former;
  const auto text = fs::ReadFile(with_.file_system, Place(resource.catalog_path), limits::kCatalogMaxBytes);
  if (text.ok()) {
    if (auto read = archive::ReadCatalog(*text); read.ok()) {
      catalog.audit = std::move(read->audit);
      catalog.meta_fields = std::move(read->meta_fields);
      for (archive::CatalogEntry& entry : read->entries) former[entry.uri] = std::move(entry);
    }
  }
  const int64_t now = absl::ToUnixMicros(absl::Now());
  const std::string folder = fs::ParentPath(resource.catalog_path);
  archive::CatalogAudit audit{id_, archive::JavaDate(now), {}};
  for (const metadata::File& file : files) {
    archive::CatalogEntry entry = ToEntry(file, folder);
    const auto was = former.find(entry.uri);
    if (was == former.end()) {
      entry.created_by = change.user;
      entry.created_time = archive::XmlDateTime(now);
      entry.created_event_id = id_;
      ++audit.counts["Added"];
    } else {
      entry.content = was->second.content;
      entry.created_by = was->second.created_by;
      entry.created_time = was->second.created_time;
      entry.created_event_id = was->second.created_event_id;
      former.erase(was);
    }
    catalog.entries.push_back(std::move(entry));
  }
  if (!former.empty()) audit.counts["Removed"] = static_cast<int64_t>(former.size());
  if (!audit.counts.empty()) catalog.audit.push_back(std::move(audit));
  return writer_->WriteFile(resource.catalog_path, archive::WriteCatalog(catalog));
}

absl::StatusOr<metadata::RemovedFile> FileWork::TakeOut(const std::string& path) {
  metadata::RemovedFile removed;
  removed.path = path;
  removed.stored_path = absl::StrCat(kRemovedFolder, "/", id_, "/", path);
  const std::string to = Place(removed.stored_path);
  NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(with_.file_system, fs::ParentPath(to)));
  const absl::Status linked = with_.file_system.Link(Place(path), to);
  if (!linked.ok() && !absl::IsNotFound(linked) && !absl::IsAlreadyExists(linked)) return linked;
  NX_RETURN_IF_ERROR(with_.file_system.SyncDirectory(fs::ParentPath(to)));
  NX_RETURN_IF_ERROR(writer_->Supersede({path}));
  return removed;
}

absl::StatusOr<metadata::Session> FileWork::Commit(SessionChanges& changes, const metadata::Change& change,
                                                   const SessionChanges::Edit& edit) {
  NX_RETURN_IF_ERROR(writer_->Publish());
  CrashPoint("files.published");
  metadata::Change noted = change;
  noted.request_id = id_;
  auto session = changes.Update(accession_id_, "", noted, edit);
  if (!session.ok()) {
    // Whether it was committed is not known: the next start finds out.
    keep_ = absl::IsUnavailable(session.status());
    return session;
  }
  keep_ = true;
  CrashPoint("files.committed");
  NX_RETURN_IF_ERROR(writer_->Finish());
  NX_RETURN_IF_ERROR(with_.database.holds().Release(id_));
  return session;
}

absl::Status FileWork::Resume(const Dependencies& with) {
  NX_ASSIGN_OR_RETURN(const auto unfinished,
                      archive::ListUnfinishedMerges(with.archive_root, with.file_system));
  for (const archive::UnfinishedMerge& merge : unfinished) {
    if (!absl::StartsWith(merge.operation_id, kFileWorkPrefix)) continue;
    NX_ASSIGN_OR_RETURN(const auto committed, with.database.sessions().FindRequest(merge.operation_id));
    archive::SessionWriter::Options options;
    options.archive_root = with.archive_root;
    options.folder = merge.folder;
    options.operation_id = merge.operation_id;
    options.into_existing = true;
    auto writer = archive::SessionWriter::Open(options, with.file_system);
    absl::Status done = writer.status();
    if (writer.ok()) done = committed ? (*writer)->Finish() : (*writer)->Abandon();
    if (done.ok() && !committed) {
      done = with.file_system.RemoveTree(
          absl::StrCat(with.archive_root, "/", merge.folder, "/", kRemovedFolder, "/", merge.operation_id));
    }
    Log(done.ok() ? LogLevel::kInfo : LogLevel::kError,
        committed ? "change of files finished" : "change of files taken back",
        {{"operation", merge.operation_id}, {"result", done}});
  }
  NX_ASSIGN_OR_RETURN(const auto holds, with.database.holds().ListHolds());
  for (const metadata::SessionHold& hold : holds) {
    if (absl::StartsWith(hold.holder, kFileWorkPrefix)) {
      NX_RETURN_IF_ERROR(with.database.holds().Release(hold.holder));
    }
  }
  return absl::OkStatus();
}

}  // namespace narthex::archiving
