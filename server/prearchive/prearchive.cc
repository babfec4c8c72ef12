#include "server/prearchive/prearchive.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::prearchive {
namespace {

// Sessions of receivers with direct archive wait for nobody; this is for the objects that are on their way
// already.
constexpr absl::Duration kDirectArchiveIdle = absl::Seconds(2);

using staging::Durability;
using staging::IndexBatch;
using staging::Table;

// 16 characters of [a-z0-9], such that newer ids sort before older ones.
std::string NewSessionId(absl::Time now) {
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuv";
  uint64_t inverted = (uint64_t{1} << 50) - 1 - static_cast<uint64_t>(absl::ToUnixMillis(now));
  std::string id(10, '0');
  for (int i = 9; i >= 0; --i, inverted >>= 5) id[i] = kDigits[inverted & 31];
  return id + NewRandomId(4).substr(0, 6);
}

}  // namespace

absl::Status NoSession(absl::string_view id) {
  return NotFound(
      "PREARCHIVE_SESSION_NOT_FOUND",
      absl::StrCat("there is no session ", id, " in the prearchive; `narthex prearchive list` lists them"),
      {{"session", std::string(id)}});
}

absl::Status Illegal(const SessionRow& row, Event event) {
  const std::string state(StateName(static_cast<State>(row.state())));
  return FailedPrecondition(
      "ILLEGAL_STATE",
      absl::StrCat(
          "session ", row.id(), " is ", state, "; \"", EventName(event), "\" is not possible in that state",
          row.operation().empty() ? ""
                                  : absl::StrCat(" (see `narthex operation show ", row.operation(), "`)")),
      {{"session", row.id()}, {"state", state}, {"event", std::string(EventName(event))}});
}

absl::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kStored:
      return "STORED";
    case Outcome::kDuplicate:
      return "DUPLICATE";
    case Outcome::kReplaced:
      return "REPLACED";
    case Outcome::kConflict:
      return "CONFLICT";
    case Outcome::kFiltered:
      return "FILTERED";
    case Outcome::kRejected:
      return "REJECTED";
  }
  return "?";
}

Prearchive::Prearchive(const Options& options, staging::StagingStore& store, staging::Index& index,
                       const Clock& clock)
    : store_(store),
      index_(index),
      clock_(clock),
      idle_build_us_(absl::ToInt64Microseconds(options.idle_build)) {}

Prearchive::~Prearchive() {
  timers_.reset();
  if (events_) events_->Close();
}

absl::StatusOr<std::unique_ptr<Prearchive>> Prearchive::Open(const Options& options,
                                                             staging::StagingStore& store,
                                                             staging::Index& index, const Clock& clock) {
  auto prearchive = absl::WrapUnique(new Prearchive(options, store, index, clock));
  NX_ASSIGN_OR_RETURN(prearchive->events_, EventLog::Open(index));
  NX_ASSIGN_OR_RETURN(prearchive->split_routes_, SplitRoutes::Open(index));
  Prearchive* self = prearchive.get();
  prearchive->timers_ =
      std::make_unique<IdleTimers>(clock, [self](const std::string& id) { self->IdleFired(id); });
  NX_RETURN_IF_ERROR(prearchive->Recover());
  return prearchive;
}

void Prearchive::OnIdle(std::function<void(const std::string&)> callback) {
  absl::MutexLock lock(&mutex_);
  on_idle_ = std::move(callback);
}

void Prearchive::SetBuildOptions(std::function<session::BuildOptions(const std::string&)> options) {
  absl::MutexLock lock(&mutex_);
  build_options_ = std::move(options);
}

session::BuildOptions Prearchive::BuildOptionsOf(const std::string& project) const {
  std::function<session::BuildOptions(const std::string&)> options;
  {
    absl::MutexLock lock(&mutex_);
    options = build_options_;
  }
  return options ? options(project) : session::BuildOptions();
}

absl::Duration Prearchive::IdleOf(const SessionRow& row) const {
  const absl::Duration idle = row.idle_seconds() > 0 ? absl::Seconds(row.idle_seconds()) : idle_build();
  // What comes later than that is merged.
  return row.key().direct_archive() ? std::min(idle, kDirectArchiveIdle) : idle;
}

