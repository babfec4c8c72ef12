// One association, from the TCP connection to its end: the acceptor's side of PS3.8's state machine, and the
// DIMSE services C-ECHO and C-STORE upon it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "server/gateway/commitment_handler.h"
#include "server/gateway/dimse.h"
#include "server/gateway/object_sink.h"
#include "server/gateway/pdu.h"
#include "server/gateway/receiver_table.h"
#include "server/gateway/responder.h"
#include "server/gateway/socket.h"
#include "server/gateway/store_handler.h"
#include "server/gateway/wire_reader.h"

namespace narthex::gateway {

// What all associations of a gateway have in common. Outlives them.
struct AssociationEnvironment {
  SinkFactory sinks;
  std::shared_ptr<CommitmentSource> commitments;  // may be null: requests fail
  std::function<void()> on_interrupted_report;    // see CommitmentHandler
  // See ReceiverTable::Admit.
  std::function<std::variant<Admission, Refusal>(const Associate&, absl::string_view peer_address,
                                                 uint16_t local_port, absl::string_view certificate_name)>
      admit;
  absl::Duration artim_timeout;
  absl::Duration idle_timeout;
  absl::Duration progress_timeout;
  // Set: no new message is begun.
  StopSignal stop;
};

// A message that is being received.
struct IncomingMessage {
  uint8_t context_id = 0;
  std::string command_bytes;
  bool has_command = false;  // complete
  Command command;
};

class Association {
 public:
  // `over_limit`: it will be rejected. Borrows the environment.
  Association(Socket socket, uint16_t local_port, bool over_limit, const AssociationEnvironment& environment);

  // Serves the association until its end, and logs how it ended. Call it once.
  void Run();
  // Ends it at once. From any thread while the association lives.
  void Break() { socket_.ShutdownBoth(); }

 private:
  // Receives the request and answers it. False: rejected, which ends the association without error.
  absl::StatusOr<bool> Establish();
  absl::StatusOr<Associate> ReceiveRequest();
  std::optional<Refusal> Decide(const Associate& request);
  void Accept(const Associate& request);

  // Serves messages until the release. An error ends the association (see Conclude).
  absl::Status Serve();
  absl::StatusOr<PduHeader> NextPdu();
  absl::Status ReceiveData(uint32_t length);
  absl::Status ReceiveCommandFragment(const PdvHeader& pdv);
  absl::Status ReceiveDataFragment(const PdvHeader& pdv);
  absl::Status OnCommand();
  absl::Status OnMessageComplete();
  absl::Status OnReleaseRequest(uint32_t length);

  // The peer broke the protocol: it will be told so.
  absl::Status Violation(const Abort& abort, absl::string_view what);
  // Says the last word that `end` calls for, and waits for the peer to hang up.
  void Conclude(const absl::Status& end);
  void LogEnd(const absl::Status& end) const;

  const AssociationEnvironment& environment_;
  Socket socket_;
  const uint16_t local_port_;
  const bool over_limit_;
  const std::string peer_address_;
  WireReader reader_;
  Responder responder_;

  std::string called_ae_title_;  // escaped for logs
  std::string calling_ae_title_;
  Admission admission_;
  // By context id, what was accepted; no transfer syntax: not accepted.
  struct Context {
    std::string abstract_syntax;
    std::string transfer_syntax;
  };
  std::array<Context, 256> contexts_;
  std::optional<IncomingMessage> message_;
  std::optional<Abort> abort_;
  std::unique_ptr<StoreHandler> store_;            // of an accepted association
  std::unique_ptr<CommitmentHandler> commitment_;  // as store_
};

}  // namespace narthex::gateway
