// What the gateway answers to an association request: whom it lets in, and which presentation contexts. No
// I/O. Thread-safe (pure functions).
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"

#include "server/gateway/pdu.h"

namespace narthex::gateway {

// Narthex itself, in associations and in the headers of the files it makes. The UID is a UUID of our own.
inline constexpr absl::string_view kImplementationClassUid = "2.25.280231963120702615349226391095547516362";
inline constexpr absl::string_view kImplementationVersionName = "NARTHEX";

inline constexpr absl::string_view kImplicitLittleEndian = "1.2.840.10008.1.2";
inline constexpr absl::string_view kExplicitLittleEndian = "1.2.840.10008.1.2.1";

// Whether data sets of this SOP class are taken. All are, known or private, but the ones that the standard
// has for other services: query, worklist, print, commitment and the like.
bool IsAcceptedForStorage(absl::string_view sop_class_uid);

// Whether the text is 1 to 64 digits and dots.
bool IsUid(absl::string_view text);

// The answer to a request that is let in: contexts of verification, storage and storage commitment (in the
// two native little endian syntaxes) are accepted. Of each context the first transfer syntax that is a UID is
// taken: every data set is kept as it comes, so the sender knows best which of them costs it the least;
// whoever holds a compressed image proposes its syntax first, or alone in a context of its own. The
// asynchronous window is the proposed one, up to limits::kAsyncWindowMax; user identity and extended
// negotiation are not answered (PS3.7 D.3.3.5 and D.3.3.7 allow it).
Associate Negotiate(const Associate& request);

// Whether the request can be answered at all; else how to reject it. Whether the AE titles are welcome is
// decided by the receivers.
std::optional<Reject> CheckProtocol(const Associate& request);

// An AE title for a log line: as it is, or "(invalid)".
std::string LoggedAeTitle(absl::string_view title);

}  // namespace narthex::gateway
