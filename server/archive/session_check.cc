#include "server/archive/session_check.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "base/crash_point.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "imaging/dicom/header_scanner.h"
#include "server/archive/session_resources.h"
#include "storage/archive/layout.h"
#include "storage/verify/archive_check.h"

namespace narthex::archiving {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
// A session that is being changed is looked at again so often, so much later.
constexpr int kLooksMax = 30;  // fixed: tries
constexpr absl::Duration kLookAgain = absl::Milliseconds(100);

bool IsCatalog(const CheckFinding& finding) { return absl::StartsWith(finding.kind, "CATALOG_"); }
bool IsCount(const CheckFinding& finding) { return absl::EndsWith(finding.kind, "_COUNT"); }
bool IsDocument(const CheckFinding& finding) { return finding.kind == "DOCUMENT_DIFFERS"; }
bool IsUnknown(const CheckFinding& finding) { return finding.kind == "UNREFERENCED_FILE"; }

// "SCANS/4/NIFTI/x" and "RESOURCES/NOTES/x" name their resource.
bool ResourceOfPath(const std::string& path, metadata::ResourceKey* key) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  if (std::any_of(parts.begin(), parts.end(),
                  [](const std::string& part) { return archive::SanitizeComponent(part) != part; })) {
    return false;
  }
  if (parts.size() >= 4 && parts[0] == "SCANS") {
    *key = {parts[1], parts[2]};
    return true;
  }
  if (parts.size() >= 3 && parts[0] == "RESOURCES") {
    *key = {"", parts[1]};
    return true;
  }
  return false;
}

}  // namespace

struct SessionCheck::Repair {
  std::map<metadata::ResourceKey, metadata::Resource> resources;  // whose catalog is written anew
  std::vector<metadata::File> adopted;
};

absl::StatusOr<CheckResult> SessionCheck::Run(const std::string& accession_id, const CheckOptions& options,
                                              const metadata::Change& change) {
  NX_ASSIGN_OR_RETURN(CheckResult result, LookAtRest(accession_id, options));
  const bool any = std::any_of(result.findings.begin(), result.findings.end(), [&](const CheckFinding& f) {
    return IsCatalog(f) || IsCount(f) || IsDocument(f) || (options.adopt && IsUnknown(f));
  });
  if (options.repair && any) NX_RETURN_IF_ERROR(PutRight(accession_id, options, change, result));
  return result;
}

// Rows and files that are being changed disagree for a moment: what was found then counts for nothing.
absl::StatusOr<CheckResult> SessionCheck::LookAtRest(const std::string& accession_id,
                                                     const CheckOptions& options) {
  const auto version = [&]() -> absl::StatusOr<std::string> {
    NX_ASSIGN_OR_RETURN(
        const metadata::Session session,
        with_.database.session_reader().Get(accession_id, metadata::Visibility::All(/*deleted=*/true)));
    return session.etag;
  };
  absl::Status changing;
  for (int attempt = 0; attempt < kLooksMax; ++attempt) {
    if (attempt > 0) absl::SleepFor(kLookAgain);
    NX_ASSIGN_OR_RETURN(const std::string before, version());
    NX_ASSIGN_OR_RETURN(CheckResult result, Look(accession_id, options));
    if (result.findings.empty()) return result;
    NX_ASSIGN_OR_RETURN(const auto holds, with_.database.holds().ListHolds());
    const auto held = std::find_if(holds.begin(), holds.end(), [&](const metadata::SessionHold& hold) {
      return hold.session == accession_id;
    });
    NX_ASSIGN_OR_RETURN(const std::string after, version());
    if (held == holds.end() && after == before) return result;
    changing = held != holds.end() ? metadata::SessionHeld(*held)
                                   : Error(absl::StatusCode::kAborted, "SESSION_BUSY",
                                           "the session is changed again and again; check it later",
                                           {{"session", accession_id}});
  }
  return changing;
}

absl::StatusOr<CheckResult> SessionCheck::Look(const std::string& accession_id, const CheckOptions& options) {
  NX_ASSIGN_OR_RETURN(const SessionContents contents,
                      ReadContents(with_.database.session_reader(), accession_id));
  if (contents.session.purge_state != metadata::PurgeState::kNone) {
    return FailedPrecondition("SESSION_PURGED",
                              absl::StrCat("the files of session ", accession_id, " were purged"),
                              {{"session", accession_id}});
  }
  PausePoint("check.read");
  verify::Report report;
  verify::ArchiveCheckOptions check;
  check.digests = !options.sizes_only;
  NX_RETURN_IF_ERROR(verify::CheckSession(with_.database, with_.file_system, with_.archive_root,
                                          contents.session, check, report));
  CheckResult result;
  result.file_count = static_cast<int64_t>(report.archived_file_count);
  result.size_bytes = static_cast<int64_t>(report.archived_bytes);
  for (const verify::Report::Finding& finding : report.findings) {
    result.findings.push_back({finding.kind, finding.where, finding.what, false});
  }
  const auto agrees = DocumentAgrees(contents, types_);
  if (!agrees.ok()) {
    result.findings.push_back({"DOCUMENT_INVALID", accession_id, std::string(agrees.status().message())});
  } else if (!*agrees) {
    result.findings.push_back(
        {"DOCUMENT_DIFFERS", accession_id, "the document says something else than the rows"});
  }
  return result;
}

