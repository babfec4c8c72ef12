// Limits of the product, continued: DICOM receivers and storage commitment. Each with its unit and its
// reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace narthex::limits {

// Sessions.
inline constexpr int64_t kIdleBuildSecondsMax = 86400;  // a day: then nobody sends any more

// DICOM receivers.
inline constexpr int kReceiversMax = 1000;       // a hospital has some dozens
inline constexpr int kAllowedCallersMax = 1000;  // of one receiver
inline constexpr int kReceiverWatchesMax = 64;   // gateways of one server; each holds a thread

// Storage commitment.
inline constexpr int kCommitmentInstancesMax = 100'000;  // of one request; a large study has some thousands
inline constexpr size_t kCommitmentMaxBytes = 16 << 20;  // of its data set: 160 bytes an instance
inline constexpr int kCommitmentsMax = 10'000;           // reports that wait for their delivery
inline constexpr int kCommitmentTriesMax = 10;           // then a report is given up: after about nine hours
inline constexpr int kCommitmentsOfAssociationMax = 16;  // that wait for the peer's answer

}  // namespace narthex::limits
