// Finds the receiver that an association calls, and says whether the caller may. Thread-safe (immutable).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "server/gateway/pdu.h"
#include "server/gateway/receiver.h"

namespace narthex::gateway {

// What a receiver that lets a caller in does with its objects.
struct Admission {
  v1::Destination destination;
  bool refuses_filtered = false;
};

// Why a caller is not let in; `detail` is for the log.
struct Refusal {
  Reject reject;
  std::string detail = {};
};

class ReceiverTable {
 public:
  // `configs` as CheckReceivers wants them, with the ports that are really listened to.
  static absl::StatusOr<ReceiverTable> Make(const std::vector<ReceiverConfig>& configs);

  // What the called receiver does with objects, or why the caller is rejected. The titles are without
  // padding; the calling one may be empty (some senders leave it so), else it must be an AE title.
  // `certificate_name`: common name of the certificate that the caller showed; "": none.
  std::variant<Admission, Refusal> Admit(const Associate& request, absl::string_view peer_address,
                                         uint16_t local_port, absl::string_view certificate_name = {}) const;

  const std::vector<ReceiverConfig>& configs() const { return configs_; }

 private:
  std::vector<ReceiverConfig> configs_;
  std::vector<std::vector<AllowedCaller>> allowed_;  // as configs_
};

}  // namespace narthex::gateway
