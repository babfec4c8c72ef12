// Uploads: named, resumable sets of objects with one destination. Rows live in the staging index.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/clock.h"
#include "server/prearchive/rows.pb.h"
#include "storage/staging/index.h"

namespace narthex::ingest {

// Numbers as in narthex.v1.Upload.State and narthex.v1.DigestAlgorithm.
enum class UploadState { kOpen = 1, kCommitted = 2 };
enum class DigestAlgorithm { kXxh3 = 1, kSha256 = 2 };

// What is durable of an upload.
struct UploadProgress {
  std::vector<std::pair<int64_t, int64_t>> durable;  // runs of sequences, both ends included
  std::map<int32_t, uint32_t> outcome_counts;
  std::vector<std::string> sessions;  // ids, in order of first use
  uint64_t settled_count = 0;         // objects that need not be sent again
};

class Uploads {
 public:
  Uploads(staging::Index& index, const Clock& clock) : index_(index), clock_(clock) {}

  // Makes an upload of `row` (id, state and time are set here). Durable when it returns. A repeated
  // `request_id` (unless "") of the same user returns the upload of the first call.
  absl::StatusOr<prearchive::UploadRow> Create(prearchive::UploadRow row, absl::string_view request_id);

  // NOT_FOUND (UPLOAD_NOT_FOUND).
  absl::StatusOr<prearchive::UploadRow> Get(absl::string_view id) const;
  absl::StatusOr<UploadProgress> Progress(absl::string_view id) const;

  // The outcome of one object that need not be sent again; nullopt if it is to be sent (again).
  absl::StatusOr<std::optional<prearchive::OutcomeRow>> Settled(absl::string_view id, int64_t sequence) const;

  // Outcomes with sequence > `after`, at most `limit`.
  absl::StatusOr<std::vector<prearchive::OutcomeRow>> ListOutcomes(absl::string_view id, int64_t after,
                                                                   int limit) const;

  // Marks the upload as complete. `expected_count` 0 and an empty `manifest` are not checked.
  // FAILED_PRECONDITION (UPLOAD_INCOMPLETE). Safe to repeat.
  absl::StatusOr<UploadProgress> Commit(absl::string_view id, uint64_t expected_count,
                                        const std::vector<std::string>& manifest);

  // Whether an outcome is final: a rejection for a passing reason (a broken chunk, a full disk) is not.
  static bool IsSettled(const prearchive::OutcomeRow& outcome);

 private:
  staging::Index& index_;
  const Clock& clock_;
};

}  // namespace narthex::ingest
