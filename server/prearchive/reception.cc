// Reception of objects: Begin, Decide, Append, Finish and the group commit.

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {
namespace {

// A session that receives steadily tells watchers so at most this often.
constexpr absl::Duration kEventInterval = absl::Milliseconds(500);

// The instance that is on its way, or null.
const PendingInstance* PendingOf(const absl::flat_hash_map<std::string, PendingInstance>& pending,
                                 const std::string& uid) {
  const auto it = pending.find(uid);
  return it == pending.end() ? nullptr : &it->second;
}

OutcomeRow Rejected(OutcomeRow outcome, const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  outcome.set_outcome(static_cast<int>(Outcome::kRejected));
  outcome.set_reason(reason.empty() ? "STORAGE_ERROR" : reason);
  outcome.set_detail(std::string(status.message()));
  outcome.clear_session();
  return outcome;
}

}  // namespace

Reception::Reception(Prearchive& prearchive, std::shared_ptr<LiveSession> session, ArrivingObject object)
    : prearchive_(prearchive), session_(std::move(session)), object_(std::move(object)) {}

std::string Reception::InstanceName() const {
  return keys::InstanceName(object_.sop_instance_uid, object_.instance_identity);
}

Reception::~Reception() {
  writer_.reset();
  prearchive_.GiveUp(*this);
}

absl::StatusOr<std::unique_ptr<Reception>> Prearchive::Begin(ArrivingObject object) {
  while (true) {
    NX_ASSIGN_OR_RETURN(std::shared_ptr<LiveSession> session, OpenFor(object));
    absl::MutexLock lock(&session->mutex);
    if (session->gone) continue;
    const std::optional<State> next = Next(session->state(), Event::kObject);
    if (!next) continue;  // it left reception between the two locks; OpenFor makes another one
    const auto enter = [&](SessionRow& row) {
      row.set_state(static_cast<int>(*next));
      if (*next == State::kBuilding) row.set_dirty(true);
      if (object.idle_build > absl::ZeroDuration())
        row.set_idle_seconds(absl::ToInt64Seconds(object.idle_build));
    };
    if (session->persisted && *next != session->state()) {
      SessionRow row = session->row;
      enter(row);
      row.clear_completion();
      row.clear_completion_time_us();
      NX_RETURN_IF_ERROR(WriteRow(*session, std::move(row), {}, staging::Durability::kProcessCrash, true));
    } else {
      enter(session->row);  // in place: copying the row costs as much as routing the object
    }
    if (!session->log) {
      NX_ASSIGN_OR_RETURN(session->log, store_.OpenSession(session->id));
    }
    ++session->in_flight;
    auto reception = absl::WrapUnique(new Reception(*this, session, std::move(object)));
    reception->log_ = session->log;
    return reception;
  }
}

Reception::Verdict Reception::Decide(absl::string_view received_xxh3, absl::string_view data_set_xxh3) {
  const auto compare = [&](absl::string_view digest, absl::string_view data_set_digest) {
    if (digest == received_xxh3) return Verdict::kDuplicate;
    return data_set_digest == data_set_xxh3 ? Verdict::kSameDataSet : Verdict::kConflict;
  };
  absl::MutexLock lock(&session_->mutex);
  const std::string uid = InstanceName();
  // Two senders with one instance: the second waits until it is known what the first one's bytes are.
  const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex) {
    const auto it = session_->pending.find(uid);
    return it == session_->pending.end() || it->second.decided;
  };
  const auto gone = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex) {
    return session_->pending.find(uid) == session_->pending.end();
  };
  session_->mutex.Await(absl::Condition(&settled));
  while (const PendingInstance* first = PendingOf(session_->pending, uid)) {
    const Verdict verdict = compare(first->digest, first->data_set_digest);
    if (verdict == Verdict::kConflict && object_.duplicates != DuplicatePolicy::kKeep) {
      // What takes its place must be entered after it.
      session_->mutex.Await(absl::Condition(&gone));
      continue;
    }
    // Its outcome is true, and may be sent, only when the first one was entered.
    std::shared_ptr<Fate>& fate = session_->pending[uid].fate;
    if (!fate) fate = std::make_shared<Fate>(Fate::kOpen);
    first_ = fate;
    return verdict_ = verdict;
  }
  const std::optional<ObjectRow> current = Kept(keys::Instance(session_->id, uid));
  if (current) {
    verdict_ = compare(current->received_xxh3(), current->data_set_xxh3());
    if (verdict_ != Verdict::kConflict) return verdict_;
    other_ = current;
    if (object_.duplicates == DuplicatePolicy::kKeep) return verdict_;
    if (object_.duplicates == DuplicatePolicy::kConflict && IsKept(received_xxh3)) {
      return verdict_ = Verdict::kDuplicate;
    }
    verdict_ = object_.duplicates == DuplicatePolicy::kReplace ? Verdict::kReplace : Verdict::kContest;
  }
  if (!current && !object_.instance_identity.empty()) {
    // Known by its bytes: kept before the site's script replaced UIDs. Or its replacement is another
    // object's.
    const auto same = prearchive_.index_.Get(
        staging::Table::kDigests, keys::Digest(session_->row.key().project(), received_xxh3, session_->id));
    if (same.ok() && *same) return Verdict::kDuplicate;
    const auto taken = prearchive_.index_.Get(staging::Table::kInstances,
                                              keys::Instance(session_->id, object_.sop_instance_uid));
    if (taken.ok() && *taken) return Verdict::kConflict;
  }
  PendingInstance pending;
  pending.digest = std::string(received_xxh3);
  pending.data_set_digest = std::string(data_set_xxh3);
  session_->pending.emplace(uid, std::move(pending));
  owns_pending_ = true;
  return verdict_;
}

