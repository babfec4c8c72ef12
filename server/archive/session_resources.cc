#include "server/archive/session_resources.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

// Small files are collected and written many at once.
constexpr int64_t kSmallMaxBytes = 256 << 10;   // fixed: which way a file takes; both are good
constexpr size_t kCollectMaxFiles = 256;        // fixed: when a batch is written
constexpr int64_t kCollectMaxBytes = 16 << 20;  // fixed: when a batch is written

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat(field, ": ", what), {{"field", std::string(field)}});
}

absl::Status CheckResource(const metadata::ResourceKey& key) {
  if (key.label.empty() || key.label.size() > limits::kLabelMaxBytes ||
      archive::SanitizeComponent(key.label) != key.label) {
    return Invalid("resource", "1 to 64 letters, digits, '_', '-' and '.'");
  }
  if (!key.scan_id.empty() && (key.label == "DICOM" || key.label == "secondary")) {
    return FailedPrecondition(
        "RESOURCE_PROTECTED",
        "the images of a scan come through the prearchive and go with their session; choose another resource",
        {{"resource", key.label}});
  }
  return absl::OkStatus();
}

absl::Status CheckScan(const SessionContents& contents, const std::string& scan_id) {
  if (scan_id.empty()) return absl::OkStatus();
  for (const metadata::Scan& scan : contents.scans) {
    if (scan.id == scan_id) return absl::OkStatus();
  }
  return ScanNotFound(contents.session, scan_id);
}

// "sub-01/a b.txt" to "sub-01/a_b.txt": what every file system takes.
absl::StatusOr<std::string> SafeName(absl::string_view name) {
  std::vector<std::string> parts;
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..")
      return Invalid("path", "a relative path without . and ..");
    parts.push_back(archive::SanitizeComponent(part));
  }
  if (parts.size() > limits::kResourceFolderMaxDepth)
    return Invalid("path",
                   absl::StrCat("folders nested deeper than ", limits::kResourceFolderMaxDepth.get()));
  return absl::StrJoin(parts, "/");
}

// Takes the files of a stream into a writer.
class Intake {
 public:
  Intake(FileWork& work, const metadata::ResourceKey& key)
      : work_(work), folder_(archive::ResourceFolder(key.scan_id, key.label)) {
    taken_.insert(
        absl::AsciiStrToLower(absl::StrCat(folder_, "/", archive::CatalogName(key.scan_id, key.label))));
  }

  absl::Status Take(FileStream& stream) {
    IncomingFile file;
    while (true) {
      NX_ASSIGN_OR_RETURN(const bool more, stream.Next(&file));
      if (!more) return Flush();
      if (files_.size() >= limits::kResourceFilesMax) return Invalid("file", "too many files at once");
      NX_ASSIGN_OR_RETURN(const std::string name, SafeName(file.path));
      const std::string path = absl::StrCat(folder_, "/", name);
      if (!taken_.insert(absl::AsciiStrToLower(path)).second) return Exists(name);
      files_.push_back({path, file});
      if (file.size_bytes > kSmallMaxBytes) {
        const archive::FileSource source{
            path, [&stream](const archive::ByteSink& sink) { return stream.Read(sink); }};
        NX_RETURN_IF_ERROR(Named(work_.writer().WriteFiles({source}), name));
        continue;
      }
      auto bytes = std::make_shared<std::string>();
      NX_RETURN_IF_ERROR(stream.Read([&](absl::string_view piece) {
        bytes->append(piece.data(), piece.size());
        return absl::OkStatus();
      }));
      collected_bytes_ += static_cast<int64_t>(bytes->size());
      collected_.push_back({path, [bytes](const archive::ByteSink& sink) { return sink(*bytes); }});
      if (collected_.size() >= kCollectMaxFiles || collected_bytes_ >= kCollectMaxBytes) {
        NX_RETURN_IF_ERROR(Flush());
      }
    }
  }