std::optional<absl::Time> Prearchive::BuildAfter(const SessionRow& row) const {
  if (row.state() != static_cast<int>(State::kReceiving)) return std::nullopt;
  return absl::FromUnixMicros(row.last_received_time_us()) + IdleOf(row);
}

std::string Prearchive::NewId() const { return NewSessionId(clock_.Now()); }

int64_t Prearchive::NowMicros() const { return absl::ToUnixMicros(clock_.Now()); }

void Prearchive::IdleFired(const std::string& id) {
  const auto session = Load(id);
  if (!session.ok()) return;
  std::function<void(const std::string&)> callback;
  {
    absl::MutexLock lock(&(*session)->mutex);
    if ((*session)->gone || (*session)->state() != State::kReceiving) return;
    const absl::Time due =
        absl::FromUnixMicros((*session)->row.last_received_time_us()) + IdleOf((*session)->row);
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

void Prearchive::EndWaits() {
  events_->Close();
  split_routes_->Close();
}

std::shared_ptr<LiveSession> Prearchive::Create(const SessionKeyRow& key) {
  auto session = std::make_shared<LiveSession>(NewSessionId(clock_.Now()));
  absl::MutexLock lock(&session->mutex);
  session->row.set_id(session->id);
  session->row.set_state(static_cast<int>(State::kReceiving));
  *session->row.mutable_key() = key;
  split_routes_->Mark(session->row);
  session->row.set_create_time_us(NowMicros());
  session->row.set_last_received_time_us(NowMicros());
  session->row.set_next_number(1);
  live_[session->id] = session;
  live_by_key_[keys::OfSession(key)] = session;
  return session;
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::OpenFor(const ArrivingObject& object) {
  const std::string routed = keys::OfSession(object.key);
  const auto follow = [&] {
    return split_routes_->Follow(routed, object.series_instance_uid, object.pet_part);
  };
  // What comes during a split waits for its end, as there are no halves yet. A split that takes longer than
  // that gets a second session of the half's label; archiving merges the two.
  std::optional<absl::Time> patience;
  while (true) {
    bool settled = split_routes_->AwaitSettled(routed, absl::ZeroDuration());
    if (!settled) {
      PausePoint("split.awaited");
      if (!patience) patience = absl::Now() + absl::Microseconds(split_patience_us_.load());
      settled = split_routes_->AwaitSettled(routed, std::max(absl::ZeroDuration(), *patience - absl::Now()));
      // Nothing is made of it in a hurry: its sender has it, and the next process knows of the split.
      if (!settled && split_routes_->closed()) {
        return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
                     "the server is stopping while the object's session is being split; send it again");
      }
    }
    absl::MutexLock lock(&mutex_);
    // One that began between the two.
    if (settled && !split_routes_->AwaitSettled(routed, absl::ZeroDuration())) continue;
    std::optional<std::string> half = follow();
    SessionKeyRow key;
    if (half) {
      key = object.key;
      key.set_label(*half);
    }
    NX_ASSIGN_OR_RETURN(auto session, FindForKey(half ? keys::OfSession(key) : routed));
    if (session) return session;
    // If the session was not taken because it is being split, or was split meanwhile, that is known by now.
    if (follow() == half && (!settled || split_routes_->AwaitSettled(routed, absl::ZeroDuration())))
      return Create(half ? key : object.key);
  }
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::FindForKey(const std::string& key_text) {
  const auto takes = [&](LiveSession& session) {
    absl::MutexLock session_lock(&session.mutex);
    return !session.gone && keys::OfSession(session.row.key()) == key_text &&
           Next(session.state(), Event::kObject).has_value();
  };
  if (const auto it = live_by_key_.find(key_text); it != live_by_key_.end()) {
    if (auto session = it->second.lock(); session && takes(*session)) return session;
  }
  // Looked up after the live ones: a session that nobody holds any more has its row in the index by then. The
  // other way round, a session that was written and let go in between would be made a second time.
  NX_ASSIGN_OR_RETURN(const auto indexed, index_.Get(Table::kSessionKeys, key_text));
  if (indexed) {
    const auto session = LoadLocked(*indexed);
    if (!session.ok() && !absl::IsNotFound(session.status())) return session.status();
    if (session.ok() && takes(**session)) {
      live_by_key_[key_text] = *session;
      return *session;
    }
  }
  if (live_by_key_.size() > 1024) {
    absl::erase_if(live_by_key_, [](const auto& entry) { return entry.second.expired(); });
    absl::erase_if(live_, [](const auto& entry) { return entry.second.expired(); });
  }
  return std::shared_ptr<LiveSession>();
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::Load(absl::string_view id) {
  absl::MutexLock lock(&mutex_);
  return LoadLocked(id);
}

absl::StatusOr<std::shared_ptr<LiveSession>> Prearchive::LoadLocked(absl::string_view id) {
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

absl::Status Prearchive::WriteRow(LiveSession& session, SessionRow row, IndexBatch batch,
                                  Durability durability, bool always_event) {
  row.set_version(row.version() + 1);
  std::optional<int64_t> event;
  if (always_event) {
    EventRow entry;
    entry.set_session(session.id);
    *entry.mutable_row() = row;
    entry.set_time_us(NowMicros());
    // Who may not look where it goes must learn that it went.
    const std::string& before = session.row.key().project();
    if (session.persisted && before != row.key().project()) entry.set_former_project(before);
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
  if (row.state() == static_cast<int>(State::kReceiving)) {
    row.clear_completion();
    row.clear_completion_time_us();
  }
  IndexBatch batch;
  RouteSplit(event, row, batch);
  // A session that takes no objects gives its key up, so that late objects open another one.
  const bool takes = Next(*next, Event::kObject).has_value();
  const std::string key = keys::OfSession(row.key());
  if (!takes) {
    batch.Delete(Table::kSessionKeys, key);
  } else if (!Next(session->state(), Event::kObject)) {
    NX_ASSIGN_OR_RETURN(const auto taken, index_.Get(Table::kSessionKeys, key));
    if (!taken) batch.Put(Table::kSessionKeys, key, session->id);
  }
  if (const absl::Status written = WriteRow(*session, row, std::move(batch), Durability::kPowerLoss, true);
      !written.ok()) {
    IndexBatch unused;
    if (event == Event::kSplit) {
      RouteSplit(Event::kSplitFailed, row, unused);
      split_routes_->Settle(key);
    }
    return written;
  }
  if (event == Event::kSplitFailed) split_routes_->Settle(key);
  if (*next == State::kReceiving) timers_->Arm(session->id, clock_.Now() + IdleOf(session->row));
  return session->row;
}

absl::StatusOr<SessionRow> Prearchive::FinishBuild(absl::string_view id,
                                                   const std::function<void(SessionRow&)>& change) {
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

absl::Status Prearchive::Remove(absl::string_view id, absl::string_view archived_as) {
  const auto session = Load(id);
  const std::string prefix = keys::Text(id);
  IndexBatch batch;
  std::optional<int64_t> event;
  if (session.ok()) {
    absl::MutexLock lock(&(*session)->mutex);
    const SessionRow row = (*session)->row;
    NX_RETURN_IF_ERROR(index_.Scan(
        Table::kObjects, prefix, keys::EndOf(prefix), [&](absl::string_view, absl::string_view value) {
          ObjectRow object;
          object.ParseFromArray(value.data(), static_cast<int>(value.size()));
          batch.Delete(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), id));
          return true;
        }));
    NX_ASSIGN_OR_RETURN(const auto holder, index_.Get(Table::kSessionKeys, keys::OfSession(row.key())));
    if (holder && *holder == id) batch.Delete(Table::kSessionKeys, keys::OfSession(row.key()));
    if (row.split_part() != 0) split_routes_->Leave(row, !archived_as.empty(), batch);
    EventRow entry;
    entry.set_session(std::string(id));
    *entry.mutable_row() = row;
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
  CrashPoint("release.unindexed");
  timers_->Disarm(id);
  NX_RETURN_IF_ERROR(store_.Remove(id));
  CrashPoint("release.removed");
  IndexBatch done;
  done.Delete(Table::kMeta, tombstone);
  return index_.Write(done, Durability::kProcessCrash);
}

absl::StatusOr<std::shared_ptr<staging::SessionLog>> Prearchive::OpenLog(absl::string_view id) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone) return NoSession(id);
  if (session->log) return session->log;
  return store_.OpenSession(id);
}

}  // namespace narthex::prearchive
