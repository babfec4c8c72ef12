// Rewrites the header of a DICOM object while its bulk data pass through untouched. The object comes in
// pieces of any size; only the header is held (at most limits::kHeaderMaxBytes), so memory does not grow with
// the object.
//
//   HeaderRewriter rewriter(editor, output);
//   for (piece : object) NX_RETURN_IF_ERROR(rewriter.Add(piece));
//   NX_RETURN_IF_ERROR(rewriter.Finish());
//
// Reads Part 10 files, files without preamble, and bare data sets; any transfer syntax. A deflated data set
// is inflated and deflated anew. Bulk data are PixelData and its float kin, SpectroscopyData, and an
// EncapsulatedDocument above kEncapsulatedInlineMaxBytes. Thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/dataset.h"

namespace narthex::dicom {

// What comes before the bulk data.
struct ObjectHeader {
  std::string preamble;           // 128 bytes, or empty: the object had no preamble and "DICM"
  std::unique_ptr<DataSet> meta;  // group 0002; null: the object had none
  std::unique_ptr<DataSet> data;
  TransferSyntax syntax;  // as declared; uid is "" if nothing declared one
};

// Changes bulk data while they pass. Single-threaded; used for one element.
class BulkFilter {
 public:
  using Put = absl::FunctionRef<absl::Status(absl::string_view)>;
  virtual ~BulkFilter() = default;
  // The next bytes of the value; of encapsulated data, of the fragment that BeginFragment announced.
  virtual absl::Status Add(absl::string_view bytes, Put put) = 0;
  // A fragment of `length` bytes begins (the first is the basic offset table).
  virtual absl::Status BeginFragment(uint32_t length, Put put) { return absl::OkStatus(); }
  // The value is complete.
  virtual absl::Status Finish(Put put) = 0;
  // Whether everything passes as it is, so that an object which ends inside the element may, too: then Finish
  // is called there.
  virtual bool only_looks() const { return false; }
};

// The beginning of a bulk element. Its views live as long as the call that gets it.
struct BulkHead {
  Tag tag;
  Vr vr = Vr::kUN;               // kUN in implicit VR
  uint32_t length = 0;           // 0xffffffff: encapsulated fragments
  absl::string_view head_bytes;  // tag, VR and length as they came
};

// Changes headers. Called in this order: EditHeader once, then FilterBulk for each bulk element and
// EditTrailing for each run of elements behind one.
class HeaderEditor {
 public:
  virtual ~HeaderEditor() = default;
  // An error ends the rewriting; nothing has been put out by then.
  virtual absl::Status EditHeader(ObjectHeader& header) = 0;
  // Asked before bulk data under `tag` pass; for the first, before EditHeader. An error ends the rewriting.
  virtual absl::Status AllowBulk(Tag tag) { return absl::OkStatus(); }
  // Asked for each bulk element after EditHeader. Null: it passes as it is. Else the filter puts out the
  // whole element, its head included, in the encoding of the header; an object that ends inside such an
  // element is refused (TRUNCATED_PIXEL_DATA), unless the filter only looks. An error ends the rewriting.
  virtual absl::StatusOr<std::unique_ptr<BulkFilter>> FilterBulk(const BulkHead& bulk,
                                                                 const ObjectHeader& header) {
    return nullptr;
  }
  // `trailing` holds what stands behind the bulk data. `header` is as EditHeader left it. An error ends the
  // rewriting.
  virtual absl::Status EditTrailing(DataSet& trailing, const ObjectHeader& header) {
    return absl::OkStatus();
  }
};

struct RewriteOptions {
  // Of a bare data set that nothing declares; "" to guess it.
  std::string transfer_syntax_uid;
  // As ScanOptions::origin.
  Origin origin = Origin::kArriving;
};

class HeaderRewriter {
 public:
  // Receives the object in order; an error ends the rewriting and is passed on.
  using Output = std::function<absl::Status(absl::string_view)>;

  // `editor` must outlive the rewriter.
  HeaderRewriter(HeaderEditor& editor, Output output, RewriteOptions options = {});
  ~HeaderRewriter();
  HeaderRewriter(const HeaderRewriter&) = delete;
  HeaderRewriter& operator=(const HeaderRewriter&) = delete;

  // Takes the next piece. INVALID_ARGUMENT (MALFORMED_HEADER, NOT_DICOM): not readable.  RESOURCE_EXHAUSTED
  // (HEADER_TOO_LARGE, HEADER_TOO_DEEP): beyond a limit. After an error the rewriter must not be used.
  absl::Status Add(absl::string_view piece);
  // Says that the object is complete. INVALID_ARGUMENT (TRUNCATED_HEADER): it ends inside the header. An
  // object that ends inside its bulk data passes as it is; truncated() tells.
  absl::Status Finish();

  // Valid once EditHeader was called.
  const ObjectHeader& header() const;
  // The object ended inside its bulk data.
  bool truncated() const;

 private:
  friend absl::StatusOr<ObjectHeader> ParseObjectHeader(absl::string_view bytes, size_t* bulk_offset,
                                                        const RewriteOptions& options);
  class Impl;
  std::unique_ptr<Impl> impl_;
};

inline constexpr uint32_t kEncapsulatedInlineMaxBytes =
    1 << 20;  // fixed: which way a value takes; both are good

// The header of a whole object that lies in memory; `bulk_offset` gets the offset of the bulk data
// (bytes.size() if none; meaningless for a deflated object). Errors as HeaderRewriter.
absl::StatusOr<ObjectHeader> ParseObjectHeader(absl::string_view bytes, size_t* bulk_offset = nullptr,
                                               const RewriteOptions& options = {});

// `bytes` with its header changed by `editor`.
absl::StatusOr<std::string> RewriteObject(absl::string_view bytes, HeaderEditor& editor,
                                          const RewriteOptions& options = {});

}  // namespace narthex::dicom
