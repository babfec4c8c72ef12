// What upload and import did, as JSON and as a table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "clients/cli/local_anonymize.h"
#include "clients/cli/program.h"
#include "clients/cpp/uploader.h"

namespace narthex::cli {

struct TransferReport {
  // One for the files, one for each archive.
  std::vector<v1::Upload> uploads;
  std::vector<client::FileOutcome> outcomes;
  std::vector<v1::PrearchiveSession> prearchive_sessions;
  std::vector<v1::Session> sessions;
  // Builds and archivings that failed, with the session's name.
  std::vector<std::pair<std::string, absl::Status>> failures;
  int64_t resumed_count = 0;
  // Why not everything was sent. Then outcomes may be OUTCOME_UNSPECIFIED: of objects without an answer.
  absl::Status broken_off;
  std::optional<LocalSummary> local;  // of --local-anonymize
};

// Prints it. kRefused: an object is REJECTED or in CONFLICT, or a session could not be built or archived.
ExitCode PrintReport(Program& program, const TransferReport& report);

}  // namespace narthex::cli
