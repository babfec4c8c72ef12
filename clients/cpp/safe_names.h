// Names for downloaded files that Windows, macOS and Linux all take. Single-threaded.
#pragma once

#include <map>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace narthex::client {

// Gives each path of an archived session a path of its own below the destination: characters that some system
// refuses become '_', device names (CON, NUL, ...) get one in front, dots and blanks at the end become '_',
// and what differs only by case gets -2, -3, ... The same paths in the same order get the same names.
class SafeNames {
 public:
  // A safe relative path (IsSafeRelativePath) as the one to write to. The same path gets the same answer.
  std::string For(absl::string_view path);

 private:
  // By folder and name in lower case: how the name is spelled, and whose it is.
  absl::flat_hash_map<std::string, std::string> taken_;
  absl::flat_hash_map<std::string, std::string> given_;  // path of the archive -> path to write to
};

// One path component, without regard to others.
std::string SafeComponent(absl::string_view name);

}  // namespace narthex::client
