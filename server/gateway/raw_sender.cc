#include "server/gateway/raw_sender.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/time/clock.h"

#include "server/gateway/byte_order.h"

namespace narthex::gateway {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "raw sender: %s\n", what);
  std::abort();
}

Socket ConnectOrAbort(uint16_t port) {
  absl::StatusOr<Socket> socket = Socket::Connect({"127.0.0.1", port});
  if (!socket.ok()) Fail("no connection");
  return *std::move(socket);
}

void AppendElement(uint16_t group, uint16_t element, absl::string_view vr, absl::string_view value,
                   std::string& out) {
  AppendLittleU16(group, out);
  AppendLittleU16(element, out);
  out.append(vr.data(), vr.size());
  if (vr == "OW") {
    AppendLittleU16(0, out);
    AppendLittleU32(static_cast<uint32_t>(value.size()), out);
    out.append(value.data(), value.size());
    return;
  }
  AppendLittleU16(static_cast<uint16_t>(value.size() + value.size() % 2), out);
  out.append(value.data(), value.size());
  if (value.size() % 2 != 0) out.push_back('\0');
}

}  // namespace

RawSender::RawSender(uint16_t port) : socket_(ConnectOrAbort(port)) {}

Associate RawSender::DefaultRequest() {
  Associate request;
  request.called_ae_title = "NARTHEX";
  request.calling_ae_title = "RAW_SENDER";
  request.contexts.push_back({.id = 1,
                              .abstract_syntax = std::string(kMrImageStorage),
                              .transfer_syntaxes = {std::string(kExplicitLittle)}});
  request.contexts.push_back(
      {.id = 3, .abstract_syntax = "1.2.840.10008.1.1", .transfer_syntaxes = {"1.2.840.10008.1.2"}});
  request.max_pdu_bytes = 64 << 10;
  request.implementation_class_uid = "1.2.3";
  request.implementation_version = "RAW";
  return request;
}

std::string RawSender::StoreBytes(uint16_t message_id, absl::string_view instance_uid,
                                  absl::string_view data_set, uint32_t max_pdu_bytes, uint8_t context_id) {
  Command command;
  command.field = kCStoreRq;
  command.affected_sop_class_uid = std::string(kMrImageStorage);
  command.affected_sop_instance_uid = std::string(instance_uid);
  command.message_id = message_id;
  command.data_set_type = 1;
  std::string out;
  AppendPData(context_id, true, EncodeCommand(command), max_pdu_bytes, out);
  AppendPData(context_id, false, data_set, max_pdu_bytes, out);
  return out;
}

std::string RawSender::DataSet(absl::string_view instance_uid, size_t pixel_bytes,
                               absl::string_view sop_class_uid) {
  std::string out;
  AppendElement(0x0008, 0x0005, "CS", "ISO_IR 100", out);
  AppendElement(0x0008, 0x0016, "UI", sop_class_uid, out);
  AppendElement(0x0008, 0x0018, "UI", instance_uid, out);
  AppendElement(0x0008, 0x0060, "CS", "MR", out);
  AppendElement(0x0020, 0x000d, "UI", "1.2.3.4", out);
  AppendElement(0x0020, 0x000e, "UI", "1.2.3.4.5", out);
  std::string pixels(pixel_bytes, '\0');
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<char>(i * 2654435761u >> 13);
  AppendElement(0x7fe0, 0x0010, "OW", pixels, out);
  return out;
}

ReceivedPdu RawSender::Request(const Associate& request) {
  if (!Send(EncodeAssociate(PduType::kAssociateRq, request))) Fail("the request cannot be sent");
  return Receive();
}

bool RawSender::Send(absl::string_view bytes, size_t piece) {
  while (!bytes.empty()) {
    const absl::string_view now = bytes.substr(0, piece);
    if (!socket_.Send(now, absl::Now() + kPatience).ok()) return false;
    bytes.remove_prefix(now.size());
  }
  return true;
}

std::string RawSender::ReadExactly(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    absl::StatusOr<size_t> got =
        socket_.Receive(bytes.data() + filled, count - filled, absl::Now() + kPatience, nullptr);
    if (absl::IsDeadlineExceeded(got.status())) Fail("no answer came");
    if (!got.ok() || *got == 0) break;
    filled += *got;
  }
  bytes.resize(filled);
  return bytes;
}

ReceivedPdu RawSender::Receive() {
  const std::string head = ReadExactly(kPduHeaderBytes);
  if (head.size() < kPduHeaderBytes) return {};
  const PduHeader pdu = ParsePduHeader(head);
  return {pdu.type, ReadExactly(pdu.length)};
}

Command RawSender::ReceiveResponse() {
  std::string bytes;
  while (true) {
    const ReceivedPdu pdu = Receive();
    if (!pdu.Is(PduType::kPData) || pdu.body.size() < kPdvHeaderBytes) Fail("no response came");
    absl::StatusOr<PdvHeader> pdv = ParsePdvHeader(pdu.body);
    if (!pdv.ok() || !pdv->command) Fail("a response that is no command");
    bytes += pdu.body.substr(kPdvHeaderBytes);
    if (!pdv->last) continue;
    absl::StatusOr<Command> command = ParseCommand(bytes);
    if (!command.ok()) Fail("a response that cannot be parsed");
    return *std::move(command);
  }
}

bool RawSender::Release() {
  if (!Send(EncodeReleaseRq())) return false;
  if (!Receive().Is(PduType::kReleaseRp)) return false;
  socket_.ShutdownWrite();
  return Receive().type == 0;
}

}  // namespace narthex::gateway
