// Compressed files of objects (zip, tar, tar.gz, and files in files), unpacked as they arrive and fed to an
// ObjectStream. Nothing is written anywhere but to staging, and no entry's name is ever used as a path.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

#include "base/archive_walk.h"
#include "server/ingest/object_stream.h"

namespace narthex::ingest {

// Feeds every entry that is a file to `stream`, as objects numbered from `*sequence` on, which it advances.
// Files that are archives themselves are unpacked. Errors as WalkArchive: entries before it were fed; and the
// stream's.
absl::Status ImportArchive(const ByteSource& source, ObjectStream& stream, int64_t* sequence);

// The same for one file that is an object itself, such as in an inbox folder.
absl::Status ImportObject(const ByteSource& source, ObjectStream& stream, int64_t* sequence);

}  // namespace narthex::ingest
