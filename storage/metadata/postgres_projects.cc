// Projects and members in PostgreSQL.
#include <utility>

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

constexpr char kProjectColumns[] =
    "p.project_id, p.name, p.description, p.aliases, p.accessibility, p.auto_archive, p.quarantine, "
    "p.settings, p.version, "
    "unix_us(p.create_time), unix_us(p.update_time), p.fields";

Project ToProject(const Rows& rows, int row) {
  Project project;
  project.id = rows.Text(row, 0);
  project.name = rows.Text(row, 1);
  project.description = rows.Text(row, 2);
  project.aliases = rows.Texts(row, 3);
  project.accessibility = ParseAccessibility(rows.View(row, 4));
  project.auto_archive = ParseAutoArchive(rows.View(row, 5));
  project.quarantine = rows.Bool(row, 6);
  project.settings_json = rows.Text(row, 7);
  project.etag = rows.Text(row, 8);
  project.create_time = rows.Time(row, 9);
  project.update_time = rows.Time(row, 10);
  project.fields = ParseJsonObject(rows.View(row, 11));
  return project;
}

// Binds id, name, description, aliases, accessibility, auto_archive, quarantine, settings, fields as $1 to
// $9.
Statement& BindProject(Statement& statement, const Project& project) {
  return statement.Text(project.id)
      .Text(project.name)
      .Text(project.description)
      .TextArray(project.aliases)
      .Text(ToText(project.accessibility))
      .Text(ToText(project.auto_archive))
      .Bool(project.quarantine)
      .Text(project.settings_json)
      .Text(JsonObject(project.fields));
}

Statement InsertNames(const Project& project) {
  Statement names(
      "INSERT INTO project_names (name, project_id, is_alias) SELECT DISTINCT a, $1, true FROM "
      "unnest($2::text[]) a "
      "WHERE lower(a) <> lower($1)");
  return std::move(names.Text(project.id).TextArray(project.aliases));
}

absl::Status Taken(const absl::Status& status, const Project& project) {
  if (!Violates(status, "projects_pkey") && !Violates(status, "project_names_pkey")) return status;
  return Error(absl::StatusCode::kAlreadyExists, "PROJECT_EXISTS",
               absl::StrCat("project ", project.id, " or one of its aliases is taken by another project"),
               {{"project", project.id}});
}

class PostgresProjectStore : public ProjectStore {
 public:
  explicit PostgresProjectStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<Project> Create(const Project& project, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckProject(project));
    Statement insert(
        "INSERT INTO projects (project_id, name, description, aliases, accessibility, auto_archive, "
        "quarantine, settings, fields) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    BindProject(insert, project);
    // The id is folded: P1 and p1 would be one folder on some file systems.
    Statement own_name(
        "INSERT INTO project_names (name, project_id, is_alias) VALUES (lower($1), $2, false)");
    own_name.Text(project.id).Text(project.id);
    Mutation mutation{.method = "CreateProject",
                      .change = change,
                      .project = project.id,
                      .action = "PROJECT_CREATE",
                      .object = project.id};
    mutation.answer = {project.id};
    mutation.first = {std::move(insert), std::move(own_name), InsertNames(project)};
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (!result.ok()) return Taken(result.status(), project);
    return Get(result->answer.front());
  }

