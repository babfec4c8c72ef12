// The twin of the RocksDB index for tests.
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"

#include "storage/staging/index.h"
#include "storage/staging/index_behind.h"

namespace narthex::staging {
namespace {

using Rows = std::map<std::string, std::string>;
using Tables = std::array<Rows, kTableCount>;

void Apply(const IndexBatch& batch, Tables& tables) {
  for (const IndexBatch::Change& change : batch.changes()) {
    Rows& rows = tables[static_cast<size_t>(change.table)];
    switch (change.kind) {
      case IndexBatch::Change::Kind::kPut:
        rows[change.key] = change.value;
        break;
      case IndexBatch::Change::Kind::kDelete:
        rows.erase(change.key);
        break;
      case IndexBatch::Change::Kind::kDeleteRange:
        if (change.key < change.value)
          rows.erase(rows.lower_bound(change.key), rows.lower_bound(change.value));
        break;
    }
  }
}

class InMemoryIndex : public Index {
 public:
  absl::Status Write(const IndexBatch& batch, Durability durability) override {
    absl::MutexLock lock(&mutex_);
    Apply(batch, tables_);
    unsynced_.push_back(batch);
    if (durability == Durability::kPowerLoss) MakeDurable();
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<std::string>> Get(Table table, absl::string_view key) const override {
    absl::MutexLock lock(&mutex_);
    const Rows& rows = tables_[static_cast<size_t>(table)];
    const auto row = rows.find(std::string(key));
    if (row == rows.end()) return std::nullopt;
    return std::optional<std::string>(row->second);
  }

  absl::Status Scan(Table table, absl::string_view begin, absl::string_view end,
                    const std::function<bool(absl::string_view, absl::string_view)>& visit) const override {
    // Visited outside the lock, so that `visit` may use the index; a copy is the state at the moment of the
    // call.
    std::vector<std::pair<std::string, std::string>> found;
    {
      absl::MutexLock lock(&mutex_);
      const Rows& rows = tables_[static_cast<size_t>(table)];
      for (auto row = rows.lower_bound(std::string(begin)); row != rows.end(); ++row) {
        if (!end.empty() && row->first >= end) break;
        found.push_back(*row);
      }
    }
    for (const auto& [key, value] : found) {
      if (!visit(key, value)) break;
    }
    return absl::OkStatus();
  }

  absl::Status Checkpoint(const std::string&) override {
    return absl::UnimplementedError("the index in memory has no files");
  }

  absl::Status SyncAll() override {
    absl::MutexLock lock(&mutex_);
    MakeDurable();
    return absl::OkStatus();
  }

  void LosePower() override {
    absl::MutexLock lock(&mutex_);
    tables_ = durable_;
    unsynced_.clear();
  }

 private:
  // As in a write-ahead log, a sync covers everything written before.
  void MakeDurable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const IndexBatch& batch : unsynced_) Apply(batch, durable_);
    unsynced_.clear();
  }

  mutable absl::Mutex mutex_;
  Tables tables_ ABSL_GUARDED_BY(mutex_);
  Tables durable_ ABSL_GUARDED_BY(mutex_);
  std::vector<IndexBatch> unsynced_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Index> Index::NewInMemory() { return NewIndexBehind(std::make_unique<InMemoryIndex>()); }

}  // namespace narthex::staging
