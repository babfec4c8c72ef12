#include "server/prearchive/prearchive.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::prearchive {
namespace {

using staging::Durability;
using staging::IndexBatch;
using staging::Table;

absl::Status NoSession(absl::string_view id) {
  return NotFound("PREARCHIVE_SESSION_NOT_FOUND",
                  absl::StrCat("there is no session ", id, " in the prearchive; `narthex prearchive list` lists them"),
                  {{"session", std::string(id)}});
}

absl::Status Illegal(const SessionRow& row, Event event) {
  const std::string state(StateName(static_cast<State>(row.state())));
  return FailedPrecondition(
      "ILLEGAL_STATE",
      absl::StrCat("session ", row.id(), " is ", state, "; \"", EventName(event), "\" is not possible in that state",
                   row.operation().empty() ? "" : absl::StrCat(" (see `narthex operation show ", row.operation(), "`)")),
      {{"session", row.id()}, {"state", state}, {"event", std::string(EventName(event))}});
}

std::string KeyOf(const SessionKeyRow& key) {
  return keys::SessionKey(key.project(), key.study_instance_uid(), key.label());
}

// 16 characters of [a-z0-9], such that newer ids sort before older ones.
std::string NewSessionId(absl::Time now) {
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuv";
  uint64_t inverted = (uint64_t{1} << 50) - 1 - static_cast<uint64_t>(absl::ToUnixMillis(now));
  std::string id(10, '0');
  for (int i = 9; i >= 0; --i, inverted >>= 5) id[i] = kDigits[inverted & 31];
  return id + NewRandomId(4).substr(0, 6);
}

// Enters an object that recovery found into its session: what Commit would have written.
void AddFound(ObjectRow object, SessionRow& row, IndexBatch& batch) {
  const std::string& id = row.id();
  object.clear_session();
  OutcomeRow outcome;
  outcome.set_outcome(object.outcome());
  outcome.set_sop_instance_uid(object.sop_instance_uid());
  outcome.set_series_instance_uid(object.series_instance_uid());
  outcome.set_session(id);
  outcome.set_digest(object.received_digest());
  outcome.set_size_bytes(object.received_size_bytes());
  outcome.set_receive_time_us(object.receive_time_us());
  outcome.set_upload(object.upload());
  outcome.set_sequence(object.sequence());
  batch.Put(Table::kObjects, keys::Object(id, object.number()), object.SerializeAsString());
  batch.Put(Table::kInstances, keys::Instance(id, object.sop_instance_uid()), keys::Number(object.number()));
  batch.Put(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), id),
            keys::Number(object.number()));
  batch.Put(Table::kOutcomes, keys::Object(id, object.number()), outcome.SerializeAsString());
  batch.Put(Table::kUploadObjects, keys::UploadObject(object.upload(), object.sequence()),
            outcome.SerializeAsString());
  row.set_object_count(row.object_count() + 1);
  row.set_size_bytes(row.size_bytes() + object.size_bytes());
  row.set_next_number(std::max(row.next_number(), object.number() + 1));
  row.set_last_received_time_us(std::max(row.last_received_time_us(), object.receive_time_us()));
  ++(*row.mutable_outcome_counts())[object.outcome()];
  if (row.state() != static_cast<int>(State::kReceiving)) row.set_dirty(true);
}

}  // namespace

absl::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kStored: return "STORED";
    case Outcome::kDuplicate: return "DUPLICATE";
    case Outcome::kReplaced: return "REPLACED";
    case Outcome::kConflict: return "CONFLICT";
    case Outcome::kFiltered: return "FILTERED";
    case Outcome::kRejected: return "REJECTED";
  }
  return "?";
}

Prearchive::Prearchive(const Options& options, staging::StagingStore& store, staging::Index& index, const Clock& clock)
    : store_(store), index_(index), clock_(clock), idle_build_us_(absl::ToInt64Microseconds(options.idle_build)) {}

Prearchive::~Prearchive() {
  timers_.reset();
  if (events_) events_->Close();
}

