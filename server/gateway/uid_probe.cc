#include "server/gateway/uid_probe.h"

#include <algorithm>

#include "base/limits.h"
#include "server/gateway/byte_order.h"

namespace narthex::gateway {
namespace {

constexpr uint32_t kSopClassUid = 0x00080016;
constexpr uint32_t kSopInstanceUid = 0x00080018;
constexpr uint32_t kUndefinedLength = 0xffffffff;

// Whether an explicit VR has two reserved bytes and a 32 bit length (PS3.5 7.1.2).
bool HasLongLength(absl::string_view vr) {
  static constexpr absl::string_view kLong[] = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ",
                                                "SV", "UC", "UN", "UR", "UT", "UV"};
  return std::find(std::begin(kLong), std::end(kLong), vr) != std::end(kLong);
}

std::string WithoutPadding(absl::string_view text) {
  while (!text.empty() && (text.back() == '\0' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text);
}

}  // namespace

UidProbe::UidProbe(absl::string_view transfer_syntax_uid)
    : syntax_(dicom::FindTransferSyntax(transfer_syntax_uid)), done_(syntax_.deflated) {}

bool UidProbe::Feed(absl::string_view bytes) {
  if (done_) return false;
  const absl::string_view taken = bytes.substr(0, kWindowBytes - std::min(kWindowBytes, window_.size()));
  window_.append(taken.data(), taken.size());
  if (!Scan() || window_.size() >= kWindowBytes) done_ = true;
  return !done_;
}

bool UidProbe::Scan() {
  while (window_.size() - offset_ >= 12) {  // the longest head of an element
    const absl::string_view at = absl::string_view(window_).substr(offset_);
    const bool big = syntax_.big_endian;
    const auto u16 = [&](size_t i) { return big ? BigU16(at, i) : LittleU16(at, i); };
    const auto u32 = [&](size_t i) { return big ? BigU32(at, i) : LittleU32(at, i); };
    const uint32_t tag = static_cast<uint32_t>(u16(0)) << 16 | u16(2);
    if (tag > kSopInstanceUid) return false;
    const bool long_length = syntax_.explicit_vr && HasLongLength(at.substr(4, 2));
    const size_t head = long_length ? 12 : 8;
    const uint32_t length = long_length ? u32(8) : syntax_.explicit_vr ? u16(6) : u32(4);
    if (length == kUndefinedLength || length > kWindowBytes) return false;
    if (at.size() < head + length) return true;  // the rest of it is still to come
    const absl::string_view value = at.substr(head, length);
    if (tag == kSopClassUid) sop_class_uid_ = WithoutPadding(value);
    if (tag == kSopInstanceUid) {
      sop_instance_uid_ = WithoutPadding(value);
      return false;
    }
    offset_ += head + length;
  }
  return true;
}

}  // namespace narthex::gateway
