#include "server/ingest/upload_retention.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::ingest {
namespace {

namespace keys = prearchive::keys;
using prearchive::OutcomeRow;
using prearchive::SessionRow;
using prearchive::UploadRow;
using staging::Durability;
using staging::IndexBatch;
using staging::Table;

// Rows that one batch removes by name.
constexpr size_t kBatchRows = 10'000;

}  // namespace

absl::StatusOr<ForgottenUploads> UploadRetention::Forget(absl::Time before) {
  const int64_t before_us = absl::ToUnixMicros(before);
  std::vector<UploadRow> candidates;
  NX_RETURN_IF_ERROR(index_.Scan(Table::kUploads, "", "", [&](absl::string_view, absl::string_view value) {
    UploadRow row;
    if (row.ParseFromArray(value.data(), static_cast<int>(value.size())) && row.create_time_us() < before_us)
      candidates.push_back(std::move(row));
    return true;
  }));
  ForgottenUploads forgotten;
  for (const UploadRow& upload : candidates) {
    NX_ASSIGN_OR_RETURN(const bool may_go, MayGo(upload, before_us));
    if (!may_go) continue;
    NX_ASSIGN_OR_RETURN(const int64_t objects, ForgetOne(upload.id()));
    ++forgotten.upload_count;
    forgotten.object_count += objects;
  }
  if (forgotten.upload_count > 0) NX_RETURN_IF_ERROR(ForgetRequests());
  NX_RETURN_IF_ERROR(ForgetTallies());
  return forgotten;
}

absl::StatusOr<bool> UploadRetention::MayGo(const UploadRow& upload, int64_t before_us) const {
  absl::flat_hash_map<std::string, bool> waits;
  bool may_go = true;
  absl::Status status;
  const std::string prefix = keys::Text(upload.id());
  NX_RETURN_IF_ERROR(index_.Scan(Table::kUploadObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   OutcomeRow outcome;
                                   outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   may_go = outcome.receive_time_us() < before_us;
                                   const auto [known, added] = waits.try_emplace(outcome.session(), false);
                                   if (added && !outcome.session().empty()) {
                                     const auto row = index_.Get(Table::kSessions, outcome.session());
                                     status = row.status();
                                     known->second = !row.ok() || row->has_value();
                                   }
                                   may_go = may_go && !known->second;
                                   return may_go;
                                 }));
  NX_RETURN_IF_ERROR(status);
  return may_go;
}

absl::StatusOr<int64_t> UploadRetention::ForgetOne(absl::string_view id) {
  std::map<std::string, SessionRow> tallies;
  int64_t objects = 0;
  const std::string prefix = keys::Text(id);
  NX_RETURN_IF_ERROR(index_.Scan(
      Table::kUploadObjects, prefix, keys::EndOf(prefix), [&](absl::string_view, absl::string_view value) {
        OutcomeRow outcome;
        outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
        ++objects;
        if (!outcome.session().empty())
          ++(*tallies[outcome.session()].mutable_outcome_counts())[outcome.outcome()];
        return true;
      }));
  IndexBatch batch;
  for (auto& [session, tally] : tallies) {
    const std::string key = keys::ForgottenTally(session);
    NX_ASSIGN_OR_RETURN(const auto former, index_.Get(Table::kMeta, key));
    SessionRow row;
    if (former && row.ParseFromString(*former)) {
      for (const auto& [outcome, count] : row.outcome_counts())
        (*tally.mutable_outcome_counts())[outcome] += count;
    }
    batch.Put(Table::kMeta, key, tally.SerializeAsString());
  }
  batch.DeleteRange(Table::kUploadObjects, prefix, keys::EndOf(prefix));
  batch.Delete(Table::kUploads, id);
  NX_RETURN_IF_ERROR(index_.Write(batch, Durability::kPowerLoss));
  return objects;
}

// Request ids that lead to uploads which are gone.
absl::Status UploadRetention::ForgetRequests() {
  IndexBatch batch;
  size_t rows = 0;
  absl::Status status;
  const std::string prefix = keys::Text("CreateUpload");
  NX_RETURN_IF_ERROR(index_.Scan(Table::kRequests, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view key, absl::string_view value) {
                                   const auto upload = index_.Get(Table::kUploads, value);
                                   status = upload.status();
                                   if (!status.ok()) return false;
                                   if (upload->has_value()) return true;
                                   batch.Delete(Table::kRequests, key);
                                   return ++rows < kBatchRows;  // the rest next time
                                 }));
  NX_RETURN_IF_ERROR(status);
  return batch.empty() ? absl::OkStatus() : index_.Write(batch, Durability::kProcessCrash);
}

// Counts of sessions whose going nobody knows of any more.
absl::Status UploadRetention::ForgetTallies() {
  std::vector<std::string> tallied;
  const std::string prefix = keys::ForgottenTally("");
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kMeta, prefix, keys::EndOf(prefix), [&](absl::string_view key, absl::string_view) {
        tallied.emplace_back(key);
        return true;
      }));
  if (tallied.empty()) return absl::OkStatus();
  absl::flat_hash_set<std::string> known;
  NX_RETURN_IF_ERROR(index_.Scan(Table::kEvents, "", "", [&](absl::string_view, absl::string_view value) {
    prearchive::EventRow event;
    if (event.ParseFromArray(value.data(), static_cast<int>(value.size())) && event.removed())
      known.insert(keys::ForgottenTally(event.session()));
    return true;
  }));
  IndexBatch batch;
  for (const std::string& key : tallied) {
    if (!known.contains(key)) batch.Delete(Table::kMeta, key);
  }
  return batch.empty() ? absl::OkStatus() : index_.Write(batch, Durability::kProcessCrash);
}

}  // namespace narthex::ingest
