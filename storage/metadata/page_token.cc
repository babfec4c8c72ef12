#include "storage/metadata/page_token.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"

namespace narthex::metadata {
namespace {

constexpr size_t kCheckBytes = 8;
constexpr size_t kTokenMaxBytes = 16 << 10;  // fixed: tokens of our own making

// Not a secret: a token grants nothing that its list does not. The check finds tokens of other lists and
// typing.
std::string Check(absl::string_view list, absl::string_view body) {
  return Sha256(absl::StrCat(list.size(), ":", list, body)).substr(0, kCheckBytes);
}

absl::Status Bad() {
  return InvalidArgument("PAGE_TOKEN_INVALID",
                         "the page token is not one of this list; start again without one", {});
}

}  // namespace

std::string EncodePageToken(absl::string_view list, const std::vector<std::string>& values) {
  std::string body;
  for (const std::string& value : values) absl::StrAppend(&body, value.size(), ":", value);
  return absl::WebSafeBase64Escape(Check(list, body) + body);
}

absl::StatusOr<std::vector<std::string>> DecodePageToken(absl::string_view list, absl::string_view token,
                                                         size_t count) {
  std::string bytes;
  if (token.size() > kTokenMaxBytes || !absl::WebSafeBase64Unescape(token, &bytes) ||
      bytes.size() < kCheckBytes) {
    return Bad();
  }
  absl::string_view rest = absl::string_view(bytes).substr(kCheckBytes);
  if (Check(list, rest) != bytes.substr(0, kCheckBytes)) return Bad();
  std::vector<std::string> values;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    size_t length = 0;
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, colon), &length)) return Bad();
    rest.remove_prefix(colon + 1);
    if (length > rest.size()) return Bad();
    values.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  if (values.size() != count) return Bad();
  return values;
}

int PageSize(const Page& page, int max) {
  return page.size <= 0 ? std::min(limits::kPageSizeDefault.get(), max) : std::min(page.size, max);
}

}  // namespace narthex::metadata
