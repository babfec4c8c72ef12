// The sessions that wait: reception of objects, states, timers, events. Rows live in the staging index, bytes
// in the staging store. Knows nothing of RPCs.
//
// Reception of one object:
//   reception = prearchive.Begin(arriving)          which session; it is RECEIVING (or being built) from now
//   on reception->Decide(digest of what was received)  store it, or is it there already?
//   reception->Append(bytes) ...                    what is to be stored (may also come before Decide)
//   reception->Finish(row)                          complete
//   prearchive.Commit({reception, ...})             one sync for many; then the outcomes may be sent
//
// Thread-safe. Locks, outermost first: mutex_, LiveSession::mutex. A session's row is written to the index
// under the session's lock, so that rows reach the index in order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "imaging/session/builder.h"
#include "server/prearchive/event_log.h"
#include "server/prearchive/idle_timers.h"
#include "server/prearchive/live_session.h"
#include "server/prearchive/rows.pb.h"
#include "server/prearchive/split_routes.h"
#include "server/prearchive/state_machine.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::prearchive {

// Numbers as in narthex.v1.ObjectOutcome.Outcome.
enum class Outcome { kStored = 1, kDuplicate, kReplaced, kConflict, kFiltered, kRejected };
absl::string_view OutcomeName(Outcome outcome);  // "STORED"

// What becomes of other content under a SOP Instance UID that the session has. Numbers as in
// narthex.v1.DuplicatePolicy.Mode.
enum class DuplicatePolicy { kKeep = 1, kReplace, kConflict };

// What is known of an object when its header was read and routed.
struct ArrivingObject {
  SessionKeyRow key;
  std::string sop_instance_uid;     // as it will be stored
  std::string series_instance_uid;  // likewise
  std::string instance_identity;    // as ObjectRow's
  bool pet_part = false;            // it belongs to the PET half if its study was split (session::IsPetPart)
  std::string upload;
  int64_t sequence = 0;
  // RECEIVING sessions are built after so long without an object; zero: the site's setting.
  absl::Duration idle_build = absl::ZeroDuration();
  DuplicatePolicy duplicates = DuplicatePolicy::kKeep;
};

class Prearchive;

// One object on its way into a session. Destroyed before Commit: nothing of the object stays.
// Single-threaded.
class Reception {
 public:
  ~Reception();
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;

  // kSameDataSet: the same but for what stands before the data set (preamble and meta group). kConflict:
  // other content, not to be stored. kReplace, kContest: other content, to be stored in the other's place, or
  // beside it until a person decides.
  enum class Verdict { kStore, kDuplicate, kSameDataSet, kConflict, kReplace, kContest };

  // What to do with the object whose received bytes, and data set, have these XXH3-128. Waits while another
  // object of the same SOP Instance UID is being received; before kReplace and kContest also until that one
  // was committed, so the caller's own must not wait for it. Call it once.
  Verdict Decide(absl::string_view received_xxh3, absl::string_view data_set_xxh3);

  // Adds bytes to be stored. Errors as staging::ObjectWriter::Append.
  absl::Status Append(absl::string_view bytes);

  // Completes a stored object after Decide said kStore, kReplace or kContest. `row` needs facts, digests,
  // sizes and flags; the rest is filled in here.
  absl::Status Finish(ObjectRow row);

  const std::string& session_id() const { return session_->id; }
  // Keeps the session at hand, and its segment file open, as long as it lives: for a sender whose next object
  // most likely goes there, too. Removing the session does not wait for it.
  std::shared_ptr<const void> KeepAtHand() const { return session_; }
  // The object whose place is taken, after Decide said kConflict, kReplace or kContest; null if it is still
  // on its way.
  const ObjectRow* other() const { return other_ ? &*other_ : nullptr; }
  // Reads the first `length` bytes of other().
  absl::StatusOr<std::string> ReadOther(uint64_t length) const;

