// Forgets uploads of long ago while the server runs (server/ingest/upload_retention.h): at once, when the
// setting changes, and then every hour. Thread-safe; one thread.
#pragma once

#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "base/clock.h"
#include "server/rpc/settings_service.h"
#include "storage/staging/index.h"

namespace narthex::app {

class UploadSweeper {
 public:
  // Both are borrowed. Nothing is forgotten before the setting was applied.
  UploadSweeper(staging::Index& index, const Clock& clock);
  ~UploadSweeper();

  // uploads.keep_days.
  rpc::SettingSpec Setting();

 private:
  void Run();
  void Sweep(int64_t keep_days);
  bool Wanted() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || changed_; }

  staging::Index& index_;
  const Clock& clock_;
  absl::Mutex mutex_;
  int64_t keep_days_ ABSL_GUARDED_BY(mutex_) = 0;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::app
