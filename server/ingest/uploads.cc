#include "server/ingest/uploads.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::ingest {
namespace {

namespace keys = prearchive::keys;
using prearchive::OutcomeRow;
using prearchive::UploadRow;
using staging::Table;

// How many missing digests an error names.
constexpr size_t kMissingNamed = 100;

absl::Status NoUpload(absl::string_view id) {
  return NotFound("UPLOAD_NOT_FOUND", absl::StrCat("there is no upload ", id), {{"upload", std::string(id)}});
}

absl::Status Incomplete(absl::string_view id, uint64_t missing_count, absl::string_view missing) {
  return FailedPrecondition(
      "UPLOAD_INCOMPLETE",
      absl::StrCat(missing_count, " objects of upload ", id, " are not durable; send them and commit again"),
      {{"upload", std::string(id)},
       {"missing_count", absl::StrCat(missing_count)},
       {"missing", std::string(missing)}});
}

}  // namespace

bool Uploads::IsSettled(const OutcomeRow& outcome) {
  // Rows hold the reasons of the modules below, too, as they are before a service translates them: whatever
  // becomes one of the first line on the wire is as passing as that (server/rpc/inner_reasons.inc).
  static const auto* passing = new absl::flat_hash_set<std::string>{
      "DIGEST_MISMATCH", "DISK_FULL", "OVERLOADED", "OBJECT_ABANDONED", "SESSION_BUSY", "SEGMENT_FAILED",
      "STORAGE_ERROR", "SHUTTING_DOWN", "DATABASE_UNAVAILABLE",
      // SESSION_BUSY
      "SESSION_REMOVED", "OPERATION_POSTPONED",
      // STORAGE_ERROR
      "FILE_EXISTS", "DIRECTORY_NOT_EMPTY", "WRONG_FILE_TYPE", "OTHER_FILE_SYSTEM", "READ_ONLY_FILE_SYSTEM",
      "FILE_ACCESS_DENIED", "BAD_FILE_ARGUMENT", "IO_ERROR", "FILE_TOO_LARGE", "FILE_TOO_SHORT",
      "INDEX_ERROR",
      // OVERLOADED
      "TOO_MANY_FILES", "OUT_OF_MEMORY", "INDEX_BUSY", "DATABASE_BUSY",
      // DATABASE_UNAVAILABLE
      "COMMIT_UNKNOWN", "DATABASE_FULL"};
  return outcome.outcome() != static_cast<int>(prearchive::Outcome::kRejected) ||
         !passing->contains(outcome.reason());
}

absl::StatusOr<UploadRow> Uploads::Create(UploadRow row, absl::string_view request_id) {
  const std::string request_key =
      absl::StrCat(keys::Text("CreateUpload"), keys::Text(row.user()), request_id);
  if (!request_id.empty()) {
    NX_ASSIGN_OR_RETURN(const auto known, index_.Get(Table::kRequests, request_key));
    if (known) {
      absl::StatusOr<UploadRow> first = Get(*known);
      // One that was forgotten since is made anew.
      if (!absl::IsNotFound(first.status())) return first;
    }
  }
  row.set_id(NewRandomId(10));
  row.set_state(static_cast<int>(UploadState::kOpen));
  row.set_create_time_us(absl::ToUnixMicros(clock_.Now()));
  if (row.digest_algorithm() == 0) row.set_digest_algorithm(static_cast<int>(DigestAlgorithm::kXxh3));
  staging::IndexBatch batch;
  batch.Put(Table::kUploads, row.id(), row.SerializeAsString());
  if (!request_id.empty()) batch.Put(Table::kRequests, request_key, row.id());
  NX_RETURN_IF_ERROR(index_.Write(batch, staging::Durability::kPowerLoss));
  return row;
}

absl::StatusOr<UploadRow> Uploads::Get(absl::string_view id) const {
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kUploads, id));
  UploadRow row;
  if (!bytes || !row.ParseFromString(*bytes)) return NoUpload(id);
  return row;
}

