#include "imaging/anonymize/url_hosts.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace narthex::anonymize {
namespace {

constexpr int kHttpPort = 80, kHttpsPort = 443, kPortMax = 65535;  // fixed: TCP
constexpr size_t kHostMaxBytes = 253;                              // fixed: RFC 1035

int DefaultPort(absl::string_view scheme) { return scheme == "https" ? kHttpsPort : kHttpPort; }

bool IsHost(absl::string_view host) {
  if (host.empty() || host.size() > kHostMaxBytes) return false;
  const bool address = host.front() == '[' && host.back() == ']' && host.size() > 2;
  const absl::string_view rest = address ? host.substr(1, host.size() - 2) : host;
  for (const char c : rest) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'z') || c == '.') continue;
    if (address ? c != ':' : c != '-' && c != '_') return false;
  }
  return true;
}

// "host:port" or "host" of `text`, which is in lower case; port 0: none is given.
std::optional<UrlTarget> ParseHost(absl::string_view text) {
  UrlTarget target;
  const size_t behind_address = text.rfind(']');
  const size_t colon = text.rfind(':');
  const bool with_port = colon != absl::string_view::npos &&
                         (behind_address == absl::string_view::npos || colon > behind_address);
  if (with_port) {
    const absl::string_view port = text.substr(colon + 1);
    if (port.find_first_not_of("0123456789") != absl::string_view::npos ||
        !absl::SimpleAtoi(port, &target.port) || target.port < 1 || target.port > kPortMax) {
      return std::nullopt;
    }
  }
  target.host = std::string(text.substr(0, with_port ? colon : text.size()));
  if (!IsHost(target.host)) return std::nullopt;
  return target;
}

}  // namespace

std::optional<UrlTarget> ParseUrlTarget(absl::string_view url) {
  const size_t scheme_end = url.find("://");
  if (scheme_end == absl::string_view::npos) return std::nullopt;
  const std::string scheme = absl::AsciiStrToLower(url.substr(0, scheme_end));
  if (scheme != "http" && scheme != "https") return std::nullopt;
  const absl::string_view rest = url.substr(scheme_end + 3);
  auto target = ParseHost(absl::AsciiStrToLower(rest.substr(0, rest.find_first_of("/?#\\"))));
  if (!target) return std::nullopt;
  target->scheme = scheme;
  if (target->port == 0) target->port = DefaultPort(scheme);
  return target;
}

bool IsAllowedTarget(const UrlTarget& target, const std::set<std::string>& hosts) {
  if (hosts.count(absl::StrCat(target.host, ":", target.port)) > 0) return true;
  return target.port == DefaultPort(target.scheme) && hosts.count(target.host) > 0;
}

bool IsAllowedUrl(absl::string_view url, const std::set<std::string>& hosts) {
  const auto target = ParseUrlTarget(url);
  return target && IsAllowedTarget(*target, hosts);
}

bool IsUrlHost(absl::string_view text) { return ParseHost(text).has_value(); }

}  // namespace narthex::anonymize
