// Settings, scripts, receivers and study routes in PostgreSQL.
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/mutation.h"
#include "storage/metadata/names.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {
namespace {

using More = absl::StatusOr<std::vector<Statement>>;

constexpr int kSecretBytes = 32;

// "" is the site; anything else must be a project.
Statement FindProject(absl::string_view project) {
  Statement find("SELECT 1 WHERE $1 = '' OR EXISTS (SELECT 1 FROM projects WHERE project_id = $1)");
  return std::move(find.Text(project));
}

class PostgresSettingsStore : public SettingsStore {
 public:
  explicit PostgresSettingsStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<std::optional<Setting>> Get(absl::string_view project, absl::string_view key) override {
    Statement select(absl::StrCat(kSelect, "WHERE project_id = $1 AND key = $2"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Text(key)));
    if (rows.size() == 0) return std::nullopt;
    return ToSetting(rows, 0);
  }

  absl::StatusOr<std::vector<Setting>> ListSettings(absl::string_view project) override {
    Statement select(absl::StrCat(kSelect, "WHERE project_id = $1 ORDER BY key"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project)));
    std::vector<Setting> settings;
    for (int i = 0; i < rows.size(); ++i) settings.push_back(ToSetting(rows, i));
    return settings;
  }

  absl::StatusOr<Setting> Set(absl::string_view project, absl::string_view key, absl::string_view value_json,
                              const Change& change) override {
    NX_RETURN_IF_ERROR(CheckSetting(key, value_json));
    Mutation mutation{.method = "SetSetting",
                      .change = change,
                      .project = std::string(project),
                      .action = "SETTING_SET",
                      .object = std::string(key)};
    mutation.first = {FindProject(project)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> More {
      if (rows[0].size() == 0) return ProjectNotFound(project);
      Statement upsert(
          "INSERT INTO settings AS s (project_id, key, value, user_name) VALUES ($1, $2, $3, $4) ON CONFLICT "
          "(project_id, key) "
          "DO UPDATE SET value = excluded.value, user_name = excluded.user_name, version = s.version + 1, "
          "update_time = now()");
      upsert.Text(project).Text(key).Text(value_json).Text(change.user);
      return std::vector<Statement>{std::move(upsert)};
    };
    NX_RETURN_IF_ERROR(Apply(pool_, std::move(mutation)).status());
    NX_ASSIGN_OR_RETURN(std::optional<Setting> setting, Get(project, key));
    if (!setting)
      return Error(absl::StatusCode::kAborted, "SETTING_REMOVED", "the setting was removed meanwhile");
    return *std::move(setting);
  }

  absl::Status Remove(absl::string_view project, absl::string_view key, const Change& change) override {
    Statement remove("DELETE FROM settings WHERE project_id = $1 AND key = $2");
    remove.Text(project).Text(key);
    Mutation mutation{.method = "RemoveSetting",
                      .change = change,
                      .project = std::string(project),
                      .action = "SETTING_REMOVE",
                      .object = std::string(key)};
    mutation.first = {std::move(remove)};
    return Apply(pool_, std::move(mutation)).status();
  }

 private:
  static constexpr char kSelect[] =
      "SELECT project_id, key, value, version, user_name, unix_us(update_time) FROM settings ";

  static Setting ToSetting(const Rows& rows, int row) {
    return {rows.Text(row, 0), rows.Text(row, 1), rows.Text(row, 2),
            rows.Int(row, 3),  rows.Text(row, 4), rows.Time(row, 5)};
  }

  Pool& pool_;
};

class PostgresScriptStore : public ScriptStore {
 public:
  explicit PostgresScriptStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<std::optional<Script>> Get(absl::string_view kind, absl::string_view project) override {
    Statement select(
        absl::StrCat("SELECT script, lookup_table, ", kColumns, " ORDER BY version DESC LIMIT 1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(kind).Text(project)));
    if (rows.size() == 0) return std::nullopt;
    return ToScript(rows, 0);
  }

  absl::StatusOr<Script> GetVersion(absl::string_view kind, absl::string_view project,
                                    int64_t version) override {
    Statement select(absl::StrCat("SELECT script, lookup_table, ", kColumns, " AND version = $3"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(kind).Text(project).Int(version)));
    if (rows.size() == 0) {
      return NotFound("SCRIPT_NOT_FOUND", absl::StrCat("there is no version ", version, " of this script"),
                      {{"version", absl::StrCat(version)}});
    }
    return ToScript(rows, 0);
  }

  absl::StatusOr<Script> Set(const Script& script, const Change& change) override {
    if (script.text.size() > (4 << 20))
      return InvalidArgument("SCRIPT_INVALID", "a script is at most 4 MiB", {});
    // Versions of one script are given in order: whoever holds this lock is next.
    Statement lock("SELECT pg_advisory_xact_lock(hashtextextended('script/' || $1 || '/' || $2, 0))");
    lock.Text(script.kind).Text(script.project);
    Statement newest("SELECT coalesce(max(version), 0) + 1 FROM scripts WHERE kind = $1 AND project_id = $2");
    newest.Text(script.kind).Text(script.project);
    Mutation mutation{.method = "SetScript",
                      .change = change,
                      .project = script.project,
                      .action = "SCRIPT_SET",
                      .object = script.kind};
    mutation.first = {FindProject(script.project), std::move(lock), std::move(newest)};
    std::string version;
    mutation.then = [&script, &change, &version](const std::vector<Rows>& rows, Mutation&) -> More {
      if (rows[0].size() == 0) return ProjectNotFound(script.project);
      version = rows[2].Text(0, 0);
      Statement insert(
          "INSERT INTO scripts (project_id, kind, version, script, enabled, user_name, profile, "
          "lookup_table, "
          "leftovers) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
      insert.Text(script.project)
          .Text(script.kind)
          .Text(version)
          .Text(script.text)
          .Bool(script.enabled)
          .Text(change.user)
          .Text(script.profile)
          .Text(script.lookup_table.Reveal())
          .Text(script.leftovers);
      return std::vector<Statement>{std::move(insert)};
    };
    mutation.details_json =
        JsonObject({{"enabled", script.enabled ? "true" : "false"}, {"profile", script.profile}});
    NX_RETURN_IF_ERROR(Apply(pool_, std::move(mutation)).status());
    if (!version.empty()) return GetVersion(script.kind, script.project, std::stoll(version));
    NX_ASSIGN_OR_RETURN(std::optional<Script> current, Get(script.kind, script.project));
    if (!current) return Internal("SCRIPT_LOST", "a script that was just set is gone", {});
    return *std::move(current);
  }

  absl::StatusOr<std::vector<Script>> ListCurrent(absl::string_view kind) override {
    Statement select(
        "SELECT DISTINCT ON (project_id) script, lookup_table, kind, project_id, enabled, version, "
        "user_name, "
        "unix_us(create_time), profile, leftovers FROM scripts WHERE kind = $1 ORDER BY project_id, version "
        "DESC");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(kind)));
    std::vector<Script> scripts;
    for (int i = 0; i < rows.size(); ++i) scripts.push_back(ToScript(rows, i));
    return scripts;
  }

  absl::StatusOr<std::vector<Script>> ListVersions(absl::string_view kind,
                                                   absl::string_view project) override {
    Statement select(absl::StrCat("SELECT '', '', ", kColumns, " ORDER BY version DESC"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(kind).Text(project)));
    std::vector<Script> scripts;
    for (int i = 0; i < rows.size(); ++i) scripts.push_back(ToScript(rows, i));
    return scripts;
  }

  absl::StatusOr<std::string> Secret(absl::string_view project) override {
    static constexpr char kSelectSecret[] = "SELECT secret FROM project_secrets WHERE project_id = $1";
    Statement select{std::string(kSelectSecret)};
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project)));
    if (rows.size() > 0) return rows.Bytes(0, 0);
    // Whoever comes second inserts nothing, and reads what the first one made.
    Statement insert(
        "INSERT INTO project_secrets SELECT $1, $2 WHERE $1 = '' OR EXISTS (SELECT 1 FROM projects WHERE "
        "project_id = $1) ON CONFLICT DO NOTHING");
    insert.Text(project).Bytes(RandomBytes(kSecretBytes));
    Mutation mutation{.method = "MakeSecret", .project = std::string(project)};
    mutation.first = {std::move(insert)};
    NX_RETURN_IF_ERROR(Apply(pool_, std::move(mutation)).status());
    Statement again{std::string(kSelectSecret)};
    NX_ASSIGN_OR_RETURN(rows, pool_.Read(again.Text(project)));
    if (rows.size() == 0) return ProjectNotFound(project);
    return rows.Bytes(0, 0);
  }

 private:
  static constexpr char kColumns[] =
      "kind, project_id, enabled, version, user_name, unix_us(create_time), profile, leftovers FROM scripts "
      "WHERE kind = $1 AND project_id = $2";

  static Script ToScript(const Rows& rows, int row) {
    Script script;
    script.text = rows.Text(row, 0);
    script.lookup_table = Phi<std::string>(rows.Text(row, 1));
    script.kind = rows.Text(row, 2);
    script.project = rows.Text(row, 3);
    script.enabled = rows.Bool(row, 4);
    script.version = rows.Int(row, 5);
    script.user = rows.Text(row, 6);
    script.create_time = rows.Time(row, 7);
    script.profile = rows.Text(row, 8);
    script.leftovers = rows.Text(row, 9);
    return script;
  }

  Pool& pool_;
};

