#include "server/gateway/pdu.h"

#include <algorithm>
#include <bitset>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/status.h"
#include "server/gateway/byte_order.h"

namespace narthex::gateway {
namespace {

// Fixed part of an A-ASSOCIATE: protocol version, two reserved bytes, two AE titles, 32 reserved bytes.
constexpr size_t kAssociateFixedBytes = 68;
constexpr size_t kAeTitleBytes = 16;
constexpr size_t kItemHeaderBytes = 4;
constexpr size_t kVersionNameMaxBytes = 16;  // fixed: PS3.7 D.3.3.2

enum ItemType : uint8_t {
  kApplicationContextItem = 0x10,
  kRequestContextItem = 0x20,
  kAnswerContextItem = 0x21,
  kAbstractSyntaxItem = 0x30,
  kTransferSyntaxItem = 0x40,
  kUserInformationItem = 0x50,
  kMaximumLengthItem = 0x51,
  kImplementationClassItem = 0x52,
  kAsyncWindowItem = 0x53,
  kRoleSelectionItem = 0x54,
  kImplementationVersionItem = 0x55,
};

absl::Status Malformed(absl::string_view what, size_t offset) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat("A-ASSOCIATE: ", what, " at offset ", offset),
                         {{"offset", absl::StrCat(offset)}});
}

