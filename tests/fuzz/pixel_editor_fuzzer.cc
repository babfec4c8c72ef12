// Feeds objects to the editor of pixels: eight bytes choose a rectangle and its value, the rest is the
// object. The header must stay readable, and of uncompressed objects nothing but pixels and the icon may
// change. No decoder is started: compressed objects are refused at their first frame.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imaging/pixels/pixel_editor.h"

namespace {

using narthex::anonymize::PixelEdit;
using narthex::dicom::HeaderRewriter;
using narthex::dicom::ParseObjectHeader;

class KeepHeader : public narthex::dicom::HeaderEditor {
 public:
  absl::Status EditHeader(narthex::dicom::ObjectHeader&) override { return absl::OkStatus(); }
};

// "" if the object was refused.
std::string Edited(absl::string_view bytes, const std::vector<PixelEdit>& edits, size_t piece, bool* edited) {
  narthex::pixels::DecoderOptions options;
  options.program = "/nowhere/narthex-pixels";
  KeepHeader keep;
  narthex::pixels::PixelEditor editor(
      keep, [&]() -> const auto& { return edits; }, options);
  std::string out;
  HeaderRewriter rewriter(editor, [&](absl::string_view put) {
    out.append(put.data(), put.size());
    return absl::OkStatus();
  });
  while (!bytes.empty()) {
    const absl::string_view next = bytes.substr(0, piece);
    if (!rewriter.Add(next).ok()) return "";
    bytes.remove_prefix(next.size());
  }
  if (!rewriter.Finish().ok()) return "";
  *edited = editor.outcome().edited;
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  PixelEdit edit;
  edit.left = data[0];
  edit.top = data[1];
  edit.right = edit.left + 1 + data[2];
  edit.bottom = edit.top + 1 + data[3];
  edit.fill = static_cast<int8_t>(data[4]) * 100;
  const absl::string_view bytes(reinterpret_cast<const char*>(data + 8), size - 8);
  bool edited = false, again = false;
  const std::string whole = Edited(bytes, {edit}, bytes.size() + 1, &edited);
  const std::string pieces = Edited(bytes, {edit}, 1 + data[5], &again);
  if (whole != pieces) std::abort();
  if (whole.empty()) return 0;
  const auto before = ParseObjectHeader(bytes);
  const auto after = ParseObjectHeader(whole);
  if (!before.ok() || !after.ok()) std::abort();
  const bool icon = before->data->Has(narthex::dicom::Tag(0x00880200));
  if (!icon && !before->syntax.deflated && whole.size() != bytes.size()) std::abort();
  if (!edited && !before->syntax.deflated && whole != bytes) std::abort();
  return 0;
}
