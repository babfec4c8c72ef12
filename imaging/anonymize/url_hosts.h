// Whom getURL may ask: hosts that the administrator allows, written `host` (at the default port of http or
// https) or `host:port`. Pure functions, thread-safe.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex::anonymize {

struct UrlTarget {
  std::string scheme;  // http or https
  std::string host;    // in lower case; an IPv6 address in its brackets
  int port = 0;
};

// nullopt: no http or https URL, or one with a user, which no script needs ("allowed@other" is the host
// "other").
std::optional<UrlTarget> ParseUrlTarget(absl::string_view url);

bool IsAllowedTarget(const UrlTarget& target, const std::set<std::string>& hosts);
bool IsAllowedUrl(absl::string_view url, const std::set<std::string>& hosts);

// Whether `text` is an entry of such a list, in lower case.
bool IsUrlHost(absl::string_view text);

}  // namespace narthex::anonymize
