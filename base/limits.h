// Every limit of the product, each with its unit and its reason. Those marked (set KEY) are the defaults of
// settings. docs/operations.md has the table, made from here by `./dev fix`.
#pragma once

#include <cstddef>
#include <cstdint>

namespace narthex::limits {

// Upload protocol (design/api.md).
inline constexpr size_t kChunkMaxBytes = 2 << 20;    // payload of one message's chunk
inline constexpr size_t kMessageMaxBytes = 4 << 20;  // a gRPC message: several small objects and their heads
inline constexpr uint64_t kObjectMaxBytes = 1ull
                                            << 40;  // one object; DICOM's own limit for a frame set is lower
inline constexpr size_t kUploadUnackedMaxBytes = 32
                                                 << 20;  // bytes of one stream that may wait for their sync
inline constexpr size_t kUploadUnackedMaxObjects =
    4096;  // objects of one stream that may wait for their sync

inline constexpr int kUploadStreamsMax = 256;  // (set limits.upload_streams_max) at once; more are OVERLOADED
inline constexpr int kUploadStreamsPerUserMax =
    64;  // (set limits.upload_streams_per_user_max) one user's bulk import leaves room; not for gateways
inline constexpr int64_t kUploadIdleSeconds =
    300;  // (set limits.upload_idle_seconds) a stream whose peer does nothing for so long ends
inline constexpr uint64_t kHeldBytesMax =
    1ull << 30;  // (set limits.held_bytes_max) memory for objects whose header is not complete; no sender may
                 // hold more of it than is left free

// The server's connections and threads.
inline constexpr int kConnectionsMax = 2048;  // (set limits.connections_max) of gRPC; more are closed at once
inline constexpr int kConnectionsPerAddressMax =
    512;  // (set limits.connections_per_address_max) one machine leaves room for others
inline constexpr int kCallsPerConnectionMax = 128;  // HTTP/2 streams of one connection; more wait
inline constexpr int kServerThreadsMax = 1024;      // that serve calls; more calls are RESOURCE_EXHAUSTED
inline constexpr int kLongCallsMax =
    512;  // (set limits.long_calls_max) watches, waits, downloads and exports at once; more are OVERLOADED
inline constexpr int kLongCallsPerUserMax =
    64;  // (set limits.long_calls_per_user_max) each holds a thread: one user leaves room
inline constexpr int kCallsPerUserMax =
    256;  // (set limits.calls_per_user_max) calls with one answer of one user at once, likewise
inline constexpr int kReflectionCallsMax = 16;  // of gRPC's server reflection, which asks for no token
inline constexpr size_t kServerBuffersMaxBytes = 1ull << 30;  // of gRPC's transports
inline constexpr int64_t kHandshakeSeconds =
    20;  // from connecting to the end of TLS and HTTP/2 settings; then it is closed
inline constexpr int64_t kConnectionIdleSeconds = 900;  // a connection without calls is closed
inline constexpr int64_t kKeepaliveSeconds =
    60;  // a ping after so long without a byte; unanswered for 20 seconds: closed
inline constexpr uint64_t kOpenFilesMin =
    4096;  // descriptors; the start raises them as far as it may and warns below

// DICOM headers. Untrusted bytes.
inline constexpr size_t kHeaderMaxBytes = 32 << 20;  // before the bulk data begin; real ones stay below 4 MiB
inline constexpr int kSequenceMaxDepth = 64;         // real ones stay below 10; DCMTK's stack ends near 5,000
inline constexpr size_t kHeaderMaxElements = 1 << 20;    // counted over all levels
inline constexpr size_t kValueMaxBytes = 64 << 10;       // of a value that is kept as a fact
inline constexpr uint64_t kBulkValueMinBytes = 4 << 20;  // an unwanted value this long counts as bulk data
inline constexpr size_t kUidMaxBytes = 64;               // PS3.5 9.1
inline constexpr uint64_t kInflateMaxRatio = 1024;       // deflated data sets and archives: output over input

// Pixels that are decoded to be altered.
inline constexpr uint64_t kFrameMaxBytes = 512 << 20;  // one frame, compressed or not; mammograms have 50 MB
inline constexpr uint64_t kPixelDecoderMemoryBytes = 4ull << 30;  // address space; JPEG 2000 needs 5 frames
inline constexpr int kPixelDecodersMax = 4;                       // decoder processes at once

// Names.
inline constexpr size_t kLabelMaxBytes = 64;      // XNAT's project, subject and session labels
inline constexpr size_t kFileNameMaxBytes = 200;  // below every file system's 255

// Staging.
inline constexpr size_t kSegmentBlockBytes = 4096;        // alignment of records and of O_DIRECT
inline constexpr uint64_t kSegmentMaxBytes = 4ull << 30;  // then the session gets another segment file
inline constexpr size_t kSegmentBufferBytes = 8 << 20;    // what is collected before one write
inline constexpr uint64_t kFreeSpaceMinBytes =
    1ull << 30;  // (set limits.free_space_min_bytes) watermark below which objects are refused

// Sessions.
inline constexpr int64_t kIdleBuildSecondsDefault =
    60;  // (set prearchive.idle_build_seconds) no object for so long: the session is built
inline constexpr int64_t kIdleBuildSecondsMax = 86400;  // a day: then nobody sends any more

// Archived sessions.
inline constexpr size_t kResourceFilesMax = 100'000;  // added at once; more are several additions
inline constexpr size_t kResourceFolderMaxDepth = 8;  // of the names of files in a resource
inline constexpr size_t kCustomFieldsMax = 500;  // of a session or subject; also definitions of a project
inline constexpr size_t kCustomFieldMaxBytes = 16
                                               << 10;  // of a value, and of the description of a definition
inline constexpr uint64_t kCatalogMaxBytes = 1ull << 30;  // read back when sessions are merged or checked

// Searches. Untrusted text.
inline constexpr size_t kFilterMaxBytes = 8 << 10;
inline constexpr int kFilterMaxDepth = 32;    // parentheses and NOT in each other
inline constexpr int kFilterMaxTerms = 100;   // conditions of one filter
inline constexpr size_t kOrderFieldsMax = 4;  // to sort by

// People.
inline constexpr size_t kDisplayNameMaxBytes = 200;               // names and descriptions for people
inline constexpr int64_t kTokenSecondsMax = 100ll * 365 * 86400;  // a century: still a time of PostgreSQL's
inline constexpr int kAuthenticationFailuresMax = 100;            // of one address or user, at once
inline constexpr int64_t kAuthenticationFailureSeconds = 1;       // then one more each
inline constexpr int kAuthenticationKnownMax =
    100'000;  // tokens that are looked up whatever others of their address do: about 10 MB
inline constexpr size_t kAuthenticationKeysMax = 10'000;  // addresses and users that are counted: about 1 MB
inline constexpr size_t kJwtMaxBytes = 8 << 10;           // a token of the issuer; gRPC's metadata end there
inline constexpr size_t kJwksMaxBytes = 256 << 10;        // a hundred keys with their certificates
inline constexpr int64_t kJwksSeconds = 300;              // keys of an address are read again when older
inline constexpr int64_t kJwksMissSeconds = 10;           // between two reads for keys that are not known
inline constexpr int64_t kJwksConnectMs = 3000;       // of one read from an address, until it is connected
inline constexpr int64_t kJwksTimeoutMs = 5000;       // of one read from an address, all in all
inline constexpr int64_t kJwtLeewaySecondsMax = 600;  // clocks that differ by more are wrong

// Lists.
inline constexpr int kPageSizeDefault = 100;
inline constexpr int kPageSizeMax = 1000;

// Archives that clients send.
inline constexpr int kArchiveMaxNesting = 3;
inline constexpr uint64_t kArchiveMaxEntries = 1'000'000;

// DICOM network.
inline constexpr uint32_t kPduMaxBytes = 256 << 10;  // what the gateway offers to receive
inline constexpr int kAssociationsMax = 256;         // (set limits.associations_max) at once
inline constexpr int64_t kAssociationIdleSeconds =
    300;  // (set limits.association_idle_seconds) then it is aborted; from the next start
inline constexpr int kAssociationsPerAddressMax =
    128;  // (set limits.associations_per_address_max) one sender leaves room for others
inline constexpr uint32_t kAssociateMaxBytes =
    512 << 10;  // an A-ASSOCIATE PDU; 128 contexts of 30 syntaxes: 130 KiB
inline constexpr size_t kCommandMaxBytes = 64 << 10;  // a DIMSE command set; real ones stay below 1 KiB
inline constexpr uint16_t kAsyncWindowMax = 64;  // objects of one association that may wait for an answer

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
