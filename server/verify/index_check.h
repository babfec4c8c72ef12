// Compares the staging index with the segments, and the index's tables with each other (invariants 1 and 2).
// It knows the server's rows, which storage/verify must not.
#pragma once

#include "absl/status/status.h"

#include "storage/staging/index.h"
#include "storage/staging/staging.h"
#include "storage/verify/report.h"

namespace narthex::verify {

// Reads every object that the index names, checks it against its digest, and adds what is wrong to `report`:
//   OBJECT_UNREADABLE, OBJECT_DIGEST          an object's bytes are not in the segments as they were
//   acknowledged ROW_DAMAGED                               a row cannot be read INSTANCE_ROW, DIGEST_ROW,
//   OUTCOME_ROW     rows that find an object or tell of it are missing or point elsewhere SESSION_COUNT,
//   SESSION_OUTCOMES           a session's counters differ from its rows SESSION_KEY a key leads to a session
//   that is not there or has another key ORPHAN_ROW                                rows of a session that is
//   not there
// Unfinished: OBJECT_UNINDEXED, SESSION_UNINDEXED, SESSION_REMOVED, OPERATION, SESSION_STATE: the next start
// of the server enters, removes or continues these. Errors are those of the index and the file system.
absl::Status CheckIndex(const staging::Index& index, staging::StagingStore& store, Report& report);

}  // namespace narthex::verify
