#include "server/app/disk_watch.h"

#include <utility>

#include "absl/time/time.h"

#include "base/log.h"
#include "base/metrics.h"

namespace narthex::app {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

}  // namespace

DiskWatch::DiskWatch(fs::FileSystem& files, std::vector<Volume> volumes, uint64_t min_bytes)
    : files_(files), volumes_(std::move(volumes)), min_bytes_(min_bytes), thread_([this] { Run(); }) {}

DiskWatch::~DiskWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void DiskWatch::SetMinBytes(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  min_bytes_ = bytes;
}

void DiskWatch::Run() {
  while (true) {
    uint64_t min_bytes = 0;
    {
      absl::MutexLock lock(&mutex_);
      min_bytes = min_bytes_;
    }
    Look(min_bytes);
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
  }
}

void DiskWatch::Look(uint64_t min_bytes) {
  for (Volume& volume : volumes_) {
    const auto free = files_.FreeBytes(volume.path);
    if (!free.ok()) continue;
    const MetricLabels labels = {{"volume", volume.name}};
    Metrics::Global().Set("disk_free_bytes", "Free bytes of a volume.", static_cast<double>(*free), labels);
    const bool low = *free < min_bytes;
    Metrics::Global().Set("disk_low", "1: a volume is below the watermark.", low ? 1 : 0, labels);
    if (low == volume.low) continue;
    volume.low = low;
    Log(low ? LogLevel::kError : LogLevel::kInfo,
        low ? "a disk is below the watermark" : "a disk has space again",
        {{"volume", volume.name}, {"free_bytes", *free}, {"watermark_bytes", min_bytes}});
  }
}

}  // namespace narthex::app