absl::StatusOr<UploadProgress> Uploads::Progress(absl::string_view id) const {
  UploadProgress progress;
  absl::flat_hash_set<std::string> seen;
  const std::string prefix = keys::Text(id);
  NX_RETURN_IF_ERROR(index_.Scan(Table::kUploadObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view key, absl::string_view value) {
                                   OutcomeRow outcome;
                                   outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   ++progress.outcome_counts[outcome.outcome()];
                                   if (!outcome.session().empty() && seen.insert(outcome.session()).second) {
                                     progress.sessions.push_back(outcome.session());
                                   }
                                   if (!IsSettled(outcome)) return true;
                                   ++progress.settled_count;
                                   const auto sequence = static_cast<int64_t>(keys::LastNumber(key));
                                   if (!progress.durable.empty() &&
                                       progress.durable.back().second + 1 == sequence) {
                                     progress.durable.back().second = sequence;
                                   } else {
                                     progress.durable.emplace_back(sequence, sequence);
                                   }
                                   return true;
                                 }));
  return progress;
}

absl::StatusOr<std::optional<OutcomeRow>> Uploads::Settled(absl::string_view id, int64_t sequence) const {
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kUploadObjects, keys::UploadObject(id, sequence)));
  OutcomeRow outcome;
  if (!bytes || !outcome.ParseFromString(*bytes) || !IsSettled(outcome)) return std::nullopt;
  return outcome;
}

absl::StatusOr<std::vector<OutcomeRow>> Uploads::ListOutcomes(absl::string_view id, int64_t after,
                                                              int limit) const {
  NX_RETURN_IF_ERROR(Get(id).status());
  std::vector<OutcomeRow> outcomes;
  NX_RETURN_IF_ERROR(index_.Scan(Table::kUploadObjects, keys::UploadObject(id, after + 1),
                                 keys::EndOf(keys::Text(id)),
                                 [&](absl::string_view, absl::string_view value) {
                                   OutcomeRow outcome;
                                   outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   outcomes.push_back(std::move(outcome));
                                   return static_cast<int>(outcomes.size()) < limit;
                                 }));
  return outcomes;
}

absl::StatusOr<UploadProgress> Uploads::Commit(absl::string_view id, uint64_t expected_count,
                                               const std::vector<std::string>& manifest) {
  NX_ASSIGN_OR_RETURN(UploadRow row, Get(id));
  NX_ASSIGN_OR_RETURN(UploadProgress progress, Progress(id));
  if (expected_count > progress.settled_count) {
    std::vector<std::string> runs;
    int64_t next = 0;
    for (const auto& [first, last] : progress.durable) {
      if (first > next) runs.push_back(absl::StrCat(next, "-", first - 1));
      next = last + 1;
    }
    if (next < static_cast<int64_t>(expected_count))
      runs.push_back(absl::StrCat(next, "-", expected_count - 1));
    runs.resize(std::min(runs.size(), kMissingNamed));
    return Incomplete(id, expected_count - progress.settled_count, absl::StrJoin(runs, ","));
  }
  if (!manifest.empty()) {
    absl::flat_hash_set<std::string> have;
    const std::string prefix = keys::Text(id);
    NX_RETURN_IF_ERROR(index_.Scan(Table::kUploadObjects, prefix, keys::EndOf(prefix),
                                   [&](absl::string_view, absl::string_view value) {
                                     OutcomeRow outcome;
                                     outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                     if (IsSettled(outcome)) have.insert(outcome.digest());
                                     return true;
                                   }));
    std::vector<std::string> missing;
    uint64_t missing_count = 0;
    for (const std::string& digest : manifest) {
      if (have.contains(digest)) continue;
      if (++missing_count <= kMissingNamed) missing.push_back(absl::BytesToHexString(digest));
    }
    if (missing_count > 0) return Incomplete(id, missing_count, absl::StrJoin(missing, ","));
  }
  if (row.state() != static_cast<int>(UploadState::kCommitted)) {
    row.set_state(static_cast<int>(UploadState::kCommitted));
    staging::IndexBatch batch;
    batch.Put(Table::kUploads, row.id(), row.SerializeAsString());
    NX_RETURN_IF_ERROR(index_.Write(batch, staging::Durability::kPowerLoss));
  }
  return progress;
}

}  // namespace narthex::ingest