 private:
  friend class Prearchive;
  Reception(Prearchive& prearchive, std::shared_ptr<LiveSession> session, ArrivingObject object);
  std::string InstanceName() const;
  std::optional<ObjectRow> Kept(const std::string& instance_key) const;
  bool IsKept(absl::string_view received_xxh3) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex);
  void AwaitFirst() const;
  void SettlePending(Fate fate) ABSL_EXCLUSIVE_LOCKS_REQUIRED(session_->mutex);

  Prearchive& prearchive_;
  const std::shared_ptr<LiveSession> session_;
  const ArrivingObject object_;
  std::shared_ptr<staging::SessionLog> log_;
  std::unique_ptr<staging::ObjectWriter> writer_;
  uint64_t number_ = 0;
  bool owns_pending_ = false;    // the session's pending entry of this instance is ours
  std::shared_ptr<Fate> first_;  // of the object that ours was compared with, if that was not entered then
  Verdict verdict_ = Verdict::kStore;
  std::optional<ObjectRow> other_;
  std::optional<ObjectRow> row_;  // after Finish
  staging::Position position_;    // what must be durable before the outcome is
};

// An object whose fate is decided, to be made durable.
struct Arrived {
  std::unique_ptr<Reception> reception;  // null if it belongs to no session
  OutcomeRow outcome;                    // upload and sequence included
  bool durable_already = false;          // only to be told again
  // Without reception: the session that counts the outcome, if it exists (a filtered object makes none).
  std::optional<SessionKeyRow> counted_in;
  bool pet_part = false;  // as ArrivingObject's
};

struct ListQuery {
  std::optional<std::string> project;  // "" is Unassigned
  std::optional<State> state;
  std::string after;  // id of the last session of the former page
  int limit = 100;
  // Whether the caller may see sessions of this project ("": Unassigned).
  std::function<bool(const std::string& project)> may_see;
};

// Of one scan; unset fields stay, empty texts go back to what the headers say (an empty note: none).
struct ScanUpdate {
  std::string scan;  // id as of the last build
  std::optional<std::string> type;
  std::optional<std::string> quality;
  std::optional<std::string> note;
  std::optional<bool> exclude;
};

// Which content is archived of instances that came with several.
enum class ContestedChoice { kUndecided, kFirst, kLast };

// The key under which edits of a scan are kept: its Series Instance UID, else "#" and its id.
std::string ScanEditKey(const ScanRow& scan);

struct SessionUpdate {
  std::optional<std::string> project;
  std::optional<std::string> subject;
  std::optional<std::string> label;
  std::optional<int> auto_archive;
  std::optional<bool> leftovers_accepted;
  std::optional<std::string> session_date;
  std::vector<ScanUpdate> scans;
  ContestedChoice contested = ContestedChoice::kUndecided;
  std::string etag;
};

// Part of a session that becomes another one.
struct SplitRequest {
  std::vector<std::string> series;            // Series Instance UIDs that go
  std::vector<std::string> remaining_series;  // those that stay
  std::string label;                          // of the new session
  std::string remaining_label;                // of the old one
  int part = kPetPart;                        // SessionRow::split_part of the new session, and of the old one
  int remaining_part = kRestPart;
  // Shows in both rows what they are made of. Called once, under the session's lock.
  std::function<void(SessionRow& remaining, SessionRow& made)> show;
  std::function<bool()> stopping;  // ends the copying with SHUTTING_DOWN

  bool moves(const std::string& series_instance_uid) const {
    return std::find(series.begin(), series.end(), series_instance_uid) != series.end();
  }
};

struct SplitParts {
  SessionRow remaining;
  SessionRow made;
};

class Prearchive {
 public:
  struct Options {
    absl::Duration idle_build = absl::Seconds(60);
  };

  // Opens what is there: objects that are in segments and not in the index are indexed, folders of deleted
  // sessions are removed, timers are set. `store`, `index` and `clock` are borrowed.
  static absl::StatusOr<std::unique_ptr<Prearchive>> Open(const Options& options,
                                                          staging::StagingStore& store, staging::Index& index,
                                                          const Clock& clock);
  ~Prearchive();

  // Called with the id of a session whose idle timer has run out, on the timers' thread. Set it before Open's
  // timers matter: until it is set, they wait.
  void OnIdle(std::function<void(const std::string& id)> callback);

  // How sessions of a project ("": none) are built. Set it before the first build; nothing: by default.
  void SetBuildOptions(std::function<session::BuildOptions(const std::string& project)> options);
  session::BuildOptions BuildOptionsOf(const std::string& project) const;

  // ---- reception

  absl::StatusOr<std::unique_ptr<Reception>> Begin(ArrivingObject object);

