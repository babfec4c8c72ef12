// What a client must remember of an upload to go on with it after its own death. JSON-free text, one line per
// field, written by rename:
//
//   narthex-resume 1
//   upload uploads/k3x...
//   destination <hex of the serialized Destination>
//   file <sequence> <size> <mtime ns> <state> <path, \n and \ escaped by a backslash>
//
// `state` is a number of ObjectOutcome.Outcome, 0 while there is none. It is advice: GetUpload is the truth.
// Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "clients/cpp/file_set.h"
#include "narthex/v1/resources.pb.h"

namespace narthex::client {

struct ResumeEntry {
  LocalFile file;
  int64_t sequence = 0;
  v1::ObjectOutcome::Outcome state = v1::ObjectOutcome::OUTCOME_UNSPECIFIED;
};

struct ResumeState {
  std::string upload;
  v1::Destination destination;
  std::vector<ResumeEntry> entries;
};

// NOT_FOUND: there is no such file. INVALID_ARGUMENT: it is not one of ours.
absl::StatusOr<ResumeState> ReadResumeFile(const std::string& path);

// Replaces the file at `path`; durable when it returns.
absl::Status WriteResumeFile(const std::string& path, const ResumeState& state);

}  // namespace narthex::client
