// The file that says that the server serves, and where.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace narthex::app {

struct ReadyFacts {
  std::string grpc, dicom, metrics;  // addresses, or "off"
  std::string token_file;
};

// Writes JSON with the facts and the process id, by rename. INTERNAL (STORAGE_ERROR): it cannot be written.
absl::Status WriteReadyFile(const std::string& path, const ReadyFacts& facts);

}  // namespace narthex::app
