// narthex prearchive watch
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "clients/cli/program.h"

namespace narthex::cli {

// Shows every change of the sessions until the stream ends or, of a single session, until it is gone: as a
// table that is drawn anew on a terminal, else as one JSON object a line. Reconnects and goes on where it
// was.
absl::StatusOr<ExitCode> WatchPrearchive(Program& program, const std::string& name,
                                         const std::string& project, int64_t from);

}  // namespace narthex::cli
