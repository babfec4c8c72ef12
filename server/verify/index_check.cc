#include "server/verify/index_check.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/status.h"
#include "server/operations/operation_row.pb.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::verify {
namespace {

namespace keys = prearchive::keys;
using prearchive::ObjectRow;
using prearchive::OutcomeRow;
using prearchive::SessionRow;
using prearchive::State;
using staging::Table;

class IndexCheck {
 public:
  IndexCheck(const staging::Index& index, staging::StagingStore& store, Report& report)
      : index_(index), store_(store), report_(report) {}

  absl::Status Run();

 private:
  absl::Status ReadOperations();
  absl::Status CheckSession(const SessionRow& row);
  absl::StatusOr<std::vector<ObjectRow>> ReadObjects(const SessionRow& row);
  absl::Status CheckObject(const SessionRow& row, staging::SessionLog& log, const ObjectRow& object);
  absl::Status CheckLookups(const SessionRow& row, const ObjectRow& object);
  absl::Status CheckOutcomes(const SessionRow& row);
  absl::Status CheckUnindexed(const std::string& id, const SessionRow* row);
  absl::Status CheckStrays();
  absl::Status CheckKeys();

  const staging::Index& index_;
  staging::StagingStore& store_;
  Report& report_;
  std::map<std::string, SessionRow> sessions_;
  std::set<std::string> running_;  // operations that have not ended
};

std::string KeyOf(const SessionRow& row) { return keys::OfSession(row.key()); }

absl::Status IndexCheck::Run() {
  NX_RETURN_IF_ERROR(ReadOperations());
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kSessions, "", "", [&](absl::string_view key, absl::string_view value) {
        SessionRow row;
        if (row.ParseFromArray(value.data(), static_cast<int>(value.size())) && row.id() == key) {
          sessions_.emplace(std::string(key), std::move(row));
        } else {
          report_.Find("ROW_DAMAGED", key, "the session's row cannot be read");
        }
        return true;
      }));
  for (const auto& [id, row] : sessions_) NX_RETURN_IF_ERROR(CheckSession(row));
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> staged, store_.ListSessions());
  for (const std::string& id : staged) {
    const auto row = sessions_.find(id);
    NX_RETURN_IF_ERROR(CheckUnindexed(id, row == sessions_.end() ? nullptr : &row->second));
  }
  NX_RETURN_IF_ERROR(CheckStrays());
  return CheckKeys();
}

absl::Status IndexCheck::ReadOperations() {
  return index_.Scan(Table::kOperations, "", "", [&](absl::string_view key, absl::string_view value) {
    operations::OperationRow row;
    if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
      report_.Find("ROW_DAMAGED", key, "the operation's row cannot be read");
    } else if (!row.done()) {
      running_.emplace(key);
      report_.FindUnfinished("OPERATION", key, absl::StrCat(row.kind(), " of ", row.target()));
    }
    return true;
  });
}

absl::Status IndexCheck::CheckSession(const SessionRow& row) {
  const auto state = static_cast<State>(row.state());
  if ((state == State::kBuilding || state == State::kArchiving || state == State::kSeparating) &&
      running_.count(row.operation()) == 0) {
    report_.FindUnfinished("SESSION_STATE", row.id(), "the operation of its state had not begun");
  }
  NX_ASSIGN_OR_RETURN(const std::vector<ObjectRow> objects, ReadObjects(row));
  uint64_t bytes = 0, count = 0;
  // Opening the log makes a folder, so only where there is one.
  if (!objects.empty() && !store_.EndOf(row.id()).ok()) {
    report_.Find("OBJECT_UNREADABLE", row.id(),
                 absl::StrCat("none of its ", objects.size(), " objects has a segment"));
  } else if (!objects.empty()) {
    NX_ASSIGN_OR_RETURN(const auto log, store_.OpenSession(row.id()));
    for (const ObjectRow& object : objects) {
      NX_RETURN_IF_ERROR(CheckObject(row, *log, object));
      // Others of their instance took their place, or have it until somebody decides.
      if (object.superseded_by() != 0 || object.contested()) continue;
      ++count;
      bytes += object.size_bytes();
      NX_RETURN_IF_ERROR(CheckLookups(row, object));
    }
  }
  if (count != row.object_count() || bytes != row.size_bytes()) {
    report_.Find("SESSION_COUNT", row.id(),
                 absl::StrCat("claims ", row.object_count(), " objects, ", row.size_bytes(),
                              " bytes; its rows are ", count, ", ", bytes));
  }
  return CheckOutcomes(row);
}

