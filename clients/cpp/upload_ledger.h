// Which files of an upload wait, were sent, and have their outcome: what the parallel jobs of an upload
// share. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "clients/cpp/resume_file.h"
#include "clients/cpp/uploader.h"

namespace narthex::client {

// A file to send. `file` lives as long as the ledger.
struct UploadTask {
  int64_t sequence = 0;
  const LocalFile* file = nullptr;
};

class UploadLedger {
 public:
  // Sequences must be distinct. All files wait.
  explicit UploadLedger(std::vector<ResumeEntry> entries);

  // The next files, at most `max_count` and, beyond the first, `max_bytes`; empty: none waits or Stop was
  // called.
  std::vector<UploadTask> Take(size_t max_count, int64_t max_bytes);
  // Files that were taken and whose outcome is unknown after a broken stream; those without one wait again.
  void Return(const std::vector<int64_t>& sequences);
  bool HasWaiting() const;

  // `bytes` more of a file were sent.
  void CountSent(int64_t sequence, int64_t bytes);
  // The server's outcome. One that says that bytes were damaged on the way makes the file wait again under a
  // new sequence, at most twice.
  void Settle(const v1::ObjectOutcome& outcome);
  // Outcomes that are durable, of which the server told no more than that.
  void SettleDurable(const v1::Upload& upload);
  // The server has the bytes of this file already.
  void SettleKnown(int64_t sequence);
  // A file that could not be read. `sent`: some of it went out, so that the server will answer, too.
  void Fail(int64_t sequence, absl::string_view detail, bool sent);

  // No more files are given out; the first error is kept.
  void Stop(const absl::Status& status);
  absl::Status status() const;
  bool stopped() const;
  // Blocks until Stop or for `duration`; true if stopped.
  bool WaitForStop(absl::Duration duration);

  UploadProgress progress() const;
  void SetReconnecting(bool reconnecting);
  // When an outcome came last; the ledger's birth if none came.
  absl::Time last_settled() const;
  // Sequences that have an outcome on the server.
  int64_t acknowledged_count() const;
  // Whether some outcome is known only to exist.
  bool outcomes_missing() const;

  std::vector<ResumeEntry> entries() const;
  std::vector<FileOutcome> outcomes() const;

 private:
  struct Row {
    ResumeEntry entry;
    v1::ObjectOutcome outcome;
    int64_t sent_bytes = 0;
    int retries = 0;
    bool settled = false;
    bool failed = false;  // could not be read
  };
  Row* Find(int64_t sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MarkSettled(Row& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Renumber(Row& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<Row> rows_ ABSL_GUARDED_BY(mutex_);  // never resized
  absl::flat_hash_map<int64_t, size_t> by_sequence_ ABSL_GUARDED_BY(mutex_);
  std::deque<size_t> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t acknowledged_count_ ABSL_GUARDED_BY(mutex_) = 0;
  UploadProgress progress_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_settled_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace narthex::client
