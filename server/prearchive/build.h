// What the objects of a prearchive session say about it. Reads facts from the index, never an image.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/session/builder.h"
#include "imaging/session/model.h"
#include "imaging/session/types.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {

// An object as archiving needs it.
struct BuiltObject {
  uint64_t number = 0;
  std::string sop_instance_uid;
  std::string sop_class_uid;
  std::string series_number;
  std::string instance_number;
  std::string received_xxh3;
  staging::StoredObject bytes;
};

struct BuiltSession {
  session::SessionModel model;       // ScanObject::index is an index into `objects`
  std::vector<BuiltObject> objects;  // in order of arrival
};

// The header of an object as it will be filed; nullopt: it will not be.
using FiledFacts = std::function<absl::StatusOr<std::optional<dicom::HeaderFacts>>(const ObjectRow& row)>;

// FAILED_PRECONDITION (SESSION_EMPTY): no object is kept. Thread-safe. `filed`, if given, says what becomes
// of each object; else they are as they are stored.
absl::StatusOr<BuiltSession> BuildModel(Prearchive& prearchive, const session::TypeRegistry& types,
                                        absl::string_view id, session::BuildOptions options = {},
                                        const FiledFacts& filed = nullptr);

// The build operation: the session goes from BUILDING to READY (or RECEIVING if objects arrived meanwhile, or
// ERROR). Repeatable after a crash.
absl::StatusOr<SessionRow> Build(Prearchive& prearchive, const session::TypeRegistry& types,
                                 absl::string_view id, session::BuildOptions options = {});

}  // namespace narthex::prearchive
