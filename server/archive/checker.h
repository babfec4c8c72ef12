// What speaks against archiving a prearchive session, by XNAT's codes 1 to 22. CheckPrearchiveSession shows
// it, and an archive operation refuses on exactly it: both call Checker::Check. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/session/types.h"
#include "server/deidentify/plans.h"
#include "server/prearchive/build.h"
#include "server/prearchive/prearchive.h"
#include "storage/metadata/database.h"

namespace narthex::archiving {

// As ConflictPolicy in the API.
enum class ConflictPolicy { kNone = 1, kAppend, kOverwrite };

// Numbers as in narthex.v1.Conflict.Type.
enum class ConflictType { kFail = 1, kConflict, kWarn };

// XNAT's codes (PrearcSessionValidator). Not here: 2, 3 and 7, which are about changes asked for together
// with archiving (here they are an update before it), and 9 (an id that cannot be made is an error of the
// database, not of the session).
enum class ConflictCode {
  kSessionExists = 1,
  kOtherSubject = 4,
  kOtherStudy = 5,
  kNoProject = 6,
  kNoLabel = 8,
  kBusy = 10,
  kNoSubject = 11,
  kNewSubject = 12,
  kNoDocument = 13,
  kFilesExist = 14,
  kDamaged = 15,
  kSameScan = 16,
  kScanRenamed = 17,
  kScanRenumbered = 18,
  kOtherModality = 19,
  kLeftOut = 20,
  kNotBuilt = 21,
  kNotAllowed = 22,
};

class Checker {
 public:
  // The rule of the project's series filter that excludes an object with this header, or "" if none does.
  using FilterCheck =
      std::function<absl::StatusOr<std::string>(absl::string_view project, const dicom::HeaderFacts& facts)>;

  struct Dependencies {
    prearchive::Prearchive& prearchive;
    metadata::Database& database;
    const session::TypeRegistry& types;
    FilterCheck filter;  // may be empty: no filters
    // Sessions are compared as their project's script will leave them; null: there are no scripts.
    const deidentify::PlanSource* plans = nullptr;
    // Whether images of another modality must stay out of the project's sessions; empty: they must.
    std::function<bool(const std::string& project)> guards_modality = nullptr;
  };
  explicit Checker(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Everything that applies to `row`, worst first. Changes nothing. `operation`: the archive operation that
  // asks on its own session, whose being ARCHIVING is then no obstacle; else "". Errors: those of the
  // database and the index.
  absl::StatusOr<std::vector<prearchive::ConflictRow>> Check(const prearchive::SessionRow& row,
                                                             absl::string_view operation = "") const;

  // Whether these conflicts stop archiving under `policy`.
  static bool Refuses(const std::vector<prearchive::ConflictRow>& conflicts, ConflictPolicy policy);

 private:
  class Run;
  const Dependencies with_;
};

}  // namespace narthex::archiving