absl::Status SessionCheck::PutRight(const std::string& accession_id, const CheckOptions& options,
                                    const metadata::Change& change, CheckResult& result) {
  FileWork work(with_, absl::StrCat(kFileWorkPrefix, NewRandomId()));
  NX_RETURN_IF_ERROR(work.Open(accession_id));
  NX_RETURN_IF_ERROR(work.Hold());
  Repair repair;
  const std::string prefix = absl::StrCat(work.contents().session.folder, "/");
  for (CheckFinding& finding : result.findings) {
    if (IsUnknown(finding) && options.adopt) NX_RETURN_IF_ERROR(Adopt(work, finding, repair));
    if (!IsCatalog(finding)) continue;
    for (const metadata::Resource& resource : work.contents().resources) {
      if (absl::StrCat(prefix, resource.catalog_path) != finding.place) continue;
      repair.resources[{resource.scan_id, resource.label}] = resource;
      finding.repaired = true;
    }
  }
  for (auto& [key, resource] : repair.resources) {
    NX_ASSIGN_OR_RETURN(std::vector<metadata::File> files, work.FilesOf(key));
    for (const metadata::File& file : repair.adopted) {
      if (file.scan_id == key.scan_id && file.resource == key.label) files.push_back(file);
    }
    resource.file_count = static_cast<int64_t>(files.size());
    resource.size_bytes = 0;
    for (const metadata::File& file : files) resource.size_bytes += file.size_bytes;
    NX_RETURN_IF_ERROR(work.WriteCatalog(resource, files, change));
  }
  const auto edit = [&](const SessionContents&, metadata::SessionUpdate& update) {
    update.action = "REPAIR";
    update.recount = true;
    update.files = repair.adopted;
    int catalogs = 0;
    for (const auto& [key, resource] : repair.resources) {
      update.resources.push_back(resource);
      ++catalogs;
    }
    update.after["repair.catalogs"] = absl::StrCat(catalogs);
    update.after["repair.adopted_files"] = absl::StrCat(repair.adopted.size());
    return absl::OkStatus();
  };
  NX_RETURN_IF_ERROR(work.Commit(changes_, change, edit).status());
  for (CheckFinding& finding : result.findings) finding.repaired |= IsCount(finding) || IsDocument(finding);
  return absl::OkStatus();
}

// A file whose place names a resource becomes part of it.
absl::Status SessionCheck::Adopt(FileWork& work, CheckFinding& finding, Repair& repair) {
  const SessionContents& contents = work.contents();
  const std::string path = finding.place.substr(contents.session.folder.size() + 1);
  metadata::ResourceKey key;
  if (!ResourceOfPath(path, &key)) return absl::OkStatus();
  const bool known_scan =
      key.scan_id.empty() || std::any_of(contents.scans.begin(), contents.scans.end(),
                                         [&](const metadata::Scan& scan) { return scan.id == key.scan_id; });
  if (!known_scan) return absl::OkStatus();
  const metadata::Resource resource = ResourceOf(contents, {contents.session.accession_id, key, "", ""});
  // A catalog of a resource that nobody knows: it is written anew if the resource gets files.
  if (path == resource.catalog_path) return absl::OkStatus();
  auto file = ReadFile(work.Place(path), resource.format == "DICOM");
  if (absl::IsInvalidArgument(file.status())) return absl::OkStatus();  // no image among images
  NX_RETURN_IF_ERROR(file.status());
  file->path = path;
  file->scan_id = key.scan_id;
  file->resource = key.label;
  file->format = resource.format;
  repair.adopted.push_back(*std::move(file));
  repair.resources[key] = resource;
  finding.repaired = true;
  return absl::OkStatus();
}

absl::StatusOr<metadata::File> SessionCheck::ReadFile(const std::string& place, bool dicom) {
  NX_ASSIGN_OR_RETURN(const auto bytes, with_.file_system.Open(place, {}));
  metadata::File file;
  dicom::ScanOptions scan;
  scan.origin = Origin::kStored;
  dicom::HeaderScanner scanner(scan);
  bool scanning = dicom;
  CryptoHasher sha256 = CryptoHasher::Sha256(), md5 = CryptoHasher::Md5();
  Xxh3Hasher xxh3;
  std::string piece(kPieceBytes, '\0');
  for (uint64_t offset = 0;;) {
    NX_ASSIGN_OR_RETURN(const size_t length, bytes->ReadAt(offset, piece.data(), piece.size()));
    if (length == 0) break;
    offset += length;
    file.size_bytes = static_cast<int64_t>(offset);
    const absl::string_view read(piece.data(), length);
    sha256.Update(read);
    md5.Update(read);
    xxh3.Update(read);
    if (!scanning) continue;
    NX_ASSIGN_OR_RETURN(const dicom::ScanState state, scanner.Feed(read));
    scanning = state == dicom::ScanState::kNeedMore;
  }
  if (dicom) {
    NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, scanner.Finish());
    file.instance_uid = std::string(facts.sop_instance_uid());
    file.sop_class_uid = std::string(facts.sop_class_uid());
  }
  file.sha256 = sha256.Finish();
  file.md5 = md5.Finish();
  file.xxh3_stored = xxh3.Finish();
  return file;
}

}  // namespace narthex::archiving
