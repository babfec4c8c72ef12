// Limits of the product, continued: connections, people, and what they ask for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// The server's connections and threads.
inline constinit Limit<int> kConnectionsMax{
    2048, 1, 1'000'000};  // (set limits.connections_max) of gRPC; more are closed at once
inline constinit Limit<int> kConnectionsPerAddressMax{
    512, 1, 1'000'000};  // (set limits.connections_per_address_max) one machine leaves room for others
inline constinit Limit<int> kCallsPerConnectionMax{128, 1,
                                                   1'000'000};  // HTTP/2 streams of one connection; more wait
inline constinit Limit<int> kServerThreadsMax{
    1024, 16, 100'000};  // that serve calls; more calls are RESOURCE_EXHAUSTED
inline constinit Limit<int> kLongCallsMax{512, 1,
                                          1'000'000};  // (set limits.long_calls_max) watches, waits,
                                                       // downloads and exports at once; more are OVERLOADED
inline constinit Limit<int> kLongCallsPerUserMax{
    64, 1, 1'000'000};  // (set limits.long_calls_per_user_max) each holds a thread: one user leaves room
inline constinit Limit<int> kCallsPerUserMax{
    256, 1,
    1'000'000};  // (set limits.calls_per_user_max) calls with one answer of one user at once, likewise
inline constinit Limit<int> kReflectionCallsMax{
    16, 1, 1'000'000};  // of gRPC's server reflection, which asks for no token
inline constinit Limit<size_t> kServerBuffersMaxBytes{1 << 30, 64 << 20, 1ll << 40};  // of gRPC's transports
inline constinit Limit<int64_t> kHandshakeSeconds{
    20, 1, 3600};  // from connecting to the end of TLS and HTTP/2 settings; then it is closed
inline constinit Limit<int64_t> kConnectionIdleSeconds{900, 1,
                                                       86400};    // a connection without calls is closed
inline constinit Limit<int64_t> kKeepaliveSeconds{60, 1, 86400};  // a ping after so long without a byte
inline constinit Limit<int64_t> kKeepaliveAnswerSeconds{
    20, 1, 3600};  // a connection whose ping is unanswered for so long is closed
inline constinit Limit<uint64_t> kOpenFilesMin{
    4096, 64, 1 << 30};  // descriptors; the start raises them as far as it may and warns below
inline constinit Limit<uint64_t> kPemMaxBytes{
    1 << 20, 4096, 64 << 20};  // a file of certificates or a key; authorities of the world have 250 KB
inline constinit Limit<int64_t> kOperationWaitMaxSeconds{
    300, 1, 86400};  // that a caller may wait for an operation in one call

// Sessions.
inline constinit Limit<int64_t> kIdleBuildSecondsDefault{
    60, 1, 86400};  // (set prearchive.idle_build_seconds) no object for so long: the session is built
inline constinit Limit<int64_t> kIdleBuildSecondsMax{
    86400, 1, 30 * 86400};  // of what projects and receivers may say; a day: then nobody sends any more

// What one call may ask or tell.
inline constinit Limit<int> kDigestsMax{
    10'000, 10'000,
    60'000};  // asked for at once; clients ask for as many, and a message ends behind the most
inline constinit Limit<int> kNotKeptMax{
    1000, 0, 10'000};  // objects of an import that its answer names; all are counted
inline constexpr size_t kPreviewHeadMaxBytes =
    3 << 20;  // (fixed: it fits into a message) header of an object that a script is tried on
inline constexpr size_t kScanTextMaxBytes = 256;     // (fixed: XNAT's) type and quality of a scan
inline constexpr size_t kNoteMaxBytes = 2500;        // (fixed: xnat.xsd) note of a scan or session
inline constexpr size_t kSessionWordMaxBytes = 255;  // (fixed: xnat.xsd) site, operator and the like

// People.
inline constinit Limit<size_t> kDisplayNameMaxBytes{200, 20, 10'000};  // names and descriptions for people
inline constinit Limit<int64_t> kTokenSecondsMax{
    100ll * 365 * 86400, 60, 100ll * 365 * 86400};  // a century: still a time of PostgreSQL's
inline constinit Limit<int> kAuthenticationFailuresMax{100, 1, 1'000'000};  // of one address or user, at once
inline constinit Limit<int64_t> kAuthenticationFailureSeconds{1, 1, 3600};  // then one more each
inline constinit Limit<size_t> kAuthenticationKnownMax{
    100'000, 1, 10'000'000};  // tokens that are looked up whatever others of their address do: about 10 MB
inline constinit Limit<size_t> kAuthenticationKeysMax{
    10'000, 10, 10'000'000};  // addresses and users that are counted: about 1 MB
inline constinit Limit<size_t> kTokensRememberedMax{
    10'000, 1, 10'000'000};  // tokens that need no look into the database: about 2 MB
inline constinit Limit<size_t> kJwtMaxBytes{8 << 10, 1024,
                                            8 << 10};  // a token of the issuer; gRPC's metadata end there
inline constinit Limit<size_t> kJwksMaxBytes{256 << 10, 1024, 16 << 20};  // a hundred keys with certificates
inline constinit Limit<int64_t> kJwksSeconds{300, 1, 86400};  // keys of an address are read again when older
inline constinit Limit<int64_t> kJwksMissSeconds{10, 1, 3600};     // between two reads for keys not known
inline constinit Limit<int64_t> kJwksConnectMs{3000, 10, 60'000};  // of one read, until it is connected
inline constinit Limit<int64_t> kJwksTimeoutMs{5000, 10, 60'000};  // of one read from an address, all in all
inline constinit Limit<int64_t> kJwtLeewaySecondsMax{600, 0, 86400};  // clocks that differ by more are wrong

}  // namespace narthex::limits