absl::StatusOr<std::unique_ptr<Prearchive>> Prearchive::Open(const Options& options, staging::StagingStore& store,
                                                             staging::Index& index, const Clock& clock) {
  auto prearchive = absl::WrapUnique(new Prearchive(options, store, index, clock));
  NX_ASSIGN_OR_RETURN(prearchive->events_, EventLog::Open(index));
  Prearchive* self = prearchive.get();
  prearchive->timers_ = std::make_unique<IdleTimers>(clock, [self](const std::string& id) { self->IdleFired(id); });
  NX_RETURN_IF_ERROR(prearchive->Recover());
  return prearchive;
}

absl::Status Prearchive::Recover() {
  NX_ASSIGN_OR_RETURN(const std::vector<std::string> ids, store_.ListSessions());
  for (const std::string& id : ids) NX_RETURN_IF_ERROR(Annotate(RecoverSession(id), absl::StrCat("recovering ", id)));
  return index_.Scan(Table::kSessions, "", "", [&](absl::string_view key, absl::string_view value) {
    SessionRow row;
    if (row.ParseFromArray(value.data(), static_cast<int>(value.size())) &&
        row.state() == static_cast<int>(State::kReceiving)) {
      timers_->Arm(key, std::max(absl::FromUnixMicros(row.last_received_time_us()) + IdleOf(row), clock_.Now()));
    }
    return true;
  });
}

// Brings the index up to what the session's segments hold: after a crash the last objects may be in the segments only.
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
    NX_ASSIGN_OR_RETURN(objects, FindUnindexed(id, indexed));
  }
  // A folder was made or space was taken, but no object was ever complete.
  if (row.id().empty() && objects.empty()) return store_.Remove(id);
  if (*end <= indexed) return absl::OkStatus();

  IndexBatch batch;
  if (row.id().empty()) {
    row.set_id(id);
    row.set_state(static_cast<int>(State::kReceiving));
    *row.mutable_key() = objects.front().session();
    row.set_create_time_us(objects.front().receive_time_us());
    row.set_next_number(1);
    row.set_version(1);
    batch.Put(Table::kSessionKeys, KeyOf(row.key()), id);
  }
  for (ObjectRow& object : objects) AddFound(std::move(object), row, batch);
  row.mutable_indexed()->set_segment(end->segment);
  row.mutable_indexed()->set_offset(end->offset);
  batch.Put(Table::kSessions, id, row.SerializeAsString());
  if (!objects.empty()) {
    Log(LogLevel::kInfo, "objects found in segments behind the index",
        {{"session", id}, {"objects", objects.size()}});
  }
  return index_.Write(batch, Durability::kPowerLoss);
}

// Complete objects of the segments behind `indexed` that the index does not know, one per instance.
absl::StatusOr<std::vector<ObjectRow>> Prearchive::FindUnindexed(const std::string& id, staging::Position indexed) {
  std::vector<ObjectRow> objects;
  absl::flat_hash_map<std::string, size_t> by_instance;
  NX_RETURN_IF_ERROR(store_.Scan(id, indexed, [&](const staging::FoundObject& found) -> absl::Status {
    ObjectRow object;
    if (!object.ParseFromString(found.meta)) {
      return DataLoss("INDEX_CORRUPT", absl::StrCat("a record of session ", id, " has unreadable metadata"));
    }
    // An indexed object of that instance is the one that was acknowledged; another record of it was given up.
    NX_ASSIGN_OR_RETURN(const auto known,
                        index_.Get(Table::kInstances, keys::Instance(id, object.sop_instance_uid())));
    if (known) return absl::OkStatus();
    for (const staging::Extent& extent : found.object.extents) {
      ExtentRow& to = *object.add_extents();
      to.set_segment(extent.segment);
      to.set_offset(extent.offset);
      to.set_length(extent.length);
      to.set_crc32c(extent.crc32c);
    }
    const auto [it, added] = by_instance.emplace(object.sop_instance_uid(), objects.size());
    if (added) {
      objects.push_back(std::move(object));
    } else {
      objects[it->second] = std::move(object);  // it was begun only after the former was given up
    }
    return absl::OkStatus();
  }));
  return objects;
}

void Prearchive::OnIdle(std::function<void(const std::string&)> callback) {
  absl::MutexLock lock(&mutex_);
  on_idle_ = std::move(callback);
}

absl::Duration Prearchive::IdleOf(const SessionRow& row) const {
  return row.idle_seconds() > 0 ? absl::Seconds(row.idle_seconds()) : idle_build();
}

