#include "server/gateway/responder.h"

#include "absl/time/clock.h"

#include "server/gateway/pdu.h"

namespace narthex::gateway {

void Responder::set_peer_max_pdu_bytes(uint32_t bytes) {
  absl::MutexLock lock(&mutex_);
  peer_max_pdu_bytes_ = bytes;
}

absl::Status Responder::SendPdu(absl::string_view pdu) {
  absl::MutexLock lock(&mutex_);
  return Send(pdu);
}

absl::Status Responder::SendCommand(uint8_t context_id, const Command& command) {
  absl::MutexLock lock(&mutex_);
  buffer_.clear();
  AppendPData(context_id, true, EncodeCommand(command), peer_max_pdu_bytes_, buffer_);
  return Send(buffer_);
}

absl::Status Responder::SendMessage(uint8_t context_id, const Command& command, absl::string_view data_set) {
  absl::MutexLock lock(&mutex_);
  buffer_.clear();
  AppendPData(context_id, true, EncodeCommand(command), peer_max_pdu_bytes_, buffer_);
  AppendPData(context_id, false, data_set, peer_max_pdu_bytes_, buffer_);
  return Send(buffer_);
}

absl::Status Responder::Send(absl::string_view bytes) {
  // A PDU that was cut off cannot be followed by another.
  if (broken_.ok()) broken_ = socket_.Send(bytes, absl::Now() + timeout_);
  return broken_;
}

}  // namespace narthex::gateway
