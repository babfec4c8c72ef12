#include "storage/verify/archive_check.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/archive/catalog.h"
#include "storage/archive/layout.h"
#include "storage/archive/session_writer.h"

namespace narthex::verify {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr int kFilesPage = 50'000;

// A session's files as the database knows them.
using FileRows = std::map<std::string, metadata::File>;

class ArchiveCheck {
 public:
  ArchiveCheck(metadata::Database& database, fs::FileSystem& files, std::string root,
               const ArchiveCheckOptions& options, Report& report)
      : database_(database), files_(files), root_(std::move(root)), options_(options), report_(report) {}

  absl::Status Run();
  absl::Status FindPending();
  absl::Status CheckSession(const metadata::Session& session);

 private:
  absl::Status CheckPurged(const metadata::Session& session);
  absl::Status CheckRemoved(const metadata::Session& session, std::set<std::string>& known);
  absl::StatusOr<FileRows> ReadRows(const metadata::Session& session);
  absl::Status CheckFile(const std::string& folder, const metadata::File& file);
  absl::Status CheckDigests(const std::string& path, const std::string& place, const metadata::File& file);
  absl::Status CheckCatalog(const std::string& folder, const metadata::Resource& resource,
                            const FileRows& rows);
  void CompareCatalog(const std::string& place, const archive::Catalog& catalog,
                      const metadata::Resource& resource, const FileRows& rows);
  void CheckCounts(const metadata::Session& session, const std::vector<metadata::Scan>& scans,
                   const std::vector<metadata::Resource>& resources, const FileRows& rows);
  absl::Status CheckUnreferenced(const std::string& folder, const std::set<std::string>& known);
  absl::Status CheckFolders();

  metadata::Database& database_;
  fs::FileSystem& files_;
  const std::string root_;
  const ArchiveCheckOptions options_;
  Report& report_;
  // Whether an interrupted merge adds, replaces or removes this file.
  bool IsPending(const std::string& folder, const std::string& path) const;

