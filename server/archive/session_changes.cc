#include "server/archive/session_changes.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "storage/archive/in_place.h"

namespace narthex::archiving {
namespace {

constexpr int kAttempts = 8;
constexpr char kPurpose[] = "purge";  // of the hold

template <typename Row, typename Same>
void PutRow(std::vector<Row>& rows, const Row& row, const Same& same) {
  const auto found = std::find_if(rows.begin(), rows.end(), same);
  if (found == rows.end()) {
    rows.push_back(row);
  } else {
    *found = row;
  }
}

}  // namespace

SessionContents Applied(const SessionContents& now, const metadata::SessionUpdate& update) {
  SessionContents after = now;
  metadata::Session& session = after.session;
  if (update.document) after.document = *update.document;
  if (update.described) session.session_date = update.described->session_date;
  if (update.project) session.project = *update.project;
  if (update.label) session.label = *update.label;
  if (update.subject) session.subject = *update.subject;
  if (update.session_date) session.session_date = *update.session_date;
  if (update.fields) session.fields = *update.fields;
  if (update.note) session.note = *update.note;
  std::vector<metadata::Share> shares;
  for (const metadata::Share& share : session.shares) {
    if (share.project != session.project && share.project != update.unshare) shares.push_back(share);
  }
  if (update.share) shares.push_back(*update.share);
  std::sort(shares.begin(), shares.end(),
            [](const metadata::Share& a, const metadata::Share& b) { return a.project < b.project; });
  session.shares = std::move(shares);
  for (const metadata::Scan& scan : update.scans) {
    PutRow(after.scans, scan, [&](const metadata::Scan& row) { return row.id == scan.id; });
  }
  for (const metadata::Resource& resource : update.resources) {
    PutRow(after.resources, resource, [&](const metadata::Resource& row) {
      return row.scan_id == resource.scan_id && row.label == resource.label;
    });
  }
  for (const metadata::ResourceKey& key : update.removed_resources) {
    after.resources.erase(std::remove_if(after.resources.begin(), after.resources.end(),
                                         [&](const metadata::Resource& row) {
                                           return row.scan_id == key.scan_id && row.label == key.label;
                                         }),
                          after.resources.end());
  }
  return after;
}

absl::StatusOr<metadata::Session> SessionChanges::Update(const std::string& accession_id,
                                                         absl::string_view etag,
                                                         const metadata::Change& change, const Edit& edit) {
  for (int attempt = 1;; ++attempt) {
    NX_ASSIGN_OR_RETURN(const SessionContents now,
                        ReadContents(with_.database.session_reader(), accession_id));
    metadata::SessionUpdate update;
    NX_RETURN_IF_ERROR(edit(now, update));
    SessionContents after = Applied(now, update);
    if (after.session.project != now.session.project || after.session.subject != now.session.subject) {
      NX_ASSIGN_OR_RETURN(after.session.subject_id, with_.database.sessions().ReserveSubject(
                                                        after.session.project, after.session.subject));
    }
    NX_ASSIGN_OR_RETURN(update.document, UpdatedDocument(after, with_.types));
    update.etag = etag.empty() ? now.session.etag : std::string(etag);
    auto updated = with_.database.sessions().Update(accession_id, update, change);
    const bool beaten = etag.empty() && ErrorReason(updated.status()) == "ETAG_MISMATCH";
    if (!beaten || attempt == kAttempts) return updated;
  }
}

absl::StatusOr<metadata::Session> SessionChanges::Restore(const std::string& accession_id,
                                                          const std::string& label,
                                                          const metadata::Change& change) {
  std::optional<Phi<std::string>> document;
  if (!label.empty()) {
    NX_ASSIGN_OR_RETURN(SessionContents contents,
                        ReadContents(with_.database.session_reader(), accession_id));
    contents.session.label = label;
    NX_ASSIGN_OR_RETURN(document, UpdatedDocument(contents, with_.types));
  }
  return with_.database.sessions().Restore(accession_id, label, document, change);
}

absl::StatusOr<metadata::PurgeRecord> SessionChanges::Purge(const std::string& accession_id,
                                                            const metadata::Change& change) {
  // Whoever else works on the files comes to an end first; the mark keeps everybody away afterwards.
  const std::string holder = absl::StrCat("purge-", NewRandomId());
  NX_RETURN_IF_ERROR(with_.database.holds().Hold(accession_id, holder, kPurpose));
  auto record = with_.database.sessions().BeginPurge(accession_id, change);
  const absl::Status released = with_.database.holds().Release(holder);
  NX_RETURN_IF_ERROR(record.status());
  NX_RETURN_IF_ERROR(released);
  if (record->state == metadata::PurgeState::kPurged) return record;
  const archive::InPlaceChange in_place;
  NX_RETURN_IF_ERROR(RemoveFiles(accession_id, *record));
  metadata::Change end = change;
  end.request_id.clear();
  NX_RETURN_IF_ERROR(with_.database.sessions().EndPurge(accession_id, end));
  Metrics::Global().Count("sessions_purged_total", "Sessions whose files were removed for good.");
  Log(LogLevel::kInfo, "session purged",
      {{"session", accession_id}, {"files", record->file_count}, {"bytes", record->size_bytes}});
  return record;
}

absl::Status SessionChanges::RemoveFiles(const std::string& accession_id,
                                         const metadata::PurgeRecord& record) {
  if (record.folder.empty()) return absl::OkStatus();
  const std::string folder = fs::JoinPath(with_.archive_root, record.folder);
  NX_RETURN_IF_ERROR(Annotate(with_.file_system.RemoveTree(folder), accession_id));
  const absl::Status synced = with_.file_system.SyncDirectory(fs::ParentPath(folder));
  return absl::IsNotFound(synced) ? absl::OkStatus() : synced;
}

absl::Status SessionChanges::ResumePurges() {
  NX_ASSIGN_OR_RETURN(const std::vector<metadata::SessionHold> holds, with_.database.holds().ListHolds());
  for (const metadata::SessionHold& hold : holds) {
    if (hold.purpose == kPurpose) NX_RETURN_IF_ERROR(with_.database.holds().Release(hold.holder));
  }
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> ids, with_.database.session_reader().ListPurging());
  for (const std::string& id : ids) {
    const auto purged = Purge(id, {.user = "system", .note = "goes on after an interruption"});
    if (!purged.ok()) {
      Log(LogLevel::kError, "purge not finished", {{"session", id}, {"error", purged.status()}});
    }
  }
  return absl::OkStatus();
}

}  // namespace narthex::archiving
