// StagingStore over segment files: sessions' folders, open logs, the writer threads.
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/staging/segment_log.h"
#include "storage/staging/segment_reader.h"
#include "storage/staging/store_core.h"

namespace narthex::staging {
namespace {

// A folder that is being removed: "<id>.gone<number>". Ids have no dot.
constexpr absl::string_view kGone = ".gone";

absl::Status CheckId(absl::string_view id) {
  if (IsSessionId(id)) return absl::OkStatus();
  return InvalidArgument("BAD_SESSION_ID", "a session id has 1 to 64 characters of a-z and 0-9");
}

absl::Status NoSession(absl::string_view id) {
  return NotFound("SESSION_NOT_STAGED", absl::StrCat("staging holds nothing of session ", id),
                  {{"session", std::string(id)}});
}

class SegmentStore : public StagingStore {
 public:
  SegmentStore(const Options& options, fs::FileSystem& files)
      : core_(std::make_shared<StoreCore>(options, files)), files_(files) {
    for (int i = 0; i < options.writer_threads; ++i)
      writers_.emplace_back([core = core_] { WriteQueued(*core); });
  }

  ~SegmentStore() override {
    {
      absl::MutexLock lock(&core_->queue_mutex);
      core_->stopping = true;
    }
    for (std::thread& writer : writers_) writer.join();
  }

  absl::StatusOr<std::shared_ptr<SessionLog>> OpenSession(absl::string_view session_id) override {
    NX_RETURN_IF_ERROR(CheckId(session_id));
    const std::string id(session_id);
    LogState state;
    bool has_state = false;
    {
      absl::MutexLock lock(&core_->mutex);
      while (core_->open.contains(id)) {
        if (std::shared_ptr<SegmentLog> log = core_->open[id].log.lock()) return log;
        const auto changed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex) {
          const auto entry = core_->open.find(id);
          return entry == core_->open.end() || !entry->second.log.expired();
        };
        core_->mutex.Await(absl::Condition(&changed));  // another thread is opening or closing it
      }
      core_->open[id] = {};
      const auto closed = core_->closed.find(id);
      has_state = closed != core_->closed.end();
      if (has_state) state = closed->second;
    }
    absl::StatusOr<std::shared_ptr<SegmentLog>> log = NewLog(id, has_state ? &state : nullptr);
    absl::MutexLock lock(&core_->mutex);
    if (!log.ok()) {
      core_->open.erase(id);
      return log.status();
    }
    core_->open[id] = {*log, (*log)->number()};
    return *std::move(log);
  }

  absl::StatusOr<std::vector<std::string>> ListSessions() override {
    std::vector<std::string> ids;
    NX_RETURN_IF_ERROR(VisitFolders([&](const std::string& shard, const std::string& name) {
      if (IsSessionId(name)) ids.push_back(name);
      return absl::OkStatus();
    }));
    return ids;
  }

  absl::Status Scan(absl::string_view session_id, Position after,
                    const std::function<absl::Status(FoundObject)>& found) override {
    NX_ASSIGN_OR_RETURN(SegmentReader reader, ReaderOf(session_id));
    absl::Status status = reader.Scan(after, found);
    return absl::IsNotFound(status) && ErrorReason(status) == "FILE_NOT_FOUND" ? NoSession(session_id)
                                                                               : status;
  }

  absl::StatusOr<Position> EndOf(absl::string_view session_id) override {
    NX_RETURN_IF_ERROR(CheckId(session_id));
    const std::string path = SessionPath(core_->options.directory, session_id);
    const absl::StatusOr<std::vector<uint32_t>> numbers = ListSegments(files_, path);
    if (absl::IsNotFound(numbers.status())) return NoSession(session_id);
    NX_RETURN_IF_ERROR(numbers.status());
    if (numbers->empty()) return Position();
    NX_ASSIGN_OR_RETURN(const fs::FileInfo info, files_.Stat(SegmentPath(path, numbers->back())));
    return Position{numbers->back(), info.size_bytes};
  }