  // Makes objects durable and visible, counts them, and returns their outcomes as they are now, in the order
  // given. An object whose bytes could not be made durable becomes REJECTED. On error nothing may be
  // acknowledged.
  absl::StatusOr<std::vector<OutcomeRow>> Commit(std::vector<Arrived> arrived);
  // To be called behind Commit once the outcomes were told: writes rows that need not keep a sender waiting.
  // Whoever looks sooner sees them all the same. What fails is tried again by the next who reads or writes.
  void Settle();

  // ---- sessions

  // NOT_FOUND (PREARCHIVE_SESSION_NOT_FOUND).
  absl::StatusOr<SessionRow> Get(absl::string_view id);
  // Newest first.
  absl::StatusOr<std::vector<SessionRow>> List(const ListQuery& query);
  int64_t CountSessions(const std::function<bool(const std::string& project)>& may_see = nullptr);

  // Moves the session along its table of states, applying `change` to the row. Durable when it returns.
  // FAILED_PRECONDITION (ILLEGAL_STATE): the event is not allowed. NOT_FOUND.
  absl::StatusOr<SessionRow> Apply(absl::string_view id, Event event,
                                   const std::function<void(SessionRow&)>& change = nullptr);
  // As Apply(kBuilt), or kBuiltDirty if objects arrived since the build began.
  absl::StatusOr<SessionRow> FinishBuild(absl::string_view id,
                                         const std::function<void(SessionRow&)>& change);

  // What a person changes; durable when it returns, and kept over builds. The scans of the row change at
  // once, the session's type and modality with the next build. ABORTED (ETAG_MISMATCH), FAILED_PRECONDITION
  // (ILLEGAL_STATE), NOT_FOUND (also SCAN_NOT_FOUND).
  absl::StatusOr<SessionRow> Update(absl::string_view id, const SessionUpdate& update);

  // Makes part of a session that is SEPARATING the session `split_into` of its row; both are READY then.
  // Copies the part's bytes. All of it is durable and visible at once, or nothing is; may be repeated after a
  // crash.
  absl::StatusOr<SplitParts> SplitOff(absl::string_view id, const SplitRequest& request);
  // An id for a session that does not exist yet.
  std::string NewId() const;

  // Takes the session away: its rows, then its bytes. `archived_as` is the accession id if the archive holds
  // it now, else "". Durable when it returns; repeating it is OK.
  absl::Status Remove(absl::string_view id, absl::string_view archived_as);

  // ---- what is in a session

  // Calls `visit` for every object that would be archived, in order of arrival, until it returns an error.
  // Objects that were superseded or are contested are not among them.
  absl::Status ForEachObject(absl::string_view id,
                             const std::function<absl::Status(const ObjectRow&)>& visit);
  // NOT_FOUND (INSTANCE_NOT_FOUND).
  absl::StatusOr<ObjectRow> FindObject(absl::string_view id, absl::string_view sop_instance_uid);
  // Everything that is kept of one instance, in order of arrival. NOT_FOUND (INSTANCE_NOT_FOUND). Reads all
  // rows of the session.
  absl::StatusOr<std::vector<ObjectRow>> FindVersions(absl::string_view id,
                                                      absl::string_view sop_instance_uid);
  // The log that holds the session's bytes.
  absl::StatusOr<std::shared_ptr<staging::SessionLog>> OpenLog(absl::string_view id);
  static staging::StoredObject StoredObjectOf(const ObjectRow& row);

  // Outcomes with number > `after`, at most `limit`, with their numbers.
  absl::StatusOr<std::vector<std::pair<uint64_t, OutcomeRow>>> ListOutcomes(absl::string_view id,
                                                                            uint64_t after, int limit);
  // Whether bytes with this XXH3-128 wait in any session of `project`.
  absl::StatusOr<bool> HasDigest(absl::string_view project, absl::string_view received_xxh3);

