// The protocol data units of the DICOM Upper Layer (PS3.8 section 9.3): parsing and encoding. Bytes that are
// parsed are untrusted. No I/O. Thread-safe (pure functions).
//
// Every PDU begins with six bytes, big endian as all lengths are:
//
//   0 u8 type   1 u8 reserved   2 u32 length of what follows
//
// A P-DATA-TF's rest is a run of presentation data values (PDV), each with its own six bytes:
//
//   0 u32 length of what follows (>= 2)   4 u8 presentation context id   5 u8 control: bit 0 command, bit 1
//   last
//
// Parsing takes what the standard allows and a little more: unknown items are skipped, UIDs may be padded
// with NUL or blanks. Encoding what was parsed and parsing it again gives the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::gateway {

enum class PduType : uint8_t {
  kAssociateRq = 1,
  kAssociateAc = 2,
  kAssociateRj = 3,
  kPData = 4,
  kReleaseRq = 5,
  kReleaseRp = 6,
  kAbort = 7,
};

inline constexpr size_t kPduHeaderBytes = 6;
inline constexpr size_t kPdvHeaderBytes = 6;
inline constexpr absl::string_view kApplicationContextUid = "1.2.840.10008.3.1.1.1";

struct PduHeader {
  uint8_t type = 0;  // a PduType, or not
  uint32_t length = 0;
};

// `bytes` are kPduHeaderBytes.
PduHeader ParsePduHeader(absl::string_view bytes);

struct PdvHeader {
  uint32_t data_length = 0;  // of the fragment, these six bytes not counted
  uint8_t context_id = 0;
  bool command = false;
  bool last = false;
};

// `bytes` are kPdvHeaderBytes. INVALID_ARGUMENT: the length is below 2.
absl::StatusOr<PdvHeader> ParsePdvHeader(absl::string_view bytes);

// PS3.8 table 9-18: what became of a presentation context.
enum class ContextResult : uint8_t {
  kAccepted = 0,
  kUserRejection = 1,
  kNoReason = 2,
  kAbstractSyntaxNotSupported = 3,
  kTransferSyntaxesNotSupported = 4,
};

// In a request `result` does not count; in an answer the abstract syntax is "", and there is one transfer
// syntax.
struct PresentationContext {
  uint8_t id = 0;  // odd
  ContextResult result = ContextResult::kAccepted;
  std::string abstract_syntax = {};
  std::vector<std::string> transfer_syntaxes = {};

  friend bool operator==(const PresentationContext&, const PresentationContext&) = default;
};

// PS3.7 D.3.3.3. 0: without limit.
struct AsyncWindow {
  uint16_t invoked = 1;
  uint16_t performed = 1;

  friend bool operator==(const AsyncWindow&, const AsyncWindow&) = default;
};

// PS3.7 D.3.3.4.
struct RoleSelection {
  std::string sop_class_uid;
  bool scu = false;
  bool scp = false;

  friend bool operator==(const RoleSelection&, const RoleSelection&) = default;
};

// A-ASSOCIATE-RQ and A-ASSOCIATE-AC, which are built alike.
struct Associate {
  uint16_t protocol_version = 1;
  // Without padding. They may hold any byte: see IsAeTitle.
  std::string called_ae_title = {};
  std::string calling_ae_title = {};
  std::string application_context = std::string(kApplicationContextUid);
  std::vector<PresentationContext> contexts = {};
  uint32_t max_pdu_bytes = 0;  // 0: without limit
  std::string implementation_class_uid = {};
  std::string implementation_version = {};
  std::optional<AsyncWindow> async_window = {};
  std::vector<RoleSelection> roles = {};

  friend bool operator==(const Associate&, const Associate&) = default;
};

// `type` is kAssociateRq or kAssociateAc, `body` what follows the PDU's header. INVALID_ARGUMENT: lengths
// that do not fit, an even, doubled or 129th context id, a request's context without abstract or transfer
// syntax. The text says at which offset and holds no value.
absl::StatusOr<Associate> ParseAssociate(PduType type, absl::string_view body);
// The whole PDU. AE titles and UIDs that are too long for their fields are cut.
std::string EncodeAssociate(PduType type, const Associate& associate);

// PS3.8 table 9-21.
struct Reject {
  uint8_t result = 1;  // 1 permanent, 2 transient
  uint8_t source = 1;  // 1 service user, 2 service provider (ACSE), 3 service provider (presentation)
  uint8_t reason = 1;

  friend bool operator==(const Reject&, const Reject&) = default;
};

inline constexpr Reject kRejectApplicationContext = {1, 1, 2};
inline constexpr Reject kRejectCallingAe = {1, 1, 3};
inline constexpr Reject kRejectCalledAe = {1, 1, 7};
inline constexpr Reject kRejectProtocolVersion = {1, 2, 2};
inline constexpr Reject kRejectLocalLimit = {2, 3, 2};

// PS3.8 table 9-26.
struct Abort {
  uint8_t source = 2;  // 0 service user, 2 service provider
  uint8_t reason = 0;

  friend bool operator==(const Abort&, const Abort&) = default;
};

inline constexpr Abort kAbortNoReason = {2, 0};
inline constexpr Abort kAbortUnrecognizedPdu = {2, 1};
inline constexpr Abort kAbortUnexpectedPdu = {2, 2};
inline constexpr Abort kAbortInvalidParameter = {2, 6};

// INVALID_ARGUMENT: the body has not four bytes.
absl::StatusOr<Reject> ParseReject(absl::string_view body);
absl::StatusOr<Abort> ParseAbort(absl::string_view body);
std::string EncodeReject(const Reject& reject);
std::string EncodeAbort(const Abort& abort);
std::string EncodeReleaseRq();
std::string EncodeReleaseRp();

// Appends `data` as P-DATA-TF PDUs to `out`: one fragment each, of bodies of at most `max_pdu_bytes` (0:
// without limit; fewer than 16 count as 16), the last one marked.
void AppendPData(uint8_t context_id, bool command, absl::string_view data, uint32_t max_pdu_bytes,
                 std::string& out);

}  // namespace narthex::gateway
