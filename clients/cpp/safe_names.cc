#include "clients/cpp/safe_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace narthex::client {
namespace {

bool IsRefused(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f || absl::string_view("<>:\"/\\|?*").find(c) != absl::string_view::npos;
}

// Also with an extension: "nul.txt".
bool IsDeviceName(absl::string_view name) {
  const std::string stem =
      absl::AsciiStrToLower(absl::StripTrailingAsciiWhitespace(name.substr(0, name.find('.'))));
  if (stem == "con" || stem == "prn" || stem == "aux" || stem == "nul" || stem == "conin$" ||
      stem == "conout$") {
    return true;
  }
  return stem.size() == 4 && (absl::StartsWith(stem, "com") || absl::StartsWith(stem, "lpt")) &&
         absl::ascii_isdigit(stem[3]);
}

}  // namespace

std::string SafeComponent(absl::string_view name) {
  std::string safe(name);
  for (char& c : safe) {
    if (IsRefused(c)) c = '_';
  }
  while (!safe.empty() && (safe.back() == '.' || safe.back() == ' ')) {
    const size_t end = safe.find_last_not_of(". ");
    for (size_t i = end == std::string::npos ? 0 : end + 1; i < safe.size(); ++i) safe[i] = '_';
  }
  if (safe.empty()) safe = "_";
  if (IsDeviceName(safe)) safe.insert(safe.begin(), '_');
  return safe;
}

std::string SafeNames::For(absl::string_view path) {
  if (const auto known = given_.find(path); known != given_.end()) return known->second;
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == absl::string_view::npos ? "" : absl::StrCat(For(path.substr(0, slash)), "/");
  const std::string name = SafeComponent(slash == absl::string_view::npos ? path : path.substr(slash + 1));
  const size_t dot = name.rfind('.');
  const absl::string_view stem = absl::string_view(name).substr(0, dot);
  const absl::string_view extension = dot == std::string::npos ? "" : absl::string_view(name).substr(dot);
  std::string full = absl::StrCat(folder, name);
  for (int i = 2; !taken_.emplace(absl::AsciiStrToLower(full), full).second; ++i) {
    full = absl::StrCat(folder, stem, "-", i, extension);
  }
  given_.emplace(path, full);
  return full;
}

}  // namespace narthex::client
