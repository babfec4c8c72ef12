// One of the parallel streams of an upload, with its reconnections. Single-threaded; several may share a
// ledger.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

#include "clients/cpp/connection.h"
#include "clients/cpp/open_file.h"
#include "clients/cpp/upload_ledger.h"
#include "clients/cpp/upload_stream.h"

namespace narthex::client {

class UploadJob {
 public:
  // `upload`: uploads/<id>. `options` and `ledger` must outlive the job.
  UploadJob(std::shared_ptr<Connection> connection, std::string upload, const UploaderOptions& options,
            UploadLedger& ledger);

  // Sends files of the ledger until none waits and all that it sent have their outcome, or until the ledger
  // is stopped; stops the ledger with an error that it cannot overcome.
  void Run();

 private:
  absl::Status RunStream();
  absl::Status SendBatch(UploadStream& stream, const std::vector<UploadTask>& tasks);
  absl::Status SendFile(UploadStream& stream, const UploadTask& task, const OpenFile& file);
  absl::Status SendWhole(UploadStream& stream, const UploadTask& task, const OpenFile& file);
  absl::Status SendPieces(UploadStream& stream, const UploadTask& task, const OpenFile& file);
  void ReturnUnsettled();
  bool MayGoOn(const absl::Status& status, int attempt) const;

  const std::shared_ptr<Connection> connection_;
  const std::string upload_;
  const UploaderOptions& options_;
  UploadLedger& ledger_;
  std::string buffer_;
  absl::Mutex mutex_;
  // Taken from the ledger, without outcome. The stream's thread removes what gets one.
  absl::flat_hash_set<int64_t> unsettled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::client
