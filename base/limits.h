// Every limit of the product, each with its unit and its reason: here what is needed everywhere, in
// limits_*.h what fewer sources need. `Limit<T> k{default, least, most}` is set at the start with `--limit
// NAME=VALUE` or in the configuration file; those marked (set KEY) are the defaults of settings besides. A
// constant that cannot be set says why: (fixed: WHY). docs/operations.md has the table, made from here by
// `./dev fix`, as is the one in limit_table.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Upload protocol (design/api.md).
inline constexpr size_t kChunkMaxBytes = 2 << 20;  // (fixed: clients cut objects so) of one message's chunk
inline constexpr size_t kMessageMaxBytes =
    4 << 20;  // (fixed: clients take no more) a gRPC message: several small objects and their heads
inline constinit Limit<uint64_t> kObjectMaxBytes{
    1ll << 40, 1 << 20, 1ll << 40};  // one object; DICOM's own limit for a frame set is lower
inline constinit Limit<size_t> kUploadUnackedMaxBytes{
    32 << 20, 1 << 20, 1 << 30};  // bytes of one stream that may wait for their sync
inline constinit Limit<size_t> kUploadUnackedMaxObjects{
    4096, 16, 1 << 20};  // objects of one stream that may wait for their sync
inline constinit Limit<int> kUploadStreamsMax{
    256, 1, 1'000'000};  // (set limits.upload_streams_max) at once; more are OVERLOADED
inline constinit Limit<int> kUploadStreamsPerUserMax{
    64, 1, 1'000'000};  // (set limits.upload_streams_per_user_max) one user's bulk import leaves room; not
                        // for gateways
inline constinit Limit<int64_t> kUploadIdleSeconds{
    300, 1, 86400};  // (set limits.upload_idle_seconds) a stream whose peer does nothing for so long ends
inline constinit Limit<uint64_t> kHeldBytesMax{
    1 << 30, 0, 1ll << 40};  // (set limits.held_bytes_max) memory for objects
                             // whose header is not complete; no sender may hold more of it than is left free

// DICOM headers. Untrusted bytes. Lower values hold for what arrives; what is stored is read up to the most.
inline constinit Limit<size_t> kHeaderMaxBytes{
    32 << 20, 64 << 10, 256 << 20};  // before the bulk data begin; real ones stay below 4 MiB
inline constinit Limit<int> kSequenceMaxDepth{
    64, 1, 256};  // real ones stay below 10; the parser recurses, DCMTK's stack ends near 5,000
inline constinit Limit<size_t> kHeaderMaxElements{1 << 20, 100, 4 << 20};  // counted over all levels
inline constinit Limit<size_t> kValueMaxBytes{
    64 << 10, 1024, 64 << 10};  // of a value that is kept as a fact; all of an object's are one 1 MiB record
inline constexpr uint64_t kBulkValueMinBytes = 4 << 20;  // (fixed: stored objects' facts say where it ends)
                                                         // an unwanted value this long counts as bulk data
inline constexpr size_t kUidMaxBytes = 64;               // (fixed: PS3.5 9.1)
inline constinit Limit<uint64_t> kInflateMaxRatio{
    1024, 2, 1032};  // deflated data sets: output over input; deflate itself ends at 1032

// Names.
inline constexpr size_t kLabelMaxBytes = 64;      // (fixed: XNAT's project, subject and session labels)
inline constexpr size_t kFileNameMaxBytes = 200;  // (fixed: below every file system's 255)

// Lists.
inline constinit Limit<int> kPageSizeDefault{100, 1, 1000};
inline constinit Limit<int> kPageSizeMax{1000, 10, 1000};  // more would not fit into a message

// Archives that clients send.
inline constinit Limit<int> kArchiveMaxNesting{3, 0, 10};  // archives in archives
inline constinit Limit<uint64_t> kArchiveMaxEntries{1'000'000, 1, 1'000'000'000};

}  // namespace narthex::limits
