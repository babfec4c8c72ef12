// Sends what the gateway says on an association. Thread-safe: outcomes are answered by the thread that brings
// them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "server/gateway/dimse.h"
#include "server/gateway/socket.h"

namespace narthex::gateway {

class Responder {
 public:
  // Borrows the socket. `timeout`: of one message; a peer that reads nothing for so long is given up.
  Responder(Socket& socket, absl::Duration timeout) : socket_(socket), timeout_(timeout) {}

  // What the peer is ready to receive; 0: any length.
  void set_peer_max_pdu_bytes(uint32_t bytes);

  // Sends a whole PDU with one write. After a failure every call fails.
  absl::Status SendPdu(absl::string_view pdu);
  // Sends a command set as P-DATA-TF, with one write.
  absl::Status SendCommand(uint8_t context_id, const Command& command);
  // A command set and its data set.
  absl::Status SendMessage(uint8_t context_id, const Command& command, absl::string_view data_set);

 private:
  absl::Status Send(absl::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Socket& socket_;
  const absl::Duration timeout_;
  // Held while sending: it is what keeps two messages apart.
  absl::Mutex mutex_;
  uint32_t peer_max_pdu_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string buffer_ ABSL_GUARDED_BY(mutex_);
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::gateway
