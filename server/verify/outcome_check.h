// Compares what uploads were told with what sessions count, those that were archived or deleted too
// (invariant 2: every object received has exactly one outcome; a session's outcomes add up to what was
// received).
#pragma once

#include "absl/status/status.h"

#include "storage/staging/index.h"
#include "storage/verify/report.h"

namespace narthex::verify {

// Reads every outcome that the index keeps, and adds what is wrong to `report`:
//   ROW_DAMAGED        a row cannot be read
//   UPLOAD_ROW         outcomes of an upload that is not there
//   UPLOAD_OUTCOME     an object that is kept, in no session
//   SESSION_UNKNOWN    outcomes name a session that neither is there nor was removed
//   SESSION_OUTCOMES   a session counted fewer objects of one outcome than uploads were told
// What a sender sent twice under one number while its first answer was on the way has two outcomes in the
// session and the later one in the upload: report.retold_outcome_count. Errors are those of the index.
absl::Status CheckOutcomes(const staging::Index& index, Report& report);

}  // namespace narthex::verify
