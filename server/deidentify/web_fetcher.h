// What getURL fetches: GET over http or https, with libcurl. Only hosts that are allowed, redirects included;
// no proxy, no cookies, no credentials; certificates are verified. Answers are bounded in time and size
// (base/limits_url.h) and kept in memory for a while under the SHA-256 of their URL, so that all objects of a
// study ask once and no URL, which may hold a patient's number, is kept. Threads that ask for the same wait
// for one of them.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "server/deidentify/plans.h"

namespace narthex::deidentify {

// Thread-safe.
class UrlCache {
 public:
  using Get = std::function<absl::StatusOr<std::string>(absl::string_view url)>;

  explicit UrlCache(const Clock& clock) : clock_(clock) {}

  // The answer of `get`, or a former one. Blocks until it is there, at most limits::kUrlFetchMs for others
  // and as long as `get` does for oneself. UNAVAILABLE (ANONYMIZATION_FAILED): too many are being fetched.
  // Errors as `get`'s, which are kept too, for limits::kUrlFailureCacheSeconds.
  absl::StatusOr<std::string> Fetch(absl::string_view url, const Get& get);

  size_t size();

 private:
  struct Entry {
    bool pending = true;
    absl::Time until = absl::InfiniteFuture();
    absl::StatusOr<std::string> answer = std::string();
  };
  void MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  absl::Mutex mutex_;
  int fetching_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);  // by SHA-256
};

// One request, without a cache. UNAVAILABLE (ANONYMIZATION_FAILED): no answer that could be used; the message
// says why, and nothing of URL or answer. FAILED_PRECONDITION (ANONYMIZATION_FAILED): it, or a redirect,
// leads to a host that is not among `hosts`.
absl::StatusOr<std::string> FetchUrl(absl::string_view url, const std::set<std::string>& hosts);

// FetchUrl behind an UrlCache.
UrlFetcher WebFetcher();

}  // namespace narthex::deidentify
