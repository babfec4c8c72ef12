// An archived session as its rows say, and the document that goes with them. Thread-safe functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "imaging/session/types.h"
#include "storage/metadata/records.h"
#include "storage/metadata/session_store.h"

namespace narthex::archiving {

struct SessionContents {
  metadata::Session session;
  std::vector<metadata::Scan> scans;
  std::vector<metadata::Resource> resources;
  Phi<std::string> document;
};

// Reads them as they are now, also of deleted sessions. NOT_FOUND (SESSION_NOT_FOUND).
absl::StatusOr<SessionContents> ReadContents(metadata::SessionReader& reader,
                                             const std::string& accession_id);

// The former document with everything that rows hold as the rows say now. INVALID_ARGUMENT (INVALID_FIELD):
// there is none that could be read; nothing else knows what it held.
absl::StatusOr<Phi<std::string>> UpdatedDocument(const SessionContents& contents,
                                                 const session::TypeRegistry& types);

// Whether the document says what the rows say. INVALID_ARGUMENT as UpdatedDocument.
absl::StatusOr<bool> DocumentAgrees(const SessionContents& contents, const session::TypeRegistry& types);

// One scan's part of the document. NOT_FOUND (SCAN_NOT_FOUND).
absl::StatusOr<Phi<std::string>> ScanDocument(const SessionContents& contents, const std::string& scan_id,
                                              const session::TypeRegistry& types);

absl::Status ScanNotFound(const metadata::Session& session, const std::string& scan_id);

}  // namespace narthex::archiving
