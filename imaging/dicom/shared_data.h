// Finds the real images that tests read, which are not part of the repository: below $NARTHEX_SHARED, else
// ../shared relative to the working directory (the root of the sources). For tests only.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace narthex::dicom {

inline std::string SharedDataFolder() {
  const char* shared = std::getenv("NARTHEX_SHARED");
  return std::string(shared != nullptr && *shared != 0 ? shared : "../shared") + "/data";
}

inline std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace narthex::dicom

// Leaves the test if the real images are not there; in continuous integration that is a failure.
#define NARTHEX_REQUIRE_SHARED_DATA()                                                         \
  do {                                                                                        \
    if (!std::filesystem::exists(::narthex::dicom::SharedDataFolder() + "/MANIFEST.jsonl")) { \
      const char* ci = std::getenv("CI");                                                     \
      if (ci != nullptr && std::string(ci) == "true") {                                       \
        FAIL() << "the real images are missing: set NARTHEX_SHARED to the folder that holds " \
                  "data/MANIFEST.jsonl";                                                      \
      }                                                                                       \
      GTEST_SKIP() << "REAL IMAGES ARE MISSING, NOTHING WAS TESTED: set NARTHEX_SHARED";      \
    }                                                                                         \
  } while (false)