class PostgresReceiverStore : public ReceiverStore {
 public:
  explicit PostgresReceiverStore(Pool& pool) : pool_(pool) {}

  absl::Status Put(const Receiver& receiver, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckReceiver(receiver));
    Statement upsert(
        "INSERT INTO receivers (ae_title, port, project_id, enabled, settings) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (ae_title) DO UPDATE SET port = excluded.port, project_id = excluded.project_id, "
        "enabled = excluded.enabled, settings = excluded.settings");
    upsert.Text(receiver.ae_title)
        .Int(receiver.port)
        .TextOrNull(receiver.project)
        .Bool(receiver.enabled)
        .Text(receiver.settings_json);
    Mutation mutation{
        .method = "PutReceiver", .change = change, .action = "RECEIVER_SET", .object = receiver.ae_title};
    mutation.first = {std::move(upsert)};
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    return Violates(status, "receivers_project_id_fkey") ? ProjectNotFound(receiver.project) : status;
  }

  absl::StatusOr<std::vector<Receiver>> ListReceivers() override {
    NX_ASSIGN_OR_RETURN(
        Rows rows, pool_.Read(Statement("SELECT ae_title, port, coalesce(project_id, ''), enabled, settings "
                                        "FROM receivers ORDER BY ae_title")));
    std::vector<Receiver> receivers;
    for (int i = 0; i < rows.size(); ++i) {
      receivers.push_back({rows.Text(i, 0), static_cast<int>(rows.Int(i, 1)), rows.Text(i, 2),
                           rows.Bool(i, 3), rows.Text(i, 4)});
    }
    return receivers;
  }

  absl::Status Remove(absl::string_view ae_title, const Change& change) override {
    Statement remove("DELETE FROM receivers WHERE ae_title = $1 RETURNING 1");
    remove.Text(ae_title);
    Mutation mutation{.method = "RemoveReceiver",
                      .change = change,
                      .action = "RECEIVER_REMOVE",
                      .object = std::string(ae_title)};
    mutation.first = {std::move(remove)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> More {
      if (rows[0].size() > 0) return std::vector<Statement>();
      return NotFound("RECEIVER_NOT_FOUND", absl::StrCat("there is no receiver ", ae_title),
                      {{"receiver", std::string(ae_title)}});
    };
    return Apply(pool_, std::move(mutation)).status();
  }

 private:
  Pool& pool_;
};

