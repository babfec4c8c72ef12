#include "storage/metadata/database.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/migrate.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {
namespace {

class PostgresDatabase : public Database {
 public:
  PostgresDatabase(Pool::Options pool, const std::string& site_id)
      : pool_(std::move(pool)),
        projects_(NewPostgresProjectStore(pool_)),
        members_(NewPostgresMemberStore(pool_)),
        subjects_(NewPostgresSubjectStore(pool_, site_id)),
        users_(NewPostgresUserStore(pool_)),
        tokens_(NewPostgresTokenStore(pool_)),
        settings_(NewPostgresSettingsStore(pool_)),
        scripts_(NewPostgresScriptStore(pool_)),
        receivers_(NewPostgresReceiverStore(pool_)),
        study_routes_(NewPostgresStudyRouteStore(pool_)),
        audit_(NewPostgresAuditStore(pool_)),
        holds_(NewPostgresHoldStore(pool_)),
        sessions_(NewPostgresSessionStore(pool_, site_id)),
        session_reader_(NewPostgresSessionReader(pool_)) {}

  absl::Status MigrateSchema() {
    return pool_.Repeat([](Connection& connection) { return Migrate(connection, EmbeddedMigrations()); });
  }

  ProjectStore& projects() override { return *projects_; }
  MemberStore& members() override { return *members_; }
  SubjectStore& subjects() override { return *subjects_; }
  UserStore& users() override { return *users_; }
  TokenStore& tokens() override { return *tokens_; }
  SettingsStore& settings() override { return *settings_; }
  ScriptStore& scripts() override { return *scripts_; }
  ReceiverStore& receivers() override { return *receivers_; }
  StudyRouteStore& study_routes() override { return *study_routes_; }
  AuditStore& audit() override { return *audit_; }
  HoldStore& holds() override { return *holds_; }
  SessionStore& sessions() override { return *sessions_; }
  SessionReader& session_reader() override { return *session_reader_; }
  absl::Status Ping() override { return pool_.Read(Statement("SELECT 1")).status(); }
  int64_t round_trips() const override { return pool_.round_trips(); }

 private:
  Pool pool_;
  const std::unique_ptr<ProjectStore> projects_;
  const std::unique_ptr<MemberStore> members_;
  const std::unique_ptr<SubjectStore> subjects_;
  const std::unique_ptr<UserStore> users_;
  const std::unique_ptr<TokenStore> tokens_;
  const std::unique_ptr<SettingsStore> settings_;
  const std::unique_ptr<ScriptStore> scripts_;
  const std::unique_ptr<ReceiverStore> receivers_;
  const std::unique_ptr<StudyRouteStore> study_routes_;
  const std::unique_ptr<AuditStore> audit_;
  const std::unique_ptr<HoldStore> holds_;
  const std::unique_ptr<SessionStore> sessions_;
  const std::unique_ptr<SessionReader> session_reader_;
};

bool IsSiteId(absl::string_view id) {
  return !id.empty() && id.size() <= 32 && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isupper(c) || absl::ascii_isdigit(c) || c == '_';
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const Options& options) {
  if (!IsSiteId(options.site_id)) {
    return InvalidArgument("SITE_ID_INVALID", "a site id is 1 to 32 of A-Z, 0-9 and _",
                           {{"site_id", options.site_id}});
  }
  auto database = std::make_unique<PostgresDatabase>(
      Pool::Options{options.conninfo, std::max(1, options.max_connections), options.connect_timeout,
                    options.acquire_timeout, options.statement_timeout},
      options.site_id);
  NX_RETURN_IF_ERROR(database->MigrateSchema());
  return database;
}

}  // namespace narthex::metadata
