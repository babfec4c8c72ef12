// The metadata database: one place that opens it and hands out its stores.
//
//   auto database = Database::Open({.conninfo = conninfo, .site_id = "NARTHEX"});   // connects and migrates
//   auto project = (*database)->projects().Get("P1");
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/limits_storage.h"
#include "storage/metadata/audit_store.h"
#include "storage/metadata/hold_store.h"
#include "storage/metadata/project_store.h"
#include "storage/metadata/session_store.h"
#include "storage/metadata/settings_store.h"
#include "storage/metadata/user_store.h"

namespace narthex::metadata {

// Everything but sessions: what an in-memory twin exists for. The references live as long as this object.
class AdminStores {
 public:
  virtual ~AdminStores() = default;

  virtual ProjectStore& projects() = 0;
  virtual MemberStore& members() = 0;
  virtual UserStore& users() = 0;
  virtual TokenStore& tokens() = 0;
  virtual SettingsStore& settings() = 0;
  virtual ScriptStore& scripts() = 0;
  virtual ReceiverStore& receivers() = 0;
  virtual StudyRouteStore& study_routes() = 0;
  virtual AuditStore& audit() = 0;
  virtual HoldStore& holds() = 0;
};

// The twin for tests of the server: forgets everything with the object.
std::unique_ptr<AdminStores> NewInMemoryAdminStores();

class Database : public AdminStores {
 public:
  struct Options {
    std::string conninfo;             // as libpq takes it: key=value pairs or a postgresql:// URL
    std::string site_id = "NARTHEX";  // prefix of new accession ids; [A-Z0-9_]{1,32}
    int max_connections = limits::kDatabaseConnectionsMax;  // opened when needed
    absl::Duration connect_timeout = absl::Seconds(limits::kDatabaseConnectSeconds.get());
    absl::Duration acquire_timeout =
        absl::Seconds(limits::kDatabaseAcquireSeconds.get());  // waiting for a free connection
    absl::Duration statement_timeout =
        absl::Seconds(limits::kDatabaseStatementSeconds.get());  // on the server; but for migrations
  };

  // Connects and brings the schema up to date. UNAVAILABLE (DATABASE_UNAVAILABLE). FAILED_PRECONDITION
  // (DATABASE_TOO_NEW): a newer program made it; (DATABASE_MIGRATION_CHANGED): a migration's text is not the
  // one that was applied.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const Options& options);

  virtual SubjectStore& subjects() = 0;
  virtual SessionStore& sessions() = 0;
  virtual SessionReader& session_reader() = 0;

  // One round trip: OK if the database answers. For readiness checks.
  virtual absl::Status Ping() = 0;

  // Round trips to PostgreSQL so far, without those of connections in use right now. For tests and metrics.
  virtual int64_t round_trips() const = 0;
};

}  // namespace narthex::metadata