  std::set<std::string> folders_;                         // of sessions, below the root
  std::map<std::string, std::set<std::string>> pending_;  // of interrupted merges: folder -> paths in it
};

absl::Status ArchiveCheck::FindPending() {
  NX_ASSIGN_OR_RETURN(const auto merges, archive::ListUnfinishedMerges(root_, files_));
  for (const archive::UnfinishedMerge& merge : merges)
    pending_[merge.folder].insert(merge.paths.begin(), merge.paths.end());
  return absl::OkStatus();
}

absl::Status ArchiveCheck::Run() {
  NX_RETURN_IF_ERROR(FindPending());
  metadata::SearchRequest request;
  request.page.size = 1000;
  while (true) {
    NX_ASSIGN_OR_RETURN(const metadata::SearchResult result,
                        database_.session_reader().Search(request, metadata::Visibility::All(true)));
    for (const metadata::Session& session : result.sessions) NX_RETURN_IF_ERROR(CheckSession(session));
    if (result.next_page_token.empty()) break;
    request.page.token = result.next_page_token;
  }
  return CheckFolders();
}

absl::StatusOr<FileRows> ArchiveCheck::ReadRows(const metadata::Session& session) {
  FileRows rows;
  metadata::SessionReader::FileQuery query;
  query.page.size = kFilesPage;
  while (true) {
    NX_ASSIGN_OR_RETURN(metadata::SessionReader::FileList list,
                        database_.session_reader().ListFiles(session.accession_id, query));
    for (metadata::File& file : list.files) {
      const std::string path = file.path;
      rows.emplace(path, std::move(file));
    }
    if (list.next_page_token.empty()) return rows;
    query.page.token = list.next_page_token;
  }
}

// Its rows are the record of what was there.
absl::Status ArchiveCheck::CheckPurged(const metadata::Session& session) {
  NX_ASSIGN_OR_RETURN(const bool there, fs::Exists(files_, fs::JoinPath(root_, session.folder)));
  if (!there) return absl::OkStatus();
  folders_.insert(session.folder);
  if (session.purge_state == metadata::PurgeState::kPurging) {
    report_.FindUnfinished("PURGE", session.folder, "a purge that was interrupted removes it");
    return absl::OkStatus();
  }
  // A session that came later may have the folder's name.
  metadata::SearchRequest request;
  NX_ASSIGN_OR_RETURN(request.filter,
                      metadata::SessionFilter::Parse(absl::StrCat("project = \"", session.project,
                                                                  "\" AND label = \"", session.label, "\"")));
  NX_ASSIGN_OR_RETURN(const auto others,
                      database_.session_reader().Search(request, metadata::Visibility::All(true)));
  for (const metadata::Session& other : others.sessions) {
    if (other.folder == session.folder && other.purge_state == metadata::PurgeState::kNone) {
      return absl::OkStatus();
    }
  }
  report_.Find("PURGED_FOLDER", session.folder,
               absl::StrCat("of session ", session.accession_id, ", whose files were purged"));
  return absl::OkStatus();
}

absl::Status ArchiveCheck::CheckRemoved(const metadata::Session& session, std::set<std::string>& known) {
  NX_ASSIGN_OR_RETURN(const auto removed,
                      database_.session_reader().ListRemovedFiles(session.accession_id, ""));
  for (const metadata::RemovedFile& file : removed) {
    known.insert(file.stored_path);
    const std::string place = fs::JoinPath(session.folder, file.stored_path);
    NX_ASSIGN_OR_RETURN(const bool there, fs::Exists(files_, fs::JoinPath(root_, place)));
    if (!there) report_.Find("REMOVED_FILE_MISSING", place, "a file that was taken out was kept here");
  }
  return absl::OkStatus();
}

absl::Status ArchiveCheck::CheckSession(const metadata::Session& session) {
  ++report_.archived_session_count;
  if (session.purge_state != metadata::PurgeState::kNone) return CheckPurged(session);
  folders_.insert(session.folder);
  NX_ASSIGN_OR_RETURN(const FileRows rows, ReadRows(session));
  NX_ASSIGN_OR_RETURN(const auto scans, database_.session_reader().ListScans(session.accession_id));
  NX_ASSIGN_OR_RETURN(const auto resources, database_.session_reader().ListResources(session.accession_id));
  CheckCounts(session, scans, resources, rows);
  NX_ASSIGN_OR_RETURN(const bool there, fs::Exists(files_, fs::JoinPath(root_, session.folder)));
  if (!there) {
    report_.Find("FOLDER_MISSING", session.folder,
                 absl::StrCat("the folder of session ", session.accession_id));
    return absl::OkStatus();
  }
  std::set<std::string> known;
  for (const auto& [path, file] : rows) {
    known.insert(path);
    NX_RETURN_IF_ERROR(CheckFile(session.folder, file));
  }
  for (const metadata::Resource& resource : resources) {
    known.insert(resource.catalog_path);
    NX_RETURN_IF_ERROR(CheckCatalog(session.folder, resource, rows));
  }
  NX_RETURN_IF_ERROR(CheckRemoved(session, known));
  return CheckUnreferenced(session.folder, known);
}

void ArchiveCheck::CheckCounts(const metadata::Session& session, const std::vector<metadata::Scan>& scans,
                               const std::vector<metadata::Resource>& resources, const FileRows& rows) {
  struct Sum {
    int64_t count = 0;
    int64_t bytes = 0;
  };
  Sum all;
  std::map<std::string, Sum> by_scan;
  std::map<std::pair<std::string, std::string>, Sum> by_resource;
  for (const auto& [path, file] : rows) {
    for (Sum* sum : {&all, &by_scan[file.scan_id], &by_resource[{file.scan_id, file.resource}]}) {
      ++sum->count;
      sum->bytes += file.size_bytes;
    }
  }
  const auto compare = [&](absl::string_view kind, absl::string_view what, int64_t count, int64_t bytes,
                           const Sum& sum) {
    if (count == sum.count && bytes == sum.bytes) return;
    report_.Find(kind, session.accession_id,
                 absl::StrCat(what, " claims ", count, " files, ", bytes, " bytes; its files are ", sum.count,
                              ", ", sum.bytes));
  };
  compare("SESSION_COUNT", "the session", session.file_count, session.size_bytes, all);
  for (const metadata::Scan& scan : scans) {
    compare("SCAN_COUNT", absl::StrCat("scan ", scan.id), scan.file_count, scan.size_bytes, by_scan[scan.id]);
  }
  for (const metadata::Resource& resource : resources) {
    compare("RESOURCE_COUNT", absl::StrCat("resource ", resource.label, " of scan ", resource.scan_id),
            resource.file_count, resource.size_bytes, by_resource[{resource.scan_id, resource.label}]);
  }
}

absl::Status ArchiveCheck::CheckFile(const std::string& folder, const metadata::File& file) {
  const std::string place = fs::JoinPath(folder, file.path);
  const std::string path = fs::JoinPath(root_, place);
  ++report_.archived_file_count;
  const absl::StatusOr<fs::FileInfo> info = files_.Stat(path);
  if (absl::IsNotFound(info.status()) || (info.ok() && !info->is_file())) {
    report_.Find("FILE_MISSING", place, "the database names this file");
    return absl::OkStatus();
  }
  NX_RETURN_IF_ERROR(info.status());
  report_.archived_bytes += info->size_bytes;
  if (info->size_bytes != static_cast<uint64_t>(file.size_bytes)) {
    report_.Find("FILE_SIZE", place,
                 absl::StrCat("has ", info->size_bytes, " bytes, archived were ", file.size_bytes));
    return absl::OkStatus();
  }
  return options_.digests ? CheckDigests(path, place, file) : absl::OkStatus();
}

absl::Status ArchiveCheck::CheckDigests(const std::string& path, const std::string& place,
                                        const metadata::File& file) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<fs::File> bytes, files_.Open(path, {}));
  CryptoHasher sha256 = CryptoHasher::Sha256();
  CryptoHasher md5 = CryptoHasher::Md5();
  Xxh3Hasher xxh3;
  std::string piece(kPieceBytes, '\0');
  for (uint64_t offset = 0;;) {
    NX_ASSIGN_OR_RETURN(const size_t length, bytes->ReadAt(offset, piece.data(), piece.size()));
    if (length == 0) break;
    offset += length;
    const absl::string_view read(piece.data(), length);
    sha256.Update(read);
    md5.Update(read);
    xxh3.Update(read);
  }
  const bool same = sha256.Finish() == file.sha256 && md5.Finish() == file.md5 &&
                    (file.xxh3_stored.empty() || xxh3.Finish() == file.xxh3_stored);
  if (!same) report_.Find("FILE_DIGEST", place, "the bytes are not those that were archived");
  return absl::OkStatus();
}

