// DIMSE command sets (PS3.7 section 6.3 and 9.3): implicit VR little endian elements of group 0000. Bytes
// that are parsed are untrusted. No I/O. Thread-safe (pure functions).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::gateway {

// (0000,0100). Other values occur, too; bit 15 marks a response.
enum CommandField : uint16_t {
  kCStoreRq = 0x0001,
  kCStoreRsp = 0x8001,
  kCEchoRq = 0x0030,
  kCEchoRsp = 0x8030,
  kCCancelRq = 0x0fff,
  kNEventReportRq = 0x0100,
  kNEventReportRsp = 0x8100,
  kNActionRq = 0x0130,
  kNActionRsp = 0x8130,
};
inline constexpr uint16_t kResponseBit = 0x8000;

// (0000,0800): no data set follows. Any other value: one does.
inline constexpr uint16_t kNoDataSet = 0x0101;

// (0000,0900), PS3.7 annex C and PS3.4 B.2.3.
inline constexpr uint16_t kStatusSuccess = 0x0000;
inline constexpr uint16_t kStatusProcessingFailure = 0x0110;
inline constexpr uint16_t kStatusDuplicateSopInstance = 0x0111;
inline constexpr uint16_t kStatusNoSuchInstance = 0x0112;
inline constexpr uint16_t kStatusInvalidArgument = 0x0115;
inline constexpr uint16_t kStatusNoSuchSopClass = 0x0118;
inline constexpr uint16_t kStatusSopClassNotSupported = 0x0122;
inline constexpr uint16_t kStatusNoSuchAction = 0x0123;
inline constexpr uint16_t kStatusNotAuthorized = 0x0124;
inline constexpr uint16_t kStatusUnrecognizedOperation = 0x0211;
inline constexpr uint16_t kStatusMistypedArgument = 0x0212;
inline constexpr uint16_t kStatusResourceLimitation = 0x0213;
inline constexpr uint16_t kStatusOutOfResources = 0xa700;
inline constexpr uint16_t kStatusDataSetMismatch = 0xa900;
inline constexpr uint16_t kStatusCannotUnderstand = 0xc000;  // to 0xcfff

// The elements of a command set that matter here; those that are absent have the values below.
struct Command {
  uint16_t field = 0;                          // (0000,0100)
  std::string affected_sop_class_uid = {};     // (0000,0002), in requests of other services (0000,0003)
  std::string affected_sop_instance_uid = {};  // (0000,1000), in requests of other services (0000,1001)
  uint16_t message_id = 0;                     // (0000,0110)
  uint16_t responded_message_id = 0;           // (0000,0120)
  uint16_t priority = 0;                       // (0000,0700)
  uint16_t data_set_type = kNoDataSet;         // (0000,0800)
  uint16_t status = 0;                         // (0000,0900)
  std::string error_comment = {};              // (0000,0902), at most 64 characters
  uint16_t event_type_id = 0;                  // (0000,1002)
  uint16_t action_type_id = 0;                 // (0000,1008)

  bool has_data_set() const { return data_set_type != kNoDataSet; }
  bool is_response() const { return (field & kResponseBit) != 0; }

  friend bool operator==(const Command&, const Command&) = default;
};

// INVALID_ARGUMENT: an element of another group, a length that does not fit, a number that has not two bytes,
// a UID of more than 64 bytes, no (0000,0100). The text names the element and holds no value. Unknown
// elements are skipped; the group length (0000,0000) is not believed.
absl::StatusOr<Command> ParseCommand(absl::string_view bytes);

// The command set, with group length. Requests carry what PS3.7 9.3 demands of C-STORE-RQ and C-ECHO-RQ;
// responses carry the UIDs if they are not empty, and the comment if there is one.
std::string EncodeCommand(const Command& command);

// The response to `request`, without data set. The comment is cut to 64 characters.
Command ResponseTo(const Command& request, uint16_t status, absl::string_view error_comment = {});

}  // namespace narthex::gateway
