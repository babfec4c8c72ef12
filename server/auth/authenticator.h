// From a bearer token, ours or one of the issuer that the site trusts, to an identity. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "server/auth/failure_limiter.h"
#include "server/auth/oidc.h"
#include "storage/metadata/database.h"

namespace narthex::auth {

// Where a token came from, as far as the transport proves it; failures are counted by both.
struct Origin {
  std::string address;      // "": not limited
  std::string certificate;  // the user that the client's certificate names; "": none
};

// Names that the server itself goes by in history and audit; nobody can have them.
bool IsReservedUser(absl::string_view name);

class Authenticator {
 public:
  // `stores` and `clock` are borrowed.
  Authenticator(metadata::AdminStores& stores, const Clock& clock)
      : stores_(stores), clock_(clock), failures_(clock) {}

  // Takes the tokens of that issuer, too, for users of the same name as theirs. Before the first call.
  void Accept(std::unique_ptr<Oidc> issuer) { issuer_ = std::move(issuer); }

  // Whom `token` speaks for. Answers are remembered for a few seconds, so a revocation takes that long at
  // most; a token of the issuer is never taken beyond its end. UNAUTHENTICATED (UNAUTHENTICATED): unknown,
  // expired, revoked or of a disabled user; of our own tokens the text does not say which, of the issuer's it
  // does once the signature is good. UNAVAILABLE (JWKS_UNAVAILABLE). RESOURCE_EXHAUSTED (TOO_MANY_FAILURES):
  // too many failures of late from this address, of this certificate, or of the user whom the issuer's token
  // proves; tokens that are known are looked up all the same.
  absl::StatusOr<metadata::Identity> Authenticate(absl::string_view token, const Origin& origin = {});

  // Counts a failure that is found out elsewhere: a good token that comes with somebody else's certificate.
  void CountFailure(const Origin& origin);

  // Makes all good tokens known. At the start.
  absl::Status Load();

  // The token of that hash is good, as far as this process knows: others who fail at its address do not keep
  // it out. It is known until it is used and found to be good no more.
  void MakeKnown(const std::string& hash, absl::Time until = absl::InfiniteFuture());

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

  absl::Status MayTry(const Origin& origin) const;
  bool IsKnown(const std::string& hash, absl::Time now) const;
  // Of a token of ours.
  absl::StatusOr<metadata::Identity> Find(const std::string& hash, absl::Time now);
  // Of a token of the issuer's; `until` becomes its end.
  absl::StatusOr<metadata::Identity> FindForeign(absl::string_view token, absl::Time& until);
  absl::StatusOr<metadata::Identity> IdentityOf(const JwtClaims& claims);

  metadata::AdminStores& stores_;
  const Clock& clock_;
  std::unique_ptr<Oidc> issuer_;  // null: only our own tokens
  FailureLimiter failures_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Remembered> remembered_ ABSL_GUARDED_BY(mutex_);  // by hash
  absl::flat_hash_map<std::string, absl::Time> known_ ABSL_GUARDED_BY(mutex_);       // until when, by hash
  absl::flat_hash_map<std::string, metadata::Identity> internal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::auth