absl::StatusOr<std::vector<ObjectRow>> IndexCheck::ReadObjects(const SessionRow& row) {
  std::vector<ObjectRow> objects;
  const std::string prefix = keys::Text(row.id());
  NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view key, absl::string_view value) {
                                   ObjectRow object;
                                   if (!object.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
                                       object.number() != keys::LastNumber(key)) {
                                     report_.Find("ROW_DAMAGED", row.id(), "an object's row cannot be read");
                                     return true;
                                   }
                                   object.clear_facts();
                                   objects.push_back(std::move(object));
                                   return true;
                                 }));
  return objects;
}

absl::Status IndexCheck::CheckObject(const SessionRow& row, staging::SessionLog& log,
                                     const ObjectRow& object) {
  Xxh3Hasher hasher;
  uint64_t size = 0;
  const absl::Status read =
      log.Read(prearchive::Prearchive::StoredObjectOf(object), [&](absl::string_view piece) -> absl::Status {
        hasher.Update(piece);
        size += piece.size();
        return absl::OkStatus();
      });
  const std::string what = absl::StrCat("object ", object.number());
  if (!read.ok()) {
    report_.Find("OBJECT_UNREADABLE", row.id(), absl::StrCat(what, ": ", read.message()));
  } else if (size != object.size_bytes() ||
             (!object.stored_xxh3().empty() && hasher.Finish() != object.stored_xxh3())) {
    report_.Find("OBJECT_DIGEST", row.id(),
                 absl::StrCat(what, ": the bytes are not those that were acknowledged"));
  }
  return absl::OkStatus();
}

absl::Status IndexCheck::CheckLookups(const SessionRow& row, const ObjectRow& object) {
  const auto expect = [&](Table table, const std::string& key, absl::string_view kind) -> absl::Status {
    NX_ASSIGN_OR_RETURN(const auto number, index_.Get(table, key));
    if (!number || keys::LastNumber(*number) != object.number()) {
      report_.Find(kind, row.id(), absl::StrCat("does not lead to object ", object.number()));
    }
    return absl::OkStatus();
  };
  NX_RETURN_IF_ERROR(
      expect(Table::kInstances, keys::Instance(row.id(), object.sop_instance_uid()), "INSTANCE_ROW"));
  if (const std::string received = keys::ReceivedAs(object); received != object.sop_instance_uid()) {
    NX_RETURN_IF_ERROR(expect(Table::kInstances, keys::Instance(row.id(), received), "INSTANCE_ROW"));
  }
  // Two instances may hold the same bytes: then the row leads to either.
  NX_ASSIGN_OR_RETURN(
      const auto digest,
      index_.Get(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), row.id())));
  if (!digest)
    report_.Find("DIGEST_ROW", row.id(), absl::StrCat("of object ", object.number(), " is missing"));
  NX_ASSIGN_OR_RETURN(const auto bytes,
                      index_.Get(Table::kOutcomes, keys::Object(row.id(), object.number())));
  OutcomeRow outcome;
  if (!bytes || !outcome.ParseFromString(*bytes) || outcome.sop_instance_uid() != object.sop_instance_uid()) {
    report_.Find("OUTCOME_ROW", row.id(),
                 absl::StrCat("of object ", object.number(), " is missing or another's"));
  }
  return absl::OkStatus();
}

absl::Status IndexCheck::CheckOutcomes(const SessionRow& row) {
  std::map<int32_t, uint32_t> counts;
  const std::string prefix = keys::Text(row.id());
  NX_RETURN_IF_ERROR(index_.Scan(Table::kOutcomes, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   OutcomeRow outcome;
                                   outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   ++counts[outcome.outcome()];
                                   return true;
                                 }));
  const std::map<int32_t, uint32_t> claimed(row.outcome_counts().begin(), row.outcome_counts().end());
  if (counts != claimed) report_.Find("SESSION_OUTCOMES", row.id(), "its counts differ from its outcomes");
  return absl::OkStatus();
}