class PostgresStudyRouteStore : public StudyRouteStore {
 public:
  explicit PostgresStudyRouteStore(Pool& pool) : pool_(pool) {}

  absl::Status Put(const StudyRoute& route, const Visibility& by, const Change& change) override {
    Statement upsert(
        "INSERT INTO study_routes AS r (study_instance_uid, project_id, subject_label, session_label) VALUES "
        "($1, "
        "$2, $3, $4) "
        "ON CONFLICT (study_instance_uid) DO UPDATE SET project_id = excluded.project_id, "
        "subject_label = excluded.subject_label, session_label = excluded.session_label WHERE $5 OR "
        "r.project_id = ANY($6) RETURNING 1");
    upsert.Text(route.study_instance_uid).Text(route.project).Text(route.subject).Text(route.label);
    upsert.Bool(by.all_projects).TextArray(by.quarantine_projects);
    Mutation mutation{.method = "PutStudyRoute",
                      .change = change,
                      .project = route.project,
                      .action = "STUDY_ROUTE_SET",
                      .object = route.study_instance_uid};
    mutation.first = {std::move(upsert)};
    mutation.then = [](const std::vector<Rows>& rows, Mutation&) -> More {
      if (rows[0].size() == 0) return StudyRouted();
      return std::vector<Statement>();
    };
    const absl::Status status = Apply(pool_, std::move(mutation)).status();
    return Violates(status, "study_routes_project_id_fkey") ? ProjectNotFound(route.project) : status;
  }

