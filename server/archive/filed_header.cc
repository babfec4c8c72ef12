#include "server/archive/filed_header.h"

#include <memory>

#include "base/status.h"
#include "imaging/dicom/header_scanner.h"

namespace narthex::archiving {
namespace {

constexpr size_t kHeaderPieceBytes = 64 << 10;

}  // namespace

absl::StatusOr<dicom::HeaderFacts> ReadFacts(fs::FileSystem& files, const std::string& place,
                                             const dicom::AttributeSet& attributes) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<fs::File> file, files.Open(place, {}));
  dicom::ScanOptions options;
  options.attributes = &attributes;
  options.origin = Origin::kStored;
  NX_ASSIGN_OR_RETURN(options.object_size, file->SizeBytes());
  dicom::HeaderScanner scanner(options);
  std::string piece(kHeaderPieceBytes, '\0');
  for (uint64_t at = 0;;) {
    NX_ASSIGN_OR_RETURN(const size_t got, file->ReadAt(at, piece.data(), piece.size()));
    if (got == 0) break;
    at += got;
    NX_ASSIGN_OR_RETURN(const dicom::ScanState state, scanner.Feed(absl::string_view(piece.data(), got)));
    if (state == dicom::ScanState::kHeaderDone) break;
  }
  return scanner.Finish();
}

}  // namespace narthex::archiving
