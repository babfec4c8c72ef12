// Where the keys of a token issuer come from. Thread-safe; calls block on the disk or the network.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::auth {

class JwksSource {
 public:
  virtual ~JwksSource() = default;

  // The document's text, of at most limits::kJwksMaxBytes. UNAVAILABLE (JWKS_UNAVAILABLE): it cannot be read
  // now, or is larger.
  virtual absl::StatusOr<std::string> Read() = 0;

  // Changes whenever the document may have changed, as far as that is known without reading it: a file's
  // time, size and number; always "" of a URL.
  virtual std::string Stamp() { return ""; }
};

// Whether `file_or_url` is an address that keys may come from over the network: https://, or http:// of this
// machine.
bool IsJwksUrl(absl::string_view file_or_url);

// A file, or a URL as above: read with the system's authorities, bounded in time and size, and not led on to
// another address.
std::unique_ptr<JwksSource> NewJwksSource(std::string file_or_url);

}  // namespace narthex::auth
