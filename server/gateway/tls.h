// DICOM over TLS (PS3.15 B.12, the BCP 195 profile): certificates from files that may be replaced while the
// gateway runs, and the encryption of one connection.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/pem_files.h"

struct ssl_st;
struct ssl_ctx_st;

namespace narthex::gateway {

// The files of the DICOM door's flags, --dicom-tls-cert and its like.
PemFiles DicomPemFiles(std::string certificate, std::string private_key, std::string authorities);

// TLS 1.2 and later, with forward secrecy and authenticated encryption only. Sessions can be resumed for
// five minutes, until the files are read again. The metric narthex_tls_certificate_end_seconds{door="dicom"}
// is the Unix time at which the certificate in use ends. Thread-safe.
class TlsServer {
 public:
  // Errors as ReadPemFiles. Without authorities callers cannot show certificates.
  static absl::StatusOr<std::unique_ptr<TlsServer>> Open(const PemFiles& files);

  // What a new connection uses. Files that changed since are read again first; while they do not fit together
  // those before go on.
  std::shared_ptr<ssl_ctx_st> Current();
  // Whether certificates of peers can be judged.
  bool knows_authorities() const { return !files_.authorities.empty(); }

 private:
  TlsServer(PemFiles files, std::shared_ptr<ssl_ctx_st> context, std::string state);

  const PemFiles files_;
  absl::Mutex mutex_;
  std::shared_ptr<ssl_ctx_st> context_ ABSL_GUARDED_BY(mutex_);
  std::string state_ ABSL_GUARDED_BY(mutex_);  // sizes and times of the files
  std::string refused_ ABSL_GUARDED_BY(mutex_);
};

// The encryption of one connection. One thread may read while another writes.
class TlsSession {
 public:
  enum class Side {
    kServer,
    kClient,  // demands a certificate of the context's authorities
  };
  // Over `fd`, which is borrowed and set to non-blocking.
  TlsSession(std::shared_ptr<ssl_ctx_st> context, int fd, Side side = Side::kServer);
  ~TlsSession();

  enum class Want { kNothing, kRead, kWrite };
  struct Step {
    Want want = Want::kNothing;  // not kNothing: wait until the socket is ready, and repeat
    size_t bytes = 0;            // read or written; 0 after a read: the peer sent its last byte
    absl::Status status = {};    // UNAVAILABLE: the connection broke, or what came is no TLS
  };
  // One attempt each.
  Step Handshake();
  Step Read(char* to, size_t size);
  Step Write(const char* from, size_t size);
  // Says that nothing more will be sent.
  void SayEnd();

  // Common name of the peer's certificate, which was verified; "" if it showed none.
  std::string PeerName();
  // Whether that certificate is for this host name or numeric address.
  bool PeerIsHost(const std::string& host);

 private:
  Step StepOf(int result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<ssl_ctx_st> context_;
  absl::Mutex mutex_;
  ssl_st* const ssl_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace narthex::gateway
