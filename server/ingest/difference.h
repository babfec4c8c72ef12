// In what an object differs from another one of the same SOP Instance UID: for its outcome, so without
// values.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "server/prearchive/prearchive.h"

namespace narthex::ingest {

// Behind the header, so that the element which holds the bulk data is seen for what it is.
inline constexpr uint64_t kBulkHeadBytes = 64 << 10;

// "only the header differs: PatientName, StudyDate". `reception` has an other(); `head` is the newcomer's
// header and at most kBulkHeadBytes more. Reads the other one's header from its session's log; what cannot be
// told is left out. Thread-safe.
std::string DescribeDifference(const prearchive::Reception& reception, const prearchive::ObjectRow& newcomer,
                               absl::string_view head);

}  // namespace narthex::ingest
