// Reads a .zip, .tar or .tar.gz file of the local disk, and archives within it, without writing anything.
// Thread-safe function.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::client {

// The next bytes; "" at the end. The view lives until the next call.
using ByteSource = std::function<absl::StatusOr<absl::string_view>()>;

// Gets each regular file, in order; `name` as the archive has it ("b.zip/a.dcm" within another), untrusted.
// What it leaves unread is skipped. Its error ends the walk.
using EntryVisitor = std::function<absl::Status(const std::string& name, const ByteSource& bytes)>;

// INVALID_ARGUMENT (ARCHIVE_UNREADABLE): damaged, encrypted, of an unknown format, over
// limits::kArchiveMaxEntries entries or limits::kArchiveMaxNesting archives deep, or an entry of over
// limits::kObjectMaxBytes; what came before was visited. Other errors: the disk's and the visitor's.
absl::Status ForEachEntry(const std::string& path, const EntryVisitor& visit);

}  // namespace narthex::client
