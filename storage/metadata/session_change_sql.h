// The statements that change an archived session. Used by postgres_sessions.cc only.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/connection.h"
#include "storage/metadata/records.h"

namespace narthex::metadata {

// A session under the lock of its row, and what it is to become.
struct SessionChange {
  const Session& old;
  const Session& now;
  std::string old_row;            // jsonb text
  int64_t first_file_number = 0;  // of what is added
  std::string site_id;
};

// What `update` makes of `old`. INVALID_ARGUMENT (SESSION_INVALID).
absl::StatusOr<Session> Changed(const Session& old, const SessionUpdate& update);

// Everything but the audit event of the project where it is afterwards.
std::vector<Statement> UpdateStatements(const SessionChange& session, const SessionUpdate& update,
                                        const Change& change);

// A change of status, and of the label if `now` has another one.
std::vector<Statement> StatusStatements(const SessionChange& session, absl::string_view action,
                                        const Change& change);

// PURGING or PURGED.
std::vector<Statement> PurgeStatements(const SessionChange& session, absl::string_view state,
                                       const PurgeRecord& record, const Change& change);

}  // namespace narthex::metadata
