// What a project's script and profile make of a session on its way into the archive, and what was found of
// the original identifiers afterwards. Inside server/archive.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/dicom/attribute_set.h"
#include "imaging/session/types.h"
#include "server/archive/found_leftovers.h"
#include "server/deidentify/plans.h"
#include "server/prearchive/build.h"
#include "server/prearchive/prearchive.h"
#include "storage/archive/session_writer.h"

namespace narthex::archiving {

// Narthex's own code, beside XNAT's 1 to 22: identifiers were found after anonymization.
inline constexpr int kLeftoversCode = 101;

// Of one session. BuildModel first, then Write, whose calls may come from several threads.
class ProjectScript {
 public:
  // `plans` may be null: then everything is filed as it is staged. Errors as PlanSource::Project.
  static absl::StatusOr<std::unique_ptr<ProjectScript>> Open(const deidentify::PlanSource* plans,
                                                             prearchive::Prearchive& prearchive,
                                                             const session::TypeRegistry& types,
                                                             const prearchive::SessionRow& row);

  // As prearchive::BuildModel, of the objects as they will be filed: every header goes through the script.
  // Those that the script rejects are left out and counted. FAILED_PRECONDITION (ANONYMIZATION_FAILED) and
  // the like: it failed on one; the message says on which, and has no patient value.
  absl::StatusOr<prearchive::BuiltSession> BuildModel(session::BuildOptions options);

  // The bytes of `object` as they will be filed. Errors as BuildModel, and those of `log` and `sink`.
  // INTERNAL: the script makes something else of the object than BuildModel saw.
  absl::Status Write(staging::SessionLog& log, const prearchive::BuiltObject& object,
                     const archive::ByteSink& sink) const;

  // Why the session must not be archived before somebody has looked at it; nullopt: it may.
  std::optional<prearchive::ConflictRow> Held() const;
  // Enters what was found into the row.
  void Report(prearchive::SessionRow& row) const { leftovers_.Write(row); }
  // For the session's history: scripts with their digests, objects that were left out, what was found.
  std::string Note() const;

 private:
  struct Staged {
    std::string transfer_syntax_uid;
    bool honour_record = false;
    std::map<std::string, Phi<std::string>> exports;
  };

  ProjectScript(prearchive::Prearchive& prearchive, const session::TypeRegistry& types,
                const prearchive::SessionRow& row);
  absl::StatusOr<std::optional<dicom::HeaderFacts>> FactsOf(const prearchive::ObjectRow& object);

  prearchive::Prearchive& prearchive_;
  const session::TypeRegistry& types_;
  const std::string session_;
  const bool accepted_;
  const anonymize::Variables variables_;
  const deidentify::PlanSource* plans_ = nullptr;  // null only if nothing changes a UID here
  std::shared_ptr<const deidentify::Plan> plan_;   // may be null
  deidentify::Leftovers leftovers_mode_ = deidentify::Leftovers::kOff;
  std::optional<dicom::AttributeSet> attributes_;
  std::shared_ptr<staging::SessionLog> log_;
  absl::flat_hash_map<uint64_t, Staged> staged_;  // by number
  std::map<std::string, int64_t> rejected_;       // why -> how many
  std::map<std::string, int64_t> applied_;        // at arrival -> to how many
  FoundLeftovers leftovers_;
};

}  // namespace narthex::archiving
