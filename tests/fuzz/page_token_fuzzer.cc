// Page tokens that a caller made: their check is no secret, so the input is given a right one. What is
// accepted is what the same values encode to.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "base/error.h"
#include "storage/metadata/page_token.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void Try(absl::string_view token, size_t count) {
  const auto values = narthex::metadata::DecodePageToken("fuzz", token, count);
  if (!values.ok()) {
    Require(narthex::ErrorReason(values.status()) == "PAGE_TOKEN_INVALID");
    return;
  }
  Require(values->size() == count);
  const auto again =
      narthex::metadata::DecodePageToken("fuzz", narthex::metadata::EncodePageToken("fuzz", *values), count);
  Require(again.ok() && *again == *values);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t count = data[0] % 4;
  const absl::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  Try(body, count);
  Try(absl::WebSafeBase64Escape(
          absl::StrCat(narthex::Sha256(absl::StrCat("4:fuzz", body)).substr(0, 8), body)),
      count);
  return 0;
}
