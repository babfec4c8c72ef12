// What a start does: brings the index up to what the segments hold.

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {

using staging::Durability;
using staging::IndexBatch;
using staging::Table;

namespace {

constexpr size_t kRecoveryThreads = 4;
constexpr size_t kSessionsPerThread = 64;  // fewer are not worth a thread

// The outcome that Commit would have written of an object that recovery found. `upload_known`: only in a
// restored backup it is not, whose segments were taken after its index; nobody can ask for such an upload.
void AddOutcome(const ObjectRow& object, bool upload_known, SessionRow& row, IndexBatch& batch) {
  OutcomeRow outcome;
  outcome.set_outcome(object.outcome());
  if (object.outcome() != static_cast<int>(Outcome::kStored)) outcome.set_reason("SAME_INSTANCE");
  outcome.set_sop_instance_uid(object.sop_instance_uid());
  outcome.set_series_instance_uid(object.series_instance_uid());
  outcome.set_session(row.id());
  outcome.set_digest(object.received_digest());
  outcome.set_size_bytes(object.received_size_bytes());
  outcome.set_receive_time_us(object.receive_time_us());
  outcome.set_upload(object.upload());
  outcome.set_sequence(object.sequence());
  batch.Put(Table::kOutcomes, keys::Object(row.id(), object.number()), outcome.SerializeAsString());
  if (upload_known) {
    batch.Put(Table::kUploadObjects, keys::UploadObject(object.upload(), object.sequence()),
              outcome.SerializeAsString());
  }
  row.set_next_number(std::max(row.next_number(), object.number() + 1));
  row.set_last_received_time_us(std::max(row.last_received_time_us(), object.receive_time_us()));
  ++(*row.mutable_outcome_counts())[object.outcome()];
  if (row.state() != static_cast<int>(State::kReceiving)) row.set_dirty(true);
}

}  // namespace

// Sessions have nothing to do with each other, and most of the time goes by waiting for folders and rows.
absl::Status Prearchive::Recover() {
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> ids, store_.ListSessions());
  std::atomic<size_t> next{0};
  absl::Mutex mutex;
  absl::Status failed;
  const auto work = [&] {
    for (size_t i = next++; i < ids.size(); i = next++) {
      absl::Status recovered = Annotate(RecoverSession(ids[i]), absl::StrCat("recovering ", ids[i]));
      if (recovered.ok()) continue;
      absl::MutexLock lock(&mutex);
      failed.Update(std::move(recovered));
      next = ids.size();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < kRecoveryThreads && i * kSessionsPerThread < ids.size(); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  NX_RETURN_IF_ERROR(failed);
  return ArmTimers();
}

absl::Status Prearchive::SetIdleBuild(absl::Duration idle) {
  idle_build_us_ = absl::ToInt64Microseconds(idle);
  return ArmTimers();
}

// Sets the timer of every session that is receiving.
absl::Status Prearchive::ArmTimers() {
  return index_.Scan(Table::kSessions, "", "", [&](absl::string_view key, absl::string_view value) {
    SessionRow row;
    if (row.ParseFromArray(value.data(), static_cast<int>(value.size())) &&
        row.state() == static_cast<int>(State::kReceiving)) {
      timers_->Arm(key,
                   std::max(absl::FromUnixMicros(row.last_received_time_us()) + IdleOf(row), clock_.Now()));
    }
    return true;
  });
}

// Brings the index up to what the session's segments hold: after a crash the last objects may be in the
// segments only.
absl::Status Prearchive::RecoverSession(const std::string& id) {
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kSessions, id));
  SessionRow row;
  if (bytes && !row.ParseFromString(*bytes)) {
    return DataLoss("INDEX_CORRUPT", absl::StrCat("the row of session ", id, " cannot be read"));
  }
  NX_ASSIGN_OR_RETURN(const auto tombstone, index_.Get(Table::kMeta, absl::StrCat("removed/", id)));
  if (tombstone || row.state() == static_cast<int>(State::kDeleting)) return Remove(id, row.archived_as());
  const staging::Position indexed{row.indexed().segment(), row.indexed().offset()};
  const auto end = store_.EndOf(id);
  if (!end.ok()) return absl::IsNotFound(end.status()) ? absl::OkStatus() : end.status();
  std::vector<ObjectRow> objects;
  if (*end > indexed) {
    NX_ASSIGN_OR_RETURN(objects, FindUnindexed(row, id, indexed));
  }
  // A folder was made or space was taken, but no object was ever complete.
  if (row.id().empty() && objects.empty()) return store_.Remove(id);
  if (*end <= indexed) return absl::OkStatus();

  IndexBatch batch;
  if (row.id().empty()) {
    row.set_id(id);
    row.set_state(static_cast<int>(State::kReceiving));
    *row.mutable_key() = objects.front().session();
    split_routes_->Mark(row);
    row.set_create_time_us(objects.front().receive_time_us());
    row.set_next_number(1);
    row.set_version(1);
    batch.Put(Table::kSessionKeys, keys::OfSession(row.key()), id);
  }
  NX_RETURN_IF_ERROR(NumberFound(id, row.next_number(), objects));
  RecentObjects recent;
  absl::flat_hash_map<std::string, bool> uploads;  // whether the index knows them
  for (ObjectRow& object : objects) {
    object.clear_session();
    NX_RETURN_IF_ERROR(Enter(object, row, batch, &recent));
    const auto [upload, unseen] = uploads.try_emplace(object.upload(), false);
    if (unseen) {
      NX_ASSIGN_OR_RETURN(const auto known, index_.Get(Table::kUploads, object.upload()));
      upload->second = known.has_value();
    }
    AddOutcome(object, upload->second, row, batch);
  }
  row.mutable_indexed()->set_segment(end->segment);
  row.mutable_indexed()->set_offset(end->offset);
  batch.Put(Table::kSessions, id, row.SerializeAsString());
  if (!objects.empty()) {
    Log(LogLevel::kInfo, "objects found in segments behind the index",
        {{"session", id}, {"objects", objects.size()}});
  }
  return index_.Write(batch, Durability::kPowerLoss);
}

