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
#include "server/prearchive/exported.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {

// An object as archiving needs it.
struct BuiltObject {
  std::string staged_series_uid;  // which edits of scans go by
  // What stands for the SOP Instance UID that the sender used, if a script replaced it (16 bytes; "" else).
  std::string received_identity;
  std::string staged_sop_instance_uid;
  uint64_t number = 0;
  std::string sop_instance_uid;
  std::string sop_class_uid;
  std::string series_number;
  std::string instance_number;
  std::string received_xxh3;
  staging::StoredObject bytes;
  std::vector<ExportedRow> exported;  // by the site's script
};

struct BuiltSession {
  session::SessionModel model;               // ScanObject::index is an index into `objects`
  std::vector<BuiltObject> objects;          // in order of arrival
  std::vector<session::ScanModel> excluded;  // scans that a person left out; of the same objects
  ExportedValues exported;                   // by the site's script, over what was not left out

  // Which of `objects` were left out.
  std::vector<bool> LeftOut() const;
};

// The header of an object as it will be filed; nullopt: it will not be.
using FiledFacts = std::function<absl::StatusOr<std::optional<dicom::HeaderFacts>>(const ObjectRow& row)>;

// With what people changed, and without what they left out (if that is everything, no scan is left).
// FAILED_PRECONDITION (SESSION_EMPTY): no object is kept. Thread-safe.
// `options`: its scan_type, if set, takes the place of the prearchive's own. `filed`, if given, says what
// becomes of each object; else they are as they are stored.
absl::StatusOr<BuiltSession> BuildModel(Prearchive& prearchive, const session::TypeRegistry& types,
                                        absl::string_view id, session::BuildOptions options = {},
                                        const FiledFacts& filed = nullptr);

using ScanTypes = decltype(session::BuildOptions::scan_type);

// The same of the objects that `belongs` picks (null: all), for `row` as it is given.
absl::StatusOr<BuiltSession> BuildPart(Prearchive& prearchive, const session::TypeRegistry& types,
                                       const SessionRow& row,
                                       const std::function<bool(const ObjectRow&)>& belongs,
                                       ScanTypes scan_type = nullptr, const FiledFacts& filed = nullptr);

// Writes what was built into the session's row.
void ShowModel(const BuiltSession& built, SessionRow& row);

// Shows in a built session's row what an Update, whose result `edited` is, changed. The row as it is then.
absl::StatusOr<SessionRow> ShowEdits(Prearchive& prearchive, const session::TypeRegistry& types,
                                     const SessionRow& edited);

// Whether the session holds both PET and MR, as of its last build, and was not made by a split.
bool MixesPetAndMr(const SessionRow& row);

// The split operation on a SEPARATING session: the PET part (PET scans, and MR scans for attenuation
// correction) becomes the session `split_into`, the rest stays. FAILED_PRECONDITION (NOTHING_TO_SPLIT).
absl::StatusOr<SplitParts> SplitPetMr(Prearchive& prearchive, const session::TypeRegistry& types,
                                      absl::string_view id, const std::function<bool()>& stopping);

// The build operation: the session goes from BUILDING to READY (or RECEIVING if objects arrived meanwhile, or
// ERROR). Repeatable after a crash.
absl::StatusOr<SessionRow> Build(Prearchive& prearchive, const session::TypeRegistry& types,
                                 absl::string_view id);

}  // namespace narthex::prearchive
