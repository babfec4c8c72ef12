// Makes a SessionModel of image headers' facts. No file is read.
//
//   SessionBuilder builder(TypeRegistry::BuiltIn(), {});
//   for (...) NX_RETURN_IF_ERROR(builder.Add(facts, index));
//   NX_ASSIGN_OR_RETURN(SessionModel model, builder.Finish());
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/session/model.h"
#include "imaging/session/types.h"

namespace narthex::dicom {
class HeaderFacts;
}

namespace narthex::session {

// XNAT's separatePETMR, resolved (its Default is the site's setting).
enum class PetMr {
  kPetMr,     // one session of type PET-MR
  kPet,       // one session of type PET
  kSeparate,  // to be split into two; until then one of type PET-MR
};
absl::string_view PetMrName(PetMr pet_mr);                 // "petmr", "pet", "separate"
absl::StatusOr<PetMr> ParsePetMr(absl::string_view name);  // any case; INVALID_ARGUMENT (INVALID_FIELD)

struct BuildOptions {
  PetMr pet_mr = PetMr::kPetMr;
  // The PET half of a split: a PET session even if all that came of it is MR for attenuation correction.
  bool pet_half = false;
  // XNAT's scan type mapping: what people called such scans before in this project. Asked with
  // ScanTypeKey(description), the modality and the number of frames. May be empty.
  std::function<std::optional<std::string>(absl::string_view key, absl::string_view modality, int64_t frames)>
      scan_type;
};

// The key under which XNAT remembers a scan type: upper case, without ' ', '_', '-', '*', and without a
// leading "INVALID: ".
std::string ScanTypeKey(absl::string_view series_description);

// Whether a series (or an object of it) goes to the PET session if PET-MR is split: PET, and MR for its
// attenuation correction (XNAT: "MRAC" in the description).
bool IsPetPart(absl::string_view modality, absl::string_view series_description);

// The labels of the two sessions that a PET-MR session is split into: "PETMR" in it becomes "PET" or "MR",
// else
// "_PET" or "_MR" is appended.
struct SplitLabels {
  std::string pet, mr;
};
SplitLabels SplitPetMrLabel(absl::string_view label);

// An id for a scan that joins others: its own if that is not in `taken`, else (XNAT) `<number>-<modality><k>`
// with the first free k.
std::string FreeScanId(const ScanModel& scan, const std::set<std::string>& taken);

// Sorts by number, then id, as people expect. Scans without series number (read from a document) are sorted
// by the number that their id begins with.
void SortScans(std::vector<ScanModel>& scans);

// ---- a session that takes in another part of its study

// Whether `incoming` brings images of another kind than the session of `xsi_type` holds (XNAT's code 19).
// Reports, captures and states go with every session; a PET-MR session takes both of its kinds; a session
// that has nothing but such objects takes images of any kind.
bool CrossesModalities(const TypeRegistry& types, absl::string_view xsi_type, const SessionModel& incoming);

// The type of the session of `xsi_type` when it has taken in `incoming`. nullptr: `xsi_type` is not known and
// stays.
const SessionType* MergedSessionType(const TypeRegistry& types, absl::string_view xsi_type,
                                     const SessionModel& incoming);

// Single-threaded. About 10 microseconds an object; memory is per scan and distinct value, and a few bytes an
// object.
class SessionBuilder {
 public:
  // `types` must outlive the builder.
  SessionBuilder(const TypeRegistry& types, BuildOptions options);
  ~SessionBuilder();

  // Takes in the facts of one object (of its header after anonymization, where there was one). Keeps no
  // reference. `index` is the caller's, and comes back in ScanObject. FAILED_PRECONDITION
  // (SESSION_NOT_UNIQUE): another Study Instance UID than before; the object is not taken in.
  // RESOURCE_EXHAUSTED (SESSION_TOO_LARGE): over 10,000 series.
  absl::Status Add(const dicom::HeaderFacts& facts, uint64_t index);

  // FAILED_PRECONDITION (SESSION_EMPTY): nothing was added. The builder is then used up.
  absl::StatusOr<SessionModel> Finish();

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace narthex::session