std::optional<absl::Time> Prearchive::BuildAfter(const SessionRow& row) const {
  if (row.state() != static_cast<int>(State::kReceiving)) return std::nullopt;
  return absl::FromUnixMicros(row.last_received_time_us()) + IdleOf(row);
}

int64_t Prearchive::NowMicros() const { return absl::ToUnixMicros(clock_.Now()); }

void Prearchive::IdleFired(const std::string& id) {
  const auto session = Load(id);
  if (!session.ok()) return;
  std::function<void(const std::string&)> callback;
  {
    absl::MutexLock lock(&(*session)->mutex);
    if ((*session)->gone || (*session)->state() != State::kReceiving) return;
    const absl::Time due = absl::FromUnixMicros((*session)->row.last_received_time_us()) + IdleOf((*session)->row);
    if (due > clock_.Now() || (*session)->in_flight > 0) {
      timers_->Arm(id, std::max(due, clock_.Now() + absl::Seconds(1)));
      return;
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    callback = on_idle_;
  }
  if (callback) {
    callback(id);
  } else {
    timers_->Arm(id, clock_.Now() + absl::Seconds(1));
  }
}

std::shared_ptr<LiveSession> Prearchive::Create(const SessionKeyRow& key) {
  auto session = std::make_shared<LiveSession>(NewSessionId(clock_.Now()));
  absl::MutexLock lock(&session->mutex);
  session->row.set_id(session->id);
  session->row.set_state(static_cast<int>(State::kReceiving));
  *session->row.mutable_key() = key;
  session->row.set_create_time_us(NowMicros());
  session->row.set_last_received_time_us(NowMicros());
  session->row.set_next_number(1);
  live_[session->id] = session;
  live_by_key_[KeyOf(key)] = session;
  return session;
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::OpenForKey(const SessionKeyRow& key) {
  const std::string key_text = KeyOf(key);
  NX_ASSIGN_OR_RETURN(const auto indexed, index_.Get(Table::kSessionKeys, key_text));
  std::shared_ptr<LiveSession> session;
  if (indexed) {
    auto loaded = Load(*indexed);
    if (!loaded.ok() && !absl::IsNotFound(loaded.status())) return loaded.status();
    if (loaded.ok()) session = *loaded;
  }
  absl::MutexLock lock(&mutex_);
  if (const auto it = live_by_key_.find(key_text); it != live_by_key_.end()) {
    if (auto known = it->second.lock()) session = known;
  }
  if (session) {
    absl::MutexLock session_lock(&session->mutex);
    if (!session->gone && KeyOf(session->row.key()) == key_text && Next(session->state(), Event::kObject)) {
      live_by_key_[key_text] = session;
      return session;
    }
  }
  if (live_by_key_.size() > 1024) {
    absl::erase_if(live_by_key_, [](const auto& entry) { return entry.second.expired(); });
    absl::erase_if(live_, [](const auto& entry) { return entry.second.expired(); });
  }
  return Create(key);
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::Load(absl::string_view id) {
  absl::MutexLock lock(&mutex_);
  if (const auto it = live_.find(id); it != live_.end()) {
    if (auto session = it->second.lock()) {
      absl::MutexLock session_lock(&session->mutex);
      if (session->gone) return NoSession(id);
      return session;
    }
  }
  NX_ASSIGN_OR_RETURN(const auto bytes, index_.Get(Table::kSessions, id));
  if (!bytes) return NoSession(id);
  auto session = std::make_shared<LiveSession>(std::string(id));
  absl::MutexLock session_lock(&session->mutex);
  if (!session->row.ParseFromString(*bytes)) {
    return DataLoss("INDEX_CORRUPT", absl::StrCat("the row of session ", id, " cannot be read"));
  }
  session->persisted = true;
  live_[session->id] = session;
  return session;
}

absl::Status Prearchive::WriteRow(LiveSession& session, SessionRow row, IndexBatch batch, Durability durability,
                                  bool always_event) {
  row.set_version(row.version() + 1);
  std::optional<int64_t> event;
  if (always_event) {
    EventRow entry;
    entry.set_session(session.id);
    *entry.mutable_row() = row;
    entry.mutable_row()->clear_scans();
    entry.set_time_us(NowMicros());
    event = events_->Add(entry, batch);
    session.last_event = clock_.Now();
  }
  batch.Put(Table::kSessions, session.id, row.SerializeAsString());
  const absl::Status written = index_.Write(batch, durability);
  if (event) events_->Publish(*event);
  NX_RETURN_IF_ERROR(written);
  session.row = std::move(row);
  session.persisted = true;
  return absl::OkStatus();
}

absl::StatusOr<SessionRow> Prearchive::Get(absl::string_view id) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone || !session->persisted) return NoSession(id);
  return session->row;
}

absl::StatusOr<std::vector<SessionRow>> Prearchive::List(const ListQuery& query) {
  std::vector<SessionRow> rows;
  absl::Status bad;
  const std::string begin = query.after.empty() ? "" : keys::Text(query.after);
  NX_RETURN_IF_ERROR(index_.Scan(Table::kSessions, begin, "", [&](absl::string_view key, absl::string_view value) {
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

int64_t Prearchive::CountSessions() {
  int64_t count = 0;
  const absl::Status scanned = index_.Scan(Table::kSessions, "", "", [&](absl::string_view, absl::string_view) {
    ++count;
    return true;
  });
  return scanned.ok() ? count : -1;
}

absl::StatusOr<SessionRow> Prearchive::Apply(absl::string_view id, Event event,
                                             const std::function<void(SessionRow&)>& change) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone || !session->persisted) return NoSession(id);
  const std::optional<State> next = Next(session->state(), event);
  if (!next) return Illegal(session->row, event);
  SessionRow row = session->row;
  row.set_state(static_cast<int>(*next));
  if (event == Event::kBuild) row.set_dirty(session->in_flight > 0);
  if (change) change(row);
  IndexBatch batch;
  // A session that takes no objects gives its key up, so that late objects open another one.
  const bool takes = Next(*next, Event::kObject).has_value();
  const std::string key = KeyOf(row.key());
  if (!takes) {
    batch.Delete(Table::kSessionKeys, key);
  } else if (!Next(session->state(), Event::kObject)) {
    NX_ASSIGN_OR_RETURN(const auto taken, index_.Get(Table::kSessionKeys, key));
    if (!taken) batch.Put(Table::kSessionKeys, key, session->id);
  }
  NX_RETURN_IF_ERROR(WriteRow(*session, row, std::move(batch), Durability::kPowerLoss, true));
  if (*next == State::kReceiving) timers_->Arm(session->id, clock_.Now() + IdleOf(session->row));
  return session->row;
}

absl::StatusOr<SessionRow> Prearchive::FinishBuild(absl::string_view id, const std::function<void(SessionRow&)>& change) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  bool dirty;
  {
    absl::MutexLock lock(&session->mutex);
    dirty = session->row.dirty();
  }
  auto applied = Apply(id, dirty ? Event::kBuiltDirty : Event::kBuilt, [&](SessionRow& row) {
    // An object that arrived between the look and the lock counts too.
    if (row.dirty()) row.set_state(static_cast<int>(State::kReceiving));
    row.set_dirty(false);
    change(row);
  });
  if (applied.ok() && applied->state() == static_cast<int>(State::kReceiving)) {
    timers_->Arm(applied->id(), clock_.Now() + IdleOf(*applied));
  }
  return applied;
}

absl::StatusOr<SessionRow> Prearchive::Update(absl::string_view id, const SessionUpdate& update) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone || !session->persisted) return NoSession(id);
  if (!update.etag.empty() && update.etag != absl::StrCat(session->row.version())) {
    return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                 absl::StrCat("session ", id, " has changed since it was read; read it again"),
                 {{"session", std::string(id)}});
  }
  const std::optional<State> next = Next(session->state(), Event::kUpdate);
  if (!next) return Illegal(session->row, Event::kUpdate);
  SessionRow row = session->row;
  row.set_state(static_cast<int>(*next));
  const std::string old_key = KeyOf(row.key());
  const std::string old_project = row.key().project();
  if (update.project) row.mutable_key()->set_project(*update.project);
  if (update.subject) row.mutable_key()->set_subject(*update.subject);
  if (update.label) row.mutable_key()->set_label(*update.label);
  if (update.auto_archive) row.mutable_key()->set_auto_archive(*update.auto_archive);
  row.clear_conflicts();
  IndexBatch batch;
  const std::string new_key = KeyOf(row.key());
  if (new_key != old_key) {
    NX_ASSIGN_OR_RETURN(const auto holder, index_.Get(Table::kSessionKeys, old_key));
    if (holder && *holder == session->id) batch.Delete(Table::kSessionKeys, old_key);
    NX_ASSIGN_OR_RETURN(const auto taken, index_.Get(Table::kSessionKeys, new_key));
    if (!taken) batch.Put(Table::kSessionKeys, new_key, session->id);
  }
  if (row.key().project() != old_project) {
    NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, keys::Text(session->id), keys::EndOf(keys::Text(session->id)),
                                   [&](absl::string_view, absl::string_view value) {
                                     ObjectRow object;
                                     object.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                     batch.Delete(Table::kDigests,
                                                  keys::Digest(old_project, object.received_xxh3(), session->id));
                                     batch.Put(Table::kDigests,
                                               keys::Digest(row.key().project(), object.received_xxh3(), session->id),
                                               keys::Number(object.number()));
                                     return true;
                                   }));
  }
  NX_RETURN_IF_ERROR(WriteRow(*session, row, std::move(batch), Durability::kPowerLoss, true));
  return session->row;
}

