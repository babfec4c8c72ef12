// Goal: no bytes crash or hang the header scanner, nor whatever uses its facts. Method: the object is scanned
// whole and in pieces, which must agree; its facts must survive being encoded, and their text must be UTF-8.
// The same bytes are also decoded as if they were stored facts.
//
// The first byte chooses options and the size of the pieces; the rest is the object. Seeds: see README.md.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "imaging/dicom/charset.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {
namespace {

constexpr size_t kPieceBytes[] = {1, 7, 132, 1000};

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckFacts(const HeaderFacts& facts) {
  const auto decoded = HeaderFacts::Decode(facts.Encode());
  Require(decoded.ok() && *decoded == facts);
  facts.ForEach([&](const TagPath& path, Vr vr, absl::string_view value) {
    const std::string text = ToUtf8(value, facts.specific_character_set(), KindOfText(vr));
    Require(ToUtf8(text, "ISO_IR 192") == text);
    facts.Text(path);
  });
}

absl::StatusOr<HeaderFacts> ScanPieces(absl::string_view object, const ScanOptions& options,
                                       size_t piece_bytes) {
  HeaderScanner scanner(options);
  for (size_t at = 0; at < object.size(); at += piece_bytes) {
    const auto state = scanner.Feed(object.substr(at, piece_bytes));
    if (!state.ok() || *state == ScanState::kHeaderDone) break;
  }
  return scanner.Finish();
}

void Run(absl::string_view input) {
  if (input.empty()) return;
  const auto choice = static_cast<uint8_t>(input[0]);
  const absl::string_view object = input.substr(1);
  ScanOptions options;
  options.require_sop_uids = (choice & 1) != 0;
  options.walk_all_sequences = (choice & 2) != 0;
  if ((choice & 4) != 0) {
    constexpr absl::string_view kSyntaxes[] = {kImplicitVrLittleEndian, kExplicitVrLittleEndian,
                                               kExplicitVrBigEndian, kDeflatedExplicitVrLittleEndian};
    options.transfer_syntax_uid = std::string(kSyntaxes[choice >> 3 & 3]);
  }
  options.object_size = object.size();
  const auto whole = ScanWhole(object, options);
  const auto pieces = ScanPieces(object, options, kPieceBytes[choice >> 5 & 3]);
  Require(whole.ok() == pieces.ok());
  if (whole.ok()) {
    Require(*whole == *pieces);
    CheckFacts(*whole);
  } else {
    Require(ErrorReason(whole.status()) == ErrorReason(pieces.status()));
  }
  const auto stored = HeaderFacts::Decode(object);
  if (stored.ok()) stored->ForEach([](const TagPath&, Vr, absl::string_view) {});
}

}  // namespace
}  // namespace narthex::dicom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  narthex::dicom::Run(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
