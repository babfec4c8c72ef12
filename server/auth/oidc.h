// Bearer tokens of a foreign issuer (OpenID Connect). Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "server/auth/jwks_source.h"
#include "server/auth/jwt.h"

namespace narthex::auth {

class Oidc {
 public:
  struct Options {
    JwtRules rules;
    bool create_users = false;  // users that are not there are made when they come
  };

  // `clock` is borrowed.
  Oidc(Options options, std::unique_ptr<JwksSource> source, const Clock& clock)
      : options_(std::move(options)), source_(std::move(source)), clock_(clock) {}

  // Whom the token speaks for. The keys are read again when the source's stamp changes, every
  // limits::kJwksSeconds, and when a token names a key that is not known, but then not more often than every
  // limits::kJwksMissSeconds; one thread reads, others that need the answer wait for it. When that fails,
  // the keys that are known go on serving. Errors as VerifyJwt; UNAVAILABLE (JWKS_UNAVAILABLE): there were
  // never any keys.
  absl::StatusOr<JwtClaims> Verify(absl::string_view token);

  // Reads the keys, so that a mistake is seen at the start. Errors: UNAVAILABLE (JWKS_UNAVAILABLE).
  absl::Status Load();

  const Options& options() const { return options_; }

 private:
  using Keys = std::shared_ptr<const KeySet>;

  // The keys, read anew if they have to be for a token that names `key_id`.
  absl::StatusOr<Keys> KeysFor(const std::string& key_id);
  bool MustRead(const std::string& key_id, const std::string& stamp, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !reading_; }

  const Options options_;
  const std::unique_ptr<JwksSource> source_;
  const Clock& clock_;
  absl::Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  Keys keys_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // of the last read, good or not
  absl::Time read_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace narthex::auth