// Gives objects a new number where theirs is taken: a number that was given to an object which its sender
// gave up is given again when no row was written meanwhile.
absl::Status Prearchive::NumberFound(const std::string& id, uint64_t next, std::vector<ObjectRow>& objects) {
  for (const ObjectRow& object : objects) next = std::max(next, object.number() + 1);
  absl::flat_hash_set<uint64_t> taken;
  for (ObjectRow& object : objects) {
    // Whatever has a number has an outcome.
    NX_ASSIGN_OR_RETURN(const auto known, index_.Get(Table::kOutcomes, keys::Object(id, object.number())));
    if (known || !taken.insert(object.number()).second) object.set_number(next++);
  }
  return absl::OkStatus();
}

// An indexed object of an instance is the one that was acknowledged; another record of it was given up,
// unless it was meant to take its place or to stand beside it.
absl::StatusOr<bool> Prearchive::IsIndexed(const std::string& id, const ObjectRow& found) {
  NX_ASSIGN_OR_RETURN(const auto known,
                      index_.Get(Table::kInstances, keys::Instance(id, keys::ReceivedAs(found))));
  if (!known || found.outcome() == static_cast<int>(Outcome::kStored)) return known.has_value();
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kObjects, keys::Object(id, found.number())));
  ObjectRow indexed;
  return bytes && indexed.ParseFromString(*bytes) && keys::ReceivedAs(indexed) == keys::ReceivedAs(found) &&
         indexed.received_xxh3() == found.received_xxh3();
}

// Complete objects of the segments behind `indexed` that the index does not know, one per instance.
absl::StatusOr<std::vector<ObjectRow>> Prearchive::FindUnindexed(const SessionRow& row, const std::string& id,
                                                                 staging::Position indexed) {
  std::vector<ObjectRow> objects;
  absl::flat_hash_map<std::string, size_t> by_instance;
  const absl::Status scanned =
      store_.Scan(id, indexed, [&](const staging::FoundObject& found) -> absl::Status {
        ObjectRow object;
        if (!object.ParseFromString(found.meta)) {
          return DataLoss("INDEX_CORRUPT",
                          absl::StrCat("a record of session ", id, " has unreadable metadata"));
        }
        // A split took it away.
        if (object.number() < row.moved_below() &&
            std::count(row.moved_series().begin(), row.moved_series().end(), object.series_instance_uid()) >
                0) {
          return absl::OkStatus();
        }
        NX_ASSIGN_OR_RETURN(const bool known, IsIndexed(id, object));
        if (known) return absl::OkStatus();
        for (const staging::Extent& extent : found.object.extents) {
          ExtentRow& to = *object.add_extents();
          to.set_segment(extent.segment);
          to.set_offset(extent.offset);
          to.set_length(extent.length);
          to.set_crc32c(extent.crc32c);
        }
        if (object.outcome() != static_cast<int>(Outcome::kStored)) {
          objects.push_back(std::move(object));
          return absl::OkStatus();
        }
        const auto [it, added] = by_instance.emplace(keys::ReceivedAs(object), objects.size());
        if (added) {
          objects.push_back(std::move(object));
        } else {
          objects[it->second] = std::move(object);  // it was begun only after the former was given up
        }
        return absl::OkStatus();
      });
  // What is good beside damage is kept all the same; the damage is for the operator and for narthex-verify.
  if (absl::IsDataLoss(scanned)) {
    Log(LogLevel::kError, "staged bytes are damaged", {{"session", id}, {"error", scanned}});
  } else if (!scanned.ok()) {
    return scanned;
  }
  return objects;
}

}  // namespace narthex::prearchive
