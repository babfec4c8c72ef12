// backup.json: what a backup must hold, so that a copy that was cut off is known for what it is. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace narthex::app {

// A folder of the backup, or a file of it.
struct BackupPart {
  int64_t files = 0;
  int64_t bytes = 0;
  // Of all names and sizes, of the content of the dump, and of small files of index and types; hexadecimal.
  // "" of segments, which may grow behind the backup until it is copied: `sizes` has what each must have.
  std::string digest;
  std::map<std::string, int64_t> sizes;
};

struct BackupManifest {
  std::string version;  // of narthexd
  bool database = false;
  std::optional<int64_t> sessions;          // archived ones when the database was taken
  std::map<std::string, BackupPart> parts;  // by name; empty: made by a version that did not say
};

// What is there. A part that is absent has no files. STORAGE_ERROR.
absl::StatusOr<BackupPart> MeasurePart(const std::string& backup, const std::string& part);

// Written whole or not at all; not synced.
absl::Status WriteManifest(const BackupManifest& manifest, const std::string& backup);

// FAILED_PRECONDITION (RESTORE_REFUSED): there is none, or it is cut off.
absl::StatusOr<BackupManifest> ReadManifest(const std::string& backup);

// Whether everything is there. FAILED_PRECONDITION (RESTORE_REFUSED) names each part that is not as it was
// made, and how much of it is there. Reads the dump, and of the rest only names and sizes.
absl::Status CheckComplete(const BackupManifest& manifest, const std::string& backup);

// The names of parts.
constexpr char kIndexPart[] = "index";
constexpr char kSegmentsPart[] = "segments";
constexpr char kArchivePart[] = "archive";
constexpr char kTypesPart[] = "types";
constexpr char kDumpPart[] = "postgres.dump";

}  // namespace narthex::app
