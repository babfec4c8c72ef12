#include "clients/cpp/upload_window.h"

namespace narthex::client {

bool UploadWindow::Fits(int64_t sequence, int64_t bytes, bool first) const {
  const bool known = sent_.contains(sequence);
  if (!first && !known) return true;  // It has its outcome; its rest is not counted.
  if (sent_.size() == (known ? 1u : 0u)) return true;
  return static_cast<size_t>(bytes_ + bytes) <= max_bytes_ && (known || sent_.size() < max_objects_);
}

bool UploadWindow::MayReserve(Wish* wish) {
  wish->window->mutex_.AssertHeld();
  return wish->window->ended_ || wish->window->Fits(wish->sequence, wish->bytes, wish->first);
}

bool UploadWindow::Reserve(int64_t sequence, int64_t bytes, bool first) {
  Wish wish{this, sequence, bytes, first};
  absl::MutexLock lock(&mutex_, absl::Condition(&UploadWindow::MayReserve, &wish));
  if (ended_) return false;
  if (!first && !sent_.contains(sequence)) return true;
  sent_[sequence] += bytes;
  bytes_ += bytes;
  return true;
}

bool UploadWindow::TryReserve(int64_t sequence, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (ended_ || !Fits(sequence, bytes, true)) return false;
  sent_[sequence] += bytes;
  bytes_ += bytes;
  return true;
}

void UploadWindow::Expect(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  expected_[sequence] = std::nullopt;
}

void UploadWindow::Forget(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  expected_.erase(sequence);
}

std::optional<v1::ObjectOutcome> UploadWindow::WaitFor(int64_t sequence) {
  absl::MutexLock lock(&mutex_);
  auto arrived = [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto it = expected_.find(sequence);
    return ended_ || it == expected_.end() || it->second.has_value();
  };
  mutex_.Await(absl::Condition(&arrived));
  auto node = expected_.extract(sequence);
  if (node.empty()) return std::nullopt;
  return node.mapped();
}

void UploadWindow::Settle(const v1::ObjectOutcome& outcome) {
  absl::MutexLock lock(&mutex_);
  auto expected = expected_.find(outcome.sequence());
  if (expected != expected_.end()) expected->second = outcome;
  auto it = sent_.find(outcome.sequence());
  if (it == sent_.end()) return;
  bytes_ -= it->second;
  sent_.erase(it);
}

void UploadWindow::End() {
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

void UploadWindow::WaitForEnd() { absl::MutexLock lock(&mutex_, absl::Condition(&ended_)); }

bool UploadWindow::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

int64_t UploadWindow::objects() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(sent_.size());
}

int64_t UploadWindow::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace narthex::client