absl::string_view WithoutPadding(absl::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

// One item or sub-item: u8 type, u8 reserved, u16 length, value.
struct Item {
  uint8_t type = 0;
  size_t offset = 0;  // of its value in the PDU's body
  absl::string_view value;
};

// Splits a run of items.
class ItemReader {
 public:
  ItemReader(absl::string_view bytes, size_t offset) : bytes_(bytes), offset_(offset) {}

  bool done() const { return bytes_.empty(); }

  absl::StatusOr<Item> Next() {
    if (bytes_.size() < kItemHeaderBytes) return Malformed("an item without header", offset_);
    const size_t length = BigU16(bytes_, 2);
    if (length > bytes_.size() - kItemHeaderBytes) return Malformed("an item beyond its frame", offset_);
    Item item{ByteAt(bytes_, 0), offset_ + kItemHeaderBytes, bytes_.substr(kItemHeaderBytes, length)};
    bytes_.remove_prefix(kItemHeaderBytes + length);
    offset_ += kItemHeaderBytes + length;
    return item;
  }

 private:
  absl::string_view bytes_;
  size_t offset_;
};

absl::StatusOr<PresentationContext> ParseContext(PduType type, const Item& item) {
  if (item.value.size() < 4) return Malformed("a presentation context without id", item.offset);
  PresentationContext context;
  context.id = ByteAt(item.value, 0);
  if (context.id % 2 == 0) return Malformed("an even presentation context id", item.offset);
  if (type == PduType::kAssociateAc) {
    context.result = static_cast<ContextResult>(std::min<uint8_t>(ByteAt(item.value, 2), 4));
  }
  ItemReader reader(item.value.substr(4), item.offset + 4);
  while (!reader.done()) {
    NX_ASSIGN_OR_RETURN(Item sub, reader.Next());
    const std::string uid(WithoutPadding(sub.value));
    if (sub.type == kAbstractSyntaxItem && type == PduType::kAssociateRq) {
      if (uid.empty()) return Malformed("an empty abstract syntax", sub.offset);
      context.abstract_syntax = uid;
    } else if (sub.type == kTransferSyntaxItem) {
      if (context.transfer_syntaxes.size() == limits::kTransferSyntaxesMax) {
        return Malformed("too many transfer syntaxes", sub.offset);
      }
      context.transfer_syntaxes.push_back(uid);
    }
  }
  if (type == PduType::kAssociateRq &&
      (context.abstract_syntax.empty() || context.transfer_syntaxes.empty())) {
    return Malformed("a presentation context without abstract or transfer syntax", item.offset);
  }
  return context;
}

absl::Status ParseRole(const Item& item, Associate& associate) {
  if (item.value.size() < 4 || BigU16(item.value, 0) != item.value.size() - 4) {
    return Malformed("a role selection of a wrong length", item.offset);
  }
  const size_t length = BigU16(item.value, 0);
  RoleSelection role;
  role.sop_class_uid = std::string(WithoutPadding(item.value.substr(2, length)));
  role.scu = ByteAt(item.value, 2 + length) == 1;
  role.scp = ByteAt(item.value, 3 + length) == 1;
  associate.roles.push_back(std::move(role));
  return absl::OkStatus();
}

absl::Status ParseUserInformation(const Item& item, Associate& associate) {
  ItemReader reader(item.value, item.offset);
  while (!reader.done()) {
    NX_ASSIGN_OR_RETURN(Item sub, reader.Next());
    switch (sub.type) {
      case kMaximumLengthItem:
        if (sub.value.size() != 4) return Malformed("a maximum length of a wrong length", sub.offset);
        associate.max_pdu_bytes = BigU32(sub.value, 0);
        break;
      case kImplementationClassItem:
        associate.implementation_class_uid = std::string(WithoutPadding(sub.value));
        break;
      case kImplementationVersionItem:
        associate.implementation_version = std::string(WithoutPadding(sub.value));
        break;
      case kAsyncWindowItem:
        if (sub.value.size() != 4) return Malformed("an asynchronous window of a wrong length", sub.offset);
        associate.async_window = AsyncWindow{BigU16(sub.value, 0), BigU16(sub.value, 2)};
        break;
      case kRoleSelectionItem:
        NX_RETURN_IF_ERROR(ParseRole(sub, associate));
        break;
      default:
        break;  // extended negotiation, user identity and what is still to be invented
    }
  }
  return absl::OkStatus();
}

// Appends an item's header and value.
void AppendItem(uint8_t type, absl::string_view value, std::string& out) {
  out.push_back(static_cast<char>(type));
  out.push_back('\0');
  AppendBigU16(static_cast<uint16_t>(value.size()), out);
  out.append(value.data(), value.size());
}

void AppendAeTitle(absl::string_view title, std::string& out) {
  std::string padded(title.substr(0, kAeTitleBytes));
  padded.resize(kAeTitleBytes, ' ');
  out += padded;
}

// As much of a UID as PS3.8 gives room for.
absl::string_view Uid(absl::string_view uid) { return uid.substr(0, limits::kUidMaxBytes); }

std::string EncodeContext(PduType type, const PresentationContext& context) {
  std::string value;
  value.push_back(static_cast<char>(context.id));
  value.push_back('\0');
  value.push_back(type == PduType::kAssociateAc ? static_cast<char>(context.result) : '\0');
  value.push_back('\0');
  if (type == PduType::kAssociateRq) AppendItem(kAbstractSyntaxItem, Uid(context.abstract_syntax), value);
  for (const std::string& uid : context.transfer_syntaxes) AppendItem(kTransferSyntaxItem, Uid(uid), value);
  return value;
}

std::string EncodeUserInformation(const Associate& associate) {
  std::string value;
  std::string sub;
  AppendBigU32(associate.max_pdu_bytes, sub);
  AppendItem(kMaximumLengthItem, sub, value);
  AppendItem(kImplementationClassItem, Uid(associate.implementation_class_uid), value);
  if (associate.async_window) {
    sub.clear();
    AppendBigU16(associate.async_window->invoked, sub);
    AppendBigU16(associate.async_window->performed, sub);
    AppendItem(kAsyncWindowItem, sub, value);
  }
  for (const RoleSelection& role : associate.roles) {
    sub.clear();
    const absl::string_view uid = Uid(role.sop_class_uid);
    AppendBigU16(static_cast<uint16_t>(uid.size()), sub);
    sub.append(uid.data(), uid.size());
    sub.push_back(role.scu ? '\1' : '\0');
    sub.push_back(role.scp ? '\1' : '\0');
    AppendItem(kRoleSelectionItem, sub, value);
  }
  const absl::string_view version = associate.implementation_version;
  if (!version.empty())
    AppendItem(kImplementationVersionItem, version.substr(0, kVersionNameMaxBytes), value);
  return value;
}

// A whole PDU around `body`.
std::string Framed(PduType type, absl::string_view body) {
  std::string out;
  out.reserve(kPduHeaderBytes + body.size());
  out.push_back(static_cast<char>(type));
  out.push_back('\0');
  AppendBigU32(static_cast<uint32_t>(body.size()), out);
  out.append(body.data(), body.size());
  return out;
}

std::string FourBytes(PduType type, uint8_t a, uint8_t b, uint8_t c) {
  const char body[4] = {'\0', static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)};
  return Framed(type, absl::string_view(body, sizeof(body)));
}

}  // namespace

PduHeader ParsePduHeader(absl::string_view bytes) { return {ByteAt(bytes, 0), BigU32(bytes, 2)}; }

absl::StatusOr<PdvHeader> ParsePdvHeader(absl::string_view bytes) {
  const uint32_t length = BigU32(bytes, 0);
  if (length < 2) return InvalidArgument("INVALID_FIELD", "P-DATA-TF: a data value shorter than its header");
  const uint8_t control = ByteAt(bytes, 5);
  return PdvHeader{length - 2, ByteAt(bytes, 4), (control & 1) != 0, (control & 2) != 0};
}

