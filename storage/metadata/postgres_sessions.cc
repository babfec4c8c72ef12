// Changes of archived sessions in PostgreSQL.
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/mutation.h"
#include "storage/metadata/names.h"
#include "storage/metadata/postgres_stores.h"
#include "storage/metadata/session_change_sql.h"
#include "storage/metadata/session_rows.h"

namespace narthex::metadata {
namespace {

using More = absl::StatusOr<std::vector<Statement>>;

absl::Status SessionNotFound(absl::string_view ref) {
  return NotFound("SESSION_NOT_FOUND",
                  absl::StrCat("there is no session ", ref, "; `narthex session search` lists them"),
                  {{"session", std::string(ref)}});
}

void Append(std::vector<Statement>& all, std::vector<Statement> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

std::string Counts(const Session& session, size_t scans, size_t files) {
  return JsonObject(
      {{"label", session.label}, {"scans", absl::StrCat(scans)}, {"files", absl::StrCat(files)}});
}

// Answers have the three ids; those of merges the counts, too.
CommittedSession ToCommitted(const MutationResult& result) {
  const std::vector<std::string>& a = result.answer;
  if (a.size() != 3 && a.size() != 6) return {};
  CommittedSession committed{a[0], a[1], a[2], result.outcome == CommitOutcome::kRepeated};
  if (a.size() == 3) return committed;
  committed.merged = absl::SimpleAtoi(a[3], &committed.counts.added) &&
                     absl::SimpleAtoi(a[4], &committed.counts.replaced) &&
                     absl::SimpleAtoi(a[5], &committed.counts.kept);
  return committed;
}

std::string MergeDetails(const Session& session, const SessionAddition& addition) {
  return JsonObject({{"label", session.label},
                     {"scans", absl::StrCat(addition.scans.size())},
                     {"added", absl::StrCat(addition.counts.added)},
                     {"replaced", absl::StrCat(addition.counts.replaced)},
                     {"kept", absl::StrCat(addition.counts.kept)}});
}

class PostgresSessionStore : public SessionStore {
 public:
  PostgresSessionStore(Pool& pool, std::string site_id) : pool_(pool), site_id_(std::move(site_id)) {}

  absl::StatusOr<Reservation> Reserve(absl::string_view project, absl::string_view subject,
                                      absl::string_view request_id) override {
    if (request_id.empty())
      return InvalidArgument("REQUEST_ID_MISSING", "reserving an accession id needs a request id", {});
    if (!IsLabel(subject))
      return InvalidArgument("SUBJECT_LABEL_INVALID", "a label is 1 to 64 of letters, digits and _ . -", {});
    Statement reserve("SELECT session_id, uid, subject_id FROM reserve_session($1, $2, $3, $4)");
    reserve.Text(site_id_).Text(project).Text(subject).Text(request_id);
    // The same call gives the same ids, so it may be repeated.
    absl::StatusOr<Rows> rows = pool_.Read(reserve);
    if (ErrorReason(rows.status()) == "PROJECT_NOT_FOUND") return ProjectNotFound(project);
    NX_RETURN_IF_ERROR(rows.status());
    return Reservation{rows->Text(0, 0), rows->Text(0, 1), rows->Text(0, 2)};
  }

  absl::StatusOr<CommittedSession> Commit(const NewSession& added, const Change& change) override {
    if (change.request_id.empty())
      return InvalidArgument("REQUEST_ID_MISSING", "committing a session needs a request id", {});
    NX_RETURN_IF_ERROR(CheckSession(added.session));
    NX_RETURN_IF_ERROR(CheckContents(added.scans, added.resources, added.files));
    Session session = added.session;
    if (session.accession_id.empty()) {
      NX_ASSIGN_OR_RETURN(Reservation reserved, Reserve(session.project, session.subject, change.request_id));
      session.accession_id = reserved.accession_id;
      session.uid = reserved.uid;
      session.subject_id = reserved.subject_id;
    }
    Mutation mutation{.method = "CommitSession", .change = change, .project = session.project};
    mutation.action = "SESSION_CREATE";
    mutation.object = session.accession_id;
    mutation.details_json = Counts(session, added.scans.size(), added.files.size());
    mutation.answer = {session.accession_id, session.uid, session.subject_id};
    mutation.first = CommitStatements(session, added, change);
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (Violates(result.status(), "sessions_label")) return LabelTaken(session.project, session.label);
    if (Violates(result.status(), "sessions_project_id_fkey")) return ProjectNotFound(session.project);
    NX_RETURN_IF_ERROR(result.status());
    return ToCommitted(*result);
  }

  absl::StatusOr<CommittedSession> Merge(const SessionAddition& addition, const Change& change) override {
    if (change.request_id.empty())
      return InvalidArgument("REQUEST_ID_MISSING", "merging a session needs a request id", {});
    NX_RETURN_IF_ERROR(CheckContents(addition.scans, addition.resources, addition.files));
    Mutation mutation{.method = "MergeSession", .change = change};
    mutation.first = {Lock(addition.accession_id), NextFileNumber(addition.accession_id)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation& self) -> More {
      NX_ASSIGN_OR_RETURN(const Session session, Locked(rows[0], addition.accession_id, addition.etag));
      NX_RETURN_IF_ERROR(CheckChangeable(session));
      self.project = session.project;
      self.action = "SESSION_MERGE";
      self.object = session.accession_id;
      self.details_json = MergeDetails(session, addition);
      self.answer = {session.accession_id,
                     session.uid,
                     session.subject_id,
                     absl::StrCat(addition.counts.added),
                     absl::StrCat(addition.counts.replaced),
                     absl::StrCat(addition.counts.kept)};
      return MergeStatements(session, rows[0].Text(0, kSessionColumnCount), rows[1].Int(0, 0), addition,
                             change);
    };
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (Violates(result.status(), "files_path")) return FileExists(addition.accession_id);
    NX_RETURN_IF_ERROR(result.status());
    return ToCommitted(*result);
  }

  absl::StatusOr<std::optional<CommittedSession>> FindRequest(absl::string_view request_id) override {
    Statement find(
        "SELECT answer FROM requests WHERE request_id = $1 AND method IN ('CommitSession', 'MergeSession', "
        "'UpdateSession')");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(find.Text(request_id)));
    if (rows.size() == 0) return std::nullopt;
    return ToCommitted({CommitOutcome::kRepeated, rows.Texts(0, 0), {}});
  }

  absl::StatusOr<std::string> ReserveSubject(absl::string_view project, absl::string_view subject) override {
    if (!IsLabel(subject))
      return InvalidArgument("SUBJECT_LABEL_INVALID", "a label is 1 to 64 of letters, digits and _ . -", {});
    Statement reserve("SELECT subject_for($1, $2, $3, 'RESERVED')");
    absl::StatusOr<Rows> rows = pool_.Read(reserve.Text(site_id_).Text(project).Text(subject));
    if (Violates(rows.status(), "subjects_project_id_fkey")) return ProjectNotFound(project);
    NX_RETURN_IF_ERROR(rows.status());
    return rows->Text(0, 0);
  }

  absl::StatusOr<Session> Update(absl::string_view accession_id, const SessionUpdate& update,
                                 const Change& change) override {
    Session now;
    Mutation mutation{.method = "UpdateSession", .change = change};
    mutation.first = {Lock(accession_id), NextFileNumber(accession_id)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation& self) -> More {
      NX_ASSIGN_OR_RETURN(const Session old, Locked(rows[0], accession_id, update.etag));
      NX_RETURN_IF_ERROR(CheckChangeable(old));
      NX_ASSIGN_OR_RETURN(now, Changed(old, update));
      self.project = now.project;
      self.action = absl::StrCat("SESSION_", update.action);
      self.object = old.accession_id;
      self.answer = {old.accession_id, old.uid, old.subject_id};
      const SessionChange session{old, now, rows[0].Text(0, kSessionColumnCount), rows[1].Int(0, 0),
                                  site_id_};
      std::vector<Statement> all = UpdateStatements(session, update, change);
      if (now.project != old.project) NoteMove(old, self, all);
      return all;
    };
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    if (Violates(status, "sessions_label")) return LabelTaken(now.project, now.label);
    if (Violates(status, "session_shares_label"))
      return LabelTaken(update.share->project, update.share->label);
    if (Violates(status, "session_shares_pkey")) {
      return Error(absl::StatusCode::kAlreadyExists, "SESSION_SHARED",
                   "the session is shared with this project already; unshare it first",
                   {{"session", std::string(accession_id)}});
    }
    if (Violates(status, "files_path")) return FileExists(accession_id);
    if (Violates(status, "session_shares_project_id_fkey")) return ProjectNotFound(update.share->project);
    if (Violates(status, "subjects_project_id_fkey")) return ProjectNotFound(now.project);
    NX_RETURN_IF_ERROR(status);
    return Read(accession_id);
  }

  absl::StatusOr<Session> SetStatus(absl::string_view accession_id, SessionStatus status,
                                    absl::string_view etag, const Change& change) override {
    Session now;
    Mutation mutation{.method = "SetSessionStatus", .change = change};
    mutation.first = {Lock(accession_id)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation& self) -> More {
      NX_ASSIGN_OR_RETURN(const Session old, Locked(rows[0], accession_id, etag));
      if (old.status == status) return std::vector<Statement>();
      now = old;
      now.status = status;
      self.project = old.project;
      self.action = absl::StrCat("SESSION_", status == SessionStatus::kDeleted ? "DELETE" : ToText(status));
      self.object = old.accession_id;
      const SessionChange session{old, now, rows[0].Text(0, kSessionColumnCount), 0, site_id_};
      return StatusStatements(session, "STATUS", change);
    };
    const absl::Status result = Apply(pool_, std::move(mutation)).status();
    if (Violates(result, "sessions_label")) return LabelTaken(now.project, now.label);
    NX_RETURN_IF_ERROR(result);
    return Read(accession_id);
  }

  absl::StatusOr<Session> Restore(absl::string_view accession_id, absl::string_view label,
                                  const std::optional<Phi<std::string>>& document,
                                  const Change& change) override {
    Session now;
    Mutation mutation{.method = "RestoreSession", .change = change};
    Statement status("SELECT restore_status FROM sessions WHERE session_id = $1");
    mutation.first = {Lock(accession_id), std::move(status.Text(accession_id))};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation& self) -> More {
      NX_ASSIGN_OR_RETURN(const Session old, Locked(rows[0], accession_id, ""));
      if (old.status != SessionStatus::kDeleted) return std::vector<Statement>();
      if (old.purge_state != PurgeState::kNone) {
        return FailedPrecondition(
            "SESSION_PURGED",
            absl::StrCat("the files of session ", accession_id, " were purged; it cannot be restored"),
            {{"session", std::string(accession_id)}});
      }
      now = old;
      now.status = ParseSessionStatus(rows[1].View(0, 0));
      if (!label.empty()) now.label = std::string(label);
      NX_RETURN_IF_ERROR(CheckSession(now));
      self.project = old.project;
      self.action = "SESSION_RESTORE";
      self.object = old.accession_id;
      const SessionChange session{old, now, rows[0].Text(0, kSessionColumnCount), 0, site_id_};
      std::vector<Statement> all = StatusStatements(session, "RESTORE", change);
      if (document) all.push_back(InsertDocument(now.project, now.accession_id, Version(old) + 1, *document));
      return all;
    };
    const absl::Status result = Apply(pool_, std::move(mutation)).status();
    if (Violates(result, "sessions_label")) return LabelTaken(now.project, now.label);
    NX_RETURN_IF_ERROR(result);
    return Read(accession_id);
  }

