// How sessions and what belongs to them are written to and read from rows. Used by postgres_sessions*.cc
// only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/connection.h"
#include "storage/metadata/records.h"

namespace narthex::metadata {

// Columns over `sessions s LEFT JOIN subjects u`: who sees a session only because it is shared does not see
// its subject, whose label is then "".
extern const char kSessionColumns[];
extern const char kSessionTables[];
inline constexpr int kSessionColumnCount = 28;
Session ToSession(const Rows& rows, int row);

extern const char kScanColumns[];  // of the row `c`
inline constexpr int kScanColumnCount = 18;
Scan ToScan(const Rows& rows, int row);
extern const char kResourceColumns[];
Resource ToResource(const Rows& rows, int row);
extern const char kFileColumns[];
inline constexpr int kFileNumberColumn = 13;  // file_no, the last of them
File ToFile(const Rows& rows, int row);

// A session's row, version 1. Status is QUARANTINE if asked for or if the project says so.
Statement InsertSession(const Session& session);
// Inserts rows or replaces all but the counters of those that are there. One statement however many rows.
Statement UpsertScans(absl::string_view project, absl::string_view session_id,
                      const std::vector<Scan>& scans);
Statement UpsertResources(absl::string_view project, absl::string_view session_id,
                          const std::vector<Resource>& resources);
// Statements of at most some ten thousand rows each. Numbers go on from `first_number`.
std::vector<Statement> InsertFiles(absl::string_view project, absl::string_view session_id,
                                   int64_t first_number, const std::vector<File>& files);
// Counts a session's files into its scans, resources and itself.
std::vector<Statement> CountFiles(absl::string_view project, absl::string_view session_id);
// Version `version` of the XML.
Statement InsertDocument(absl::string_view project, absl::string_view session_id, int64_t version,
                         const Phi<std::string>& document);
// What a history entry says beside the columns of the session's row.
struct HistoryDetails {
  std::map<std::string, std::string> before, after;
};
// The history row of the version that the session's row has now. `old_row`: jsonb text, "" for none.
Statement InsertHistory(absl::string_view project, absl::string_view session_id, absl::string_view action,
                        absl::string_view old_row, const Change& change, const HistoryDetails& details = {});

// INVALID_ARGUMENT (SESSION_INVALID): what the columns cannot hold. Says which field, never its value.
absl::Status CheckSession(const Session& session);
absl::Status CheckContents(const std::vector<Scan>& scans, const std::vector<Resource>& resources,
                           const std::vector<File>& files);

}  // namespace narthex::metadata
