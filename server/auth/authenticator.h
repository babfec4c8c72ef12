// From a bearer token to an identity. Thread-safe.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "server/auth/failure_limiter.h"
#include "storage/metadata/database.h"

namespace narthex::auth {

class Authenticator {
 public:
  // `stores` and `clock` are borrowed.
  Authenticator(metadata::AdminStores& stores, const Clock& clock)
      : stores_(stores), clock_(clock), failures_(clock) {}

  // Whom `token` speaks for. Answers are remembered for a few seconds, so a revocation takes that long at
  // most. UNAUTHENTICATED (UNAUTHENTICATED): unknown, expired, revoked or of a disabled user; the text does
  // not say which. RESOURCE_EXHAUSTED (TOO_MANY_FAILURES): `address` gave too many wrong tokens of late;
  // those that are remembered as good are still taken. `address` "": not limited.
  absl::StatusOr<metadata::Identity> Authenticate(absl::string_view token, absl::string_view address = "");

  // A token that only this process knows, for its own gateway; it speaks for an all-data administrator named
  // `user`.
  std::string IssueInternal(absl::string_view user);

  // Forgets what was remembered: after a change of users, tokens or roles.
  void Forget();

  // Makes user `admin` if it is missing, and a token for it in the file `path` (mode 0600) unless the token
  // there is good and a site administrator's. Returns the token.
  absl::StatusOr<std::string> EnsureAdministrator(const std::string& path);

  // A new token: 160 random bits behind "nx_". Keep it secret; only its SHA-256 is stored.
  static std::string NewToken();
  // What is stored of it: 32 raw bytes.
  static std::string Hash(absl::string_view token);

 private:
  struct Remembered {
    metadata::Identity identity;
    absl::Time until;
  };

  metadata::AdminStores& stores_;
  const Clock& clock_;
  FailureLimiter failures_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Remembered> remembered_ ABSL_GUARDED_BY(mutex_);  // by hash
  absl::flat_hash_map<std::string, metadata::Identity> internal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::auth
