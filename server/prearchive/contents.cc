// Reading: lists of sessions, and what is in one.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {

using staging::Table;

absl::StatusOr<std::vector<SessionRow>> Prearchive::List(const ListQuery& query) {
  std::vector<SessionRow> rows;
  absl::Status bad;
  const std::string begin = query.after.empty() ? "" : keys::Text(query.after);
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kSessions, begin, "", [&](absl::string_view key, absl::string_view value) {
        SessionRow row;
        if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          bad = DataLoss("INDEX_CORRUPT", absl::StrCat("the row of session ", key, " cannot be read"));
          return false;
        }
        if (query.project && row.key().project() != *query.project) return true;
        if (query.state && row.state() != static_cast<int>(*query.state)) return true;
        if (query.may_see && !query.may_see(row.key().project())) return true;
        rows.push_back(std::move(row));
        return static_cast<int>(rows.size()) < query.limit;
      }));
  NX_RETURN_IF_ERROR(bad);
  return rows;
}

int64_t Prearchive::CountSessions(const std::function<bool(const std::string& project)>& may_see) {
  int64_t count = 0;
  SessionRow row;
  const absl::Status scanned =
      index_.Scan(Table::kSessions, "", "", [&](absl::string_view, absl::string_view value) {
        const bool seen = !may_see || (row.ParseFromArray(value.data(), static_cast<int>(value.size())) &&
                                       may_see(row.key().project()));
        if (seen) ++count;
        return true;
      });
  return scanned.ok() ? count : -1;
}

absl::Status Prearchive::ForEachObject(absl::string_view id,
                                       const std::function<absl::Status(const ObjectRow&)>& visit) {
  absl::Status status;
  const std::string prefix = keys::Text(id);
  NX_RETURN_IF_ERROR(index_.Scan(
      Table::kObjects, prefix, keys::EndOf(prefix), [&](absl::string_view, absl::string_view value) {
        ObjectRow row;
        if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          status = DataLoss("INDEX_CORRUPT", absl::StrCat("an object row of session ", id, " is damaged"));
        } else if (row.superseded_by() == 0 && !row.contested()) {
          status = visit(row);
        }
        return status.ok();
      }));
  return status;
}

absl::StatusOr<ObjectRow> Prearchive::FindObject(absl::string_view id, absl::string_view sop_instance_uid) {
  NX_ASSIGN_OR_RETURN(const auto number, index_.Get(Table::kInstances, keys::Instance(id, sop_instance_uid)));
  std::optional<std::string> bytes;
  if (number) {
    NX_ASSIGN_OR_RETURN(bytes, index_.Get(Table::kObjects, keys::Object(id, keys::LastNumber(*number))));
  }
  ObjectRow row;
  if (!bytes || !row.ParseFromString(*bytes)) {
    return NotFound("INSTANCE_NOT_FOUND", absl::StrCat("session ", id, " has no instance ", sop_instance_uid),
                    {{"session", std::string(id)}, {"instance", std::string(sop_instance_uid)}});
  }
  return row;
}

staging::StoredObject Prearchive::StoredObjectOf(const ObjectRow& row) {
  staging::StoredObject object;
  object.size_bytes = row.size_bytes();
  for (const ExtentRow& extent : row.extents()) {
    object.extents.push_back({extent.segment(), extent.offset(), extent.length(), extent.crc32c()});
  }
  return object;
}

absl::StatusOr<std::vector<std::pair<uint64_t, OutcomeRow>>> Prearchive::ListOutcomes(absl::string_view id,
                                                                                      uint64_t after,
                                                                                      int limit) {
  NX_RETURN_IF_ERROR(Get(id).status());
  std::vector<std::pair<uint64_t, OutcomeRow>> outcomes;
  NX_RETURN_IF_ERROR(index_.Scan(Table::kOutcomes, keys::Object(id, after + 1), keys::EndOf(keys::Text(id)),
                                 [&](absl::string_view key, absl::string_view value) {
                                   OutcomeRow row;
                                   row.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   outcomes.emplace_back(keys::LastNumber(key), std::move(row));
                                   return static_cast<int>(outcomes.size()) < limit;
                                 }));
  return outcomes;
}

absl::StatusOr<bool> Prearchive::HasDigest(absl::string_view project, absl::string_view received_xxh3) {
  bool found = false;
  const std::string prefix = keys::Digest(project, received_xxh3, "");
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kDigests, prefix, keys::EndOf(prefix), [&](absl::string_view, absl::string_view) {
        found = true;
        return false;
      }));
  return found;
}

}  // namespace narthex::prearchive
