#include "storage/staging/segment_format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "base/crc32c.h"
#include "base/limits_storage.h"
#include "storage/fs/file_system.h"

namespace narthex::staging {
namespace {

constexpr absl::string_view kMagic = "NXSEGREC";
constexpr uint16_t kFlagCompletes = 1;

// Offsets of the fields; all numbers are little-endian.
enum Field : size_t {
  kAtMagic = 0,
  kAtVersion = 8,
  kAtFlags = 10,
  kAtHeadCrc = 12,
  kAtEpoch = 16,
  kAtObject = 24,
  kAtExtentIndex = 32,
  kAtSegment = 36,
  kAtOffset = 40,
  kAtPreviousOffset = 48,
  kAtPreviousSegment = 56,
  kAtDurableSegment = 60,
  kAtDurableOffset = 64,
  kAtObjectOffset = 72,
  kAtPayloadLength = 80,
  kAtPayloadCrc = 84,
  kAtMetaLength = 88,
  kAtMetaCrc = 92,
  kAtIdLength = 96,
  kAtZeros = 100,
  kAtId = 128,
};

template <typename T>
void Store(char* out, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out[at + i] = static_cast<char>(value >> (8 * i));
}

template <typename T>
T Load(absl::string_view bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value |
                           static_cast<T>(static_cast<T>(static_cast<uint8_t>(bytes[at + i])) << (8 * i)));
  }
  return value;
}

// Over the head with zeros in place of the checksum.
uint32_t HeadCrc(absl::string_view head) {
  uint32_t crc = Crc32c(head.substr(0, kAtHeadCrc));
  crc = Crc32c(absl::string_view("\0\0\0\0", 4), crc);
  return Crc32c(head.substr(kAtEpoch), crc);
}

}  // namespace

uint64_t RecordHead::RecordBytes() const {
  return RoundUpToBlock(kHeadBytes + uint64_t{payload_length} + meta_length);
}

void EncodeHead(const RecordHead& head, char* out) {
  std::memset(out, 0, kHeadBytes);
  std::memcpy(out + kAtMagic, kMagic.data(), kMagic.size());
  Store<uint16_t>(out, kAtVersion, kFormatVersion);
  Store<uint16_t>(out, kAtFlags, head.completes ? kFlagCompletes : 0);
  Store<uint64_t>(out, kAtEpoch, head.epoch);
  Store<uint64_t>(out, kAtObject, head.object);
  Store<uint32_t>(out, kAtExtentIndex, head.extent_index);
  Store<uint32_t>(out, kAtSegment, head.at.segment);
  Store<uint64_t>(out, kAtOffset, head.at.offset);
  Store<uint64_t>(out, kAtPreviousOffset, head.previous.offset);
  Store<uint32_t>(out, kAtPreviousSegment, head.previous.segment);
  Store<uint32_t>(out, kAtDurableSegment, head.durable.segment);
  Store<uint64_t>(out, kAtDurableOffset, head.durable.offset);
  Store<uint64_t>(out, kAtObjectOffset, head.object_offset);
  Store<uint32_t>(out, kAtPayloadLength, head.payload_length);
  Store<uint32_t>(out, kAtPayloadCrc, head.payload_crc32c);
  Store<uint32_t>(out, kAtMetaLength, head.meta_length);
  Store<uint32_t>(out, kAtMetaCrc, head.meta_crc32c);
  const size_t id_length = std::min(head.session_id.size(), kSessionIdMaxBytes);
  Store<uint32_t>(out, kAtIdLength, static_cast<uint32_t>(id_length));
  std::memcpy(out + kAtId, head.session_id.data(), id_length);
  Store<uint32_t>(out, kAtHeadCrc, HeadCrc(absl::string_view(out, kHeadBytes)));
}

std::optional<RecordHead> DecodeHead(absl::string_view bytes) {
  if (bytes.size() < kHeadBytes) return std::nullopt;
  bytes = bytes.substr(0, kHeadBytes);
  if (!absl::StartsWith(bytes, kMagic)) return std::nullopt;
  if (Load<uint16_t>(bytes, kAtVersion) != kFormatVersion) return std::nullopt;
  if (Load<uint32_t>(bytes, kAtHeadCrc) != HeadCrc(bytes)) return std::nullopt;
  RecordHead head;
  head.completes = (Load<uint16_t>(bytes, kAtFlags) & kFlagCompletes) != 0;
  head.epoch = Load<uint64_t>(bytes, kAtEpoch);
  head.object = Load<uint64_t>(bytes, kAtObject);
  head.extent_index = Load<uint32_t>(bytes, kAtExtentIndex);
  head.at = {Load<uint32_t>(bytes, kAtSegment), Load<uint64_t>(bytes, kAtOffset)};
  head.previous = {Load<uint32_t>(bytes, kAtPreviousSegment), Load<uint64_t>(bytes, kAtPreviousOffset)};
  head.durable = {Load<uint32_t>(bytes, kAtDurableSegment), Load<uint64_t>(bytes, kAtDurableOffset)};
  head.object_offset = Load<uint64_t>(bytes, kAtObjectOffset);
  head.payload_length = Load<uint32_t>(bytes, kAtPayloadLength);
  head.payload_crc32c = Load<uint32_t>(bytes, kAtPayloadCrc);
  head.meta_length = Load<uint32_t>(bytes, kAtMetaLength);
  head.meta_crc32c = Load<uint32_t>(bytes, kAtMetaCrc);
  const uint32_t id_length = Load<uint32_t>(bytes, kAtIdLength);
  if (id_length > kSessionIdMaxBytes || head.payload_length > kExtentMaxBytes ||
      head.meta_length > kMetaMaxBytes || head.at.offset % limits::kSegmentBlockBytes != 0) {
    return std::nullopt;
  }
  head.session_id = std::string(bytes.substr(kAtId, id_length));
  return head;
}

bool IsSessionId(absl::string_view id) {
  return !id.empty() && id.size() <= kSessionIdMaxBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
}

uint8_t ShardOf(absl::string_view id) { return static_cast<uint8_t>(Crc32c(id)); }

std::string SessionPath(absl::string_view root, absl::string_view id) {
  return fs::JoinPath(root, absl::StrFormat("%02x/%s", ShardOf(id), id));
}

std::string SegmentPath(absl::string_view session_path, uint32_t segment) {
  return fs::JoinPath(session_path, absl::StrFormat("%06u.seg", segment));
}

std::optional<uint32_t> SegmentNumber(absl::string_view name) {
  uint32_t number = 0;
  if (!absl::EndsWith(name, ".seg") || !absl::SimpleAtoi(name.substr(0, name.size() - 4), &number)) {
    return std::nullopt;
  }
  return absl::StrFormat("%06u.seg", number) == name ? std::optional<uint32_t>(number) : std::nullopt;
}

}  // namespace narthex::staging