absl::Status ArchiveCheck::CheckCatalog(const std::string& folder, const metadata::Resource& resource,
                                        const FileRows& rows) {
  const std::string place = fs::JoinPath(folder, resource.catalog_path);
  const auto text = fs::ReadFile(files_, fs::JoinPath(root_, place), limits::kCatalogMaxBytes);
  if (absl::IsNotFound(text.status())) {
    report_.Find("CATALOG_MISSING", place, absl::StrCat("of resource ", resource.label));
    return absl::OkStatus();
  }
  NX_RETURN_IF_ERROR(text.status());
  ++report_.catalog_count;
  const auto catalog = archive::ReadCatalog(*text);
  if (!catalog.ok()) {
    report_.Find("CATALOG_INVALID", place, catalog.status().message());
    return absl::OkStatus();
  }
  if (IsPending(folder, resource.catalog_path)) {
    report_.FindUnfinished("MERGE_CATALOG", place, "a merge that was interrupted replaces it");
    return absl::OkStatus();
  }
  CompareCatalog(place, *catalog, resource, rows);
  return absl::OkStatus();
}

bool ArchiveCheck::IsPending(const std::string& folder, const std::string& path) const {
  const auto found = pending_.find(folder);
  if (found == pending_.end()) return false;
  std::string name = fs::BaseName(path);
  // On its way to its place (archive::SessionWriter).
  if (absl::StartsWith(name, archive::kReplacingPrefix)) name.erase(0, strlen(archive::kReplacingPrefix));
  return found->second.count(fs::JoinPath(fs::ParentPath(path), name)) > 0;
}

