#include "clients/cpp/local_archive.h"

#include <algorithm>

#include "base/status.h"
#include "clients/cpp/open_file.h"

namespace narthex::client {

absl::Status ForEachEntry(const std::string& path, const EntryVisitor& visit) {
  constexpr size_t kPieceBytes = 256 << 10;
  NX_ASSIGN_OR_RETURN(const OpenFile file, OpenFile::Open(path, kPieceBytes));
  std::string buffer(kPieceBytes, '\0');
  int64_t at = 0;
  const ByteSource bytes = [&]() -> absl::StatusOr<absl::string_view> {
    const auto size = static_cast<size_t>(std::min<int64_t>(kPieceBytes, file.size_bytes() - at));
    if (size == 0) return absl::string_view();
    NX_RETURN_IF_ERROR(file.Read(at, absl::MakeSpan(buffer.data(), size)));
    at += static_cast<int64_t>(size);
    return absl::string_view(buffer.data(), size);
  };
  return WalkArchive(bytes, visit);
}

}  // namespace narthex::client