// The object row that an instance's key leads to.
std::optional<ObjectRow> Reception::Kept(const std::string& instance_key) const {
  const auto number = prearchive_.index_.Get(staging::Table::kInstances, instance_key);
  if (!number.ok() || !*number) return std::nullopt;
  const auto bytes = prearchive_.index_.Get(staging::Table::kObjects,
                                            keys::Object(session_->id, keys::LastNumber(**number)));
  ObjectRow row;
  if (!bytes.ok() || !*bytes || !row.ParseFromString(**bytes)) return std::nullopt;
  return row;
}

// Whether the session keeps these very bytes of the instance already, if only beside others.
bool Reception::IsKept(absl::string_view received_xxh3) const {
  const auto number = prearchive_.index_.Get(
      staging::Table::kDigests, keys::Digest(session_->row.key().project(), received_xxh3, session_->id));
  if (!number.ok() || !*number) return false;
  const auto bytes = prearchive_.index_.Get(staging::Table::kObjects,
                                            keys::Object(session_->id, keys::LastNumber(**number)));
  ObjectRow row;
  return bytes.ok() && *bytes && row.ParseFromString(**bytes) && keys::ReceivedAs(row) == InstanceName();
}

absl::StatusOr<std::string> Reception::ReadOther(uint64_t length) const {
  std::string bytes;
  NX_RETURN_IF_ERROR(
      log_->ReadRange(Prearchive::StoredObjectOf(*other_), 0, length, [&](absl::string_view piece) {
        bytes.append(piece.data(), piece.size());
        return absl::OkStatus();
      }));
  return bytes;
}

absl::Status Reception::Append(absl::string_view bytes) {
  if (!writer_) {
    NX_ASSIGN_OR_RETURN(writer_, log_->StartObject());
  }
  return writer_->Append(bytes);
}

