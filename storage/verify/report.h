// What a verification found. No patient value is in it: places are ids, paths of the archive and numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narthex::verify {

// Single-threaded.
struct Report {
  struct Finding {
    std::string kind;   // stable, for programs: "FILE_MISSING"
    std::string where;  // a session's id, or a path below the data directory
    std::string what;   // for people
  };

  // Something that must not be. The first limits::kFindingsListedMax are kept, all are counted.
  void Find(absl::string_view kind, absl::string_view where, absl::string_view what);
  // Work that a stop or a crash interrupted, and that the next start of the server finishes or removes by
  // itself.
  void FindUnfinished(absl::string_view kind, absl::string_view where, absl::string_view what);

  bool clean() const { return finding_count == 0; }
  // {"clean": true, "findings": [...], "unfinished": [...], "stagedObjectCount": 0, ...}
  std::string ToJson() const;

  std::vector<Finding> findings;
  std::vector<Finding> unfinished;
  uint64_t finding_count = 0;
  uint64_t unfinished_count = 0;
  // What was looked at.
  uint64_t staged_session_count = 0;
  uint64_t staged_object_count = 0;
  uint64_t staged_bytes = 0;
  uint64_t archived_session_count = 0;
  uint64_t archived_file_count = 0;
  uint64_t archived_bytes = 0;
  uint64_t catalog_count = 0;
  // Outcomes that sessions count and no upload was told last: of objects that were sent again under the same
  // number before they had an answer.
  uint64_t retold_outcome_count = 0;
};

}  // namespace narthex::verify
