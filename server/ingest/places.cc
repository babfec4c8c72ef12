#include "server/ingest/places.h"

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/metrics.h"

namespace narthex::ingest {

absl::Status Overloaded(absl::string_view limit, absl::string_view what) {
  Metrics::Global().Count("refused_total", "What was refused for want of room, by limit.", 1,
                          {{"limit", std::string(limit)}});
  return ResourceExhausted("OVERLOADED", absl::StrCat(what, "; try again later"),
                           {{"limit", std::string(limit)}});
}

absl::StatusOr<Places::Place> Places::Enter(absl::string_view user) {
  absl::MutexLock lock(&mutex_);
  if (count_ >= max_) return Overloaded(limit_, absl::StrCat("all of ", max_, " ", what_, " are in use"));
  int& mine = by_user_[user];
  if (mine >= per_user_max_) {
    return Overloaded(absl::StrCat(limit_, "_per_user"),
                      absl::StrCat("this user has ", mine, " ", what_, ", as many as one may have"));
  }
  ++mine;
  ++count_;
  return Place(this, std::string(user));
}

void Places::Leave(const std::string& user) {
  absl::MutexLock lock(&mutex_);
  --count_;
  const auto it = by_user_.find(user);
  if (--it->second == 0) by_user_.erase(it);
}

void Places::SetMax(int count) {
  absl::MutexLock lock(&mutex_);
  max_ = count;
}

void Places::SetPerUserMax(int count) {
  absl::MutexLock lock(&mutex_);
  per_user_max_ = count;
}

int Places::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

}  // namespace narthex::ingest
