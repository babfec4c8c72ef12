#include "server/auth/authenticator.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/limits_server.h"
#include "base/status.h"
#include "server/auth/caller.h"
#include "storage/metadata/access.h"
#include "storage/metadata/names.h"

namespace narthex::auth {
namespace {

constexpr absl::Duration kRemember = absl::Seconds(5);

absl::Status Refuse(absl::string_view why) {
  return Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", why);
}

// What the failures of a user are counted under; no address looks like it.
std::string UserKey(absl::string_view user) { return absl::StrCat("user ", user); }

// Written beside `path` and renamed, so that no reader sees half a token.
absl::Status WriteSecret(const std::string& path, const std::string& secret) {
  const std::string temporary = absl::StrCat(path, ".new");
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const std::string line = secret + "\n";
  const bool written = fd >= 0 &&
                       ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                       ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
    return Internal("STORAGE_ERROR", absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsReservedUser(absl::string_view name) {
  return name == kGuest || name == "system" || name == "dicom-receiver";
}

std::string Authenticator::NewToken() { return absl::StrCat("nx_", NewRandomId(20)); }
std::string Authenticator::Hash(absl::string_view token) { return Sha256(token); }

absl::Status Authenticator::MayTry(const Origin& origin) const {
  if (!origin.address.empty() && !failures_.MayTry(origin.address)) {
    return ResourceExhausted("TOO_MANY_FAILURES",
                             "too many wrong tokens came from this address; try again in a minute");
  }
  if (!origin.certificate.empty() && !failures_.MayTry(UserKey(origin.certificate))) {
    return ResourceExhausted("TOO_MANY_FAILURES",
                             "too many wrong tokens came with this certificate; try again in a minute");
  }
  return absl::OkStatus();
}

void Authenticator::CountFailure(const Origin& origin) {
  if (!origin.address.empty()) failures_.Fail(origin.address);
  if (!origin.certificate.empty()) failures_.Fail(UserKey(origin.certificate));
}

absl::StatusOr<metadata::Identity> Authenticator::Find(const std::string& hash, absl::Time now) {
  auto identity = stores_.tokens().Verify(hash, now);
  if (identity.ok() || !absl::IsUnauthenticated(identity.status())) return identity;
  return Refuse("the bearer token is not valid; `narthex token create` makes one");
}

absl::StatusOr<metadata::Identity> Authenticator::IdentityOf(const JwtClaims& claims) {
  auto user = stores_.users().Get(claims.user);
  if (absl::IsNotFound(user.status()) && issuer_->options().create_users) {
    metadata::User made;
    made.name = claims.user;
    if (claims.display_name.size() <= limits::kDisplayNameMaxBytes) made.display_name = claims.display_name;
    user = stores_.users().Create(made, {"system", "first token of the issuer", ""});
    if (absl::IsAlreadyExists(user.status())) user = stores_.users().Get(claims.user);
  }
  if (absl::IsNotFound(user.status()))
    return Refuse("the token is good, but its user is not known here; a site administrator makes users");
  if (!user.ok()) return user.status();
  if (user->disabled) return Refuse("the token is good, but its user is disabled here");
  metadata::Identity identity;
  identity.user = *std::move(user);
  NX_ASSIGN_OR_RETURN(identity.roles, stores_.members().RolesOf(identity.user.name));
  return identity;
}

absl::StatusOr<metadata::Identity> Authenticator::FindForeign(absl::string_view token, absl::Time& until) {
  NX_ASSIGN_OR_RETURN(const JwtClaims claims, issuer_->Verify(token));
  until = claims.expire_time;
  if (!metadata::CheckUserName(claims.user).ok() || IsReservedUser(claims.user))
    return Refuse("the token is good, but a user of such a name is not possible here (--oidc-user-claim)");
  NX_RETURN_IF_ERROR(MayTry({"", claims.user}));
  auto identity = IdentityOf(claims);
  if (absl::IsUnauthenticated(identity.status())) failures_.Fail(UserKey(claims.user));
  return identity;
}

absl::StatusOr<metadata::Identity> Authenticator::Authenticate(absl::string_view token,
                                                               const Origin& origin) {
  const std::string hash = Hash(token);
  const absl::Time now = clock_.Now();
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = internal_.find(hash); it != internal_.end()) return it->second;
    if (const auto it = remembered_.find(hash); it != remembered_.end() && it->second.until > now) {
      return it->second.identity;
    }
  }
  // Others behind the same address cannot lock out who is known. A token that is so no more is asked for
  // once.
  if (!IsKnown(hash, now)) NX_RETURN_IF_ERROR(MayTry(origin));
  const metadata::SystemScope scope;  // nobody is known yet
  absl::Time end = absl::InfiniteFuture();
  auto identity = issuer_ && LooksLikeJwt(token) ? FindForeign(token, end) : Find(hash, now);
  if (!identity.ok()) {
    if (absl::IsUnauthenticated(identity.status())) {
      CountFailure(origin);
      absl::MutexLock lock(&mutex_);
      known_.erase(hash);
    }
    return identity.status();
  }
  MakeKnown(hash, end);
  absl::MutexLock lock(&mutex_);
  if (remembered_.size() >= limits::kTokensRememberedMax) remembered_.clear();
  remembered_[hash] = {*identity, std::min(now + kRemember, end)};
  return identity;
}

absl::Status Authenticator::Load() {
  const metadata::SystemScope scope;
  NX_ASSIGN_OR_RETURN(
      const auto hashes,
      stores_.tokens().ListHashes(clock_.Now(), static_cast<int>(limits::kAuthenticationKnownMax)));
  for (const std::string& hash : hashes) MakeKnown(hash);
  return absl::OkStatus();
}

bool Authenticator::IsKnown(const std::string& hash, absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  const auto it = known_.find(hash);
  return it != known_.end() && it->second > now;
}

void Authenticator::MakeKnown(const std::string& hash, absl::Time until) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  if (known_.size() >= limits::kAuthenticationKnownMax && !known_.contains(hash)) {
    absl::erase_if(known_, [&](const auto& entry) { return entry.second <= now; });
    if (known_.size() >= limits::kAuthenticationKnownMax) known_.erase(known_.begin());
  }
  known_[hash] = until;
}

std::string Authenticator::IssueInternal(absl::string_view user) {
  const std::string token = NewToken();
  metadata::Identity identity;
  identity.user.name = std::string(user);
  identity.user.all_data_admin = true;
  identity.internal = true;
  absl::MutexLock lock(&mutex_);
  internal_[Hash(token)] = std::move(identity);
  return token;
}

void Authenticator::Forget() {
  absl::MutexLock lock(&mutex_);
  remembered_.clear();
}

absl::StatusOr<std::string> Authenticator::EnsureAdministrator(const std::string& path) {
  const metadata::SystemScope scope;
  const metadata::Change change{"system", "first start", ""};
  if (const auto user = stores_.users().Get("admin"); !user.ok()) {
    if (!absl::IsNotFound(user.status())) return user.status();
    metadata::User admin;
    admin.name = "admin";
    admin.display_name = "Site administrator";
    admin.site_admin = true;
    const auto created = stores_.users().Create(admin, change);
    if (!created.ok() && !absl::IsAlreadyExists(created.status())) return created.status();
  }
  std::ifstream file(path);
  std::string token;
  std::getline(file, token);
  token = std::string(absl::StripAsciiWhitespace(token));
  const auto holder = Authenticate(token);
  if (holder.ok() && holder->user.site_admin) return token;

  token = NewToken();
  metadata::Token row;
  row.user = "admin";
  row.description = "made by the server; in " + path;
  NX_RETURN_IF_ERROR(stores_.tokens().Create(row, Hash(token), change).status());
  MakeKnown(Hash(token));
  NX_RETURN_IF_ERROR(WriteSecret(path, token));
  return token;
}

}  // namespace narthex::auth
