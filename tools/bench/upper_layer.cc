#include "tools/bench/upper_layer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace narthex::bench {
namespace {

void Big16(uint16_t value, std::string& out) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

void Big32(uint32_t value, std::string& out) {
  Big16(static_cast<uint16_t>(value >> 16), out);
  Big16(static_cast<uint16_t>(value), out);
}

void Little16(uint16_t value, std::string& out) {
  out.push_back(static_cast<char>(value));
  out.push_back(static_cast<char>(value >> 8));
}

void Little32(uint32_t value, std::string& out) {
  Little16(static_cast<uint16_t>(value), out);
  Little16(static_cast<uint16_t>(value >> 16), out);
}

uint32_t Number(absl::string_view bytes, size_t count, bool big) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[big ? i : count - 1 - i]);
  }
  return value;
}

std::string Trimmed(absl::string_view uid) {
  while (!uid.empty() && (uid.back() == '\0' || uid.back() == ' ')) uid.remove_suffix(1);
  return std::string(uid);
}

void Item(uint8_t type, absl::string_view body, std::string& out) {
  out.push_back(static_cast<char>(type));
  out.push_back('\0');
  Big16(static_cast<uint16_t>(body.size()), out);
  out.append(body.data(), body.size());
}

std::string Pdu(uint8_t type, absl::string_view body) {
  std::string out = {static_cast<char>(type), '\0'};
  Big32(static_cast<uint32_t>(body.size()), out);
  out.append(body.data(), body.size());
  return out;
}

std::string AeTitle(absl::string_view title) {
  std::string padded(title);
  padded.resize(16, ' ');
  return padded;
}

void Element(uint16_t element, absl::string_view value, std::string& out) {
  Little16(0, out);
  Little16(element, out);
  const bool odd = value.size() % 2 != 0;
  Little32(static_cast<uint32_t>(value.size() + (odd ? 1 : 0)), out);
  out.append(value.data(), value.size());
  if (odd) out.push_back('\0');
}

void NumberElement(uint16_t element, uint16_t value, std::string& out) {
  std::string bytes;
  Little16(value, bytes);
  Element(element, bytes, out);
}

std::string WithGroupLength(const std::string& command) {
  std::string length;
  Little32(static_cast<uint32_t>(command.size()), length);
  std::string out;
  Element(0, length, out);
  return out + command;
}

void AppendPData(uint8_t context_id, bool command, absl::string_view data, uint32_t max_pdu_bytes,
                 std::string& out) {
  const size_t room = max_pdu_bytes - 6;
  do {
    const absl::string_view piece = data.substr(0, room);
    data.remove_prefix(piece.size());
    out.push_back(static_cast<char>(kPData));
    out.push_back('\0');
    Big32(static_cast<uint32_t>(piece.size() + 6), out);
    Big32(static_cast<uint32_t>(piece.size() + 2), out);
    out.push_back(static_cast<char>(context_id));
    out.push_back(static_cast<char>((command ? 1 : 0) | (data.empty() ? 2 : 0)));
    out.append(piece.data(), piece.size());
  } while (!data.empty());
}

// The value of (0000,element) in a command set.
absl::string_view CommandValue(absl::string_view command, uint16_t element) {
  while (command.size() >= 8) {
    const uint32_t length = Number(command.substr(4), 4, false);
    if (length > command.size() - 8) break;
    if (Number(command.substr(2), 2, false) == element) return command.substr(8, length);
    command.remove_prefix(8 + length);
  }
  return {};
}

absl::Status Broken(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

}  // namespace

Connection::Connection(int fd) : fd_(fd) {
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<Connection> Connection::Connect(const std::string& host, uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(host, " is no IPv4 address"));
  }
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Broken("socket");
  Connection connection(fd);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return Broken("connect");
  return connection;
}

