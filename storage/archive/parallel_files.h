// Writes many files at once, with digests of their bytes, and makes them durable in batches.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "storage/archive/session_writer.h"
#include "storage/fs/file_system.h"

namespace narthex::archive {

// Writes sources[i] to paths[i] (whose folders exist; leftovers of an earlier run are replaced) on `threads`
// threads. OK: all bytes are durable, their names not yet; `written` has one entry for each source. Otherwise
// the first error; the others stop soon.
absl::Status WriteInParallel(absl::Span<const FileSource> sources, absl::Span<const std::string> paths,
                             int threads, fs::FileSystem& file_system, std::vector<WrittenFile>& written);

}  // namespace narthex::archive
