// Subjects in PostgreSQL.
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/mutation.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {
namespace {

constexpr char kSubjectColumns[] =
    "u.subject_id, u.uid, u.project_id, u.label, (SELECT count(*) FROM sessions s WHERE s.project_id = "
    "u.project_id AND "
    "s.subject_id = u.subject_id AND s.status <> 'DELETED'), unix_us(u.create_time), u.fields, "
    "unix_us(u.update_time), u.version";

Subject ToSubject(const Rows& rows, int row) {
  Subject subject;
  subject.id = rows.Text(row, 0);
  subject.uid = rows.Text(row, 1);
  subject.project = rows.Text(row, 2);
  subject.label = rows.Text(row, 3);
  subject.session_count = rows.Int(row, 4);
  subject.create_time = rows.Time(row, 5);
  subject.fields = ParseJsonObject(rows.View(row, 6));
  subject.update_time = rows.Time(row, 7);
  subject.etag = rows.Text(row, 8);
  return subject;
}

absl::Status LabelInvalid() {
  return InvalidArgument("SUBJECT_LABEL_INVALID", "a subject's label is 1 to 64 of letters, digits and _ . -",
                         {{"field", "label"}});
}

absl::Status SubjectExists(absl::string_view project, absl::string_view label) {
  return Error(absl::StatusCode::kAlreadyExists, "SUBJECT_EXISTS",
               absl::StrCat("project ", project, " has a subject of the label ", label, " already"),
               {{"project", std::string(project)}, {"label", std::string(label)}});
}

absl::Status SubjectNotFound(absl::string_view project) {
  return NotFound("SUBJECT_NOT_FOUND", absl::StrCat("project ", project, " has no such subject"),
                  {{"project", std::string(project)}});
}

class PostgresSubjectStore : public SubjectStore {
 public:
  PostgresSubjectStore(Pool& pool, std::string site_id) : pool_(pool), site_id_(std::move(site_id)) {}

  absl::StatusOr<Subject> Create(absl::string_view project, absl::string_view label,
                                 const Change& change) override {
    if (!IsLabel(label)) return LabelInvalid();
    // A reserved subject is made visible; an active one is in the way.
    Statement upsert(
        "INSERT INTO subjects AS u (project_id, subject_id, label, status) VALUES ($1, take_accession($3, "
        "'S'), $2, 'ACTIVE') "
        "ON CONFLICT (project_id, lower(label)) DO UPDATE SET status = 'ACTIVE', label = excluded.label "
        "WHERE u.status = 'RESERVED' "
        "RETURNING u.subject_id");
    upsert.Text(project).Text(label).Text(site_id_);
    Mutation mutation{.method = "CreateSubject",
                      .change = change,
                      .project = std::string(project),
                      .action = "SUBJECT_CREATE"};
    mutation.first = {std::move(upsert)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      if (rows[0].size() == 0) return SubjectExists(project, label);
      return std::vector<Statement>();
    };
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    if (Violates(status, "subjects_project_id_fkey")) return ProjectNotFound(project);
    NX_RETURN_IF_ERROR(status);
    return Get(project, label);
  }

  absl::StatusOr<Subject> Get(absl::string_view project, absl::string_view label_or_id) override {
    Statement select(
        absl::StrCat("SELECT ", kSubjectColumns,
                     " FROM subjects u WHERE u.project_id = $1 AND u.status = 'ACTIVE' AND "
                     "(lower(u.label) = lower($2) OR u.subject_id = $2) ORDER BY u.subject_id = $2 LIMIT 1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Text(label_or_id)));
    if (rows.size() == 0) return SubjectNotFound(project);
    return ToSubject(rows, 0);
  }

  absl::StatusOr<List> ListSubjects(absl::string_view project, const Page& page) override {
    const int size = PageSize(page, limits::kPageSizeMax);
    const std::string list_name = absl::StrCat("subjects/", project);
    std::string after;
    if (!page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken(list_name, page.token, 1));
      after = values.front();
    }
    Statement select(absl::StrCat(
        "SELECT ", kSubjectColumns,
        " FROM subjects u WHERE u.project_id = $1 AND u.status = 'ACTIVE' AND lower(u.label) > $2 "
        "ORDER BY lower(u.label) LIMIT $3"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Text(after).Int(size + 1)));
    List list;
    for (int i = 0; i < rows.size() && i < size; ++i) list.subjects.push_back(ToSubject(rows, i));
    if (rows.size() > size) {
      list.next_page_token = EncodePageToken(list_name, {absl::AsciiStrToLower(list.subjects.back().label)});
    }
    return list;
  }

  absl::StatusOr<Subject> Update(const Subject& subject, const Change& change) override {
    if (!IsLabel(subject.label)) return LabelInvalid();
    Statement alone(kSubjectLabelsLock);
    alone.Text(subject.project);
    Statement lock(
        "SELECT version, to_jsonb(u) FROM subjects u WHERE project_id = $1 AND subject_id = $2 AND status = "
        "'ACTIVE' FOR UPDATE");
    lock.Text(subject.project).Text(subject.id);
    Mutation mutation{.method = "UpdateSubject",
                      .change = change,
                      .project = subject.project,
                      .action = "SUBJECT_UPDATE",
                      .object = subject.id};
    mutation.answer = {subject.id};
    mutation.first = {std::move(alone), std::move(lock)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      const Rows& found = rows[1];
      if (found.size() == 0) return SubjectNotFound(subject.project);
      if (!subject.etag.empty() && found.View(0, 0) != subject.etag) {
        return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                     absl::StrCat("subject ", subject.id, " was changed meanwhile; read it and try again"),
                     {{"subject", subject.id}});
      }
      Statement update(
          "UPDATE subjects SET fields = $3, label = $4, version = version + 1, update_time = now() WHERE "
          "project_id = $1 AND subject_id = $2");
      update.Text(subject.project).Text(subject.id).Text(JsonObject(subject.fields)).Text(subject.label);
      Statement note(
          "INSERT INTO project_history (project_id, subject_id, number, user_name, note, request_id, "
          "old_row, "
          "new_row) SELECT u.project_id, u.subject_id, u.version, $3, $4, $5, $6, to_jsonb(u) FROM subjects "
          "u "
          "WHERE u.project_id = $1 AND u.subject_id = $2");
      note.Text(subject.project).Text(subject.id).Text(change.user).Text(change.note);
      note.Text(change.request_id).Text(found.View(0, 1));
      return std::vector<Statement>{std::move(update), std::move(note)};
    };
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    if (Violates(status, "subjects_label")) return SubjectExists(subject.project, subject.label);
    NX_RETURN_IF_ERROR(status);
    return Get(subject.project, subject.id);
  }

  absl::StatusOr<std::string> FindUpdated(absl::string_view request_id) override {
    if (request_id.empty()) return std::string();
    Statement find("SELECT answer FROM requests WHERE request_id = $1 AND method = 'UpdateSubject'");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(find.Text(request_id)));
    if (rows.size() == 0 || rows.Texts(0, 0).empty()) return std::string();
    return rows.Texts(0, 0).front();
  }

 private:
  Pool& pool_;
  const std::string site_id_;
};

}  // namespace

std::unique_ptr<SubjectStore> NewPostgresSubjectStore(Pool& pool, const std::string& site_id) {
  return std::make_unique<PostgresSubjectStore>(pool, site_id);
}

}  // namespace narthex::metadata