// Objects of the segments that the index does not know: behind its mark a start of the server enters them;
// before it they were given up by their senders.
absl::Status IndexCheck::CheckUnindexed(const std::string& id, const SessionRow* row) {
  NX_ASSIGN_OR_RETURN(const auto tombstone, index_.Get(Table::kMeta, absl::StrCat("removed/", id)));
  if (tombstone) {
    report_.FindUnfinished("SESSION_REMOVED", id, "its segments are still there");
    return absl::OkStatus();
  }
  uint64_t unindexed = 0;
  staging::Position after;
  if (row != nullptr) after = {row->indexed().segment(), row->indexed().offset()};
  // Damage is reported by CheckSegments.
  store_
      .Scan(id, after,
            [&](const staging::FoundObject& found) -> absl::Status {
              ObjectRow object;
              if (!object.ParseFromString(found.meta)) {
                report_.Find("ROW_DAMAGED", id, "a record's metadata cannot be read");
                return absl::OkStatus();
              }
              // A split took it to another session.
              if (row != nullptr && object.number() < row->moved_below() &&
                  std::count(row->moved_series().begin(), row->moved_series().end(),
                             object.series_instance_uid()) > 0) {
                return absl::OkStatus();
              }
              NX_ASSIGN_OR_RETURN(const auto known, index_.Get(Table::kInstances,
                                                               keys::Instance(id, keys::ReceivedAs(object))));
              unindexed += known ? 0 : 1;
              return absl::OkStatus();
            })
      .IgnoreError();
  if (row == nullptr) {
    report_.FindUnfinished("SESSION_UNINDEXED", id, absl::StrCat(unindexed, " objects in its segments"));
  } else if (unindexed > 0) {
    report_.FindUnfinished("OBJECT_UNINDEXED", id,
                           absl::StrCat(unindexed, " objects behind the index's mark"));
  }
  return absl::OkStatus();
}

// Rows that begin with the id of a session that is not there.
absl::Status IndexCheck::CheckStrays() {
  for (const auto& [table, name] : std::map<Table, std::string>{
           {Table::kObjects, "objects"}, {Table::kInstances, "instances"}, {Table::kOutcomes, "outcomes"}}) {
    std::map<std::string, uint64_t> strays;
    NX_RETURN_IF_ERROR(index_.Scan(table, "", "", [&](absl::string_view key, absl::string_view) {
      const std::string id(key.substr(0, key.find('\0')));
      if (sessions_.count(id) == 0) ++strays[id];
      return true;
    }));
    for (const auto& [id, count] : strays)
      report_.Find("ORPHAN_ROW", id, absl::StrCat(count, " rows in ", name));
  }
  return absl::OkStatus();
}

absl::Status IndexCheck::CheckKeys() {
  NX_RETURN_IF_ERROR(
      index_.Scan(Table::kSessionKeys, "", "", [&](absl::string_view key, absl::string_view value) {
        const auto row = sessions_.find(std::string(value));
        if (row == sessions_.end()) {
          report_.Find("SESSION_KEY", value, "a key leads to this session, which is not there");
        } else if (KeyOf(row->second) != key) {
          report_.Find("SESSION_KEY", value, "a key leads to this session, which has another");
        }
        return true;
      }));
  return index_.Scan(Table::kDigests, "", "", [&](absl::string_view key, absl::string_view) {
    const size_t project = key.find('\0');
    constexpr size_t kDigestBytes = 16;
    const std::string id(key.size() > project + 1 + kDigestBytes ? key.substr(project + 1 + kDigestBytes)
                                                                 : absl::string_view());
    if (sessions_.count(id) == 0) report_.Find("ORPHAN_ROW", id, "a row in digests");
    return true;
  });
}

}  // namespace

absl::Status CheckIndex(const staging::Index& index, staging::StagingStore& store, Report& report) {
  return IndexCheck(index, store, report).Run();
}

}  // namespace narthex::verify