absl::Status Prearchive::Remove(absl::string_view id, absl::string_view archived_as) {
  const auto session = Load(id);
  const std::string prefix = keys::Text(id);
  IndexBatch batch;
  std::optional<int64_t> event;
  if (session.ok()) {
    absl::MutexLock lock(&(*session)->mutex);
    const SessionRow& row = (*session)->row;
    NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                   [&](absl::string_view, absl::string_view value) {
                                     ObjectRow object;
                                     object.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                     batch.Delete(Table::kDigests,
                                                  keys::Digest(row.key().project(), object.received_xxh3(), id));
                                     return true;
                                   }));
    NX_ASSIGN_OR_RETURN(const auto holder, index_.Get(Table::kSessionKeys, KeyOf(row.key())));
    if (holder && *holder == id) batch.Delete(Table::kSessionKeys, KeyOf(row.key()));
    EventRow entry;
    entry.set_session(std::string(id));
    *entry.mutable_row() = row;
    entry.mutable_row()->clear_scans();
    entry.set_removed(true);
    entry.set_archived_as(std::string(archived_as));
    entry.set_time_us(NowMicros());
    event = events_->Add(entry, batch);
    (*session)->gone = true;
    (*session)->log.reset();
  } else if (!absl::IsNotFound(session.status())) {
    return session.status();
  }
  // The tombstone keeps a crash from bringing the session back from its segments.
  const std::string tombstone = absl::StrCat("removed/", id);
  batch.Put(Table::kMeta, tombstone, "");
  batch.Delete(Table::kSessions, id);
  for (Table table : {Table::kObjects, Table::kInstances, Table::kOutcomes}) {
    batch.DeleteRange(table, prefix, keys::EndOf(prefix));
  }
  const absl::Status written = index_.Write(batch, Durability::kPowerLoss);
  if (event) events_->Publish(*event);
  NX_RETURN_IF_ERROR(written);
  timers_->Disarm(id);
  NX_RETURN_IF_ERROR(store_.Remove(id));
  IndexBatch done;
  done.Delete(Table::kMeta, tombstone);
  return index_.Write(done, Durability::kProcessCrash);
}

absl::Status Prearchive::ForEachObject(absl::string_view id,
                                       const std::function<absl::Status(const ObjectRow&)>& visit) {
  absl::Status status;
  const std::string prefix = keys::Text(id);
  NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   ObjectRow row;
                                   if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
                                     status = DataLoss("INDEX_CORRUPT",
                                                       absl::StrCat("an object row of session ", id, " is damaged"));
                                   } else {
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

absl::StatusOr<std::shared_ptr<staging::SessionLog>> Prearchive::OpenLog(absl::string_view id) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone) return NoSession(id);
  if (session->log) return session->log;
  return store_.OpenSession(id);
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
                                                                                      uint64_t after, int limit) {
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
  NX_RETURN_IF_ERROR(index_.Scan(Table::kDigests, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view) {
                                   found = true;
                                   return false;
                                 }));
  return found;
}

}  // namespace narthex::prearchive