  EventLog& events() { return *events_; }
  IdleTimers& timers() { return *timers_; }
  // Holds for sessions that are RECEIVING already, too.
  absl::Status SetIdleBuild(absl::Duration idle);
  // Objects that come while their session is being split wait so long for the halves: at first 10 s, enough
  // to copy gigabytes, and less than senders wait for an answer.
  void SetSplitPatience(absl::Duration patience) { split_patience_us_ = absl::ToInt64Microseconds(patience); }
  // Ends what waits for something in here, as the process is stopping: readers of events return, and objects
  // that wait for a split are refused with SHUTTING_DOWN.
  void EndWaits();
  absl::Duration idle_build() const { return absl::Microseconds(idle_build_us_.load()); }
  // When the session will be built if nothing more arrives; nullopt: no timer runs.
  std::optional<absl::Time> BuildAfter(const SessionRow& row) const;

 private:
  friend class Reception;
  Prearchive(const Options& options, staging::StagingStore& store, staging::Index& index, const Clock& clock);

  absl::Status Recover();
  absl::Status ArmTimers();
  absl::Status RecoverSession(const std::string& id);
  absl::StatusOr<std::vector<ObjectRow>> FindUnindexed(const SessionRow& row, const std::string& id,
                                                       staging::Position indexed);
  absl::StatusOr<bool> IsIndexed(const std::string& id, const ObjectRow& found);
  absl::Status NumberFound(const std::string& id, uint64_t next, std::vector<ObjectRow>& objects);
  absl::StatusOr<std::shared_ptr<LiveSession>> Load(absl::string_view id);
  absl::StatusOr<std::shared_ptr<LiveSession>> LoadLocked(absl::string_view id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The session that takes the object, made if there is none.
  absl::StatusOr<std::shared_ptr<LiveSession>> OpenFor(const ArrivingObject& object);
  // The session of this key that takes objects; null: there is none.
  absl::StatusOr<std::shared_ptr<LiveSession>> FindForKey(const std::string& key_text)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<LiveSession> Create(const SessionKeyRow& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<bool> CountInSession(Arrived& object);
  // What a split that begins, or that failed, means for late objects.
  void RouteSplit(Event event, const SessionRow& row, staging::IndexBatch& batch);
  // Enters a durable object into its session: `row` and what is written with it. `recent`: objects that the
  // same batch entered before, by instance (null: none that could be the same instance).
  using RecentObjects = absl::flat_hash_map<std::string, ObjectRow>;
  absl::Status Enter(const ObjectRow& object, SessionRow& row, staging::IndexBatch& batch,
                     RecentObjects* recent);
  absl::Status DecideContested(bool last, SessionRow& row, staging::IndexBatch& batch);
  struct SplitWork;
  absl::Status CopyPart(const SplitRequest& request, const SessionKeyRow& key, SplitWork& work);
  absl::Status CopyObject(ObjectRow object, const SessionKeyRow& key, SplitWork& work);
  absl::Status MoveOutcomes(const SplitRequest& request, SessionRow& row, SessionRow& other, SplitWork& work);
  absl::StatusOr<SplitParts> FinishSplit(const SplitRequest& request, SessionRow other, SplitWork& work);
  absl::Status Rekey(LiveSession& session, const SessionRow& row, staging::IndexBatch& batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(session.mutex);
  absl::Status CommitSession(const std::shared_ptr<LiveSession>& session,
                             const std::vector<Arrived*>& objects);
  // Writes the session's row (and `batch`), with an event unless one was sent just now and nothing but counts
  // changed.
  absl::Status WriteRow(LiveSession& session, SessionRow row, staging::IndexBatch batch,
                        staging::Durability durability, bool always_event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(session.mutex);
  void GiveUp(Reception& reception);
  void IdleFired(const std::string& id);
  absl::Duration IdleOf(const SessionRow& row) const;
  int64_t NowMicros() const;

  staging::StagingStore& store_;
  staging::Index& index_;
  const Clock& clock_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<SplitRoutes> split_routes_;

  std::atomic<int64_t> idle_build_us_;  // read under session locks, so not guarded by mutex_
  std::atomic<int64_t> split_patience_us_{10'000'000};
  mutable absl::Mutex mutex_;
  std::function<void(const std::string&)> on_idle_ ABSL_GUARDED_BY(mutex_);
  std::function<session::BuildOptions(const std::string&)> build_options_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::weak_ptr<LiveSession>> live_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::weak_ptr<LiveSession>> live_by_key_ ABSL_GUARDED_BY(mutex_);

  std::unique_ptr<IdleTimers> timers_;  // last: its thread uses the rest
};

}  // namespace narthex::prearchive
