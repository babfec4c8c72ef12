// narthex prearchive watch
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "clients/cli/program.h"

namespace narthex::cli {

struct WatchOptions {
  std::string name;     // prearchiveSessions/ID; "": all
  std::string project;  // "": all
  int64_t from = 0;     // sequence of the first event; 0: from now on
  // How long the server may be away. nullopt: for ever, unless it was never there.
  std::optional<absl::Duration> give_up_after;
};

// Shows every change of the sessions until the stream ends or, of a single session, until it is gone: as a
// table that is drawn anew on a terminal, else as one JSON object a line. Reconnects and goes on where it
// was; says so on the terminal, and in lines to the standard error.
absl::StatusOr<ExitCode> WatchPrearchive(Program& program, const WatchOptions& options);

}  // namespace narthex::cli
