// Transfer syntaxes (PS3.5 section 10, PS3.6 table A-1): how a data set was turned into bytes. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narthex::dicom {

struct TransferSyntax {
  absl::string_view uid;   // "" for one that is not in the table
  absl::string_view name;  // "JPEG 2000 Image Compression (Lossless Only)"
  bool explicit_vr = true;
  bool big_endian = false;
  bool deflated = false;      // the data set after the meta group is one raw deflate stream
  bool encapsulated = false;  // PixelData is a sequence of fragments
  bool lossy = false;         // decoding may not give back what was encoded

  bool known() const { return !uid.empty(); }
};

inline constexpr absl::string_view kImplicitVrLittleEndian = "1.2.840.10008.1.2";
inline constexpr absl::string_view kExplicitVrLittleEndian = "1.2.840.10008.1.2.1";
inline constexpr absl::string_view kDeflatedExplicitVrLittleEndian = "1.2.840.10008.1.2.1.99";
inline constexpr absl::string_view kExplicitVrBigEndian = "1.2.840.10008.1.2.2";

// The transfer syntax `uid` (no padding). Others than those in the table, also private ones, are taken as
// explicit VR little endian, encapsulated: so PS3.5 section 10 demands of all new ones.
const TransferSyntax& FindTransferSyntax(absl::string_view uid);

// All in the table, by UID.
absl::Span<const TransferSyntax> AllTransferSyntaxes();

}  // namespace narthex::dicom