absl::Status Reception::Finish(ObjectRow row) {
  SessionKeyRow key;
  {
    absl::MutexLock lock(&session_->mutex);
    number_ = session_->row.next_number();
    session_->row.set_next_number(number_ + 1);
    key = session_->row.key();
  }
  row.set_number(number_);
  row.set_sop_instance_uid(object_.sop_instance_uid);
  row.set_instance_identity(object_.instance_identity);
  row.set_series_instance_uid(object_.series_instance_uid);
  row.set_upload(object_.upload);
  row.set_sequence(object_.sequence);
  row.set_outcome(static_cast<int>(verdict_ == Verdict::kReplace   ? Outcome::kReplaced
                                   : verdict_ == Verdict::kContest ? Outcome::kConflict
                                                                   : Outcome::kStored));
  if (verdict_ == Verdict::kReplace) row.set_replaces(other_->number());
  row.set_contested(verdict_ == Verdict::kContest);
  row.set_receive_time_us(prearchive_.NowMicros());
  *row.mutable_session() = key;
  if (!writer_) NX_RETURN_IF_ERROR(Append(""));
  NX_ASSIGN_OR_RETURN(const staging::StoredObject stored, writer_->Finish(row.SerializeAsString()));
  writer_.reset();
  row.clear_session();
  for (const staging::Extent& extent : stored.extents) {
    ExtentRow& to = *row.add_extents();
    to.set_segment(extent.segment);
    to.set_offset(extent.offset);
    to.set_length(extent.length);
    to.set_crc32c(extent.crc32c);
  }
  row_ = std::move(row);
  position_ = stored.position;
  absl::MutexLock lock(&session_->mutex);
  session_->pending[InstanceName()].decided = true;
  return absl::OkStatus();
}

void Reception::AwaitFirst() const {
  absl::MutexLock lock(&session_->mutex);
  const auto known = [&] { return *first_ != Fate::kOpen; };
  session_->mutex.Await(absl::Condition(&known));
}

// What others rely on is known now.
void Reception::SettlePending(Fate fate) {
  if (!owns_pending_) return;
  owns_pending_ = false;
  const auto it = session_->pending.find(InstanceName());
  if (it->second.fate) *it->second.fate = fate;
  session_->pending.erase(it);
}

void Prearchive::GiveUp(Reception& reception) {
  LiveSession& session = *reception.session_;
  bool empty = false;
  {
    absl::MutexLock lock(&session.mutex);
    reception.SettlePending(Fate::kGivenUp);
    --session.in_flight;
    empty = session.in_flight == 0 && !session.persisted;
    // Nobody may join a session that never came to be.
    if (empty) session.gone = true;
    if (session.in_flight == 0 && !empty) timers_->Arm(session.id, clock_.Now() + IdleOf(session.row));
  }
  if (!empty) return;
  {
    absl::MutexLock lock(&session.mutex);
    session.log.reset();
  }
  if (const absl::Status removed = store_.Remove(session.id); !removed.ok()) {
    Log(LogLevel::kWarning, "empty session not removed", {{"session", session.id}, {"error", removed}});
  }
}

