// Reads the header of one DICOM object, as its bytes arrive, up to its bulk data. The bytes are untrusted.
//
//   HeaderScanner scanner;
//   for (each piece) {
//     NX_ASSIGN_OR_RETURN(ScanState state, scanner.Feed(piece));
//     if (state == ScanState::kHeaderDone) break;
//   }
//   NX_ASSIGN_OR_RETURN(HeaderFacts facts, scanner.Finish());
//
// It copes with what real senders make: Part 10 files with any preamble, with meta groups that are incomplete
// or lack their length; meta groups without preamble; bare data sets (implicit or explicit, little or big
// endian; guessed); transfer syntaxes that lie about implicit and explicit; deflated data sets; sequences and
// items of undefined length, in UN also; private sequences, unknown VRs, odd lengths, elements out of order.
// It never recurses, holds no value that is not wanted, and descends only into sequences that are wanted or
// have no length.
//
// Reasons of its errors (all INVALID_ARGUMENT; texts carry tags and offsets, no values):
//   NOT_DICOM                 it does not begin as a DICOM object does
//   DICOMDIR                  a media directory, not an image
//   MISSING_SOP_CLASS_UID, MISSING_SOP_INSTANCE_UID
//   INVALID_UID               a SOP class, SOP instance, study or series UID is not 1 to 64 of
//   [A-Za-z0-9._-],
//                             or has ".." in it
//   TRUNCATED_HEADER          the object ends (or a length points beyond its end) before all UIDs were seen
//   HEADER_TOO_DEEP           more than limits::kSequenceMaxDepth sequences without length within each other
//   HEADER_TOO_LARGE          more than limits::kHeaderMaxBytes or kHeaderMaxElements before the bulk data,
//   or a
//                             deflated stream that grows by more than limits::kInflateMaxRatio
//   MALFORMED_HEADER          bytes that are no element before all UIDs were seen; a corrupt deflated stream
// A missing Study or Series Instance UID is not an error here: the facts have "".
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/dicom/header_facts.h"

namespace narthex::dicom {

enum class ScanState {
  kNeedMore,
  kHeaderDone,  // the facts are final; further bytes are ignored
};

struct ScanOptions {
  // What to capture; borrowed. nullptr: AttributeSet::Default().
  const AttributeSet* attributes = nullptr;
  // The transfer syntax of a data set without meta group, as a DIMSE association negotiated it. "": a file.
  std::string transfer_syntax_uid;
  // The object's size; 0 if it is not known. Lengths beyond it are found out at once.
  uint64_t object_size = 0;
  // False: missing SOP class and instance UIDs are no errors either (for looking at strange files).
  bool require_sop_uids = true;
  // Walk every sequence, so that a success proves that nothing nests deeper than limits::kSequenceMaxDepth:
  // for what goes to a recursive parser next. (Not what hides in UN of defined length.)
  bool walk_all_sequences = false;
  // Whose object it is: one that we keep is read though limits were lowered since it came.
  Origin origin = Origin::kArriving;
};

// Single-threaded. One object; then make another or Reset().
class HeaderScanner {
 public:
  explicit HeaderScanner(ScanOptions options = {});
  ~HeaderScanner();
  HeaderScanner(HeaderScanner&&) noexcept;
  HeaderScanner& operator=(HeaderScanner&&) noexcept;

  // The next bytes of the object. After an error every call returns that error.
  absl::StatusOr<ScanState> Feed(absl::string_view bytes);

  // The facts. Call it after kHeaderDone, or at the end of the object, once.
  absl::StatusOr<HeaderFacts> Finish();

  // What has been found so far: complete after kHeaderDone.
  const HeaderFacts& facts() const;

  // Begins another object with the same options but `object_size`. Cheaper than a new scanner.
  void Reset(uint64_t object_size = 0);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Scans a whole object, or what there is of its beginning. options.object_size 0: bytes.size().
absl::StatusOr<HeaderFacts> ScanWhole(absl::string_view bytes, const ScanOptions& options = {});

// Scans the file `path`, reading no further than its header. NOT_FOUND, PERMISSION_DENIED and the like if it
// cannot be read.
absl::StatusOr<HeaderFacts> ScanFile(const std::string& path, const ScanOptions& options = {});

}  // namespace narthex::dicom