  absl::StatusOr<PurgeRecord> BeginPurge(absl::string_view accession_id, const Change& change) override {
    return Purge(accession_id, "PURGING", change);
  }

  absl::Status EndPurge(absl::string_view accession_id, const Change& change) override {
    return Purge(accession_id, "PURGED", change).status();
  }

 private:
  absl::StatusOr<PurgeRecord> Purge(absl::string_view accession_id, absl::string_view state,
                                    const Change& change) {
    PurgeRecord record;
    Mutation mutation{.method = state == "PURGED" ? "EndPurge" : "BeginPurge", .change = change};
    Statement manifest(
        "SELECT count(*), coalesce(sum(size_bytes), 0), encode(sha256(convert_to(coalesce(string_agg(encode("
        "sha256, 'hex') || '  ' || path, E'\n' ORDER BY path COLLATE \"C\"), ''), 'UTF8')), 'hex') FROM "
        "files "
        "WHERE (project_id, session_id) = (SELECT s.project_id, s.session_id FROM sessions s WHERE "
        "s.session_id "
        "= $1)");
    mutation.first = {Lock(accession_id), std::move(manifest.Text(accession_id))};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation& self) -> More {
      NX_ASSIGN_OR_RETURN(const Session old, Locked(rows[0], accession_id, ""));
      record = {old.purge_state, old.folder, rows[1].Int(0, 0), rows[1].Int(0, 1), rows[1].Text(0, 2)};
      const bool done = state == "PURGED";
      if (old.status != SessionStatus::kDeleted || (done && old.purge_state == PurgeState::kNone)) {
        return FailedPrecondition(
            "SESSION_NOT_DELETED",
            absl::StrCat("session ", accession_id, " is in use; only a deleted session can be purged"),
            {{"session", std::string(accession_id)}});
      }
      if (old.purge_state == (done ? PurgeState::kPurged : PurgeState::kPurging) ||
          old.purge_state == PurgeState::kPurged) {
        return std::vector<Statement>();
      }
      record.state = done ? PurgeState::kPurged : PurgeState::kPurging;
      self.project = old.project;
      self.action = done ? "SESSION_PURGED" : "SESSION_PURGE";
      self.object = old.accession_id;
      self.details_json = JsonObject({{"files", absl::StrCat(record.file_count)},
                                      {"bytes", absl::StrCat(record.size_bytes)},
                                      {"manifest_sha256", record.manifest_sha256}});
      const SessionChange session{old, old, rows[0].Text(0, kSessionColumnCount), 0, site_id_};
      return PurgeStatements(session, state, record, change);
    };
    NX_RETURN_IF_ERROR(Apply(pool_, std::move(mutation)).status());
    return record;
  }

