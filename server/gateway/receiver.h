// Receivers: the application entities that the gateway plays, and who may call them. Thread-safe (immutable).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "narthex/v1/resources.pb.h"

namespace narthex::gateway {

// One application entity. Several may share a port; they are told apart by the called AE title.
struct ReceiverConfig {
  // 1 to 16 characters of PS3.5's AE: printable ASCII without backslash, not only blanks. Compared exactly.
  std::string ae_title = "NARTHEX";
  // 0: GatewayOptions.listen's port.
  uint16_t port = 0;
  // Who may call: `AE`, `ADDRESS[/BITS]` or `AE@ADDRESS[/BITS]`, IPv4 or IPv6. Empty: everybody.
  std::vector<std::string> allowed_callers = {};
  // Where everything goes that arrives here, as its sender's explicit wish; empty fields are found by
  // routing. The server knows what it fixes for its own receivers.
  v1::Destination destination = {};
  // Associations over TLS only (GatewayOptions.tls). All receivers of a port say the same.
  bool tls = false;
  // With tls: the caller's certificate must have its AE title as common name.
  bool tls_client_certificate = false;
  // Whether the sender of an object that a series import filter excludes is told so.
  bool refuses_filtered = false;
};

// Where to listen.
struct ListenAddress {
  // A numeric address or a host name; "": every address of the machine, IPv6 and IPv4.
  std::string host = "127.0.0.1";
  // 0: the operating system picks one.
  uint16_t port = 8104;
};

// "127.0.0.1:8104", "[::1]:8104", "localhost:0", ":8104", "*:8104". INVALID_ARGUMENT (INVALID_FIELD)
// otherwise; `from` says in it where the text was given.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text,
                                                 absl::string_view from = "--dicom-listen");

// Whether `title` (without padding) is an AE title.
bool IsAeTitle(absl::string_view title);

// INVALID_ARGUMENT (INVALID_FIELD): bad AE title or caller, or two receivers of one AE title and port.
absl::Status CheckReceivers(const std::vector<ReceiverConfig>& receivers);

// One entry of ReceiverConfig.allowed_callers.
class AllowedCaller {
 public:
  // INVALID_ARGUMENT (INVALID_FIELD) if it is none of the three forms.
  static absl::StatusOr<AllowedCaller> Parse(absl::string_view text);

  // Whether a caller of this AE title from this numeric address (no port; ::ffff:a.b.c.d counts as IPv4) is
  // meant.
  bool Matches(absl::string_view calling_ae_title, absl::string_view address) const;

 private:
  std::string ae_title_;  // "": any
  std::string network_;   // 4 or 16 bytes; "": any
  int prefix_bits_ = 0;
};

}  // namespace narthex::gateway
