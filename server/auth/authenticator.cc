#include "server/auth/authenticator.h"

#include <fcntl.h>
#include <unistd.h>

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
#include "base/status.h"
#include "storage/metadata/access.h"

namespace narthex::auth {
namespace {

constexpr absl::Duration kRemember = absl::Seconds(5);
constexpr size_t kRememberMax = 10'000;

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

std::string Authenticator::NewToken() { return absl::StrCat("nx_", NewRandomId(20)); }
std::string Authenticator::Hash(absl::string_view token) { return Sha256(token); }

absl::StatusOr<metadata::Identity> Authenticator::Authenticate(absl::string_view token,
                                                               absl::string_view address) {
  const std::string hash = Hash(token);
  const absl::Time now = clock_.Now();
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = internal_.find(hash); it != internal_.end()) return it->second;
    if (const auto it = remembered_.find(hash); it != remembered_.end() && it->second.until > now) {
      return it->second.identity;
    }
  }
  if (!address.empty() && !failures_.MayTry(address)) {
    return ResourceExhausted("TOO_MANY_FAILURES",
                             "too many wrong tokens came from this address; try again in a minute");
  }
  const metadata::SystemScope scope;  // nobody is known yet
  auto identity = stores_.tokens().Verify(hash, now);
  if (!identity.ok()) {
    if (!absl::IsUnauthenticated(identity.status())) return identity.status();
    if (!address.empty()) failures_.Fail(address);
    return Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
                 "the bearer token is not valid; `narthex token create` makes one");
  }
  absl::MutexLock lock(&mutex_);
  if (remembered_.size() >= kRememberMax) remembered_.clear();
  remembered_[hash] = {*identity, now + kRemember};
  return identity;
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
  NX_RETURN_IF_ERROR(WriteSecret(path, token));
  return token;
}

}  // namespace narthex::auth
