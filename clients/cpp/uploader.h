// Uploads files: several streams at once, each file read once, with resume after a lost connection or a
// killed client.
//
//   NX_ASSIGN_OR_RETURN(FileSet files, CollectFiles(paths));
//   NX_ASSIGN_OR_RETURN(UploadReport report, UploadFiles(connection, files.files, options));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "clients/cpp/connection.h"
#include "clients/cpp/file_set.h"
#include "clients/cpp/upload_stream.h"

namespace narthex::client {

struct UploadProgress {
  int64_t object_count = 0;        // in all
  int64_t total_bytes = 0;         // in all
  int64_t sent_bytes = 0;          // by this client, including what waits for its outcome
  int64_t acknowledged_count = 0;  // objects with an outcome, now or in a former run
  int64_t acknowledged_bytes = 0;
  int64_t problem_count = 0;  // outcomes CONFLICT and REJECTED, and files that could not be read
  bool reconnecting = false;
};

struct UploaderOptions {
  v1::Destination destination;
  // Parallel streams, 1 to 16.
  int jobs = 3;
  UploadStreamOptions stream = {};
  // Where the state is kept (ResumeFile); if it exists and is of the same destination and files, that upload
  // is continued. Empty: none. Removed once the upload is committed.
  std::string resume_path;
  // Asks the server first which digests it lacks, and sends only those. Reads every file twice. Needs
  // destination.project.
  bool find_missing = false;
  // The files were de-identified with the server's scripts; see ArrivalSource in the API.
  bool locally_anonymized = false;
  // Commits with the number of objects when all have an outcome.
  bool commit = true;
  // Gives up after so long without any progress while the server cannot be reached.
  absl::Duration reconnect_timeout = absl::Minutes(5);
  // Called about ten times a second from one thread at a time. May be null.
  std::function<void(const UploadProgress&)> on_progress = nullptr;
};

// What became of one file.
struct FileOutcome {
  std::string path;
  v1::ObjectOutcome outcome;
};

struct UploadReport {
  // As the server described it last.
  v1::Upload upload;
  // By sequence. A file that could not be read has outcome REJECTED with reason FILE_UNREADABLE, made here.
  std::vector<FileOutcome> outcomes;
  // Of the commit.
  std::vector<std::string> build_operations;
  bool committed = false;
  // The first error that could not be overcome by reconnecting. The outcomes tell what is known; files
  // without one (OUTCOME_UNSPECIFIED) may have been kept or not, and the same with the resume file sends only
  // what was not. Nothing was committed, unless the answer to that was lost.
  absl::Status broken_off;
  // Of files that were acknowledged in a former run.
  int64_t resumed_count = 0;
};

// Uploads `files` in their order; blocks. An error: no upload was begun. One that breaks off later gives a
// report, too; what was acknowledged until then stays with the server and in the resume file.
absl::StatusOr<UploadReport> UploadFiles(std::shared_ptr<Connection> connection,
                                         const std::vector<LocalFile>& files, const UploaderOptions& options);

// Sends a zip, tar or tar.gz file that the server unpacks; blocks. `on_progress` gets the bytes sent so far;
// may be null. Not repeated by itself when the connection breaks, but repeating it is harmless: what is there
// becomes DUPLICATE.
absl::StatusOr<v1::ImportArchiveResponse> ImportArchiveFile(
    Connection& connection, const std::string& path, const v1::ImportOptions& options,
    const std::function<void(int64_t)>& on_progress = nullptr);

// All outcomes of an upload, page by page.
absl::StatusOr<std::vector<v1::ObjectOutcome>> ListAllUploadOutcomes(Connection& connection,
                                                                     const std::string& upload);

}  // namespace narthex::client