  absl::Status VerifySession(absl::string_view session_id, SessionReport& report) override {
    NX_ASSIGN_OR_RETURN(SegmentReader reader, ReaderOf(session_id));
    absl::Status status = reader.Verify(report);
    return absl::IsNotFound(status) && ErrorReason(status) == "FILE_NOT_FOUND" ? NoSession(session_id)
                                                                               : status;
  }

  absl::Status Snapshot(absl::string_view directory, const std::function<absl::Status()>& also) override {
    absl::WriterMutexLock hold(&removals_);
    NX_RETURN_IF_ERROR(also());
    NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(files_, directory));
    return LinkTree(core_->options.directory, std::string(directory));
  }

  void SetFreeSpaceMin(uint64_t bytes) override { core_->free_space.SetMin(bytes); }

  absl::Status Remove(absl::string_view session_id) override {
    absl::ReaderMutexLock not_while_linking(&removals_);
    NX_RETURN_IF_ERROR(CheckId(session_id));
    const std::string id(session_id);
    std::shared_ptr<SegmentLog> log = OpenLogOf(id, /*reserve=*/true);
    if (log != nullptr) log->MarkRemoved();
    log.reset();
    absl::Status status = MoveAwayAndRemove(SessionPath(core_->options.directory, id));
    absl::MutexLock lock(&core_->mutex);
    core_->open.erase(id);
    if (status.ok()) core_->closed.erase(id);
    return status;
  }

  // Finishes removals that a crash interrupted.
  absl::Status RemoveGone() {
    return VisitFolders([this](const std::string& shard, const std::string& name) {
      return absl::StrContains(name, kGone) ? files_.RemoveTree(fs::JoinPath(shard, name)) : absl::OkStatus();
    });
  }

