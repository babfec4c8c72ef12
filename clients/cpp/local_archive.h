// Reads a .zip, .tar or .tar.gz file of the local disk, and archives within it, without writing anything.
// Thread-safe function.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "base/archive_walk.h"

namespace narthex::client {

// Errors as WalkArchive, and the disk's.
absl::Status ForEachEntry(const std::string& path, const EntryVisitor& visit);

}  // namespace narthex::client
