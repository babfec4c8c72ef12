// Limits of the product, continued: staging, archive and database.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Staging. What was written under other values stays readable.
inline constexpr size_t kSegmentBlockBytes =
    4096;  // (fixed: part of the format) alignment of records and of O_DIRECT
inline constinit Limit<uint64_t> kSegmentMaxBytes{4ll << 30, 64 << 20,
                                                  1ll << 40};  // then the session gets another segment file
inline constinit Limit<size_t> kSegmentBufferBytes{8 << 20, 1 << 20,
                                                   1 << 30};  // what is collected before one write
inline constinit Limit<size_t> kSegmentPoolBytes{
    64 << 20, 16 << 20, 1ll << 40};  // memory of all sessions for what is not written yet; touched as needed
inline constinit Limit<uint64_t> kFreeSpaceMinBytes{
    1 << 30, 0, 1ll << 50};  // (set limits.free_space_min_bytes) watermark below which objects are refused
inline constinit Limit<size_t> kOpenSegmentsMax{
    256, 8, 1 << 20};  // segment files that stay open; others are opened again when needed
inline constinit Limit<size_t> kIndexCacheBytes{32 << 20, 1 << 20,
                                                1ll << 40};  // blocks of the index in memory
inline constinit Limit<size_t> kIndexWriteBuffersBytes{32 << 20, 4 << 20,
                                                       1ll << 40};  // rows that are not in a table yet
inline constinit Limit<uint64_t> kIndexLogMaxBytes{
    128 << 20, 8 << 20, 1ll << 40};  // then memory is written to tables, so that opening stays quick
inline constinit Limit<size_t> kIndexMessagesMaxBytes{
    4 << 20, 64 << 10, 1 << 30};  // of RocksDB's messages, and as many of before
inline constinit Limit<size_t> kDamagesListedMax{1000, 1,
                                                 1'000'000};  // of one session's segments; all are counted

// Archived sessions.
inline constinit Limit<size_t> kResourceFilesMax{100'000, 1,
                                                 1'000'000};  // added at once; more are several additions
inline constinit Limit<size_t> kResourceFolderMaxDepth{8, 1, 12};  // of the names of files in a resource
inline constinit Limit<size_t> kCustomFieldsMax{
    500, 1, 10'000};  // of a session or subject; also definitions of a project
inline constinit Limit<size_t> kCustomFieldMaxBytes{
    16 << 10, 64, 16 << 10};  // of a value, and of the description of a definition; a column holds no more
inline constexpr uint64_t kCatalogMaxBytes =
    1ull << 30;  // (fixed: what was written stays readable) read back when sessions are merged or checked
inline constexpr uint64_t kJournalMaxBytes =
    4ull << 30;  // (fixed: what was written stays readable) of an archiving that was interrupted
inline constexpr size_t kColumnMaxBytes =
    16 << 10;  // (fixed: rows are read and written again when sessions are merged) text of one column
inline constexpr size_t kFilePathMaxBytes = 1024;  // (fixed: PostgreSQL's index rows end at 2704 bytes)
inline constinit Limit<size_t> kFindingsListedMax{10'000, 1,
                                                  1'000'000};  // that narthex-verify lists; all are counted

// Projects.
inline constinit Limit<size_t> kProjectTextMaxBytes{64 << 10, 256, 1 << 20};  // of a name and a description
inline constinit Limit<size_t> kProjectAliasesMax{64, 0, 10'000};

// Searches. Untrusted text.
inline constinit Limit<size_t> kFilterMaxBytes{8 << 10, 64, 1 << 20};
inline constinit Limit<int> kFilterMaxDepth{32, 1, 256};      // parentheses and NOT in each other
inline constinit Limit<int> kFilterMaxTerms{100, 1, 10'000};  // conditions of one filter
inline constinit Limit<size_t> kOrderFieldsMax{4, 1, 16};     // to sort by

// The database's connections.
inline constinit Limit<int> kDatabaseConnectionsMax{8, 1, 56};  // opened when needed; our PostgreSQL has 64
inline constinit Limit<int64_t> kDatabaseConnectSeconds{10, 1, 600};
inline constinit Limit<int64_t> kDatabaseAcquireSeconds{30, 1, 3600};  // waiting for a free connection
inline constinit Limit<int64_t> kDatabaseStatementSeconds{
    60, 1, 86400};  // of one statement, on the server; but for migrations
inline constinit Limit<int64_t> kPostgresStartSeconds{
    60, 5, 86400};  // until our PostgreSQL answers; crash recovery may take a while
inline constinit Limit<size_t> kPreparedMax{200, 1, 10'000};  // statements of one connection
inline constinit Limit<uint64_t> kPostgresLogMaxBytes{
    16 << 20, 64 << 10, 1ll << 40};  // then the next start keeps one and begins another

}  // namespace narthex::limits