absl::StatusOr<std::vector<OutcomeRow>> Prearchive::Commit(std::vector<Arrived> arrived) {
  const int64_t now = NowMicros();
  using BySession = absl::flat_hash_map<LiveSession*, std::vector<Arrived*>>;
  BySession own;              // in these sessions, objects that rely on nobody
  BySession relying;          // and those that were compared with one that another sender has to commit
  staging::IndexBatch loose;  // objects that belong to no session
  for (Arrived& object : arrived) {
    if (object.durable_already) continue;
    object.outcome.set_receive_time_us(now);
    if (object.reception) {
      object.outcome.set_session(object.reception->session_->id);
      (object.reception->first_ ? relying : own)[object.reception->session_.get()].push_back(&object);
    } else if (!object.counted_in) {
      loose.Put(staging::Table::kUploadObjects,
                keys::UploadObject(object.outcome.upload(), object.outcome.sequence()),
                object.outcome.SerializeAsString());
    }
  }
  for (const auto& [live, objects] : own)
    NX_RETURN_IF_ERROR(CommitSession(objects.front()->reception->session_, objects));
  // Nobody waits in a circle: what others may rely on was committed just before, and each waits for what was
  // decided earlier.
  for (const auto& [live, objects] : relying) {
    for (const Arrived* object : objects) object->reception->AwaitFirst();
    NX_RETURN_IF_ERROR(CommitSession(objects.front()->reception->session_, objects));
  }
  // After the sessions: what came with a session's first object is counted there, too.
  for (Arrived& object : arrived) {
    if (object.durable_already || object.reception || !object.counted_in) continue;
    NX_ASSIGN_OR_RETURN(bool counted, CountInSession(object));
    if (!counted && !object.counted_in->study_identity().empty()) {
      // The session keeps its study's UID if the site's script leaves that alone.
      object.counted_in->clear_study_identity();
      NX_ASSIGN_OR_RETURN(counted, CountInSession(object));
    }
    if (counted) continue;
    loose.Put(staging::Table::kUploadObjects,
              keys::UploadObject(object.outcome.upload(), object.outcome.sequence()),
              object.outcome.SerializeAsString());
  }
  if (!loose.empty()) NX_RETURN_IF_ERROR(index_.Write(loose, staging::Durability::kPowerLoss));
  std::vector<OutcomeRow> outcomes;
  outcomes.reserve(arrived.size());
  for (Arrived& object : arrived) outcomes.push_back(std::move(object.outcome));
  return outcomes;
}

void Prearchive::Settle() {
  if (const absl::Status settled = index_.Settle(); !settled.ok())
    Log(LogLevel::kError, "index rows are late", {{"error", settled}});
}

// Adds the outcome of an object that is not kept to the session it would have gone to. False: there is none
// (or none that takes objects), and nothing was written.
absl::StatusOr<bool> Prearchive::CountInSession(Arrived& object) {
  std::shared_ptr<LiveSession> session;
  std::string key = keys::OfSession(*object.counted_in);
  if (const auto half = split_routes_->Follow(key, object.outcome.series_instance_uid(), object.pet_part)) {
    SessionKeyRow followed = *object.counted_in;
    followed.set_label(*half);
    key = keys::OfSession(followed);
  }
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = live_by_key_.find(key); it != live_by_key_.end()) session = it->second.lock();
    if (!session) {
      NX_ASSIGN_OR_RETURN(const auto indexed, index_.Get(staging::Table::kSessionKeys, key));
      if (!indexed) return false;
      auto loaded = LoadLocked(*indexed);
      if (absl::IsNotFound(loaded.status())) return false;
      NX_ASSIGN_OR_RETURN(session, std::move(loaded));
    }
  }
  absl::MutexLock lock(&session->mutex);
  if (session->gone || !session->persisted || !Next(session->state(), Event::kObject) ||
      keys::OfSession(session->row.key()) != key) {
    return false;
  }
  SessionRow row = session->row;
  const uint64_t number = row.next_number();
  row.set_next_number(number + 1);
  ++(*row.mutable_outcome_counts())[object.outcome.outcome()];
  object.outcome.set_session(session->id);
  staging::IndexBatch batch;
  batch.Put(staging::Table::kOutcomes, keys::Object(session->id, number), object.outcome.SerializeAsString());
  batch.Put(staging::Table::kUploadObjects,
            keys::UploadObject(object.outcome.upload(), object.outcome.sequence()),
            object.outcome.SerializeAsString());
  NX_RETURN_IF_ERROR(WriteRow(*session, std::move(row), std::move(batch), staging::Durability::kPowerLoss,
                              clock_.Now() - session->last_event > kEventInterval));
  return true;
}

