#include "storage/metadata/database.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/access.h"
#include "storage/metadata/migrate.h"
#include "storage/metadata/postgres_stores.h"
#include "storage/metadata/row_role.h"

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
  absl::Status Ping() override {
    const SystemScope scope;
    return pool_.Read(Statement("SELECT 1")).status();
  }
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
  // Bringing a large archive up to date takes as long as it takes.
  Pool::Options pool{options.conninfo, 1, options.connect_timeout, options.acquire_timeout,
                     absl::ZeroDuration()};
  // The schema is its owner's; the stores work as a role that row-level security binds.
  NX_RETURN_IF_ERROR(Pool(pool).Repeat([&](Connection& connection) -> absl::Status {
    NX_RETURN_IF_ERROR(Migrate(connection, EmbeddedMigrations()));
    NX_ASSIGN_OR_RETURN(pool.role, EnsureRowRole(connection));
    return absl::OkStatus();
  }));
  pool.statement_timeout = options.statement_timeout;
  pool.max_connections = std::max(1, options.max_connections);
  return std::make_unique<PostgresDatabase>(std::move(pool), options.site_id);
}

}  // namespace narthex::metadata
