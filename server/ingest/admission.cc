#include "server/ingest/admission.h"

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/metrics.h"

namespace narthex::ingest {
namespace {

absl::Status Overloaded(absl::string_view limit, absl::string_view what) {
  Metrics::Global().Count("refused_total", "What was refused for want of room, by limit.", 1,
                          {{"limit", std::string(limit)}});
  return ResourceExhausted("OVERLOADED", absl::StrCat(what, "; try again later"),
                           {{"limit", std::string(limit)}});
}

}  // namespace

absl::StatusOr<Admission::Place> Admission::Enter(absl::string_view user) {
  absl::MutexLock lock(&mutex_);
  if (streams_ >= streams_max_) {
    return Overloaded("upload_streams", absl::StrCat("all of ", streams_max_, " upload streams are in use"));
  }
  int& mine = by_user_[user];
  if (mine >= streams_per_user_max_) {
    return Overloaded("upload_streams_per_user",
                      absl::StrCat("this user has ", mine, " upload streams, as many as one may have"));
  }
  ++mine;
  ++streams_;
  return Place(this, std::string(user));
}

void Admission::Leave(const std::string& user) {
  absl::MutexLock lock(&mutex_);
  --streams_;
  const auto it = by_user_.find(user);
  if (--it->second == 0) by_user_.erase(it);
}

absl::Status Admission::Hold(uint64_t bytes) {
  const uint64_t max = held_bytes_max_;
  if (held_bytes_.fetch_add(bytes) + bytes <= max) return absl::OkStatus();
  held_bytes_.fetch_sub(bytes);
  return Overloaded("held_bytes",
                    absl::StrCat("objects that wait for the end of their header take ", max, " bytes"));
}

void Admission::SetStreamsMax(int count) {
  absl::MutexLock lock(&mutex_);
  streams_max_ = count;
}

void Admission::SetStreamsPerUserMax(int count) {
  absl::MutexLock lock(&mutex_);
  streams_per_user_max_ = count;
}

int Admission::stream_count() const {
  absl::MutexLock lock(&mutex_);
  return streams_;
}

}  // namespace narthex::ingest
