// The bytes of a segment file: docs/formats/segment.md. Functions are pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "base/limits_storage.h"
#include "storage/staging/staging.h"

namespace narthex::staging {

inline constexpr size_t kHeadBytes = 192;
inline constexpr uint64_t kExtentMaxBytes =
    2 << 20;  // fixed: the format; payload of one record: what a reader must hold to verify it
inline constexpr size_t kMetaMaxBytes = 1 << 20;  // fixed: the format
inline constexpr size_t kSessionIdMaxBytes = 64;  // fixed: the format
inline constexpr uint16_t kFormatVersion = 1;

// What stands before the payload of a record.
struct RecordHead {
  bool completes = false;      // this is its object's last record, with the meta behind the payload
  uint64_t epoch = 0;          // random number of the log that wrote it; object numbers are unique within
  uint64_t object = 0;         // number of the object
  uint32_t extent_index = 0;   // of this record in its object, from 0
  Position at;                 // where this record begins
  Position previous;           // where its object's previous record begins; zero in the first
  Position durable;            // up to here the log was durable when this head was made
  uint64_t object_offset = 0;  // payload bytes of the object before this record
  uint32_t payload_length = 0;
  uint32_t payload_crc32c = 0;
  uint32_t meta_length = 0;
  uint32_t meta_crc32c = 0;
  std::string session_id;

  // All bytes of the record, a multiple of the block size.
  uint64_t RecordBytes() const;
  // Where the record ends and the next begins.
  Position End() const { return {at.segment, at.offset + RecordBytes()}; }
  // Where the payload is.
  Extent PayloadExtent() const {
    return {at.segment, at.offset + kHeadBytes, payload_length, payload_crc32c};
  }
};

inline uint64_t RoundUpToBlock(uint64_t bytes) {
  return (bytes + limits::kSegmentBlockBytes - 1) / limits::kSegmentBlockBytes * limits::kSegmentBlockBytes;
}

// Writes kHeadBytes bytes to `out`.
void EncodeHead(const RecordHead& head, char* out);

// The head in the first kHeadBytes of `bytes`; nothing if they are not a valid head of this format: too few,
// other magic or version, wrong checksum, impossible lengths. The caller compares session and position.
std::optional<RecordHead> DecodeHead(absl::string_view bytes);

// Whether `id` may name a session: [a-z0-9], 1 to 64.
bool IsSessionId(absl::string_view id);

// Sessions are spread over 256 folders: the low byte of the CRC-32C of `id`.
uint8_t ShardOf(absl::string_view id);

// "<root>/<ShardOf(id) in two hex digits>/<id>"
std::string SessionPath(absl::string_view root, absl::string_view id);

// "<session path>/<six digits>.seg"
std::string SegmentPath(absl::string_view session_path, uint32_t segment);

// The number of the segment file `name`; nothing for other names.
std::optional<uint32_t> SegmentNumber(absl::string_view name);

}  // namespace narthex::staging
