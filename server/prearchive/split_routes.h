// Which studies were split, and where their late objects go: into the half that their series, or else their
// kind, belongs to. The truth is in the index (SplitRouteRow); this is what of it is looked at for every
// object. A route comes to be when a split begins and stays: late objects may come long after both halves
// were archived. Thread-safe; its lock is inside all others.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "server/prearchive/rows.pb.h"
#include "storage/staging/index.h"

namespace narthex::prearchive {

// SessionRow::split_part.
inline constexpr int kPetPart = 1;
inline constexpr int kRestPart = 2;

class SplitRoutes {
 public:
  // Reads what `index` has.
  static absl::StatusOr<std::unique_ptr<SplitRoutes>> Open(staging::Index& index);

  // The label of the half that an object belongs to whose session would have the key `key_text`
  // (keys::OfSession); nullopt: no such session was split. `pet_part`: what the object's own header says, for
  // series that came after the split.
  std::optional<std::string> Follow(absl::string_view key_text, absl::string_view series_instance_uid,
                                    bool pet_part) const;

  // Waits until no split of the session with this key, or into one, is under way, at most as long as
  // `timeout` says, and not behind Close(); zero: only looks. False: it still is.
  bool AwaitSettled(const std::string& key_text, absl::Duration timeout) const;
  // Wakes up who waits: the process is stopping.
  void Close();
  bool closed() const;

  // Marks `row`, whose key is set, as the half that it is by its key, if it is one.
  void Mark(SessionRow& row) const;

  // Nobody need wait for the split of the session that had this key: what became of it is written.
  void Settle(absl::string_view key_text);

  // Each changes what holds at once, and adds to `batch` what makes it durable.
  //
  // The session of this key is being split. It holds before `batch` is written because objects may come
  // before that, and no session must be made of them under the label that goes away.
  void Begin(const SessionKeyRow& key, const SplitRouteRow& route, staging::IndexBatch& batch);
  // It was split, or it was not after all.
  void Finish(const SessionKeyRow& key, const SplitRouteRow& route, staging::IndexBatch& batch);
  void Cancel(const SessionKeyRow& key, staging::IndexBatch& batch);
  // A half gets the key of `row` instead of `before`: late objects go after it. It takes the route along into
  // another project; that of the project which it leaves stays. Changes row.split_route.
  void Rename(const SessionKeyRow& before, SessionRow& row, staging::IndexBatch& batch);
  // A half goes, into the archive or for good. Of a study of which nothing was archived nothing is known.
  void Leave(const SessionRow& row, bool archived, staging::IndexBatch& batch);

 private:
  struct Half {
    std::string route;
    int part = 0;
  };
  bool IsSplitting(const std::string& key_text) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Put(const std::string& key_text, const SplitRouteRow& route, staging::IndexBatch* batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const std::string& key_text, staging::IndexBatch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, SplitRouteRow> routes_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Half> halves_ ABSL_GUARDED_BY(mutex_);  // by the keys of halves
  absl::flat_hash_set<std::string> splitting_ ABSL_GUARDED_BY(mutex_);     // keys of sessions
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace narthex::prearchive
