// What kinds of scans and sessions there are. All of it is data: TOML files (imaging/session/types, compiled
// in, and any that an administrator adds), described in docs/session-types.md. A type file says which SOP
// classes and modalities make which scan type, whether such objects are primary, which session type they
// suggest, and which attributes are captured under which names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "imaging/dicom/tag.h"

namespace narthex::session {

// Resources of a scan that objects are filed under.
inline constexpr absl::string_view kPrimaryResource = "DICOM";
inline constexpr absl::string_view kSecondaryResource = "secondary";

// How a DICOM value becomes a parameter.
enum class Conversion {
  kText,    // all values, joined by '\'
  kNumber,  // shortest decimal form, times Source::scale
  kInteger,
  kDate,         // 2006-12-14
  kTime,         // 09:30:21
  kPersonName,   // the first component group
  kOrientation,  // ImageOrientationPatient to Tra, Sag or Cor
};

// How the values of the objects of a scan become one.
enum class Merge {
  kJoin,  // distinct values in order of appearance, joined by ','; "multi" if there are over 16
  kFirst,
  kMin,
  kMax,
  kSum,    // of numbers
  kCount,  // how many distinct values there are
};

// One place where an attribute may be found.
struct Source {
  dicom::TagPath path{dicom::Tag()};
  int value_index = -1;                 // 0: the first of several values; -1: all
  std::optional<dicom::TagPath> times;  // multiplied by this attribute's first value
  double scale = 1;
};

struct AttributeSpec {
  std::string name;             // "tr", "voxelRes.x": the key in `parameters`
  std::vector<Source> sources;  // the first that has a value counts
  Conversion conversion = Conversion::kText;
  Merge merge = Merge::kJoin;
  std::string unit;  // "ms"; "" for none
  std::string
      xml;  // "parameters/tr", "parameters/voxelRes/@x" below the scan or session element; "" for not in XML
  // Objects whose ImageType has this value are passed over: a mosaic's matrix is not that of its slices. "":
  // none.
  std::string unless_image_type;
  bool xml_units = false;                      // also writes the unit, as attribute `units` of the element
  std::map<std::string, std::string> replace;  // whole values that become others
};

struct ScanType {
  std::string name;          // "mr-spectroscopy"
  std::string description;   // for people
  std::string xsi_type;      // "xnat:mrsScanData"
  std::string session_type;  // name of the SessionType that it suggests; "" for none
  std::string modality;      // shown where objects carry none
  bool primary = true;       // objects go to kPrimaryResource, else to kSecondaryResource
  std::string multi_value;   // XML path of the elements that hold differing numbers; "" to write them joined
  std::vector<const AttributeSpec*> attributes;
};

struct SessionType {
  std::string name;                   // "mr"
  std::string xsi_type;               // "xnat:mrSessionData"
  std::string element;                // "MRSession": the document's root, in XNAT's namespace
  std::string modality;               // "MR"
  int rank = 0;                       // the lowest of those that the scans suggest leads
  std::vector<std::string> combines;  // both (all) of these present make this one, as PET and MR make PET-MR
  std::vector<const AttributeSpec*> attributes;
};

// A type file's name (for messages) and text.
struct TypeFile {
  std::string name;
  std::string text;
};

// Immutable; thread-safe. Specs and types live as long as the registry.
class TypeRegistry {
 public:
  // The files that are compiled in. Never fails (a test loads them).
  static const TypeRegistry& BuiltIn();
  static absl::Span<const TypeFile> BuiltInFiles();

  // The built-in files and then `extra`, in this order. A later type replaces one of the same name, and a
  // later file's claim to a SOP class or modality wins over an earlier file's; two claims in one file are an
  // error. INVALID_ARGUMENT (INVALID_SCRIPT, metadata "file", "line"): a file is no TOML, has an unknown
  // or missing key, an unknown attribute, group or session type. The message says which line.
  static absl::StatusOr<std::unique_ptr<const TypeRegistry>> Load(absl::Span<const TypeFile> extra);

  // The same with every *.toml of `directory`, by name. "" or a directory that does not exist adds nothing.
  // Errors of Load, and INVALID_ARGUMENT for over 100 files or one of over 1 MiB.
  static absl::StatusOr<std::unique_ptr<const TypeRegistry>> LoadDirectory(const std::string& directory);

  // The type of an object: by SOP class, else by modality, else "other".
  const ScanType& TypeOf(absl::string_view sop_class_uid, absl::string_view modality) const;
  // nullptr: no such name.
  const ScanType* FindScanType(absl::string_view name) const;
  const SessionType* FindSessionType(absl::string_view name) const;
  // By xsi type; the first that has it. nullptr: none.
  const SessionType* FindSessionTypeByXsi(absl::string_view xsi_type) const;
  const ScanType* FindScanTypeByXsi(absl::string_view xsi_type) const;
  const std::vector<std::unique_ptr<ScanType>>& scan_types() const { return scan_types_; }
  const std::vector<std::unique_ptr<SessionType>>& session_types() const { return session_types_; }

  // The place of a modality in the order of leading ones; 0 leads; unknown ones come last.
  int ModalityRank(absl::string_view modality) const;

  // Every attribute that BuildSession may ask for: the header scanner must keep them.
  const std::vector<dicom::TagPath>& wanted() const { return wanted_; }

 private:
  friend class TypeLoader;
  friend class TypeFileReader;
  TypeRegistry() = default;

  std::vector<std::unique_ptr<AttributeSpec>> attributes_;
  std::vector<std::unique_ptr<ScanType>> scan_types_;
  std::vector<std::unique_ptr<SessionType>> session_types_;
  absl::flat_hash_map<std::string, const ScanType*> by_sop_class_, by_modality_;
  absl::flat_hash_map<std::string, int> modality_ranks_;
  const ScanType* other_ = nullptr;
  std::vector<dicom::TagPath> wanted_;
};

}  // namespace narthex::session
