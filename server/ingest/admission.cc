#include "server/ingest/admission.h"

#include "absl/strings/str_cat.h"

#include "base/metrics.h"

namespace narthex::ingest {
namespace {

void Show(uint64_t held_bytes) {
  Metrics::Global().Set("held_bytes", "Memory of objects whose header is not complete.",
                        static_cast<double>(held_bytes));
}

}  // namespace

std::string SenderBehind(absl::string_view user, absl::string_view address) {
  return absl::StrCat(user, "/", address);
}

absl::Status Admission::Hold(absl::string_view sender, uint64_t bytes) {
  const uint64_t max = held_bytes_max_;
  absl::MutexLock lock(&mutex_);
  const auto it = held_by_.find(sender);
  const uint64_t mine = (it == held_by_.end() ? 0 : it->second) + bytes;
  const uint64_t all = held_bytes_ + bytes;
  if (all > max || mine > max - all) {
    return Overloaded("held_bytes",
                      absl::StrCat("objects of this sender that wait for the end of their header would take ",
                                   mine, " bytes and leave too little of ", max));
  }
  held_bytes_ = all;
  held_by_[sender] = mine;
  Show(held_bytes_);
  return absl::OkStatus();
}

void Admission::Release(absl::string_view sender, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  held_bytes_ -= bytes;
  const auto it = held_by_.find(sender);
  if ((it->second -= bytes) == 0) held_by_.erase(it);
  Show(held_bytes_);
}

uint64_t Admission::held_bytes() const {
  absl::MutexLock lock(&mutex_);
  return held_bytes_;
}

}  // namespace narthex::ingest
