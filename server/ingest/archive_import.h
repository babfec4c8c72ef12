// Compressed files of objects (zip, tar, tar.gz, and files in files), unpacked as they arrive and fed to an
// ObjectStream. Nothing is written anywhere but to staging, and no entry's name is ever used as a path.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "server/ingest/object_stream.h"

namespace narthex::ingest {

// Gives the next bytes of the file; an empty view at its end. The view lives until the next call.
using ByteSource = std::function<absl::StatusOr<absl::string_view>()>;

// Feeds every entry that is a file to `stream`, as objects numbered from `*sequence` on, which it advances.
// Files that are archives themselves are unpacked up to limits::kArchiveMaxNesting deep. INVALID_ARGUMENT
// (ARCHIVE_UNREADABLE; metadata `entry` is its number): damaged, encrypted, of no known format, or beyond
// limits::kArchiveMaxEntries. Entries before it were fed.
absl::Status ImportArchive(const ByteSource& source, ObjectStream& stream, int64_t* sequence);

// The same for one file that is an object itself, such as in an inbox folder.
absl::Status ImportObject(const ByteSource& source, ObjectStream& stream, int64_t* sequence);

// Whether a file that begins with these bytes (at least 512, or all of it) is an archive.
bool LooksLikeArchive(absl::string_view head);

}  // namespace narthex::ingest