void ArchiveCheck::CompareCatalog(const std::string& place, const archive::Catalog& catalog,
                                  const metadata::Resource& resource, const FileRows& rows) {
  const std::string folder = fs::ParentPath(resource.catalog_path);
  std::set<std::string> listed;
  for (const archive::CatalogEntry& entry : catalog.entries) {
    const std::string path = fs::JoinPath(folder, entry.uri);
    const auto row = rows.find(path);
    if (row == rows.end() || row->second.scan_id != resource.scan_id ||
        row->second.resource != resource.label) {
      report_.Find("CATALOG_DIFFERS", place,
                   absl::StrCat("lists ", entry.uri, ", which the database does not have"));
      continue;
    }
    if (!listed.insert(path).second) {
      report_.Find("CATALOG_DIFFERS", place, absl::StrCat("lists ", entry.uri, " twice"));
    }
    const metadata::File& file = row->second;
    if (entry.size_bytes.value_or(file.size_bytes) != file.size_bytes ||
        absl::AsciiStrToLower(entry.md5) != absl::BytesToHexString(file.md5) ||
        entry.uid != file.instance_uid) {
      report_.Find("CATALOG_DIFFERS", place,
                   absl::StrCat(entry.uri, ": size, MD5 or UID is not that of the database"));
    }
  }
  for (const auto& [path, file] : rows) {
    if (file.scan_id != resource.scan_id || file.resource != resource.label || listed.count(path) > 0)
      continue;
    report_.Find("CATALOG_DIFFERS", place, absl::StrCat("lacks ", path));
  }
}

absl::Status ArchiveCheck::CheckUnreferenced(const std::string& folder, const std::set<std::string>& known) {
  return fs::VisitTree(
      files_, fs::JoinPath(root_, folder), [&](const std::string& path, fs::FileInfo::Type type) {
        if (type == fs::FileInfo::Type::kDirectory || known.count(path) > 0) return absl::OkStatus();
        const std::string place = fs::JoinPath(folder, path);
        if (path == archive::kJournalName) {
          report_.FindUnfinished("JOURNAL", place, "of an archive operation whose end was interrupted");
        } else if (IsPending(folder, path)) {
          report_.FindUnfinished("MERGE_FILE", place, "of a merge that was interrupted");
        } else {
          report_.Find("UNREFERENCED_FILE", place, "no session names this file");
        }
        return absl::OkStatus();
      });
}

// What lies beside the sessions' folders.
absl::Status ArchiveCheck::CheckFolders() {
  auto projects = files_.List(root_);
  if (absl::IsNotFound(projects.status())) return absl::OkStatus();
  NX_RETURN_IF_ERROR(projects.status());
  for (const fs::DirectoryEntry& project : *projects) {
    if (project.type != fs::FileInfo::Type::kDirectory) {
      report_.Find("UNREFERENCED_FILE", project.name, "only folders of projects belong here");
      continue;
    }
    const std::string arc = fs::JoinPath(project.name, archive::kArcFolder);
    auto sessions = files_.List(fs::JoinPath(root_, arc));
    if (absl::IsNotFound(sessions.status())) continue;
    NX_RETURN_IF_ERROR(sessions.status());
    for (const fs::DirectoryEntry& session : *sessions) {
      const std::string folder = fs::JoinPath(arc, session.name);
      if (folders_.count(folder) > 0) continue;
      if (absl::StartsWith(session.name, archive::kIncomingPrefix)) {
        report_.FindUnfinished("INCOMING_FOLDER", folder, "of an archive operation that was interrupted");
        continue;
      }
      NX_ASSIGN_OR_RETURN(const bool journal, fs::Exists(files_, fs::JoinPath(fs::JoinPath(root_, folder),
                                                                              archive::kJournalName)));
      if (journal) {
        report_.FindUnfinished("PUBLISHED_FOLDER", folder,
                               "its archive operation did not come to its transaction");
      } else {
        report_.Find("UNREFERENCED_FOLDER", folder, "no session of the database has this folder");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckArchive(metadata::Database& database, fs::FileSystem& files,
                          const std::string& archive_root, const ArchiveCheckOptions& options,
                          Report& report) {
  return ArchiveCheck(database, files, archive_root, options, report).Run();
}

absl::Status CheckSession(metadata::Database& database, fs::FileSystem& files,
                          const std::string& archive_root, const metadata::Session& session,
                          const ArchiveCheckOptions& options, Report& report) {
  ArchiveCheck check(database, files, archive_root, options, report);
  NX_RETURN_IF_ERROR(check.FindPending());
  return check.CheckSession(session);
}

}  // namespace narthex::verify
