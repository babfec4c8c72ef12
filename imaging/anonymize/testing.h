// What the tests of this folder share: the folder of real images, and files read whole.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narthex::anonymize {

// ../shared, or what NARTHEX_SHARED says; "" if there is none.
inline std::string SharedFolder() {
  const char* given = std::getenv("NARTHEX_SHARED");
  const std::string folder = given != nullptr ? given : "../shared";
  return std::filesystem::exists(folder + "/data") ? folder : "";
}

// Skips a test that needs the shared folder, or fails it in CI, where nothing may be skipped.
#define NX_NEED_SHARED()                                                                   \
  if (::narthex::anonymize::SharedFolder().empty()) {                                      \
    if (std::getenv("CI") != nullptr) FAIL() << "the shared folder is missing in CI";      \
    GTEST_SKIP() << "!!! NOT TESTED: no ../shared and no NARTHEX_SHARED with real images"; \
  }

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Regular files of at most `max_bytes` below data/, sorted.
inline std::vector<std::filesystem::path> SharedFiles(uintmax_t max_bytes = 64 << 20) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SharedFolder() + "/data")) {
    if (entry.is_regular_file() && entry.file_size() <= max_bytes) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace narthex::anonymize
