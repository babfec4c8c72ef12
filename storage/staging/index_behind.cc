#include "storage/staging/index_behind.h"

#include <atomic>
#include <deque>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "base/status.h"

namespace narthex::staging {
namespace {

class IndexBehind : public Index {
 public:
  explicit IndexBehind(std::unique_ptr<Index> inner) : inner_(std::move(inner)) {}
  ~IndexBehind() override { Settle().IgnoreError(); }  // else as after a crash

  absl::Status Write(const IndexBatch& batch, Durability durability) override {
    if (durability == Durability::kBehind) {
      // What waits must not pile up while nothing can be written.
      if (failing_.load(std::memory_order_acquire)) NX_RETURN_IF_ERROR(Settle());
      absl::MutexLock lock(&mutex_);
      held_.push_back(batch);
      held_count_.fetch_add(1, std::memory_order_release);
      return absl::OkStatus();
    }
    NX_RETURN_IF_ERROR(Settle());
    return inner_->Write(batch, durability);
  }

  absl::Status Settle() const override {
    if (held_count_.load(std::memory_order_acquire) == 0) return absl::OkStatus();
    // Who finds another one at it waits: behind it, all that he knows of is there.
    absl::MutexLock one_at_a_time(&settling_);
    std::deque<IndexBatch> batches;
    {
      absl::MutexLock lock(&mutex_);
      batches.swap(held_);
    }
    if (batches.empty()) return absl::OkStatus();
    IndexBatch all = std::move(batches.front());
    for (auto batch = std::next(batches.begin()); batch != batches.end(); ++batch) all.Append(*batch);
    const absl::Status written = inner_->Write(all, Durability::kProcessCrash);
    failing_.store(!written.ok(), std::memory_order_release);
    if (!written.ok()) {
      absl::MutexLock lock(&mutex_);
      held_.push_front(std::move(all));
      held_count_.store(held_.size(), std::memory_order_release);
      return written;
    }
    held_count_.fetch_sub(batches.size(), std::memory_order_release);
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override {
    NX_RETURN_IF_ERROR(Settle());
    return inner_->Get(table, key);
  }

  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    NX_RETURN_IF_ERROR(Settle());
    return inner_->Scan(table, begin, end, visit);
  }

  absl::Status SyncAll() override {
    NX_RETURN_IF_ERROR(Settle());
    return inner_->SyncAll();
  }

  absl::Status Checkpoint(const std::string& directory) override {
    NX_RETURN_IF_ERROR(Settle());
    return inner_->Checkpoint(directory);
  }

  void LosePower() override {
    {
      absl::MutexLock lock(&mutex_);
      held_.clear();
      held_count_ = 0;
    }
    inner_->LosePower();
  }

 private:
  const std::unique_ptr<Index> inner_;
  mutable absl::Mutex settling_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  mutable std::deque<IndexBatch> held_ ABSL_GUARDED_BY(mutex_);
  // Of held_ and of what is being written: reading costs one load while there is nothing.
  mutable std::atomic<size_t> held_count_{0};
  mutable std::atomic<bool> failing_{false};  // the last attempt to write what is held failed
};

}  // namespace

std::unique_ptr<Index> NewIndexBehind(std::unique_ptr<Index> inner) {
  return std::make_unique<IndexBehind>(std::move(inner));
}

}  // namespace narthex::staging
