#include "server/deidentify/web_fetcher.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <curl/curl.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/limits_url.h"
#include "base/metrics.h"
#include "base/status.h"
#include "imaging/anonymize/url_hosts.h"

namespace narthex::deidentify {
namespace {

constexpr char kReason[] = "ANONYMIZATION_FAILED";
constexpr long kRedirectsBegin = 300, kRedirectsEnd = 400, kOk = 200;

absl::Status Failed(absl::string_view why) { return Error(absl::StatusCode::kUnavailable, kReason, why); }

struct Easy {
  Easy() : handle(curl_easy_init()) {}
  ~Easy() { curl_easy_cleanup(handle); }
  Easy(const Easy&) = delete;
  Easy& operator=(const Easy&) = delete;
  CURL* const handle;
};

struct ParsedUrl {
  ParsedUrl() : handle(curl_url()) {}
  ~ParsedUrl() { curl_url_cleanup(handle); }
  ParsedUrl(const ParsedUrl&) = delete;
  ParsedUrl& operator=(const ParsedUrl&) = delete;
  std::string Part(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (curl_url_get(handle, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
    std::string copy(text);
    curl_free(text);
    return copy;
  }
  CURLU* const handle;
};

// What is asked is what libcurl reads in the URL, not only what we do.
bool IsAllowed(const ParsedUrl& url, const std::set<std::string>& hosts) {
  if (!url.Part(CURLUPART_USER).empty() || !url.Part(CURLUPART_PASSWORD).empty()) return false;
  const std::string whole = absl::StrCat(url.Part(CURLUPART_SCHEME), "://", url.Part(CURLUPART_HOST), ":",
                                         url.Part(CURLUPART_PORT, CURLU_DEFAULT_PORT));
  return anonymize::IsAllowedUrl(whole, hosts);
}

size_t Collect(char* bytes, size_t size, size_t count, void* to) {
  auto& answer = *static_cast<std::string*>(to);
  if (answer.size() + size * count > limits::kUrlAnswerMaxBytes) return 0;  // ends the transfer
  answer.append(bytes, size * count);
  return size * count;
}

// A value of an attribute: UTF-8 (RFC 3629) without control characters, but for what surrounds it.
bool IsText(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead == 0x7F || (lead < 0x20 && lead != '\n' && lead != '\r' && lead != '\t')) return false;
    const size_t more = lead < 0x80 ? 0 : lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead >= 0x80 && (lead < 0xC2 || lead > 0xF4)) return false;
    if (i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    i += more + 1;
  }
  return true;
}

// libcurl's texts may name the host and the address; these do not.
std::string Explain(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::StrCat("no answer within ", limits::kUrlFetchMs.get() / 1000, " seconds");
    case CURLE_WRITE_ERROR:
      return absl::StrCat("the answer is larger than ", limits::kUrlAnswerMaxBytes.get(), " bytes");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
      return "the host's certificate cannot be verified";
    case CURLE_COULDNT_RESOLVE_HOST:
      return "the host's name cannot be resolved";
    case CURLE_COULDNT_CONNECT:
      return "the host takes no connection";
    default:
      return absl::StrCat("the host did not answer as it should (libcurl error ", static_cast<int>(code),
                          ")");
  }
}

template <typename Value>
void Set(CURL* handle, CURLoption option, Value value, bool& ok) {
  ok = ok && curl_easy_setopt(handle, option, value) == CURLE_OK;
}

bool Configure(CURL* handle, const ParsedUrl& url, std::string& answer, absl::Duration rest) {
  bool ok = true;
  Set(handle, CURLOPT_CURLU, url.handle, ok);
  Set(handle, CURLOPT_PROTOCOLS_STR, "http,https", ok);
  Set(handle, CURLOPT_FOLLOWLOCATION, 0L, ok);
  Set(handle, CURLOPT_NOPROXY, "*", ok);
  Set(handle, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED), ok);
  Set(handle, CURLOPT_NOSIGNAL, 1L, ok);
  Set(handle, CURLOPT_SSL_VERIFYPEER, 1L, ok);
  Set(handle, CURLOPT_SSL_VERIFYHOST, 2L, ok);
  Set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(absl::ToInt64Milliseconds(rest), 1)),
      ok);
  Set(handle, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limits::kUrlAnswerMaxBytes), ok);
  Set(handle, CURLOPT_USERAGENT, "narthex", ok);
  Set(handle, CURLOPT_WRITEFUNCTION, &Collect, ok);
  Set(handle, CURLOPT_WRITEDATA, static_cast<void*>(&answer), ok);
  return ok;
}

}  // namespace