  // A move is an event of both projects. Their chains are locked in one order, so that two opposite moves do
  // not wait for each other.
  static void NoteMove(const Session& old, Mutation& self, std::vector<Statement>& all) {
    self.details_json = JsonObject({{"from", old.project}, {"to", self.project}});
    std::string first = old.project;
    if (first > self.project) std::swap(first, self.project);
    Statement audit("SELECT sequence FROM append_audit($1, $2, $3, $4, $5)");
    audit.Text(first).Text(self.change.user).Text(self.action).Text(self.object);
    all.push_back(std::move(audit.Text(self.details_json)));
  }

  static int64_t Version(const Session& session) {
    int64_t version = 0;
    (void)absl::SimpleAtoi(session.etag, &version);
    return version;
  }

  static absl::Status FileExists(absl::string_view accession_id) {
    return Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS",
                 absl::StrCat("session ", accession_id, " has a file of the same path that is not replaced"),
                 {{"session", std::string(accession_id)}});
  }

  static Statement Lock(absl::string_view accession_id) {
    Statement lock(absl::StrCat("SELECT ", kSessionColumns, ", to_jsonb(s) FROM ", kSessionTables,
                                " WHERE s.session_id = $1 FOR UPDATE OF s"));
    return std::move(lock.Text(accession_id));
  }

  static Statement NextFileNumber(absl::string_view accession_id) {
    Statement next(
        "SELECT coalesce(max(f.file_no), 0) + 1 FROM sessions s JOIN files f USING (project_id, session_id) "
        "WHERE s.session_id = $1");
    return std::move(next.Text(accession_id));
  }

  static absl::StatusOr<Session> Locked(const Rows& rows, absl::string_view accession_id,
                                        absl::string_view etag) {
    if (rows.size() == 0) return SessionNotFound(accession_id);
    Session session = ToSession(rows, 0);
    if (!etag.empty() && session.etag != etag) {
      return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                   absl::StrCat("session ", accession_id, " was changed meanwhile; read it and try again"),
                   {{"session", std::string(accession_id)}});
    }
    return session;
  }

  static absl::Status CheckChangeable(const Session& session) {
    const ErrorMetadata metadata = {{"session", session.accession_id}};
    if (session.status == SessionStatus::kLocked) {
      return FailedPrecondition("SESSION_LOCKED",
                                absl::StrCat("session ", session.accession_id, " is locked; unlock it first"),
                                metadata);
    }
    if (session.status == SessionStatus::kDeleted) {
      return FailedPrecondition(
          "SESSION_DELETED", absl::StrCat("session ", session.accession_id, " is deleted; restore it first"),
          metadata);
    }
    return absl::OkStatus();
  }

  static std::vector<Statement> CommitStatements(const Session& session, const NewSession& added,
                                                 const Change& change) {
    const std::string& project = session.project;
    const std::string& id = session.accession_id;
    std::vector<Statement> all;
    Statement subject(
        "UPDATE subjects SET status = 'ACTIVE' WHERE project_id = $1 AND subject_id = $2 AND status = "
        "'RESERVED'");
    all.push_back(std::move(subject.Text(project).Text(session.subject_id)));
    all.push_back(InsertSession(session));
    if (!added.document.Reveal().empty()) all.push_back(InsertDocument(project, id, 1, added.document));
    if (!added.scans.empty()) all.push_back(UpsertScans(project, id, added.scans));
    if (!added.resources.empty()) all.push_back(UpsertResources(project, id, added.resources));
    Append(all, InsertFiles(project, id, 1, added.files));
    Append(all, CountFiles(project, id));
    all.push_back(InsertHistory(project, id, "CREATE", "", change));
    return all;
  }

  static std::vector<Statement> MergeStatements(const Session& session, const std::string& old_row,
                                                int64_t first_number, const SessionAddition& addition,
                                                const Change& change) {
    const std::string& project = session.project;
    const std::string& id = session.accession_id;
    int64_t version = 0;
    (void)absl::SimpleAtoi(session.etag, &version);
    std::vector<Statement> all;
    if (!addition.removed_paths.empty()) {
      Statement remove("DELETE FROM files WHERE project_id = $1 AND session_id = $2 AND path = ANY($3)");
      all.push_back(std::move(remove.Text(project).Text(id).TextArray(addition.removed_paths)));
    }
    for (const char* table : {"resources", "scans"}) {
      if (addition.removed_scans.empty()) break;
      Statement remove(absl::StrCat("DELETE FROM ", table,
                                    " WHERE project_id = $1 AND session_id = $2 AND scan_id = ANY($3)"));
      all.push_back(std::move(remove.Text(project).Text(id).TextArray(addition.removed_scans)));
    }
    if (!addition.scans.empty()) all.push_back(UpsertScans(project, id, addition.scans));
    if (!addition.resources.empty()) all.push_back(UpsertResources(project, id, addition.resources));
    Append(all, InsertFiles(project, id, first_number, addition.files));
    Append(all, CountFiles(project, id));
    all.push_back(ChangeMerged(project, id, addition));
    if (!addition.document.Reveal().empty())
      all.push_back(InsertDocument(project, id, version + 1, addition.document));
    all.push_back(InsertHistory(project, id, "MERGE", old_row, change));
    return all;
  }

  // Nobody has looked at what came in: where sessions are quarantined, this one is again.
  static Statement ChangeMerged(const std::string& project, const std::string& id,
                                const SessionAddition& addition) {
    Statement change(
        "UPDATE sessions SET version = version + 1, update_time = now(), modality = coalesce($3, modality), "
        "session_type = coalesce($4, session_type), fields = coalesce($7, fields), note = coalesce($8, "
        "note), "
        "status = CASE WHEN status = 'ACTIVE' AND $5 AND ($6 OR "
        "(SELECT "
        "p.quarantine FROM projects p WHERE p.project_id = $1)) THEN 'QUARANTINE' ELSE status END WHERE "
        "project_id "
        "= $1 AND session_id = $2");
    change.Text(project).Text(id).TextOrNull(addition.modality).TextOrNull(addition.session_type);
    change.Bool(!addition.files.empty()).Bool(addition.quarantine);
    addition.fields ? change.Text(JsonObject(*addition.fields)) : change.Null();
    return std::move(addition.note ? change.Text(*addition.note) : change.Null());
  }

  absl::StatusOr<Session> Read(absl::string_view accession_id) {
    Statement select(
        absl::StrCat("SELECT ", kSessionColumns, " FROM ", kSessionTables, " WHERE s.session_id = $1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id)));
    if (rows.size() == 0) return SessionNotFound(accession_id);
    return ToSession(rows, 0);
  }

  absl::Status LabelTaken(absl::string_view project, absl::string_view label) {
    Statement find(
        "SELECT session_id FROM sessions WHERE project_id = $1 AND lower(label) = lower($2) AND status <> "
        "'DELETED' UNION ALL SELECT session_id FROM session_shares WHERE project_id = $1 AND lower(label) = "
        "lower($2)");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(find.Text(project).Text(label)));
    if (rows.size() == 0)
      return Error(absl::StatusCode::kAborted, "TRANSACTION_CONFLICT",
                   "the label was taken for a moment; try again");
    const std::string existing = rows.Text(0, 0);
    return Error(absl::StatusCode::kAlreadyExists, "SESSION_EXISTS",
                 absl::StrCat("project ", project, " has a session of this label, ", existing,
                              ": merge into it, or choose another label"),
                 {{"project", std::string(project)}, {"session", existing}});
  }

  Pool& pool_;
  const std::string site_id_;
};

}  // namespace

std::unique_ptr<SessionStore> NewPostgresSessionStore(Pool& pool, const std::string& site_id) {
  return std::make_unique<PostgresSessionStore>(pool, site_id);
}

}  // namespace narthex::metadata