  absl::StatusOr<std::optional<StudyRoute>> Get(absl::string_view study_instance_uid) override {
    Statement select(
        "SELECT study_instance_uid, project_id, subject_label, session_label FROM study_routes WHERE "
        "study_instance_uid = $1");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(study_instance_uid)));
    if (rows.size() == 0) return std::nullopt;
    return StudyRoute{rows.Text(0, 0), rows.Text(0, 1), rows.Text(0, 2), rows.Text(0, 3)};
  }

  absl::StatusOr<std::vector<StudyRoute>> ListRoutes(absl::string_view after, int limit) override {
    Statement select(
        "SELECT study_instance_uid, project_id, subject_label, session_label FROM study_routes WHERE "
        "study_instance_uid COLLATE \"C\" > $1 ORDER BY study_instance_uid COLLATE \"C\" LIMIT $2");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(after).Int(limit)));
    std::vector<StudyRoute> routes;
    for (int i = 0; i < rows.size(); ++i) {
      routes.push_back({rows.Text(i, 0), rows.Text(i, 1), rows.Text(i, 2), rows.Text(i, 3)});
    }
    return routes;
  }

  absl::Status Remove(absl::string_view study_instance_uid, const Change& change) override {
    Statement remove("DELETE FROM study_routes WHERE study_instance_uid = $1 RETURNING project_id");
    Mutation mutation{
        .method = "RemoveStudyRoute", .change = change, .object = std::string(study_instance_uid)};
    mutation.first = {std::move(remove.Text(study_instance_uid))};
    mutation.then = [](const std::vector<Rows>& rows, Mutation& self) -> More {
      if (rows[0].size() > 0) {
        self.project = rows[0].Text(0, 0);
        self.action = "STUDY_ROUTE_REMOVE";
      }
      return std::vector<Statement>();
    };
    return Apply(pool_, std::move(mutation)).status();
  }

 private:
  Pool& pool_;
};

}  // namespace

std::unique_ptr<SettingsStore> NewPostgresSettingsStore(Pool& pool) {
  return std::make_unique<PostgresSettingsStore>(pool);
}
std::unique_ptr<ScriptStore> NewPostgresScriptStore(Pool& pool) {
  return std::make_unique<PostgresScriptStore>(pool);
}
std::unique_ptr<ReceiverStore> NewPostgresReceiverStore(Pool& pool) {
  return std::make_unique<PostgresReceiverStore>(pool);
}
std::unique_ptr<StudyRouteStore> NewPostgresStudyRouteStore(Pool& pool) {
  return std::make_unique<PostgresStudyRouteStore>(pool);
}

}  // namespace narthex::metadata