  // The rows, once everything is written. INVALID_ARGUMENT (DIGEST_MISMATCH).
  absl::StatusOr<std::vector<metadata::File>> Rows(const metadata::ResourceKey& key,
                                                   const std::vector<metadata::File>& there) {
    for (const metadata::File& file : there) {
      // Windows and macOS would take two names for one.
      if (taken_.contains(absl::AsciiStrToLower(file.path))) {
        return Exists(file.path.substr(folder_.size() + 1));
      }
    }
    absl::flat_hash_map<std::string, archive::WrittenFile> written;
    for (archive::WrittenFile& file : work_.writer().files()) written.emplace(file.path, file);
    std::vector<metadata::File> rows;
    for (const auto& [path, incoming] : files_) {
      const archive::WrittenFile& bytes = written.at(path);
      if (!incoming.sha256_hex.empty() &&
          absl::BytesToHexString(bytes.sha256) != absl::AsciiStrToLower(incoming.sha256_hex)) {
        return InvalidArgument("DIGEST_MISMATCH",
                               "the bytes of a file are not those that its SHA-256 announced; send it again",
                               {{"path", path}});
      }
      metadata::File row;
      row.path = path;
      row.scan_id = key.scan_id;
      row.resource = key.label;
      row.size_bytes = static_cast<int64_t>(bytes.size_bytes);
      row.md5 = bytes.md5;
      row.sha256 = bytes.sha256;
      row.xxh3_stored = bytes.xxh3;
      row.format = incoming.format;
      rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  static absl::Status Exists(const std::string& name) {
    return Error(absl::StatusCode::kAlreadyExists, "RESOURCE_FILE_EXISTS",
                 "the resource has a file of this name; remove it first, or choose another name",
                 {{"path", name}});
  }

  static absl::Status Named(const absl::Status& status, const std::string& name) {
    return ErrorReason(status) == "FILE_EXISTS" ? Exists(name) : status;
  }

  absl::Status Flush() {
    const absl::Status written = work_.writer().WriteFiles(collected_);
    collected_.clear();
    collected_bytes_ = 0;
    return Named(written, ErrorMetadataOf(written)["path"]);
  }

  FileWork& work_;
  const std::string folder_;
  std::vector<std::pair<std::string, IncomingFile>> files_;
  absl::flat_hash_set<std::string> taken_;  // in lower case
  std::vector<archive::FileSource> collected_;
  int64_t collected_bytes_ = 0;
};

void Count(metadata::Resource& resource, const std::vector<metadata::File>& files) {
  resource.file_count = static_cast<int64_t>(files.size());
  resource.size_bytes = 0;
  for (const metadata::File& file : files) resource.size_bytes += file.size_bytes;
}

}  // namespace

std::string CountText(int64_t files, int64_t bytes) {
  return absl::StrCat(files, " files, ", bytes, " bytes");
}

std::string ResourceField(const metadata::ResourceKey& key) {
  return absl::StrCat("resources.", key.scan_id, key.scan_id.empty() ? "" : "/", key.label);
}

metadata::Resource ResourceOf(const SessionContents& contents, const SessionResources::Target& target) {
  for (const metadata::Resource& resource : contents.resources) {
    if (resource.scan_id == target.key.scan_id && resource.label == target.key.label) return resource;
  }
  metadata::Resource made;
  made.scan_id = target.key.scan_id;
  made.label = target.key.label;
  made.format = target.format;
  made.content = target.content;
  made.catalog_path = absl::StrCat(archive::ResourceFolder(made.scan_id, made.label), "/",
                                   archive::CatalogName(made.scan_id, made.label));
  return made;
}

absl::StatusOr<SessionResources::Added> SessionResources::Add(const Target& target, FileStream& stream,
                                                              const metadata::Change& change) {
  NX_RETURN_IF_ERROR(CheckResource(target.key));
  FileWork work(with_, absl::StrCat(kFileWorkPrefix, NewRandomId()));
  NX_RETURN_IF_ERROR(work.Open(target.accession_id));
  Intake intake(work, target.key);
  NX_RETURN_IF_ERROR(intake.Take(stream));
  NX_RETURN_IF_ERROR(work.Hold());
  NX_RETURN_IF_ERROR(CheckScan(work.contents(), target.key.scan_id));
  NX_ASSIGN_OR_RETURN(std::vector<metadata::File> all, work.FilesOf(target.key));
  Added added;
  NX_ASSIGN_OR_RETURN(added.files, intake.Rows(target.key, all));
  if (added.files.empty()) return Invalid("file", "no file was sent");
  added.resource = ResourceOf(work.contents(), target);
  const std::string before = CountText(added.resource.file_count, added.resource.size_bytes);
  all.insert(all.end(), added.files.begin(), added.files.end());
  Count(added.resource, all);
  NX_RETURN_IF_ERROR(work.WriteCatalog(added.resource, all, change));
  const auto edit = [&](const SessionContents&, metadata::SessionUpdate& update) {
    update.action = "RESOURCE_ADD";
    update.resources = {added.resource};
    update.files = added.files;
    update.before[ResourceField(target.key)] = before;
    update.after[ResourceField(target.key)] = CountText(added.resource.file_count, added.resource.size_bytes);
    return absl::OkStatus();
  };
  NX_RETURN_IF_ERROR(work.Commit(changes_, change, edit).status());
  return added;
}

absl::StatusOr<int64_t> SessionResources::Remove(const std::string& accession_id,
                                                 const metadata::ResourceKey& key,
                                                 const std::vector<std::string>& names,
                                                 const metadata::Change& change) {
  NX_RETURN_IF_ERROR(CheckResource(key));
  const bool repeatable = archive::SanitizeComponent(change.request_id) == change.request_id &&
                          change.request_id.size() <= 48 && !absl::StrContains(change.request_id, '.');
  const std::string id = absl::StrCat(kFileWorkPrefix, repeatable ? change.request_id : NewRandomId());
  NX_ASSIGN_OR_RETURN(const auto committed, with_.database.sessions().FindRequest(id));
  if (committed) {
    NX_ASSIGN_OR_RETURN(const auto removed,
                        with_.database.session_reader().ListRemovedFiles(accession_id, id));
    return static_cast<int64_t>(removed.size());
  }
  FileWork work(with_, id);
  NX_RETURN_IF_ERROR(work.Open(accession_id));
  NX_RETURN_IF_ERROR(work.Hold());
  NX_ASSIGN_OR_RETURN(const std::vector<metadata::File> all, work.FilesOf(key));
  metadata::Resource resource = ResourceOf(work.contents(), {accession_id, key, "", ""});
  const std::string folder = fs::ParentPath(resource.catalog_path);
  std::set<std::string> wanted(names.begin(), names.end());
  std::vector<metadata::File> rest;
  std::vector<metadata::RemovedFile> removed;
  for (const metadata::File& file : all) {
    if (!names.empty() && wanted.erase(file.path.substr(folder.size() + 1)) == 0) {
      rest.push_back(file);
      continue;
    }
    NX_ASSIGN_OR_RETURN(metadata::RemovedFile taken, work.TakeOut(file.path));
    removed.push_back(std::move(taken));
  }
  const bool known = std::any_of(
      work.contents().resources.begin(), work.contents().resources.end(),
      [&](const metadata::Resource& row) { return row.scan_id == key.scan_id && row.label == key.label; });
  if (!known || !wanted.empty()) {
    return NotFound("RESOURCE_NOT_FOUND",
                    absl::StrCat("session ", accession_id, " has no such resource, or no such file in it; ",
                                 "`narthex session files` lists them"),
                    {{"session", accession_id}, {"resource", key.label}});
  }
  const std::string before = CountText(resource.file_count, resource.size_bytes);
  Count(resource, rest);
  if (rest.empty()) {
    NX_RETURN_IF_ERROR(work.writer().Supersede({resource.catalog_path}));
  } else {
    NX_RETURN_IF_ERROR(work.WriteCatalog(resource, rest, change));
  }
  const auto edit = [&](const SessionContents&, metadata::SessionUpdate& update) {
    update.action = "RESOURCE_REMOVE";
    update.removed_files = removed;
    if (rest.empty()) {
      update.removed_resources = {key};
    } else {
      update.resources = {resource};
    }
    update.before[ResourceField(key)] = before;
    update.after[ResourceField(key)] =
        rest.empty() ? "" : CountText(resource.file_count, resource.size_bytes);
    return absl::OkStatus();
  };
  NX_RETURN_IF_ERROR(work.Commit(changes_, change, edit).status());
  return static_cast<int64_t>(removed.size());
}

}  // namespace narthex::archiving
