// Certificates in PEM files that may be replaced while a program runs: whether they fit together, and copies
// that always do.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace narthex {

// Paths. Without certificate and key nothing is shown to the peer; without authorities ("") none are given.
struct PemFiles {
  std::string certificate;  // ours, followed by those of the authorities in between
  std::string private_key;
  std::string authorities;  // of peers
  // The flags that gave them, for errors.
  std::string certificate_flag = "tls-cert";
  std::string private_key_flag = "tls-key";
  std::string authorities_flag = "tls-client-ca";
};

// What the files hold.
struct PemTexts {
  std::string certificate;
  std::string private_key;
  std::string authorities;
  absl::Time end = absl::InfiniteFuture();  // of our certificate

  bool operator==(const PemTexts& other) const {
    return certificate == other.certificate && private_key == other.private_key &&
           authorities == other.authorities;
  }
};

// Reads the files and looks whether they fit together. INVALID_ARGUMENT (TLS_FILES_INVALID): certificate
// without key or key without certificate, a file that cannot be read or parsed, a key under a pass phrase or
// of another certificate, or a certificate whose time is over or has not begun. Thread-safe.
absl::StatusOr<PemTexts> ReadPemFiles(const PemFiles& files, absl::Time now);

// Copies, in memory only, that follow the files: looked at every second, and replaced when those fit
// together. While they do not (half of a replacement) the copies stay, which is logged once. For gRPC's own
// watcher, which uses what is in place, fitting or not. Thread-safe; one thread.
class PemCopies {
 public:
  // Errors as ReadPemFiles. `shown` is called with the end of our certificate whenever one is taken into use.
  static absl::StatusOr<std::unique_ptr<PemCopies>> Open(const PemFiles& files,
                                                         std::function<void(absl::Time end)> shown = nullptr);
  ~PemCopies();

  // Paths that only this process can open, and only while the copies exist; "": there is no such file.
  std::string certificate() const;
  std::string private_key() const;
  std::string authorities() const;

 private:
  struct Rep;
  explicit PemCopies(std::unique_ptr<Rep> rep);
  const std::unique_ptr<Rep> rep_;
};

}  // namespace narthex
