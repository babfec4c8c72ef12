// The data sets of storage commitment (PS3.4 J.3): what a request asks about, and what a report says. Bytes
// that are parsed are untrusted. No I/O. Thread-safe (pure functions).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "narthex/v1/commitment_service.pb.h"
#include "server/gateway/dimse.h"

namespace narthex::gateway {

inline constexpr absl::string_view kCommitmentSopClass = "1.2.840.10008.1.20.1";
inline constexpr absl::string_view kCommitmentSopInstance = "1.2.840.10008.1.20.1.1";

// Reads TransactionUID and ReferencedSOPSequence of an N-ACTION's data set in explicit or implicit VR little
// endian. INVALID_ARGUMENT (INVALID_FIELD): lengths that do not fit, sequences nested over 8 deep, no
// transaction UID, an item without both UIDs, more than limits::kCommitmentInstancesMax items. The text holds
// no value.
absl::StatusOr<v1::RequestCommitmentRequest> ParseCommitmentRequest(absl::string_view bytes,
                                                                    bool explicit_vr);

// The data set of the N-EVENT-REPORT: what is committed as ReferencedSOPSequence, what is not as
// FailedSOPSequence.
std::string EncodeCommitmentReport(const v1::CommitmentReport& report, bool explicit_vr);

// The N-EVENT-REPORT-RQ that goes before that data set. Its event type is 1 if everything is committed,
// else 2.
Command CommitmentReportCommand(const v1::CommitmentReport& report, uint16_t message_id);

}  // namespace narthex::gateway