  absl::StatusOr<Project> Get(absl::string_view id) override {
    Statement select(absl::StrCat("SELECT ", kProjectColumns, " FROM projects p WHERE p.project_id = $1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(id)));
    if (rows.size() == 0) return ProjectNotFound(id);
    return ToProject(rows, 0);
  }

  absl::StatusOr<Project> Resolve(absl::string_view candidate) override {
    Statement select(absl::StrCat(
        "SELECT ", kProjectColumns,
        " FROM projects p WHERE p.project_id = coalesce((SELECT q.project_id FROM projects q WHERE "
        "q.project_id = $1), (SELECT n.project_id FROM project_names n WHERE n.name = $1 AND n.is_alias))"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(candidate)));
    // The candidate may come from a header, so it is not repeated.
    if (rows.size() == 0) return NotFound("PROJECT_NOT_FOUND", "no project has this id or alias", {});
    return ToProject(rows, 0);
  }

  absl::StatusOr<List> ListProjects(const Visibility& visible, const Page& page) override {
    const int size = PageSize(page, limits::kPageSizeMax);
    std::string after;
    if (!page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken("projects", page.token, 1));
      after = values.front();
    }
    Statement select(
        absl::StrCat("SELECT ", kProjectColumns,
                     " FROM projects p WHERE p.project_id > $1 AND ($2 OR p.project_id = ANY($3)) "
                     "ORDER BY p.project_id LIMIT $4"));
    select.Text(after).Bool(visible.all_projects).TextArray(visible.projects).Int(size + 1);
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select));
    List list;
    for (int i = 0; i < rows.size() && i < size; ++i) list.projects.push_back(ToProject(rows, i));
    if (rows.size() > size) list.next_page_token = EncodePageToken("projects", {list.projects.back().id});
    return list;
  }

  absl::StatusOr<Project> Update(const Project& project, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckProject(project));
    Statement lock("SELECT version, to_jsonb(p) FROM projects p WHERE project_id = $1 FOR UPDATE");
    lock.Text(project.id);
    Mutation mutation{.method = "UpdateProject",
                      .change = change,
                      .project = project.id,
                      .action = "PROJECT_UPDATE",
                      .object = project.id};
    mutation.answer = {project.id};
    mutation.first = {std::move(lock)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      if (rows[0].size() == 0) return ProjectNotFound(project.id);
      if (!project.etag.empty() && rows[0].View(0, 0) != project.etag) {
        return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                     absl::StrCat("project ", project.id, " was changed meanwhile; read it and try again"),
                     {{"project", project.id}});
      }
      Statement update(
          "UPDATE projects SET name = $2, description = $3, aliases = $4, accessibility = $5, auto_archive = "
          "$6, quarantine = $7, "
          "settings = $8, fields = $9, version = version + 1, update_time = now() WHERE project_id = $1");
      BindProject(update, project);
      Statement clear("DELETE FROM project_names WHERE project_id = $1 AND is_alias");
      clear.Text(project.id);
      Statement note(
          "INSERT INTO project_history (project_id, subject_id, number, user_name, note, request_id, "
          "old_row, "
          "new_row) SELECT p.project_id, '', p.version, $2, $3, $4, $5, to_jsonb(p) FROM projects p WHERE "
          "p.project_id = $1");
      note.Text(project.id).Text(change.user).Text(change.note).Text(change.request_id);
      note.Text(rows[0].View(0, 1));
      return std::vector<Statement>{std::move(update), std::move(clear), InsertNames(project),
                                    std::move(note)};
    };
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (!result.ok()) return Taken(result.status(), project);
    return Get(project.id);
  }

  absl::StatusOr<std::vector<HistoryEntry>> ListHistory(absl::string_view project,
                                                        absl::string_view subject_id) override {
    Statement select(
        "SELECT number, unix_us(change_time), user_name, note, old_row::text, new_row::text FROM "
        "project_history WHERE project_id = $1 AND subject_id = $2 ORDER BY number DESC LIMIT 10000");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Text(subject_id)));
    std::vector<HistoryEntry> entries;
    for (int i = 0; i < rows.size(); ++i) {
      entries.push_back({rows.Int(i, 0), rows.Time(i, 1), rows.Text(i, 2), "UPDATE", rows.Text(i, 3),
                         rows.Text(i, 4), rows.Text(i, 5)});
    }
    return entries;
  }

 private:
  Pool& pool_;
};

class PostgresMemberStore : public MemberStore {
 public:
  explicit PostgresMemberStore(Pool& pool) : pool_(pool) {}

  absl::Status Set(const Member& member, const Change& change) override {
    Statement upsert(
        "INSERT INTO members (project_id, user_name, role) VALUES ($1, $2, $3) "
        "ON CONFLICT (project_id, user_name) DO UPDATE SET role = excluded.role");
    upsert.Text(member.project).Text(member.user).Text(ToText(member.role));
    Mutation mutation{.method = "SetMember",
                      .change = change,
                      .project = member.project,
                      .action = "MEMBER_SET",
                      .object = member.user};
    mutation.details_json = JsonObject({{"role", std::string(ToText(member.role))}});
    mutation.first = {std::move(upsert)};
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    if (Violates(status, "members_project_id_fkey")) return ProjectNotFound(member.project);
    if (Violates(status, "members_user_name_fkey")) return UserNotFound(member.user);
    return status;
  }

  absl::Status Remove(absl::string_view project, absl::string_view user, const Change& change) override {
    Statement remove("DELETE FROM members WHERE project_id = $1 AND user_name = $2 RETURNING user_name");
    remove.Text(project).Text(user);
    Mutation mutation{.method = "RemoveMember",
                      .change = change,
                      .project = std::string(project),
                      .action = "MEMBER_REMOVE",
                      .object = std::string(user)};
    mutation.first = {std::move(remove)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      if (rows[0].size() == 0) return NoMember(project, user);
      return std::vector<Statement>();
    };
    return Apply(pool_, std::move(mutation)).status();
  }

  absl::StatusOr<std::vector<Member>> ListMembers(absl::string_view project) override {
    Statement select(
        "SELECT project_id, user_name, role FROM members WHERE project_id = $1 ORDER BY user_name");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project)));
    std::vector<Member> members;
    for (int i = 0; i < rows.size(); ++i)
      members.push_back({rows.Text(i, 0), rows.Text(i, 1), ParseRole(rows.View(i, 2))});
    return members;
  }

  absl::StatusOr<std::map<std::string, Role>> RolesOf(absl::string_view user) override {
    Statement select("SELECT project_id, role FROM members WHERE user_name = $1");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(user)));
    std::map<std::string, Role> roles;
    for (int i = 0; i < rows.size(); ++i) roles[rows.Text(i, 0)] = ParseRole(rows.View(i, 1));
    return roles;
  }

 private:
  Pool& pool_;
};

}  // namespace

std::unique_ptr<ProjectStore> NewPostgresProjectStore(Pool& pool) {
  return std::make_unique<PostgresProjectStore>(pool);
}
std::unique_ptr<MemberStore> NewPostgresMemberStore(Pool& pool) {
  return std::make_unique<PostgresMemberStore>(pool);
}

}  // namespace narthex::metadata
