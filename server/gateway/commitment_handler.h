// The storage commitment service (push model SCP, PS3.4 annex J) of one association: answers N-ACTION
// requests and sends the reports, on this association if it lasts, else by the CommitmentReporter.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "server/gateway/commitment_source.h"
#include "server/gateway/dimse.h"
#include "server/gateway/responder.h"

namespace narthex::gateway {

// For one thread.
class CommitmentHandler {
 public:
  struct Options {
    CommitmentSource* source = nullptr;  // null: requests fail
    std::string called_ae_title, calling_ae_title;
    std::function<void()> on_interrupted;  // a report is due now; may be empty
  };
  // Borrows the responder.
  CommitmentHandler(Options options, Responder& responder)
      : options_(std::move(options)), responder_(responder) {}

  // The data set of an N-ACTION-RQ begins; its next bytes.
  void Begin();
  void Append(absl::string_view data);
  // It is complete: answers, and sends the report. Blocks on the server. An error means that the peer cannot
  // be answered.
  absl::Status End(const Command& request, uint8_t context_id, absl::string_view transfer_syntax);

  // Whether the response belongs to a report of this association.
  bool OnResponse(const Command& response);
  // The association ends: reports that were not answered will be given otherwise.
  void Finish();

 private:
  uint16_t Check(const Command& request) const;

  const Options options_;
  Responder& responder_;
  std::string data_;
  bool too_large_ = false;
  uint16_t next_message_id_ = 1;
  std::map<uint16_t, v1::CommitmentReport> unanswered_;  // by message id
};

}  // namespace narthex::gateway
