// Starts the managed PostgreSQL again when it died. Thread-safe.
#pragma once

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "storage/metadata/managed_postgres.h"

namespace narthex::app {

class PostgresKeeper {
 public:
  // `postgres` is borrowed. Looks every second.
  explicit PostgresKeeper(metadata::ManagedPostgres& postgres);
  ~PostgresKeeper();

 private:
  void Run();

  metadata::ManagedPostgres& postgres_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::app