absl::Status Prearchive::CommitSession(const std::shared_ptr<LiveSession>& session,
                                       const std::vector<Arrived*>& objects) {
  staging::Position end;
  bool sync = false;
  for (const Arrived* object : objects) {
    if (!object->reception->row_) continue;
    end = std::max(end, object->reception->position_);
    sync = true;
  }
  const absl::Status synced = sync ? objects.front()->reception->log_->Sync(end) : absl::OkStatus();
  // Something was lost: of these, or of other senders, or both. Each object's own position tells, and once
  // all were told the log trusts what comes after. In order, as a later position fails for an earlier one's
  // sake.
  absl::flat_hash_map<const Arrived*, absl::Status> lost;
  if (!synced.ok()) {
    std::vector<Arrived*> in_order = objects;
    std::sort(in_order.begin(), in_order.end(), [](const Arrived* a, const Arrived* b) {
      return a->reception->position_ < b->reception->position_;
    });
    for (const Arrived* object : in_order) {
      if (!object->reception->row_) continue;
      absl::Status own = object->reception->log_->Sync(object->reception->position_);
      if (!own.ok()) lost.emplace(object, std::move(own));
    }
  }
  CrashPoint("ingest.synced");

  absl::MutexLock lock(&session->mutex);
  SessionRow row = session->row;
  staging::IndexBatch batch;
  staging::Durability durability = staging::Durability::kProcessCrash;
  const bool closed = session->gone || !Next(session->state(), Event::kObject);
  bool stored_any = session->persisted;
  for (Arrived* object : objects) {
    Reception& reception = *object->reception;
    const bool stored = reception.row_.has_value();
    if (closed) {
      object->outcome = Rejected(
          std::move(object->outcome),
          Error(absl::StatusCode::kAborted, "SESSION_BUSY",
                "the session was deleted or archived while the object arrived; send the object again"));
    } else if (const auto own = lost.find(object); own != lost.end()) {
      object->outcome = Rejected(std::move(object->outcome), own->second);
    } else if (reception.first_ && *reception.first_ != Fate::kEntered) {
      object->outcome = Rejected(
          std::move(object->outcome),
          Error(absl::StatusCode::kAborted, "SESSION_BUSY",
                "another sender sent this instance at the same time and gave up; send the object again"));
    } else if (stored) {
      NX_RETURN_IF_ERROR(Enter(*reception.row_, row, batch, nullptr));
      row.clear_leftovers_accepted();  // nobody has looked at this one
      stored_any = true;
    }
    uint64_t number = reception.number_;
    if (number == 0) {
      number = row.next_number();
      row.set_next_number(number + 1);
    }
    if (!closed && stored_any) {
      ++(*row.mutable_outcome_counts())[object->outcome.outcome()];
      batch.Put(staging::Table::kOutcomes, keys::Object(session->id, number),
                object->outcome.SerializeAsString());
    }
    batch.Put(staging::Table::kUploadObjects,
              keys::UploadObject(object->outcome.upload(), object->outcome.sequence()),
              object->outcome.SerializeAsString());
    // What has no bytes in a segment is durable only through the index.
    if (!stored || !synced.ok() || closed) durability = staging::Durability::kPowerLoss;
  }
  if (closed || !stored_any) {
    // No session (or none any more) to write a row of.
    NX_RETURN_IF_ERROR(index_.Write(batch, durability));
  } else {
    row.set_last_received_time_us(NowMicros());
    if (session->in_flight == static_cast<int>(objects.size()) && synced.ok() && sync) {
      row.mutable_indexed()->set_segment(end.segment);
      row.mutable_indexed()->set_offset(end.offset);
    }
    const bool first = !session->persisted;
    // What the segment tells, too, need not keep the sender waiting. A session begins to exist by its row.
    if (!first && durability == staging::Durability::kProcessCrash) durability = staging::Durability::kBehind;
    if (first) {
      batch.Put(staging::Table::kSessionKeys, keys::OfSession(row.key()), session->id);
    }
    NX_RETURN_IF_ERROR(WriteRow(*session, std::move(row), std::move(batch), durability,
                                first || clock_.Now() - session->last_event > kEventInterval));
  }
  for (const Arrived* object : objects) {
    object->reception->SettlePending(closed || lost.contains(object) ? Fate::kGivenUp : Fate::kEntered);
  }
  return absl::OkStatus();
}

}  // namespace narthex::prearchive
