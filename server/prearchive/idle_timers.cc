#include "server/prearchive/idle_timers.h"

#include <vector>

namespace narthex::prearchive {

IdleTimers::IdleTimers(const Clock& clock, std::function<void(const std::string&)> fire)
    : clock_(clock), fire_(std::move(fire)), thread_([this] { Run(); }) {}

IdleTimers::~IdleTimers() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void IdleTimers::Arm(absl::string_view session, absl::Time due) {
  absl::MutexLock lock(&mutex_);
  const std::string id(session);
  auto [it, added] = due_.emplace(id, due);
  // Moving a timer further away is left to the moment it fires: that saves a tree operation per object.
  if (!added && it->second <= due) return;
  if (!added) queue_.erase({it->second, id});
  it->second = due;
  queue_.insert({due, id});
  changed_ = true;
}

void IdleTimers::Disarm(absl::string_view session) {
  absl::MutexLock lock(&mutex_);
  const auto it = due_.find(session);
  if (it == due_.end()) return;
  queue_.erase({it->second, it->first});
  due_.erase(it);
}

std::vector<std::string> IdleTimers::TakeDue() {
  std::vector<std::string> due;
  const absl::Time now = clock_.Now();
  while (!queue_.empty() && queue_.begin()->first <= now) {
    due.push_back(queue_.begin()->second);
    due_.erase(queue_.begin()->second);
    queue_.erase(queue_.begin());
  }
  return due;
}

void IdleTimers::FireDue() {
  std::vector<std::string> due;
  {
    absl::MutexLock lock(&mutex_);
    due = TakeDue();
  }
  for (const std::string& id : due) fire_(id);
}

void IdleTimers::Run() {
  while (true) {
    std::vector<std::string> due;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || changed_; };
      if (queue_.empty()) {
        mutex_.Await(absl::Condition(&awake));
      } else {
        mutex_.AwaitWithTimeout(absl::Condition(&awake), queue_.begin()->first - clock_.Now());
      }
      changed_ = false;
      if (stopping_) return;
      due = TakeDue();
    }
    for (const std::string& id : due) fire_(id);
  }
}

}  // namespace narthex::prearchive
