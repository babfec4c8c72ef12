#include "server/gateway/dimse.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/gateway/byte_order.h"

namespace narthex::gateway {
namespace {

constexpr size_t kElementHeaderBytes = 8;     // u16 group, u16 element, u32 length
constexpr size_t kErrorCommentMaxBytes = 64;  // fixed: VR LO

absl::Status Malformed(absl::string_view what, uint32_t tag) {
  const std::string name = absl::StrFormat("(%04X,%04X)", tag >> 16, tag & 0xffff);
  return InvalidArgument("INVALID_FIELD", absl::StrCat("command set: ", what, " of ", name), {{"tag", name}});
}

absl::string_view WithoutPadding(absl::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  return text;
}

absl::Status TakeNumber(uint32_t tag, absl::string_view value, uint16_t& number) {
  if (value.size() != 2) return Malformed("the length", tag);
  number = LittleU16(value, 0);
  return absl::OkStatus();
}

absl::Status TakeUid(uint32_t tag, absl::string_view value, std::string& uid) {
  value = WithoutPadding(value);
  if (value.size() > limits::kUidMaxBytes) return Malformed("the length", tag);
  uid = std::string(value);
  return absl::OkStatus();
}

// Takes one element over into `command`.
absl::Status TakeElement(uint32_t tag, absl::string_view value, Command& command) {
  switch (tag) {
    case 0x0002:
    case 0x0003:
      return TakeUid(tag, value, command.affected_sop_class_uid);
    case 0x1000:
    case 0x1001:
      return TakeUid(tag, value, command.affected_sop_instance_uid);
    case 0x0100:
      return TakeNumber(tag, value, command.field);
    case 0x0110:
      return TakeNumber(tag, value, command.message_id);
    case 0x0120:
      return TakeNumber(tag, value, command.responded_message_id);
    case 0x0700:
      return TakeNumber(tag, value, command.priority);
    case 0x0800:
      return TakeNumber(tag, value, command.data_set_type);
    case 0x0900:
      return TakeNumber(tag, value, command.status);
    case 0x1002:
      return TakeNumber(tag, value, command.event_type_id);
    case 0x1008:
      return TakeNumber(tag, value, command.action_type_id);
    case 0x0902:
      command.error_comment = std::string(WithoutPadding(value).substr(0, kErrorCommentMaxBytes));
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

void AppendElement(uint16_t element, absl::string_view value, char padding, std::string& out) {
  AppendLittleU16(0, out);
  AppendLittleU16(element, out);
  AppendLittleU32(static_cast<uint32_t>(value.size() + value.size() % 2), out);
  out.append(value.data(), value.size());
  if (value.size() % 2 != 0) out.push_back(padding);
}

void AppendNumber(uint16_t element, uint16_t number, std::string& out) {
  AppendLittleU16(0, out);
  AppendLittleU16(element, out);
  AppendLittleU32(2, out);
  AppendLittleU16(number, out);
}

}  // namespace

absl::StatusOr<Command> ParseCommand(absl::string_view bytes) {
  Command command;
  bool has_field = false;
  while (!bytes.empty()) {
    if (bytes.size() < kElementHeaderBytes)
      return InvalidArgument("INVALID_FIELD", "command set: it is cut off");
    const uint32_t tag = static_cast<uint32_t>(LittleU16(bytes, 0)) << 16 | LittleU16(bytes, 2);
    const uint32_t length = LittleU32(bytes, 4);
    bytes.remove_prefix(kElementHeaderBytes);
    if (tag > 0xffff) return Malformed("the group", tag);
    if (length > bytes.size()) return Malformed("the length", tag);
    NX_RETURN_IF_ERROR(TakeElement(tag, bytes.substr(0, length), command));
    has_field = has_field || tag == 0x0100;
    bytes.remove_prefix(length);
  }
  if (!has_field) return Malformed("the absence", 0x0100);
  return command;
}

std::string EncodeCommand(const Command& command) {
  std::string elements;
  const auto uid = [&elements](uint16_t element, absl::string_view value) {
    if (!value.empty()) AppendElement(element, value.substr(0, limits::kUidMaxBytes), '\0', elements);
  };
  uid(0x0002, command.affected_sop_class_uid);
  AppendNumber(0x0100, command.field, elements);
  if (command.is_response()) {
    AppendNumber(0x0120, command.responded_message_id, elements);
  } else {
    AppendNumber(0x0110, command.message_id, elements);
    if (command.field == kCStoreRq) AppendNumber(0x0700, command.priority, elements);
  }
  AppendNumber(0x0800, command.data_set_type, elements);
  if (command.is_response()) {
    AppendNumber(0x0900, command.status, elements);
    const absl::string_view comment = command.error_comment;
    if (!comment.empty()) AppendElement(0x0902, comment.substr(0, kErrorCommentMaxBytes), ' ', elements);
  }
  uid(0x1000, command.affected_sop_instance_uid);
  if (command.event_type_id != 0) AppendNumber(0x1002, command.event_type_id, elements);
  if (command.action_type_id != 0) AppendNumber(0x1008, command.action_type_id, elements);

  std::string out;
  out.reserve(elements.size() + 12);
  AppendLittleU32(0, out);
  AppendLittleU32(4, out);
  AppendLittleU32(static_cast<uint32_t>(elements.size()), out);
  return out += elements;
}

Command ResponseTo(const Command& request, uint16_t status, absl::string_view error_comment) {
  Command response;
  response.field = request.field | kResponseBit;
  response.affected_sop_class_uid = request.affected_sop_class_uid;
  response.affected_sop_instance_uid = request.affected_sop_instance_uid;
  response.responded_message_id = request.message_id;
  response.status = status;
  response.error_comment = std::string(error_comment.substr(0, kErrorCommentMaxBytes));
  return response;
}

}  // namespace narthex::gateway
