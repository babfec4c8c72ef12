#include "server/gateway/receiver.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <arpa/inet.h>

#include "base/error.h"
#include "base/status.h"

namespace narthex::gateway {
namespace {

constexpr size_t kAeTitleMaxBytes = 16;                                         // fixed: VR AE
constexpr absl::string_view kMappedPrefix("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);  // ::ffff:0:0/96

absl::Status BadField(absl::string_view field, absl::string_view message) {
  return InvalidArgument("INVALID_FIELD", message, {{"field", std::string(field)}});
}

// The 4 or 16 bytes of a numeric address, IPv4 within IPv6 as IPv4; "" if it is none.
std::string AddressBytes(absl::string_view text) {
  const std::string zero_terminated(text);
  char bytes[16];
  if (inet_pton(AF_INET, zero_terminated.c_str(), bytes) == 1) return std::string(bytes, 4);
  if (inet_pton(AF_INET6, zero_terminated.c_str(), bytes) != 1) return "";
  const absl::string_view six(bytes, 16);
  if (absl::StartsWith(six, kMappedPrefix)) return std::string(six.substr(12));
  return std::string(six);
}

bool SamePrefix(absl::string_view a, absl::string_view b, int bits) {
  if (a.size() != b.size()) return false;
  const size_t whole = static_cast<size_t>(bits) / 8;
  if (a.substr(0, whole) != b.substr(0, whole)) return false;
  if (bits % 8 == 0) return true;
  const int mask = 0xff << (8 - bits % 8);
  return ((a[whole] ^ b[whole]) & mask) == 0;
}

}  // namespace

bool IsAeTitle(absl::string_view title) {
  if (title.empty() || title.size() > kAeTitleMaxBytes) return false;
  if (title.front() == ' ' || title.back() == ' ') return false;
  return std::all_of(title.begin(), title.end(), [](char c) { return c >= ' ' && c <= '~' && c != '\\'; });
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text, absl::string_view from) {
  const absl::Status bad = BadField(
      "address",
      absl::StrCat(from, ": an address is ADDRESS:PORT with a port from 0 to 65535, such as 127.0.0.1:8104"));
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return bad;
  absl::string_view host = text.substr(0, colon);
  const absl::string_view digits = text.substr(colon + 1);
  int port = 0;
  const bool digits_only =
      std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits_only || !absl::SimpleAtoi(digits, &port) || port > 65535) return bad;
  if (absl::ConsumePrefix(&host, "[")) {
    if (!absl::ConsumeSuffix(&host, "]") || host.empty()) return bad;
  } else if (host.find(':') != absl::string_view::npos) {
    return bad;
  }
  return ListenAddress{host == "*" ? "" : std::string(host), static_cast<uint16_t>(port)};
}

absl::Status CheckReceivers(const std::vector<ReceiverConfig>& receivers) {
  std::set<std::pair<std::string, uint16_t>> seen;
  std::map<uint16_t, bool> encrypted;  // by port
  for (const ReceiverConfig& receiver : receivers) {
    if (!IsAeTitle(receiver.ae_title)) {
      return BadField("ae_title", "an AE title is 1 to 16 printable ASCII characters without backslash");
    }
    if (!seen.emplace(receiver.ae_title, receiver.port).second) {
      return BadField("ae_title", absl::StrCat("two receivers are called ", receiver.ae_title, " on port ",
                                               receiver.port, "; remove one"));
    }
    const auto [port, first] = encrypted.emplace(receiver.port, receiver.tls);
    if (port->second != receiver.tls) {
      return BadField("tls",
                      absl::StrCat("of the receivers of port ", receiver.port,
                                   " some would use TLS and some would not; give them ports of their own"));
    }
    for (const std::string& caller : receiver.allowed_callers) {
      NX_RETURN_IF_ERROR(AllowedCaller::Parse(caller).status());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<AllowedCaller> AllowedCaller::Parse(absl::string_view text) {
  const absl::Status bad =
      BadField("allowed_callers", "an allowed caller is AE, ADDRESS[/BITS] or AE@ADDRESS[/BITS]");
  AllowedCaller caller;
  const size_t at = text.rfind('@');
  absl::string_view network = at == absl::string_view::npos ? text : text.substr(at + 1);
  const size_t slash = network.rfind('/');
  caller.network_ = AddressBytes(network.substr(0, slash));
  if (caller.network_.empty() && at == absl::string_view::npos) {
    if (!IsAeTitle(text)) return bad;
    caller.ae_title_ = std::string(text);
    return caller;
  }
  if (caller.network_.empty()) return bad;
  caller.prefix_bits_ = static_cast<int>(caller.network_.size()) * 8;
  if (slash != absl::string_view::npos) {
    int bits = -1;
    if (!absl::SimpleAtoi(network.substr(slash + 1), &bits) || bits < 0 || bits > caller.prefix_bits_)
      return bad;
    caller.prefix_bits_ = bits;
  }
  if (at != absl::string_view::npos) {
    if (!IsAeTitle(text.substr(0, at))) return bad;
    caller.ae_title_ = std::string(text.substr(0, at));
  }
  return caller;
}

bool AllowedCaller::Matches(absl::string_view calling_ae_title, absl::string_view address) const {
  if (!ae_title_.empty() && calling_ae_title != ae_title_) return false;
  return network_.empty() || SamePrefix(network_, AddressBytes(address), prefix_bits_);
}

}  // namespace narthex::gateway
