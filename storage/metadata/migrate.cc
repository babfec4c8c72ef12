#include "storage/metadata/migrate.h"

#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/metadata/access.h"

namespace narthex::metadata {
namespace {

absl::StatusOr<std::map<std::string, std::string>> Applied(Connection& connection) {
  NX_RETURN_IF_ERROR(
      connection.RunScript("SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS schema_migrations "
                           "(name text PRIMARY KEY, "
                           "sha256 text NOT NULL, apply_time timestamptz NOT NULL DEFAULT now())"));
  NX_ASSIGN_OR_RETURN(Rows rows, connection.Run(Statement("SELECT name, sha256 FROM schema_migrations")));
  std::map<std::string, std::string> applied;
  for (int i = 0; i < rows.size(); ++i) applied[rows.Text(i, 0)] = rows.Text(i, 1);
  return applied;
}

absl::Status Apply(Connection& connection, const Migration& migration, const std::string& digest) {
  const std::string name(migration.name);  // from a file name: [0-9a-z_]+
  const absl::Status status = connection.RunScript(absl::StrCat(
      "BEGIN;\nSELECT set_config('narthex.system', 'on', true);\n", migration.sql,
      ";\nINSERT INTO schema_migrations (name, sha256) VALUES ('", name, "', '", digest, "');\nCOMMIT"));
  if (!status.ok()) return Annotate(status, absl::StrCat("migration ", name));
  Log(LogLevel::kInfo, "database migrated", {{"migration", name}});
  return absl::OkStatus();
}

absl::Status TooNew(const std::string& name) {
  return FailedPrecondition("DATABASE_TOO_NEW",
                            absl::StrCat("the database has migration ", name,
                                         ", which this narthexd does not know: run a newer one"),
                            {{"migration", name}});
}

absl::Status Changed(const std::string& name) {
  return FailedPrecondition(
      "DATABASE_MIGRATION_CHANGED",
      absl::StrCat("migration ", name, " was applied with another text; this database belongs to another ",
                   "build of narthexd: run that, or restore a backup"),
      {{"migration", name}});
}

// Neither a dump nor pg_upgrade takes along what 0021_search.sql marked, so it is looked at with every start.
// Only a superuser may; the function of our own is missing in databases of before, and in tests of
// migrations.
constexpr char kMarkLeakproof[] = R"sql(
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['number_of(text)', 'pg_catalog.jsonb_object_field_text(jsonb, text)',
                              'pg_catalog.jsonb_contains(jsonb, jsonb)', 'pg_catalog.jsonb_exists(jsonb, text)',
                              'pg_catalog.textlike(text, text)', 'pg_catalog.texticlike(text, text)',
                              'pg_catalog.lower(text)'] LOOP
    IF EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure(name) AND NOT proleakproof) THEN
      EXECUTE format('ALTER FUNCTION %s LEAKPROOF', name);
    END IF;
  END LOOP;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$)sql";

// Everything is checked before anything is applied.
absl::Status MigrateLocked(Connection& connection, const std::vector<Migration>& migrations) {
  NX_ASSIGN_OR_RETURN(auto applied, Applied(connection));
  std::vector<std::pair<const Migration*, std::string>> missing;
  for (const Migration& migration : migrations) {
    const std::string digest = absl::BytesToHexString(Sha256(migration.sql));
    const auto found = applied.find(std::string(migration.name));
    if (found == applied.end()) {
      missing.emplace_back(&migration, digest);
      continue;
    }
    if (found->second != digest) return Changed(found->first);
    applied.erase(found);
  }
  if (!applied.empty()) return TooNew(applied.begin()->first);
  for (const auto& [migration, digest] : missing) NX_RETURN_IF_ERROR(Apply(connection, *migration, digest));
  return connection.RunScript(kMarkLeakproof);
}

}  // namespace

absl::Status Migrate(Connection& connection, const std::vector<Migration>& migrations) {
  const SystemScope scope;
  NX_RETURN_IF_ERROR(connection.RunScript(kSchemaLock));
  const absl::Status status = MigrateLocked(connection, migrations);
  (void)connection.RunScript(kSchemaUnlock);  // a broken connection has released it
  return status;
}

}  // namespace narthex::metadata
