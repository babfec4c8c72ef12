// A C-STORE sender for tests and benchmarks, which can also misbehave. Aborts the process if the connection
// fails where it should not. Single-threaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "server/gateway/dimse.h"
#include "server/gateway/pdu.h"
#include "server/gateway/socket.h"

namespace narthex::gateway {

struct ReceivedPdu {
  uint8_t type = 0;  // 0: the peer closed the connection
  std::string body;

  bool Is(PduType expected) const { return type == static_cast<uint8_t>(expected); }
};

class RawSender {
 public:
  static constexpr absl::string_view kMrImageStorage = "1.2.840.10008.5.1.4.1.1.4";
  static constexpr absl::string_view kExplicitLittle = "1.2.840.10008.1.2.1";

  explicit RawSender(uint16_t port);

  // A request for MR image storage on context 1 and verification on context 3.
  static Associate DefaultRequest();
  // Bytes of a C-STORE-RQ with its data set as P-DATA-TF PDUs of at most `max_pdu_bytes`.
  static std::string StoreBytes(uint16_t message_id, absl::string_view instance_uid,
                                absl::string_view data_set, uint32_t max_pdu_bytes = 128 << 10,
                                uint8_t context_id = 1);
  // A small explicit little endian data set with these UIDs and `pixel_bytes` (even) of pixels.
  static std::string DataSet(absl::string_view instance_uid, size_t pixel_bytes,
                             absl::string_view sop_class_uid = kMrImageStorage);

  // Sends the request and returns the answer.
  ReceivedPdu Request(const Associate& request = DefaultRequest());
  // Sends `bytes`, `piece` of them at a time; false: the peer hung up.
  bool Send(absl::string_view bytes, size_t piece = SIZE_MAX);
  // The next PDU.
  ReceivedPdu Receive();
  // The next response. Aborts if something else comes.
  Command ReceiveResponse();
  // Whether the peer answers a release request and hangs up.
  bool Release();

  Socket& socket() { return socket_; }

 private:
  // Reads exactly `count` bytes; fewer if the peer hangs up.
  std::string ReadExactly(size_t count);

  Socket socket_;
};

}  // namespace narthex::gateway
