// Users and their tokens. Of a token only the SHA-256 is kept. Thread-safe; calls block on the database.
// Every method may also fail with UNAVAILABLE (DATABASE_UNAVAILABLE): try again later.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

class UserStore {
 public:
  virtual ~UserStore() = default;

  // ALREADY_EXISTS (USER_EXISTS), INVALID_ARGUMENT (USER_NAME_INVALID). A repeated change.request_id returns
  // the user of the first call.
  virtual absl::StatusOr<User> Create(const User& user, const Change& change) = 0;
  // NOT_FOUND (USER_NOT_FOUND).
  virtual absl::StatusOr<User> Get(absl::string_view name) = 0;
  // By name.
  virtual absl::StatusOr<std::vector<User>> ListUsers() = 0;
  // Replaces display name, roles and `disabled`. NOT_FOUND (USER_NOT_FOUND). FAILED_PRECONDITION
  // (LAST_ADMINISTRATOR): no site administrator would be left who is not disabled.
  virtual absl::StatusOr<User> Update(const User& user, const Change& change) = 0;
};

class TokenStore {
 public:
  virtual ~TokenStore() = default;

  // Registers the token whose SHA-256 (32 raw bytes) is `hash`; input: user, description, expire_time.
  // NOT_FOUND (USER_NOT_FOUND), ALREADY_EXISTS (TOKEN_EXISTS): this hash is known.
  virtual absl::StatusOr<Token> Create(const Token& token, absl::string_view hash, const Change& change) = 0;

  // Whom the token speaks for, in one query. UNAUTHENTICATED (TOKEN_INVALID): unknown, expired at `now`,
  // revoked, or its user is disabled; the text does not say which.
  virtual absl::StatusOr<Identity> Verify(absl::string_view hash, absl::Time now) = 0;

  // The hashes of tokens that are neither revoked nor expired at `now`, of the newest at most `limit`.
  virtual absl::StatusOr<std::vector<std::string>> ListHashes(absl::Time now, int limit) = 0;

  // Newest first. `user` "": all users.
  virtual absl::StatusOr<std::vector<Token>> ListTokens(absl::string_view user) = 0;
  // NOT_FOUND (TOKEN_NOT_FOUND). Repeating it is OK.
  virtual absl::Status Revoke(absl::string_view id, const Change& change) = 0;
};

}  // namespace narthex::metadata