absl::Status Connection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Broken("send");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status Connection::Receive(char* to, size_t size) {
  while (size > 0) {
    const ssize_t got = ::recv(fd_, to, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Broken("recv");
    if (got == 0) return absl::OutOfRangeError("the peer hung up");
    to += got;
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<Connection::Pdu> Connection::ReceiveHead() {
  char head[6];
  if (absl::Status status = Receive(head, sizeof(head)); !status.ok()) return status;
  return Pdu{static_cast<uint8_t>(head[0]), Number(absl::string_view(head + 2, 4), 4, true)};
}

absl::StatusOr<std::pair<Connection::Pdu, std::string>> Connection::ReceivePdu() {
  absl::StatusOr<Pdu> pdu = ReceiveHead();
  if (!pdu.ok()) return pdu.status();
  std::string body(pdu->length, '\0');
  if (absl::Status status = Receive(body.data(), body.size()); !status.ok()) return status;
  return std::make_pair(*pdu, std::move(body));
}

std::string EncodeAssociate(uint8_t type, absl::string_view called, absl::string_view calling,
                            const Contexts& contexts, uint32_t max_pdu_bytes) {
  std::string body = {'\0', '\1', '\0', '\0'};
  body += AeTitle(called) + AeTitle(calling) + std::string(32, '\0');
  Item(0x10, "1.2.840.10008.3.1.1.1", body);
  uint8_t id = 1;
  for (const auto& [abstract_syntax, transfer_syntax] : contexts) {
    std::string context = {static_cast<char>(id), '\0', '\0', '\0'};
    if (type == kAssociateRq) Item(0x30, abstract_syntax, context);
    Item(0x40, transfer_syntax, context);
    Item(type == kAssociateRq ? 0x20 : 0x21, context, body);
    id = static_cast<uint8_t>(id + 2);
  }
  std::string user, length;
  Big32(max_pdu_bytes, length);
  Item(0x51, length, user);
  Item(0x52, "1.2.276.0.7230010.3.0.3.6.7", user);
  Item(0x50, user, body);
  return bench::Pdu(type, body);
}

absl::StatusOr<Associated> ParseAssociate(absl::string_view body) {
  Associated found;
  // The items of contexts and of the user information lie one level deeper.
  const auto each = [](absl::string_view items, const auto& visit) {
    while (items.size() >= 4) {
      const size_t length = Number(items.substr(2), 2, true);
      visit(static_cast<uint8_t>(items[0]), items.substr(4, length));
      items.remove_prefix(std::min(items.size(), 4 + length));
    }
  };
  if (body.size() < 68) return absl::InvalidArgumentError("an association PDU that is too short");
  each(body.substr(68), [&](uint8_t type, absl::string_view item) {
    if (type == 0x50) {
      each(item, [&](uint8_t sub, absl::string_view value) {
        if (sub == 0x51 && value.size() == 4) found.max_pdu_bytes = Number(value, 4, true);
      });
    }
    if ((type != 0x20 && type != 0x21) || item.size() < 4) return;
    if (type == 0x21 && item[2] != 0) return;  // refused
    found.ids.push_back(static_cast<uint8_t>(item[0]));
    std::pair<std::string, std::string> context;
    each(item.substr(4), [&](uint8_t sub, absl::string_view value) {
      if (sub == 0x30) context.first = Trimmed(value);
      if (sub == 0x40 && context.second.empty()) context.second = Trimmed(value);
    });
    found.contexts.push_back(std::move(context));
  });
  if (found.max_pdu_bytes == 0) found.max_pdu_bytes = 1 << 20;
  return found;
}

absl::StatusOr<Object> ParsePart10(absl::string_view file) {
  if (file.size() < 144 || file.substr(128, 4) != "DICM")
    return absl::InvalidArgumentError("no Part 10 file");
  Object object;
  const size_t end = 144 + size_t{Number(file.substr(140), 4, false)};
  size_t at = 132;
  while (at + 12 <= end && end <= file.size()) {
    const absl::string_view vr = file.substr(at + 4, 2);
    const bool is_long = vr == "OB" || vr == "UN";
    const size_t length =
        is_long ? Number(file.substr(at + 8), 4, false) : Number(file.substr(at + 6), 2, false);
    const size_t value_at = at + (is_long ? 12 : 8);
    if (value_at > end || length > end - value_at) break;
    const std::string value = Trimmed(file.substr(value_at, length));
    switch (Number(file.substr(at + 2), 2, false)) {
      case 0x0002:
        object.sop_class_uid = value;
        break;
      case 0x0003:
        object.sop_instance_uid = value;
        break;
      case 0x0010:
        object.transfer_syntax_uid = value;
        break;
      default:
        break;
    }
    at = value_at + length;
  }
  if (at != end || object.sop_instance_uid.empty()) return absl::InvalidArgumentError("a broken meta header");
  object.data_set_begin = end;
  return object;
}

std::string EncodeStore(const Object& object, absl::string_view data_set, uint8_t context_id,
                        uint16_t message_id, uint32_t max_pdu_bytes) {
  std::string command;
  Element(0x0002, object.sop_class_uid, command);
  NumberElement(0x0100, 0x0001, command);
  NumberElement(0x0110, message_id, command);
  NumberElement(0x0700, 0, command);
  NumberElement(0x0800, 1, command);
  Element(0x1000, object.sop_instance_uid, command);
  std::string out;
  out.reserve(data_set.size() + (data_set.size() / max_pdu_bytes + 2) * 12 + 300);
  AppendPData(context_id, true, WithGroupLength(command), max_pdu_bytes, out);
  AppendPData(context_id, false, data_set, max_pdu_bytes, out);
  return out;
}

std::string EncodeStoreResponse(absl::string_view request, uint8_t context_id) {
  std::string command;
  Element(0x0002, CommandUid(request, 0x0002), command);
  NumberElement(0x0100, 0x8001, command);
  NumberElement(0x0120, CommandNumber(request, 0x0110, 0), command);
  NumberElement(0x0800, 0x0101, command);
  NumberElement(0x0900, 0, command);
  Element(0x1000, CommandUid(request, 0x1000), command);
  std::string out;
  AppendPData(context_id, true, WithGroupLength(command), 16384, out);
  return out;
}

std::string EncodeRelease(uint8_t type) { return bench::Pdu(type, absl::string_view("\0\0\0\0", 4)); }

uint16_t CommandNumber(absl::string_view command, uint16_t element, uint16_t otherwise) {
  const absl::string_view value = CommandValue(command, element);
  return value.size() == 2 ? static_cast<uint16_t>(Number(value, 2, false)) : otherwise;
}

std::string CommandUid(absl::string_view command, uint16_t element) {
  return Trimmed(CommandValue(command, element));
}

}  // namespace narthex::bench
