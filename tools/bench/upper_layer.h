// Just enough of the DICOM Upper Layer (PS3.8) to measure C-STORE, sharing no code with what is measured.
// Trusts its peer. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::bench {

inline constexpr uint8_t kAssociateRq = 1;
inline constexpr uint8_t kAssociateAc = 2;
inline constexpr uint8_t kPData = 4;
inline constexpr uint8_t kReleaseRq = 5;
inline constexpr uint8_t kReleaseRp = 6;

// A connected TCP socket without Nagle's delay; closed with the object.
class Connection {
 public:
  explicit Connection(int fd);
  ~Connection();
  Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Connection& operator=(Connection&&) = delete;

  static absl::StatusOr<Connection> Connect(const std::string& host, uint16_t port);

  absl::Status Send(absl::string_view bytes);
  // Exactly `size` bytes. OUT_OF_RANGE: the peer hung up.
  absl::Status Receive(char* to, size_t size);

  struct Pdu {
    uint8_t type = 0;
    uint32_t length = 0;
  };
  absl::StatusOr<Pdu> ReceiveHead();
  // Head and body.
  absl::StatusOr<std::pair<Pdu, std::string>> ReceivePdu();

 private:
  int fd_;
};

// (abstract syntax, transfer syntax). Context ids are 1, 3, 5... in order.
using Contexts = std::vector<std::pair<std::string, std::string>>;

// A PDU of `type`: kAssociateRq with `contexts` as proposed, or kAssociateAc that accepts them with their
// transfer syntax.
std::string EncodeAssociate(uint8_t type, absl::string_view called, absl::string_view calling,
                            const Contexts& contexts, uint32_t max_pdu_bytes);

struct Associated {
  Contexts contexts;               // of a request, each with its first transfer syntax
  std::vector<uint8_t> ids;        // of the contexts (in an answer, those accepted)
  uint32_t max_pdu_bytes = 16384;  // what the peer takes
};
// The body of either PDU.
absl::StatusOr<Associated> ParseAssociate(absl::string_view body);

// A file's object, ready for C-STORE.
struct Object {
  std::string sop_class_uid;
  std::string sop_instance_uid;
  std::string transfer_syntax_uid;
  size_t data_set_begin = 0;  // in the file
};
// INVALID_ARGUMENT: not a Part 10 file.
absl::StatusOr<Object> ParsePart10(absl::string_view file);

// P-DATA-TF PDUs that carry a C-STORE-RQ and its data set.
std::string EncodeStore(const Object& object, absl::string_view data_set, uint8_t context_id,
                        uint16_t message_id, uint32_t max_pdu_bytes);
// A P-DATA-TF PDU with the C-STORE-RSP of success to `request`, a command set.
std::string EncodeStoreResponse(absl::string_view request, uint8_t context_id);
// A PDU without content: release request and response.
std::string EncodeRelease(uint8_t type);

// A 16 bit element (0000,`element`) of a command set, or `otherwise`.
uint16_t CommandNumber(absl::string_view command, uint16_t element, uint16_t otherwise);
// The UID (0000,`element`) of a command set, or "".
std::string CommandUid(absl::string_view command, uint16_t element);

}  // namespace narthex::bench
