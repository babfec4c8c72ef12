#include "server/gateway/part10_header.h"

#include "server/gateway/byte_order.h"
#include "server/gateway/negotiation.h"

namespace narthex::gateway {
namespace {

constexpr size_t kPreambleBytes = 128;

// An element of group 0002 with a 16 bit length, padded to an even one.
void AppendShort(uint16_t element, absl::string_view vr, absl::string_view value, char padding,
                 std::string& out) {
  AppendLittleU16(0x0002, out);
  AppendLittleU16(element, out);
  out.append(vr.data(), vr.size());
  AppendLittleU16(static_cast<uint16_t>(value.size() + value.size() % 2), out);
  out.append(value.data(), value.size());
  if (value.size() % 2 != 0) out.push_back(padding);
}

}  // namespace

std::string EncodePart10Header(const Part10Identity& identity) {
  std::string group;
  AppendLittleU16(0x0002, group);  // (0002,0001) FileMetaInformationVersion, OB: 32 bit length
  AppendLittleU16(0x0001, group);
  group.append("OB\0\0", 4);
  AppendLittleU32(2, group);
  group.append("\0\1", 2);
  AppendShort(0x0002, "UI", identity.sop_class_uid, '\0', group);
  AppendShort(0x0003, "UI", identity.sop_instance_uid, '\0', group);
  AppendShort(0x0010, "UI", identity.transfer_syntax_uid, '\0', group);
  AppendShort(0x0012, "UI", kImplementationClassUid, '\0', group);
  AppendShort(0x0013, "SH", kImplementationVersionName, ' ', group);
  if (!identity.source_ae_title.empty()) AppendShort(0x0016, "AE", identity.source_ae_title, ' ', group);

  std::string out(kPreambleBytes, '\0');
  out.reserve(kPreambleBytes + 16 + group.size());
  out += "DICM";
  std::string length;
  AppendLittleU32(static_cast<uint32_t>(group.size()), length);
  AppendShort(0x0000, "UL", length, '\0', out);
  return out += group;
}

}  // namespace narthex::gateway
