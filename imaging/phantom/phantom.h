// Synthetic studies for the demo, the tests and the benchmarks: deterministic, quick to make, with the
// headers that real scanners send and a picture that a person can recognise. Nobody's patient is in them.
//
//   phantom::Study study({.modality = phantom::Modality::kCt, .slices = 100, .project = "P", .subject =
//   "S"}); std::string object = study.Instance(/*series=*/0, /*slice=*/41);   // a Part 10 file
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::phantom {

enum class Modality { kMr, kCt, kPt };

// "MR", "CT", "PT" (also "PET"), in any case. INVALID_ARGUMENT: something else.
absl::StatusOr<Modality> ParseModality(absl::string_view text);
absl::string_view ModalityName(Modality modality);

struct Options {
  Modality modality = Modality::kMr;
  int series = 1;
  int slices = 20;  // in each series
  int rows = 128;
  int columns = 128;
  // The whole object is rows * columns * 2 plus this, if the attributes fit in: private blocks fill it up.
  // 0: as real scanners send (CT 3,204; MR 6,002, most of it in the two CSA blocks; PT 4,096).
  int header_bytes = 0;
  // Written to PatientComments as "Project:P Subject:S Session:L"; empty ones are left out. Subject and
  // session also become PatientName and PatientID, unless those are given.
  std::string project;
  std::string subject;
  std::string session;
  std::string patient_name;
  std::string patient_id;
  std::string study_description;        // "": "Phantom" and the modality
  std::string study_date = "20240229";  // YYYYMMDD
  // Studies with different seeds have different UIDs, noise and patients; the same options give the same
  // bytes.
  uint64_t seed = 1;
};

// Immutable; thread-safe.
class Study {
 public:
  // Counts below 1 are taken as 1; rows and columns are limited to 16384.
  explicit Study(Options options);
  ~Study();
  Study(Study&&) noexcept;
  Study& operator=(Study&&) noexcept;

  const Options& options() const { return options_; }
  int instance_count() const { return options_.series * options_.slices; }

  // The object `slice` (from 0) of `series` (from 0) as a Part 10 file, explicit VR little endian.
  std::string Instance(int series, int slice) const;
  // The same, replacing `*out`; quicker, as the memory is used again.
  void Instance(int series, int slice, std::string* out) const;

  std::string study_instance_uid() const;
  std::string SeriesInstanceUid(int series) const;
  std::string SopInstanceUid(int series, int slice) const;
  absl::string_view sop_class_uid() const;

  // "003/0042.dcm": series and instance number.
  std::string FileName(int series, int slice) const;

  // Writes all instances below `folder`, which is made if need be. Returns the bytes written. Files are not
  // synced.
  absl::StatusOr<uint64_t> WriteTo(const std::string& folder) const;

 private:
  class Noise;

  void AppendHeader(int series, int slice, std::string* out) const;
  void AppendPixels(int series, int slice, std::string* out) const;

  Options options_;
  std::unique_ptr<const Noise> noise_;
};

}  // namespace narthex::phantom
