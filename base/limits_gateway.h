// Limits of the product, continued: the DICOM network. narthex-gateway has them, too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// DICOM network. Untrusted bytes.
inline constinit Limit<uint32_t> kPduMaxBytes{256 << 10, 4096,
                                              16 << 20};          // what the gateway offers to receive
inline constinit Limit<int> kAssociationsMax{256, 1, 1'000'000};  // (set limits.associations_max) at once
inline constinit Limit<int64_t> kAssociationIdleSeconds{
    300, 1, 86400};  // (set limits.association_idle_seconds) then it is aborted; from the next start
inline constinit Limit<int> kAssociationsPerAddressMax{
    128, 1, 1'000'000};  // (set limits.associations_per_address_max) one sender leaves room for others
inline constinit Limit<int> kRejectionsMax{
    64, 1, 10'000};  // callers beyond these who are told so at once; the others' connections are closed
inline constinit Limit<int> kRejectionsPerAddressMax{8, 1, 10'000};  // of them, of one address
inline constinit Limit<uint32_t> kAssociateMaxBytes{
    512 << 10, 4096, 16 << 20};  // an A-ASSOCIATE PDU; 128 contexts of 30 syntaxes: 130 KiB
inline constinit Limit<size_t> kTransferSyntaxesMax{256, 1,
                                                    10'000};  // of one context; the standard knows about 60
inline constinit Limit<size_t> kCommandMaxBytes{64 << 10, 1024,
                                                1 << 20};  // a DIMSE command set; real ones stay below 1 KiB
inline constinit Limit<uint16_t> kAsyncWindowMax{
    64, 1, 65'535};  // objects of one association that may wait for an answer
inline constinit Limit<int64_t> kArtimSeconds{
    30, 1, 3600};  // PS3.8's timer: from connecting to the request, from the last word to the disconnect
inline constinit Limit<int64_t> kMessageProgressSeconds{
    60, 1, 3600};  // within a message each 64 KiB, or the rest of it, must come within so long
inline constinit Limit<int64_t> kLingerSeconds{5, 1, 3600};  // for the peer to disconnect after an abort
inline constinit Limit<int64_t> kGatewayDrainSeconds{10, 0,
                                                     3600};  // that a stop lets objects under way finish
inline constinit Limit<size_t> kGatewayUnackedMaxBytes{
    8 << 20, 1 << 20, 1 << 30};  // of one association, on their way to narthexd; narthex-gateway

// DICOM receivers.
inline constinit Limit<int> kReceiversMax{1000, 1, 100'000};       // a hospital has some dozens
inline constinit Limit<int> kAllowedCallersMax{1000, 1, 100'000};  // of one receiver
inline constinit Limit<int> kReceiverWatchesMax{64, 1,
                                                10'000};  // gateways of one server; each holds a thread
inline constinit Limit<size_t> kReceiverTextMaxBytes{64 << 10, 256, 1 << 20};  // its description

// Storage commitment.
inline constinit Limit<int> kCommitmentInstancesMax{
    100'000, 1, 1'000'000};  // of one request; a large study has some thousands
inline constinit Limit<size_t> kCommitmentMaxBytes{16 << 20, 64 << 10,
                                                   256 << 20};      // of its data set: 160 bytes an instance
inline constinit Limit<int> kCommitmentMaxDepth{8, 1, 64};          // of its sequences; real ones have one
inline constinit Limit<int> kCommitmentsMax{10'000, 1, 1'000'000};  // reports that wait for their delivery
inline constinit Limit<int> kCommitmentTriesMax{10, 1,
                                                1000};  // then a report is given up: after about nine hours
inline constinit Limit<int> kCommitmentsOfAssociationMax{16, 1, 10'000};  // that wait for the peer's answer
inline constinit Limit<int64_t> kCommitmentDeliverySeconds{30, 1, 3600};  // of one report to a peer

}  // namespace narthex::limits
