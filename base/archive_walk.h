// Reads files of files (zip, tar, and compressed ones: gzip, bzip2, xz, zstd; also archives within archives)
// as their bytes come, without writing anything. Every byte and name in them is untrusted. Thread-safe
// functions.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex {

// The next bytes; "" at the end. The view lives until the next call.
using ByteSource = std::function<absl::StatusOr<absl::string_view>()>;

// Gets each regular file that is not empty, in order; `name` as the archive has it ("b.zip/a.dcm" within
// another), never to be used as a path. What it leaves unread is skipped. Its error ends the walk.
using EntryVisitor = std::function<absl::Status(const std::string& name, const ByteSource& bytes)>;

// INVALID_ARGUMENT (ARCHIVE_UNREADABLE; metadata `entry` is its number): damaged, encrypted, of an unknown
// format, over limits::kArchiveMaxEntries entries or limits::kArchiveMaxNesting archives deep, or an entry of
// over limits::kObjectMaxBytes; what came before was visited. Other errors: the source's and the visitor's.
absl::Status WalkArchive(const ByteSource& source, const EntryVisitor& visit);

// Whether a file that begins with these bytes (at least 512, or all of it) is an archive.
bool LooksLikeArchive(absl::string_view head);

}  // namespace narthex
