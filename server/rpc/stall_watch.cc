#include "server/rpc/stall_watch.h"

#include "absl/strings/match.h"
#include "absl/time/clock.h"

#include "base/log.h"
#include "base/metrics.h"

namespace narthex::rpc {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

}  // namespace

StallWatch::StallWatch(absl::Duration patience)
    : patience_ns_(absl::ToInt64Nanoseconds(patience)), thread_([this] { Run(); }) {}

StallWatch::~StallWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

StallWatch::Guard::Guard(StallWatch& watch, grpc::ServerContext& context)
    : watch_(watch), context_(context), watched_(!absl::StartsWith(context.peer(), "inproc")) {
  if (!watched_) return;
  absl::MutexLock lock(&watch_.mutex_);
  watch_.guards_.insert(this);
}

StallWatch::Guard::~Guard() {
  if (!watched_) return;
  absl::MutexLock lock(&watch_.mutex_);
  watch_.guards_.erase(this);
}

void StallWatch::Run() {
  while (true) {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
    const int64_t now = absl::GetCurrentTimeNanos();
    for (Guard* guard : guards_) {
      const int64_t since = guard->since_ns_;
      if (since == 0 || now - since < patience_ns_) continue;
      guard->since_ns_ = 0;
      Metrics::Global().Count("stalled_calls_total", "Calls that were ended as their peer did nothing.");
      Log(LogLevel::kWarning, "a peer did nothing for too long; its call is ended",
          {{"peer", guard->context_.peer()}});
      guard->context_.TryCancel();
    }
  }
}

}  // namespace narthex::rpc