absl::StatusOr<std::string> FetchUrl(absl::string_view url, const std::set<std::string>& hosts) {
  static absl::once_flag once;
  absl::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  if (url.size() > limits::kUrlMaxBytes) return Failed("the URL is too long");
  const absl::Time deadline = absl::Now() + absl::Milliseconds(limits::kUrlFetchMs.get());
  std::string next(url);
  for (int redirects = 0; redirects <= limits::kUrlRedirectsMax; ++redirects) {
    ParsedUrl parsed;
    if (curl_url_set(parsed.handle, CURLUPART_URL, next.c_str(), 0) != CURLUE_OK)
      return Failed("the URL cannot be read");
    if (!IsAllowed(parsed, hosts)) {
      return FailedPrecondition(kReason, redirects == 0 ? "the administrator has not allowed this host"
                                                        : "the host redirects to one that is not allowed");
    }
    Easy easy;
    std::string answer;
    if (!Configure(easy.handle, parsed, answer, deadline - absl::Now()))
      return Failed("libcurl refuses an option");
    const CURLcode code = curl_easy_perform(easy.handle);
    if (code == CURLE_FILESIZE_EXCEEDED) return Failed(Explain(CURLE_WRITE_ERROR));
    if (code != CURLE_OK) return Failed(Explain(code));
    long status = 0;
    curl_easy_getinfo(easy.handle, CURLINFO_RESPONSE_CODE, &status);
    if (status >= kRedirectsBegin && status < kRedirectsEnd) {
      char* to = nullptr;
      curl_easy_getinfo(easy.handle, CURLINFO_REDIRECT_URL, &to);
      if (to == nullptr) return Failed("the host redirects to nowhere");
      next = to;
      continue;
    }
    if (status != kOk) return Failed(absl::StrCat("the host answered with HTTP status ", status));
    if (!IsText(answer)) return Failed("the answer is no text in UTF-8");
    return answer;
  }
  return Failed(absl::StrCat("more than ", limits::kUrlRedirectsMax.get(), " redirects"));
}

// What ended goes first; then, as all are waited for by somebody, nothing is kept any more.
void UrlCache::MakeRoom() {
  if (entries_.size() < limits::kUrlCacheMaxEntries) return;
  const absl::Time now = clock_.Now();
  absl::erase_if(entries_,
                 [now](const auto& entry) { return !entry.second->pending && entry.second->until <= now; });
  if (entries_.size() < limits::kUrlCacheMaxEntries) return;
  absl::erase_if(entries_, [](const auto& entry) { return !entry.second->pending; });
}

size_t UrlCache::size() {
  absl::MutexLock lock(&mutex_);
  return entries_.size();
}

absl::StatusOr<std::string> UrlCache::Fetch(absl::string_view url, const Get& get) {
  const std::string key = Sha256(url);
  const absl::Duration patience = absl::Milliseconds(limits::kUrlFetchMs.get());
  std::shared_ptr<Entry> entry;
  {
    absl::MutexLock lock(&mutex_);
    const auto known = entries_.find(key);
    if (known != entries_.end() && (known->second->pending || clock_.Now() < known->second->until)) {
      const std::shared_ptr<Entry> other = known->second;
      const auto done = [&other] { return !other->pending; };
      if (!mutex_.AwaitWithTimeout(absl::Condition(&done), patience)) return Failed("no answer in time");
      return other->answer;
    }
    entry = std::make_shared<Entry>();
    entries_[key] = entry;
    const auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return fetching_ < limits::kUrlFetchesMax;
    };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&room), patience)) {
      entry->pending = false;
      entry->until = absl::InfinitePast();
      entry->answer = Failed("too many answers are being waited for");
      return entry->answer;
    }
    ++fetching_;
  }
  absl::StatusOr<std::string> answer = get(url);
  absl::MutexLock lock(&mutex_);
  --fetching_;
  entry->answer = answer;
  entry->until = clock_.Now() + absl::Seconds(answer.ok() ? limits::kUrlCacheSeconds.get()
                                                          : limits::kUrlFailureCacheSeconds.get());
  entry->pending = false;
  MakeRoom();
  return answer;
}

UrlFetcher WebFetcher() {
  auto cache = std::make_shared<UrlCache>(Clock::Real());
  return [cache](absl::string_view url, const std::set<std::string>& hosts) {
    return cache->Fetch(url, [&hosts](absl::string_view wanted) {
      auto answer = FetchUrl(wanted, hosts);
      Metrics::Global().Count("url_fetches_total", "Requests of getURL in anonymization scripts.", 1,
                              {{"result", answer.ok() ? "ok" : "failed"}});
      return answer;
    });
  };
}

}  // namespace narthex::deidentify
