// The audit trail: append-only, and hash-chained per project, so that a changed or missing event is found.
// Mutating stores append their own events in their own transactions; this is for everything else.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

// The chain's hash of `event` behind `previous` (32 raw bytes; "" for the first event).
// docs/formats/database.md.
std::string AuditHash(absl::string_view previous, const AuditEvent& event);

class AuditStore {
 public:
  virtual ~AuditStore() = default;

  // Input: project, user, action, object, details_json (an object). Returns it with sequence, time and hash;
  // durable when it returns. INVALID_ARGUMENT (AUDIT_EVENT_INVALID).
  virtual absl::StatusOr<AuditEvent> Append(const AuditEvent& event) = 0;

  struct List {
    std::vector<AuditEvent> events;  // by sequence
    std::string next_page_token;
  };
  virtual absl::StatusOr<List> ListEvents(absl::string_view project, const Page& page) = 0;

  // The chains that there are, by project ("": the site's).
  virtual absl::StatusOr<std::vector<std::string>> ListChains() = 0;

  struct Chain {
    int64_t event_count = 0;
    std::string head;  // hash of the last event, 32 raw bytes
  };
  // Recomputes one chain. DATA_LOSS (AUDIT_CHAIN_BROKEN) naming the first event that does not fit.
  virtual absl::StatusOr<Chain> VerifyChain(absl::string_view project) = 0;

  // The number of its events.
  absl::StatusOr<int64_t> Verify(absl::string_view project) {
    const auto chain = VerifyChain(project);
    if (!chain.ok()) return chain.status();
    return chain->event_count;
  }
};

}  // namespace narthex::metadata
