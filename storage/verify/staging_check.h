// Reads every byte of the staging segments and checks it.
#pragma once

#include "absl/status/status.h"

#include "storage/staging/staging.h"
#include "storage/verify/report.h"

namespace narthex::verify {

// Checks every record of every session. Findings: SEGMENT_DAMAGED. Errors are those of the file system. What
// the records mean, and whether the index agrees, server/verify knows.
absl::Status CheckSegments(staging::StagingStore& store, Report& report);

}  // namespace narthex::verify
