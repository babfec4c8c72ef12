// The Basic Application Level Confidentiality Profile of DICOM PS3.15 annex E with its options, from the
// standard's table E.1-1 (profile_table.inc). docs/deidentification.md says how each action is carried out.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/anonymize/record.h"
#include "imaging/anonymize/script.h"
#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

struct ProfileOptions {
  bool retain_uids = false;                         // 113110
  bool retain_device_identity = false;              // 113109
  bool retain_institution_identity = false;         // 113112
  bool retain_patient_characteristics = false;      // 113108
  bool retain_longitudinal_full_dates = false;      // 113106
  bool retain_longitudinal_modified_dates = false;  // 113107: all dates of a patient move by the same days
  bool clean_descriptors = false;                   // 113105
  bool clean_structured_content = false;            // 113104
  bool clean_graphics = false;                      // 113103
  bool retain_safe_private = false;                 // 113111
  bool clean_pixel_data = false;                    // 113101: recorded by who cleans the pixels
  bool clean_recognizable_visual_features = false;  // 113102: likewise

  // Reads "basic", "basic,retain-uids,clean-desc". INVALID_ARGUMENT (INVALID_SCRIPT): unknown word, or both
  // kinds of dates; the message lists the words.
  static absl::StatusOr<ProfileOptions> Parse(absl::string_view text);
  // The canonical text that Parse reads.
  std::string ToString() const;
};

// What makes replaced values belong together.
struct ProfileKey {
  std::string secret;      // of the project; at least 16 bytes
  std::string patient_id;  // pseudonyms instead of empty values: "" leaves PatientID and PatientName empty
  std::string patient_name;
  std::string dates_of;  // whose dates move alike; "": those of one PatientID
};

class Profile {
 public:
  explicit Profile(const ProfileOptions& options);
  ~Profile();

  // De-identifies `data` and records it. INVALID_ARGUMENT (ANONYMIZATION_FAILED): the secret is too short.
  absl::Status Apply(dicom::DataSet& data, const ProfileKey& key) const;
  // The same for elements behind the pixels; nothing is recorded in them.
  absl::Status ApplyTrailing(dicom::DataSet& trailing, const dicom::DataSet& header,
                             const ProfileKey& key) const;

  const ProfileOptions& options() const { return options_; }
  // CID 7050 codes of the profile and its options.
  std::vector<MethodCode> Codes() const;

  struct Tables;  // for this folder only

 private:
  ProfileOptions options_;
  std::unique_ptr<const Tables> tables_;
};

// The UID that `uid` is replaced by in all objects of a project: "2.25." and 128 bits of HMAC-SHA-256(secret,
// uid). UIDs of the standard (1.2.840.10008...) stay.
std::string MapUid(absl::string_view secret, absl::string_view uid);

// The days, 1 to 3652, by which the dates of a patient go back.
int DateShiftDays(absl::string_view secret, absl::string_view patient_id);

}  // namespace narthex::anonymize