absl::StatusOr<Associate> ParseAssociate(PduType type, absl::string_view body) {
  if (body.size() < kAssociateFixedBytes) return Malformed("the PDU ends within its fixed part", body.size());
  Associate associate;
  associate.protocol_version = BigU16(body, 0);
  associate.called_ae_title = std::string(WithoutPadding(body.substr(4, kAeTitleBytes)));
  associate.calling_ae_title = std::string(WithoutPadding(body.substr(20, kAeTitleBytes)));
  associate.application_context.clear();

  const uint8_t context_item = type == PduType::kAssociateRq ? kRequestContextItem : kAnswerContextItem;
  std::bitset<256> seen;
  ItemReader reader(body.substr(kAssociateFixedBytes), kAssociateFixedBytes);
  while (!reader.done()) {
    NX_ASSIGN_OR_RETURN(Item item, reader.Next());
    if (item.type == kApplicationContextItem) {
      associate.application_context = std::string(WithoutPadding(item.value));
    } else if (item.type == context_item) {
      NX_ASSIGN_OR_RETURN(PresentationContext context, ParseContext(type, item));
      if (seen.test(context.id)) return Malformed("a doubled presentation context id", item.offset);
      seen.set(context.id);
      associate.contexts.push_back(std::move(context));
    } else if (item.type == kUserInformationItem) {
      NX_RETURN_IF_ERROR(ParseUserInformation(item, associate));
    }
  }
  return associate;
}

std::string EncodeAssociate(PduType type, const Associate& associate) {
  std::string body;
  AppendBigU16(associate.protocol_version, body);
  AppendBigU16(0, body);
  AppendAeTitle(associate.called_ae_title, body);
  AppendAeTitle(associate.calling_ae_title, body);
  body.resize(kAssociateFixedBytes, '\0');
  AppendItem(kApplicationContextItem, Uid(associate.application_context), body);
  const uint8_t context_item = type == PduType::kAssociateRq ? kRequestContextItem : kAnswerContextItem;
  for (const PresentationContext& context : associate.contexts) {
    AppendItem(context_item, EncodeContext(type, context), body);
  }
  AppendItem(kUserInformationItem, EncodeUserInformation(associate), body);
  return Framed(type, body);
}

absl::StatusOr<Reject> ParseReject(absl::string_view body) {
  if (body.size() != 4) return InvalidArgument("INVALID_FIELD", "A-ASSOCIATE-RJ: its length is not 4");
  return Reject{ByteAt(body, 1), ByteAt(body, 2), ByteAt(body, 3)};
}

absl::StatusOr<Abort> ParseAbort(absl::string_view body) {
  if (body.size() != 4) return InvalidArgument("INVALID_FIELD", "A-ABORT: its length is not 4");
  return Abort{ByteAt(body, 2), ByteAt(body, 3)};
}

std::string EncodeReject(const Reject& reject) {
  return FourBytes(PduType::kAssociateRj, reject.result, reject.source, reject.reason);
}
std::string EncodeAbort(const Abort& abort) {
  return FourBytes(PduType::kAbort, 0, abort.source, abort.reason);
}
std::string EncodeReleaseRq() { return FourBytes(PduType::kReleaseRq, 0, 0, 0); }
std::string EncodeReleaseRp() { return FourBytes(PduType::kReleaseRp, 0, 0, 0); }

void AppendPData(uint8_t context_id, bool command, absl::string_view data, uint32_t max_pdu_bytes,
                 std::string& out) {
  const size_t body_max = max_pdu_bytes == 0 ? UINT32_MAX : std::max<uint32_t>(max_pdu_bytes, 16);
  const size_t fragment_max = body_max - kPdvHeaderBytes;
  do {
    const absl::string_view fragment = data.substr(0, fragment_max);
    data.remove_prefix(fragment.size());
    out.push_back(static_cast<char>(PduType::kPData));
    out.push_back('\0');
    AppendBigU32(static_cast<uint32_t>(fragment.size() + kPdvHeaderBytes), out);
    AppendBigU32(static_cast<uint32_t>(fragment.size() + 2), out);
    out.push_back(static_cast<char>(context_id));
    out.push_back(static_cast<char>((command ? 1 : 0) | (data.empty() ? 2 : 0)));
    out.append(fragment.data(), fragment.size());
  } while (!data.empty());
}

}  // namespace narthex::gateway
