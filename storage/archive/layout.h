// XNAT's archive layout and file names (reference: XNAT 1.8, TemplatizedDicomFileNamer). All functions are
// pure, total and thread-safe: whatever comes in, each path component that goes out is safe on Unix and
// Windows. docs/formats/archive.md draws the tree.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace narthex::archive {

inline constexpr char kArcFolder[] = "arc001";
inline constexpr char kIncomingPrefix[] = ".incoming-";    // of folders that are being written
inline constexpr char kReplacingPrefix[] = ".replacing-";  // of a file that is about to take another's place
inline constexpr char kJournalName[] =
    ".narthex-files";  // what was written, in a folder that is not finished

// One path component: every byte outside [A-Za-z0-9_.-] becomes '_', a leading '.' too; at most
// limits::kFileNameMaxBytes (longer ones end in '_' and a hash); never empty, ".", ".." or a Windows device
// name.
std::string SanitizeComponent(absl::string_view text);

// "P1/arc001/S1_MR1", below the archive's root.
std::string SessionFolder(absl::string_view project, absl::string_view label);

// "SCANS/4/DICOM", "SCANS/4/secondary", below the session's folder; "RESOURCES/notes" for scan_id "".
std::string ResourceFolder(absl::string_view scan_id, absl::string_view resource_label);

// "scan_4_catalog.xml" for DICOM, "scan_4_secondary_catalog.xml" for secondary, "<LABEL>_catalog.xml"
// otherwise.
std::string CatalogName(absl::string_view scan_id, absl::string_view resource_label);

// What the name of an instance is made of; "" where the header has no value.
struct InstanceName {
  absl::string_view study_instance_uid;
  absl::string_view series_number;
  absl::string_view instance_number;
  absl::string_view sop_class_uid;
  absl::string_view sop_instance_uid;
};

// "<StudyInstanceUID>-<SeriesNumber>-<InstanceNumber>-<hash>.dcm"; a missing value reads
// "no-value-for-<Keyword>".
std::string InstanceFileName(const InstanceName& name);

// Java's List.hashCode of [sop_class_uid, sop_instance_uid] as an unsigned number in base 36.
std::string InstanceHash(absl::string_view sop_class_uid, absl::string_view sop_instance_uid);

// Gives out names that are unique in one folder, without regard to case. Single-threaded.
class NameSet {
 public:
  // Returns `name`, or if it is taken `stem-2.ext`, `stem-3.ext`, ... The same calls in the same order give
  // the same names.
  std::string Take(absl::string_view name);

 private:
  absl::flat_hash_set<std::string> taken_;
};

}  // namespace narthex::archive
