#include "storage/metadata/session_change_sql.h"

#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/names.h"
#include "storage/metadata/postgres_stores.h"
#include "storage/metadata/session_rows.h"

namespace narthex::metadata {
namespace {

void Append(std::vector<Statement>& all, std::vector<Statement> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

int64_t NextVersion(const Session& old) {
  int64_t version = 0;
  (void)absl::SimpleAtoi(old.etag, &version);
  return version + 1;
}

// The subject exists and is visible afterwards.
void ShowSubject(const SessionChange& session, std::vector<Statement>& all) {
  const Session& now = session.now;
  // Nobody may rename it before the session has it.
  Statement keep(kSubjectLabelsKeep);
  all.push_back(std::move(keep.Text(now.project)));
  Statement make("SELECT subject_for($1, $2, $3, 'ACTIVE')");
  all.push_back(std::move(make.Text(session.site_id).Text(now.project).Text(now.subject)));
  Statement show(
      "UPDATE subjects SET status = 'ACTIVE' WHERE project_id = $1 AND lower(label) = lower($2) AND status = "
      "'RESERVED'");
  all.push_back(std::move(show.Text(now.project).Text(now.subject)));
}

Statement SetColumns(const SessionChange& session) {
  const Session& now = session.now;
  // By id where it stays: it may be called otherwise since the session was read.
  const bool stays = now.project == session.old.project && now.subject == session.old.subject;
  Statement set(absl::StrCat(
      "UPDATE sessions s SET project_id = $3, label = $4, subject_id = u.subject_id, folder = $6, "
      "session_date = $7, fields = $8, note = $9, study_instance_uid = $10, modality = $11, session_type = "
      "$12, "
      "session_time = $13, scanner = $14, scanner_manufacturer = $15, scanner_model = $16, acquisition_site "
      "= "
      "$17, description = $18, version = s.version + 1, update_time = now() FROM subjects u WHERE "
      "s.project_id = $1 AND s.session_id = $2 AND u.project_id = $3 AND ",
      stays ? "u.subject_id = $5" : "lower(u.label) = lower($5)"));
  set.Text(session.old.project).Text(now.accession_id).Text(now.project).Text(now.label);
  set.Text(stays ? session.old.subject_id : now.subject);
  set.Text(now.folder).TextOrNull(now.session_date).Text(JsonObject(now.fields)).Text(now.note);
  set.Text(now.study_instance_uid).Text(now.modality).Text(now.session_type).TextOrNull(now.session_time);
  set.Text(now.scanner).Text(now.scanner_manufacturer).Text(now.scanner_model).Text(now.acquisition_site);
  return std::move(set.Text(now.description));
}

// Files have no foreign key that would take them along.
void MoveFiles(const SessionChange& session, std::vector<Statement>& all) {
  Statement move("UPDATE files SET project_id = $3 WHERE project_id = $1 AND session_id = $2");
  move.Text(session.old.project).Text(session.now.accession_id).Text(session.now.project);
  all.push_back(std::move(move));
}

void TakeOut(const SessionChange& session, const SessionUpdate& update, const Change& change,
             std::vector<Statement>& all) {
  const std::string& project = session.now.project;
  const std::string& id = session.now.accession_id;
  if (!update.removed_files.empty()) {
    std::vector<std::string> paths, stored;
    for (const RemovedFile& file : update.removed_files) {
      paths.push_back(file.path);
      stored.push_back(file.stored_path);
    }
    Statement keep(
        "INSERT INTO removed_files (project_id, session_id, number, path, stored_path, scan_id, resource, "
        "size_bytes, sha256, request_id) SELECT $1, $2, $3, f.path, t.stored, f.scan_id, f.resource, "
        "f.size_bytes, f.sha256, $6 FROM files f JOIN unnest($4::text[], $5::text[]) AS t(path, stored) ON "
        "t.path = f.path WHERE f.project_id = $1 AND f.session_id = $2");
    keep.Text(project).Text(id).Int(NextVersion(session.old)).TextArray(paths).TextArray(stored);
    all.push_back(std::move(keep.Text(change.request_id)));
    Statement remove("DELETE FROM files WHERE project_id = $1 AND session_id = $2 AND path = ANY($3)");
    all.push_back(std::move(remove.Text(project).Text(id).TextArray(paths)));
  }
  if (!update.superseded_paths.empty()) {
    Statement remove("DELETE FROM files WHERE project_id = $1 AND session_id = $2 AND path = ANY($3)");
    all.push_back(std::move(remove.Text(project).Text(id).TextArray(update.superseded_paths)));
  }
  for (const ResourceKey& key : update.removed_resources) {
    Statement remove(
        "DELETE FROM resources WHERE project_id = $1 AND session_id = $2 AND scan_id = $3 AND label = $4");
    all.push_back(std::move(remove.Text(project).Text(id).Text(key.scan_id).Text(key.label)));
  }
}

void ChangeShares(const SessionChange& session, const SessionUpdate& update, const Change& change,
                  std::vector<Statement>& all) {
  if (update.unshare) {
    Statement remove("DELETE FROM session_shares WHERE project_id = $1 AND session_id = $2");
    all.push_back(std::move(remove.Text(*update.unshare).Text(session.now.accession_id)));
  }
  if (!update.share) return;
  Statement add(
      "INSERT INTO session_shares (project_id, session_id, label, owner_project_id, user_name) VALUES ($1, "
      "$2, "
      "$3, $4, $5)");
  add.Text(update.share->project).Text(session.now.accession_id).Text(update.share->label);
  all.push_back(std::move(add.Text(session.now.project).Text(change.user)));
}

}  // namespace

void Describe(const Session& described, Session& session) {
  for (auto field :
       {&Session::study_instance_uid, &Session::modality, &Session::session_type, &Session::session_date,
        &Session::session_time, &Session::scanner, &Session::scanner_manufacturer, &Session::scanner_model,
        &Session::acquisition_site, &Session::description}) {
    session.*field = described.*field;
  }
}

absl::StatusOr<Session> Changed(const Session& old, const SessionUpdate& update) {
  Session now = old;
  if (update.described) Describe(*update.described, now);
  if (update.project) now.project = *update.project;
  if (update.label) now.label = *update.label;
  if (update.subject) now.subject = *update.subject;
  if (update.folder) now.folder = *update.folder;
  if (update.session_date) now.session_date = *update.session_date;
  if (update.fields) now.fields = *update.fields;
  if (update.note) now.note = *update.note;
  NX_RETURN_IF_ERROR(CheckSession(now));
  NX_RETURN_IF_ERROR(CheckContents(update.scans, update.resources, update.files));
  return now;
}

std::vector<Statement> UpdateStatements(const SessionChange& session, const SessionUpdate& update,
                                        const Change& change) {
  const Session& old = session.old;
  const Session& now = session.now;
  const std::string& id = now.accession_id;
  std::vector<Statement> all;
  const bool moves = now.project != old.project;
  if (moves || now.subject != old.subject) ShowSubject(session, all);
  if (moves) {
    // It would be the project's own and a shared one.
    Statement unshare("DELETE FROM session_shares WHERE project_id = $1 AND session_id = $2");
    all.push_back(std::move(unshare.Text(now.project).Text(id)));
  }
  all.push_back(SetColumns(session));
  if (moves) MoveFiles(session, all);
  TakeOut(session, update, change, all);
  if (!update.scans.empty()) all.push_back(UpsertScans(now.project, id, update.scans));
  if (!update.resources.empty()) all.push_back(UpsertResources(now.project, id, update.resources));
  Append(all, InsertFiles(now.project, id, session.first_file_number, update.files));
  if (update.recount || !update.files.empty() || !update.removed_files.empty() ||
      !update.superseded_paths.empty() || !update.removed_resources.empty()) {
    Append(all, CountFiles(now.project, id));
  }
  ChangeShares(session, update, change, all);
  if (update.described) {
    Statement forget("DELETE FROM session_documents WHERE project_id = $1 AND session_id = $2");
    all.push_back(std::move(forget.Text(now.project).Text(id)));
  }
  if (update.document) all.push_back(InsertDocument(now.project, id, NextVersion(old), *update.document));
  HistoryDetails details{update.before, update.after};
  if (now.subject != old.subject) {
    details.before["subject"] = old.subject;
    details.after["subject"] = now.subject;
  }
  all.push_back(InsertHistory(now.project, id, update.action, session.old_row, change, details));
  if (update.described) {
    Statement forget("SELECT forget_history($1, $2)");
    all.push_back(std::move(forget.Text(now.project).Text(id)));
  }
  return all;
}

std::vector<Statement> StatusStatements(const SessionChange& session, absl::string_view action,
                                        const Change& change) {
  const Session& old = session.old;
  const Session& now = session.now;
  Statement set(
      "UPDATE sessions SET restore_status = CASE WHEN $3 = 'DELETED' THEN status ELSE restore_status END, "
      "status = $3, label = $4, version = version + 1, update_time = now() WHERE project_id = $1 AND "
      "session_id = $2");
  set.Text(old.project).Text(old.accession_id).Text(ToText(now.status)).Text(now.label);
  return {std::move(set), InsertHistory(old.project, old.accession_id, action, session.old_row, change)};
}

std::vector<Statement> PurgeStatements(const SessionChange& session, absl::string_view state,
                                       const PurgeRecord& record, const Change& change) {
  const Session& old = session.old;
  Statement set(
      "UPDATE sessions SET purge_state = $3, version = version + 1, update_time = now() WHERE project_id = "
      "$1 "
      "AND session_id = $2");
  HistoryDetails details;
  details.before = {{"purge.files", absl::StrCat(record.file_count)},
                    {"purge.size_bytes", absl::StrCat(record.size_bytes)},
                    {"purge.manifest_sha256", record.manifest_sha256}};
  const bool done = state == "PURGED";
  if (done) details.after = {{"purge.files", "0"}, {"purge.size_bytes", "0"}};
  if (!done) details.after = details.before;
  return {std::move(set.Text(old.project).Text(old.accession_id).Text(state)),
          InsertHistory(old.project, old.accession_id, done ? "PURGE" : "PURGE_BEGIN", session.old_row,
                        change, details)};
}

}  // namespace narthex::metadata
