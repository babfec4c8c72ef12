#include "storage/staging/store_core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/staging/segment_log.h"

namespace narthex::staging {
namespace {

constexpr int64_t kFreeSpaceRefreshNs = 250'000'000;
constexpr uint64_t kRoomAgainBytes = 16 << 20;                    // after a write that found no space
constexpr size_t kPoolMinBytes = 4 << 20;                         // the largest record takes 3 MiB
constexpr absl::Duration kSlabPatience = absl::Milliseconds(20);  // then other logs are looked at again

}  // namespace

absl::Status FreeSpace::CheckFull() {
  const int64_t now = absl::GetCurrentTimeNanos();
  absl::MutexLock lock(&full_mutex_);
  if (!full_) return absl::OkStatus();
  absl::StatusOr<uint64_t> free = 0;
  if (now >= next_look_ns_) {
    free = files_.FreeBytes(path_);
    next_look_ns_ = now + kFreeSpaceRefreshNs;
  }
  if (free.ok() && *free >= kRoomAgainBytes) {
    full_ = false;
    room_again_ns_ = now;
    Log(LogLevel::kInfo, "the staging disk has room again", {{"refused", refused_count_}});
    return absl::OkStatus();
  }
  ++refused_count_;
  return ResourceExhausted("DISK_FULL", "the staging disk is full; archive or delete sessions, or add space");
}

void FreeSpace::Full() {
  const int64_t now = absl::GetCurrentTimeNanos();
  absl::MutexLock lock(&full_mutex_);
  if (full_) return;
  full_ = true;
  refused_count_ = 0;
  // Where it is full again at once (a quota, no inodes), the free bytes say nothing: wait before the next
  // attempt.
  next_look_ns_ = now - room_again_ns_ < kFreeSpaceRefreshNs ? now + kFreeSpaceRefreshNs : 0;
  Log(LogLevel::kError, "the staging disk is full");
}

absl::Status FreeSpace::Check() {
  if (full_) NX_RETURN_IF_ERROR(CheckFull());
  const int64_t now = absl::GetCurrentTimeNanos();
  uint64_t free = free_.load(std::memory_order_relaxed);
  const uint64_t written = written_.load(std::memory_order_relaxed);
  const uint64_t min_bytes = min_bytes_.load(std::memory_order_relaxed);
  // Far above the watermark the guess is good enough; near it every call asks.
  const bool near_limit = free < min_bytes || written > (free - min_bytes) / 2;
  if (near_limit || now >= next_refresh_ns_.load(std::memory_order_relaxed)) {
    next_refresh_ns_ = now + kFreeSpaceRefreshNs;
    written_ = 0;
    NX_ASSIGN_OR_RETURN(free, files_.FreeBytes(path_));
    free_ = free;
  }
  if (free >= min_bytes) return absl::OkStatus();
  return ResourceExhausted(
      "DISK_FULL",
      absl::StrCat("the staging disk has ", free, " bytes free, fewer than the watermark of ", min_bytes,
                   "; archive or delete sessions, or add space"),
      {{"free_bytes", absl::StrCat(free)}, {"watermark_bytes", absl::StrCat(min_bytes)}});
}

std::shared_ptr<fs::File> FileCache::Find(const Key& key) {
  absl::MutexLock lock(&mutex_);
  const auto found =
      std::find_if(files_.rbegin(), files_.rend(), [&](const auto& e) { return e.first == key; });
  return found == files_.rend() ? nullptr : found->second;
}

void FileCache::Insert(const Key& key, std::shared_ptr<fs::File> file) {
  std::shared_ptr<fs::File> closed;  // outside the lock
  absl::MutexLock lock(&mutex_);
  const auto same = std::find_if(files_.begin(), files_.end(), [&](const auto& e) { return e.first == key; });
  if (same != files_.end()) files_.erase(same);
  files_.emplace_back(key, std::move(file));
  if (files_.size() > max_files_) {
    closed = std::move(files_.front().second);
    files_.pop_front();
  }
}

void FileCache::EraseLog(uint64_t log) {
  absl::MutexLock lock(&mutex_);
  files_.erase(
      std::remove_if(files_.begin(), files_.end(), [&](const auto& e) { return e.first.log == log; }),
      files_.end());
}

StoreCore::StoreCore(const StagingStore::Options& options, fs::FileSystem& files)
    : options(options),
      files(files),
      slabs(std::max(options.buffer_pool_bytes, kPoolMinBytes)),
      free_space(files, options.directory, options.free_space_min_bytes),
      file_cache(limits::kOpenSegmentsMax) {}

std::vector<Slab> StoreCore::TakeSlabs(size_t count, SegmentLog& log) {
  std::vector<Slab> taken;
  if (slabs.TryTake(count, taken)) return taken;
  while (true) {
    log.ReleaseMemory();
    if (slabs.TryTake(count, taken)) return taken;
    for (const std::shared_ptr<SegmentLog>& other : OpenLogs()) {
      if (other.get() == &log) continue;
      other->ReleaseMemory();
      if (slabs.TryTake(count, taken)) return taken;
    }
    // The rest is being written by others or in the hands of writers that are active right now.
    if (slabs.TakeWithin(count, kSlabPatience, taken)) return taken;
  }
}

void StoreCore::QueueWrite(std::weak_ptr<SegmentLog> log) {
  absl::MutexLock lock(&queue_mutex);
  if (!stopping) queue.push_back(std::move(log));
}

std::vector<std::shared_ptr<SegmentLog>> StoreCore::OpenLogs() {
  std::vector<std::shared_ptr<SegmentLog>> logs;
  absl::MutexLock lock(&mutex);
  for (const auto& [id, entry] : open) {
    if (std::shared_ptr<SegmentLog> log = entry.log.lock()) logs.push_back(std::move(log));
  }
  return logs;
}

}  // namespace narthex::staging
