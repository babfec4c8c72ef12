#include "imaging/dicom/transfer_syntax.h"

#include <algorithm>
#include <iterator>

namespace narthex::dicom {
namespace {

constexpr TransferSyntax Native(absl::string_view uid, absl::string_view name, bool explicit_vr,
                                bool big_endian, bool deflated = false) {
  return {uid, name, explicit_vr, big_endian, deflated, false, false};
}
constexpr TransferSyntax Lossless(absl::string_view uid, absl::string_view name) {
  return {uid, name, true, false, false, true, false};
}
constexpr TransferSyntax Lossy(absl::string_view uid, absl::string_view name) {
  return {uid, name, true, false, false, true, true};
}

// PS3.6 (2024) table A-1 and two private ones that are seen in the wild.
constexpr TransferSyntax kTable[] = {
    Native("1.2.840.10008.1.2", "Implicit VR Little Endian", false, false),
    Native("1.2.840.10008.1.2.1", "Explicit VR Little Endian", true, false),
    Lossless("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
    Native("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", true, false, true),
    Native("1.2.840.10008.1.2.2", "Explicit VR Big Endian", true, true),
    Lossy("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
    Lossy("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)"),
    Lossy("1.2.840.10008.1.2.4.52", "JPEG Extended (Process 3 and 5)"),
    Lossy("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)"),
    Lossy("1.2.840.10008.1.2.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)"),
    Lossy("1.2.840.10008.1.2.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)"),
    Lossy("1.2.840.10008.1.2.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)"),
    Lossless("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    Lossless("1.2.840.10008.1.2.4.58", "JPEG Lossless, Non-Hierarchical (Process 15)"),
    Lossy("1.2.840.10008.1.2.4.59", "JPEG Extended, Hierarchical (Process 16 and 18)"),
    Lossy("1.2.840.10008.1.2.4.60", "JPEG Extended, Hierarchical (Process 17 and 19)"),
    Lossy("1.2.840.10008.1.2.4.61", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)"),
    Lossy("1.2.840.10008.1.2.4.62", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)"),
    Lossy("1.2.840.10008.1.2.4.63", "JPEG Full Progression, Hierarchical (Process 24 and 26)"),
    Lossy("1.2.840.10008.1.2.4.64", "JPEG Full Progression, Hierarchical (Process 25 and 27)"),
    Lossless("1.2.840.10008.1.2.4.65", "JPEG Lossless, Hierarchical (Process 28)"),
    Lossless("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical (Process 29)"),
    Lossless("1.2.840.10008.1.2.4.70",
             "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [SV 1])"),
    Lossless("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression"),
    Lossy("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression"),
    Lossless("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)"),
    Lossy("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression"),
    Lossless("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"),
    Lossy("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component Image Compression"),
    // JPIP keeps a URL instead of pixels: nothing is encapsulated.
    Native("1.2.840.10008.1.2.4.94", "JPIP Referenced", true, false),
    Native("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", true, false, true),
    Lossy("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level"),
    Lossy("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 Main Profile / Main Level"),
    Lossy("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level"),
    Lossy("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 Main Profile / High Level"),
    Lossy("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    Lossy("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    Lossy("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    Lossy("1.2.840.10008.1.2.4.103.1",
          "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
    Lossy("1.2.840.10008.1.2.4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
    Lossy("1.2.840.10008.1.2.4.104.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
    Lossy("1.2.840.10008.1.2.4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
    Lossy("1.2.840.10008.1.2.4.105.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
    Lossy("1.2.840.10008.1.2.4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    Lossy("1.2.840.10008.1.2.4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
    Lossy("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1"),
    Lossy("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1"),
    Lossless("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
    Lossy("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
    Lossy("1.2.840.10008.1.2.4.112", "JPEG XL"),
    Lossless("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"),
    Lossless("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"),
    Lossy("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression"),
    Native("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", true, false),
    Native("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", true, false, true),
    Lossless("1.2.840.10008.1.2.5", "RLE Lossless"),
    Lossless("1.2.840.10008.1.2.6.1", "RFC 2557 MIME encapsulation"),
    Lossless("1.2.840.10008.1.2.6.2", "XML Encoding"),
    Lossless("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
    Lossless("1.2.840.10008.1.2.7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
    Lossless("1.2.840.10008.1.2.7.3", "SMPTE ST 2110-30 PCM Digital Audio"),
    Lossless("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
    Native("1.2.840.10008.1.20", "Papyrus 3 Implicit VR Little Endian", false, false),
    // GE: implicit little endian data set, big endian pixels.
    Native("1.2.840.113619.5.2", "GE Private Implicit VR Little Endian with Big Endian Pixel Data", false,
           false),
};

constexpr TransferSyntax kUnknown = {"", "unknown", true, false, false, true, true};

}  // namespace

const TransferSyntax& FindTransferSyntax(absl::string_view uid) {
  // Two thirds of all objects are explicit little endian: ask for that first.
  if (uid == kExplicitVrLittleEndian) return kTable[1];
  const auto* found = std::find_if(std::begin(kTable), std::end(kTable),
                                   [uid](const TransferSyntax& syntax) { return syntax.uid == uid; });
  return found != std::end(kTable) ? *found : kUnknown;
}

absl::Span<const TransferSyntax> AllTransferSyntaxes() { return kTable; }

}  // namespace narthex::dicom
