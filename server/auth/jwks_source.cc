#include "server/auth/jwks_source.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <curl/curl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits_server.h"

namespace narthex::auth {
namespace {

absl::Status Unavailable(absl::string_view why) {
  return Error(absl::StatusCode::kUnavailable, "JWKS_UNAVAILABLE",
               absl::StrCat("the keys of the token issuer cannot be read (--oidc-jwks): ", why));
}

class JwksFile : public JwksSource {
 public:
  explicit JwksFile(std::string path) : path_(std::move(path)) {}

  absl::StatusOr<std::string> Read() override {
    errno = 0;
    std::ifstream file(path_, std::ios::binary);
    if (!file) return Unavailable(std::strerror(errno));
    std::string text(limits::kJwksMaxBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) return Unavailable("reading fails");
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > limits::kJwksMaxBytes) return Unavailable("the file is too large");
    return text;
  }

  std::string Stamp() override {
    struct stat found {};
    if (::stat(path_.c_str(), &found) != 0) return "none";
    return absl::StrCat(found.st_mtim.tv_sec, ".", found.st_mtim.tv_nsec, " ", found.st_size, " ",
                        found.st_ino);
  }

 private:
  const std::string path_;
};

size_t Take(char* data, size_t size, size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size * count > limits::kJwksMaxBytes) return 0;  // which ends the transfer
  body.append(data, size * count);
  return size * count;
}

class JwksUrl : public JwksSource {
 public:
  explicit JwksUrl(std::string url) : url_(std::move(url)) {}

  absl::StatusOr<std::string> Read() override {
    static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
    const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
    if (started != CURLE_OK || !curl) return Unavailable("libcurl does not start");
    std::string body;
    curl_easy_setopt(curl.get(), CURLOPT_URL, url_.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, absl::StartsWith(url_, "http://") ? "http" : "https");
    curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits::kJwksConnectMs));
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(limits::kJwksTimeoutMs));
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, Take);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
    const CURLcode code = curl_easy_perform(curl.get());
    if (code == CURLE_WRITE_ERROR) return Unavailable("the answer is too large");
    if (code != CURLE_OK) return Unavailable(curl_easy_strerror(code));
    return body;
  }

 private:
  const std::string url_;
};

}  // namespace

bool IsJwksUrl(absl::string_view file_or_url) {
  for (const char* local : {"http://127.0.0.1", "http://localhost", "http://[::1]"}) {
    absl::string_view rest = file_or_url;
    if (!absl::StartsWith(rest, local)) continue;
    rest.remove_prefix(std::strlen(local));
    if (rest.empty() || rest[0] == ':' || rest[0] == '/') return !absl::StrContains(rest, '@');
  }
  return absl::StartsWith(file_or_url, "https://");
}

std::unique_ptr<JwksSource> NewJwksSource(std::string file_or_url) {
  if (IsJwksUrl(file_or_url)) return std::make_unique<JwksUrl>(std::move(file_or_url));
  return std::make_unique<JwksFile>(std::move(file_or_url));
}

}  // namespace narthex::auth
