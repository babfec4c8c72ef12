#include "imaging/identify/labels.h"

#include <cstddef>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

#include "base/limits.h"

namespace narthex::identify {
namespace {

bool IsLabelChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

// How many bytes the UTF-8 character at the beginning of `text` has; 1 if it is malformed.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t wanted = lead >= 0xf0 && lead < 0xf8 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
  if (lead >= 0xf8 || wanted > text.size()) return 1;
  for (size_t i = 1; i < wanted; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 1;
  }
  return wanted;
}

std::string Clean(absl::string_view text, bool dots, size_t max_bytes) {
  std::string clean;
  clean.reserve(std::min(text.size(), max_bytes));
  while (!text.empty() && clean.size() < max_bytes) {
    const bool keep = IsLabelChar(text[0]) || (dots && text[0] == '.');
    clean += keep ? text[0] : '_';
    text.remove_prefix(keep ? 1 : CharacterBytes(text));
  }
  return clean;
}

}  // namespace

bool IsLabel(absl::string_view text) {
  if (text.empty() || text.size() > limits::kLabelMaxBytes) return false;
  for (char c : text) {
    if (!IsLabelChar(c)) return false;
  }
  return true;
}

std::string CleanLabel(absl::string_view text) { return Clean(text, /*dots=*/false, limits::kLabelMaxBytes); }

std::string CleanFileName(absl::string_view text) {
  while (!text.empty() && text[0] == '.') text.remove_prefix(1);
  return Clean(text, /*dots=*/true, limits::kFileNameMaxBytes);
}

}  // namespace narthex::identify
