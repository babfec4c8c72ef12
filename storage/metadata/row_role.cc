#include "storage/metadata/row_role.h"

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/access.h"
#include "storage/metadata/migrate.h"

namespace narthex::metadata {
namespace {

constexpr char kRole[] = "narthex_rows";

// One role serves all databases of a cluster; two servers may make it at once.
constexpr char kMakeRole[] = R"(
DO $$ BEGIN
  CREATE ROLE narthex_rows NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$)";

// History and audit are append-only by privilege, too.
constexpr char kGrant[] = R"(
DO $$ BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO narthex_rows', current_schema());
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO narthex_rows', current_schema());
  EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO narthex_rows', current_schema());
  EXECUTE 'REVOKE UPDATE, DELETE, TRUNCATE ON audit_events, session_history, project_history FROM narthex_rows';
  EXECUTE 'REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM narthex_rows';
END $$)";

constexpr char kIsBound[] =
    "SELECT NOT (rolsuper OR rolbypassrls), (SELECT rolname FROM pg_roles WHERE rolname = 'narthex_rows') IS "
    "NOT NULL FROM pg_roles WHERE rolname = current_user";

// Tables that migrations added since the last grant. Granting writes to the catalog: only when there is
// something to grant.
constexpr char kIsGranted[] =
    "SELECT bool_and(has_table_privilege('narthex_rows', c.oid, 'SELECT')) FROM pg_class c WHERE c.relkind = "
    "'r' AND c.relnamespace = current_schema()::regnamespace";

}  // namespace

absl::StatusOr<std::string> EnsureRowRole(Connection& connection) {
  const SystemScope scope;
  NX_ASSIGN_OR_RETURN(Rows bound, connection.Run(Statement(kIsBound)));
  if (bound.size() == 0) return Internal("DATABASE_ERROR", "PostgreSQL does not know the role of its client");
  if (bound.Bool(0, 0)) return std::string();
  if (!bound.Bool(0, 1)) {
    const absl::Status made = connection.RunScript(kMakeRole);
    if (absl::IsPermissionDenied(made)) {
      return FailedPrecondition(
          "DATABASE_ROLE_UNBOUND",
          "the role of --postgres bypasses row-level security and may not make one that does not: connect as "
          "an ordinary role (ALTER ROLE ... NOBYPASSRLS)");
    }
    NX_RETURN_IF_ERROR(made);
  }
  NX_ASSIGN_OR_RETURN(Rows granted, connection.Run(Statement(kIsGranted)));
  if (granted.size() == 0 || !granted.Bool(0, 0)) {
    NX_RETURN_IF_ERROR(connection.RunScript(kSchemaLock));
    const absl::Status done = connection.RunScript(kGrant);
    (void)connection.RunScript(kSchemaUnlock);  // a broken connection has released it
    NX_RETURN_IF_ERROR(done);
  }
  return std::string(kRole);
}

}  // namespace narthex::metadata
