// Compares what database, catalogs, document and disk say of one archived session, and puts right what can
// be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "server/archive/file_work.h"
#include "server/archive/session_changes.h"

namespace narthex::archiving {

struct CheckOptions {
  bool repair = false;      // catalogs, counters and document are written anew from what the database says
  bool adopt = false;       // with repair: files that nobody knows become part of the resource they lie in
  bool sizes_only = false;  // no digests
};

struct CheckFinding {
  std::string kind, place, detail;
  bool repaired = false;
};

struct CheckResult {
  std::vector<CheckFinding> findings;
  int64_t file_count = 0;
  int64_t size_bytes = 0;
};

class SessionCheck {
 public:
  SessionCheck(FileWork::Dependencies dependencies, SessionChanges& changes,
               const session::TypeRegistry& types)
      : with_(std::move(dependencies)), changes_(changes), types_(types) {}

  // Missing and damaged files are told and left: nothing here knows their bytes. SESSION_NOT_FOUND,
  // SESSION_PURGED; ABORTED (SESSION_BUSY): something disagrees, and the session is being changed for longer
  // than this waits; with repair also the errors of FileWork.
  absl::StatusOr<CheckResult> Run(const std::string& accession_id, const CheckOptions& options,
                                  const metadata::Change& change);

 private:
  struct Repair;
  absl::StatusOr<CheckResult> LookAtRest(const std::string& accession_id, const CheckOptions& options);
  absl::StatusOr<CheckResult> Look(const std::string& accession_id, const CheckOptions& options);
  absl::Status PutRight(const std::string& accession_id, const CheckOptions& options,
                        const metadata::Change& change, CheckResult& result);
  absl::Status Adopt(FileWork& work, CheckFinding& finding, Repair& repair);
  absl::StatusOr<metadata::File> ReadFile(const std::string& place, bool dicom);

  const FileWork::Dependencies with_;
  SessionChanges& changes_;
  const session::TypeRegistry& types_;
};

}  // namespace narthex::archiving