 private:
  static void WriteQueued(StoreCore& core) {
    const auto has_work = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.queue_mutex) {
      return core.stopping || !core.queue.empty();
    };
    while (true) {
      std::weak_ptr<SegmentLog> next;
      {
        absl::MutexLock lock(&core.queue_mutex);
        core.queue_mutex.Await(absl::Condition(&has_work));
        if (core.stopping) return;
        next = std::move(core.queue.front());
        core.queue.pop_front();
      }
      if (const std::shared_ptr<SegmentLog> log = next.lock()) log->WriteBehind();
    }
  }

  static void CloseLog(StoreCore& core, const std::string& id, SegmentLog* log) {
    std::optional<LogState> state = log->Close();
    absl::MutexLock lock(&core.mutex);
    const auto entry = core.open.find(id);
    if (entry != core.open.end() && entry->second.log_number == log->number()) {
      core.open.erase(entry);
      if (state.has_value()) core.closed[id] = *std::move(state);
    }
  }

  absl::StatusOr<std::shared_ptr<SegmentLog>> NewLog(const std::string& id, const LogState* state) {
    const std::string path = SessionPath(core_->options.directory, id);
    std::atomic<bool>& shard_durable = core_->shard_durable[ShardOf(id)];
    if (!shard_durable) {
      NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(files_, fs::ParentPath(path)));
      shard_durable = true;
    }
    NX_RETURN_IF_ERROR(files_.MakeDirectories(path));
    uint32_t next_segment = 0;
    uint64_t size_bytes = 0;
    if (state == nullptr) {
      NX_ASSIGN_OR_RETURN(const std::vector<uint32_t> numbers, ListSegments(files_, path));
      for (const uint32_t number : numbers) {
        NX_ASSIGN_OR_RETURN(const fs::FileInfo info, files_.Stat(SegmentPath(path, number)));
        size_bytes += info.size_bytes;
        next_segment = number + 1;
      }
    }
    auto* const log = new SegmentLog(core_, id, next_segment, size_bytes, state);
    return std::shared_ptr<SegmentLog>(log, [core = core_, id](SegmentLog* closing) {
      CloseLog(*core, id, closing);
      delete closing;
    });
  }

  absl::Status LinkTree(const std::string& from, const std::string& to) {
    NX_ASSIGN_OR_RETURN(const auto entries, files_.List(from));
    for (const fs::DirectoryEntry& entry : entries) {
      const std::string source = absl::StrCat(from, "/", entry.name);
      const std::string target = absl::StrCat(to, "/", entry.name);
      if (absl::StrContains(entry.name, kGone)) continue;  // being removed
      if (entry.type == fs::FileInfo::Type::kDirectory) {
        NX_RETURN_IF_ERROR(files_.MakeDirectories(target));
        NX_RETURN_IF_ERROR(LinkTree(source, target));
      } else {
        NX_RETURN_IF_ERROR(files_.Link(source, target));
      }
    }
    return files_.SyncDirectory(to);
  }

  // The rename is the removal; if the power goes after it, Open removes the rest.
  absl::Status MoveAwayAndRemove(const std::string& path) {
    const std::string gone = absl::StrCat(path, kGone, core_->next_log++);
    const absl::Status status = files_.Rename(path, gone);
    if (absl::IsNotFound(status)) return absl::OkStatus();
    NX_RETURN_IF_ERROR(status);
    NX_RETURN_IF_ERROR(files_.SyncDirectory(fs::ParentPath(path)));
    CrashPoint("release.renamed");
    NX_RETURN_IF_ERROR(files_.RemoveTree(gone));
    core_->free_space.Refresh();
    return absl::OkStatus();
  }

  // The open log of a session, if any. With `reserve` nobody else gets it or opens another one from now on,
  // until the caller erases the entry.
  std::shared_ptr<SegmentLog> OpenLogOf(const std::string& id, bool reserve) {
    absl::MutexLock lock(&core_->mutex);
    // A log that is just opening or closing is awaited: its folder must not move under it.
    const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex) {
      const auto entry = core_->open.find(id);
      return entry == core_->open.end() || !entry->second.log.expired();
    };
    core_->mutex.Await(absl::Condition(&settled));
    const auto entry = core_->open.find(id);
    std::shared_ptr<SegmentLog> log = entry == core_->open.end() ? nullptr : entry->second.log.lock();
    if (reserve) core_->open[id] = {};
    return log;
  }

  absl::StatusOr<SegmentReader> ReaderOf(absl::string_view session_id) {
    NX_RETURN_IF_ERROR(CheckId(session_id));
    const std::string id(session_id);
    if (const std::shared_ptr<SegmentLog> log = OpenLogOf(id, /*reserve=*/false))
      NX_RETURN_IF_ERROR(log->WriteAll());
    return SegmentReader(files_, SessionPath(core_->options.directory, id), id);
  }

  absl::Status VisitFolders(
      const std::function<absl::Status(const std::string& shard_path, const std::string& name)>& visit) {
    NX_ASSIGN_OR_RETURN(const std::vector<fs::DirectoryEntry> shards, files_.List(core_->options.directory));
    for (const fs::DirectoryEntry& shard : shards) {
      if (shard.type != fs::FileInfo::Type::kDirectory || shard.name.size() != 2) continue;
      const std::string path = fs::JoinPath(core_->options.directory, shard.name);
      NX_ASSIGN_OR_RETURN(const std::vector<fs::DirectoryEntry> sessions, files_.List(path));
      for (const fs::DirectoryEntry& session : sessions) {
        if (session.type == fs::FileInfo::Type::kDirectory) NX_RETURN_IF_ERROR(visit(path, session.name));
      }
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<StoreCore> core_;
  fs::FileSystem& files_;
  absl::Mutex removals_;  // readers remove, the writer is a snapshot
  std::vector<std::thread> writers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StagingStore>> StagingStore::Open(const Options& options,
                                                                 fs::FileSystem& file_system) {
  NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(file_system, options.directory));
  auto store = std::make_unique<SegmentStore>(options, file_system);
  NX_RETURN_IF_ERROR(store->RemoveGone());
  return std::unique_ptr<StagingStore>(std::move(store));
}

}  // namespace narthex::staging
