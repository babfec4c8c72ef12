// The stores over PostgreSQL. The pool must outlive them. Only database.cc needs this.
#pragma once

#include <memory>
#include <string>

#include "storage/metadata/audit_store.h"
#include "storage/metadata/hold_store.h"
#include "storage/metadata/pool.h"
#include "storage/metadata/project_store.h"
#include "storage/metadata/session_store.h"
#include "storage/metadata/settings_store.h"
#include "storage/metadata/user_store.h"

namespace narthex::metadata {

// Labels of a project's subjects are renamed by one ($1: the project), or kept by many, until the transaction
// ends.
inline constexpr char kSubjectLabelsLock[] =
    "SELECT pg_advisory_xact_lock(hashtextextended('subjects/' || $1, 0))";
inline constexpr char kSubjectLabelsKeep[] =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('subjects/' || $1, 0))";

std::unique_ptr<ProjectStore> NewPostgresProjectStore(Pool& pool);
std::unique_ptr<MemberStore> NewPostgresMemberStore(Pool& pool);
std::unique_ptr<SubjectStore> NewPostgresSubjectStore(Pool& pool, const std::string& site_id);
std::unique_ptr<UserStore> NewPostgresUserStore(Pool& pool);
std::unique_ptr<TokenStore> NewPostgresTokenStore(Pool& pool);
std::unique_ptr<SettingsStore> NewPostgresSettingsStore(Pool& pool);
std::unique_ptr<ScriptStore> NewPostgresScriptStore(Pool& pool);
std::unique_ptr<ReceiverStore> NewPostgresReceiverStore(Pool& pool);
std::unique_ptr<StudyRouteStore> NewPostgresStudyRouteStore(Pool& pool);
std::unique_ptr<AuditStore> NewPostgresAuditStore(Pool& pool);
std::unique_ptr<HoldStore> NewPostgresHoldStore(Pool& pool);
std::unique_ptr<SessionStore> NewPostgresSessionStore(Pool& pool, const std::string& site_id);
std::unique_ptr<SessionReader> NewPostgresSessionReader(Pool& pool);

}  // namespace narthex::metadata
