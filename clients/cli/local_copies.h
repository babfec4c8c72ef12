// De-identified copies of a user's files, in a folder that only the user can read. A temporary one goes with
// the object; one that belongs to a resume file stays until Remove, so that an interrupted upload goes on
// with the same copies. What the folder holds of each copy is a line of its manifest:
//
//   narthex-copies 1 <what they were made with, hex>
//   secret <hex>
//   copy <number> <size> <source, hex> <keywords of what changed, separated by commas>
//
// Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "clients/cpp/file_set.h"

namespace narthex::cli {

class LocalCopies {
 public:
  struct Made {
    client::LocalFile file;
    std::set<std::string> changed;  // keywords
  };

  // `folder` "": a temporary one. Copies there that were made with something else than `made_with` go, and
  // `restarted` is true then.
  static absl::StatusOr<std::unique_ptr<LocalCopies>> Open(const std::string& folder,
                                                           const std::string& made_with);
  ~LocalCopies();
  LocalCopies(const LocalCopies&) = delete;
  LocalCopies& operator=(const LocalCopies&) = delete;

  // 32 random bytes that were made with the folder.
  const std::string& secret() const { return secret_; }
  bool restarted() const { return restarted_; }

  // The copy of `source` (its name, size and time) that a former run made; null: there is none.
  const Made* Find(const std::string& source) const;
  std::string NewPath();
  // Notes a complete copy at a path of NewPath.
  absl::Status Add(const std::string& source, const Made& made);

  // The folder goes. Safe to repeat.
  void Remove();

 private:
  LocalCopies(std::string folder, bool temporary) : folder_(std::move(folder)), temporary_(temporary) {}
  bool ReadManifest(const std::string& made_with);
  absl::Status Append(const std::string& line);
  std::string PathOf(int64_t number) const;

  const std::string folder_;
  const bool temporary_;
  std::string secret_;
  bool restarted_ = false;
  int64_t count_ = 0;
  std::map<std::string, Made> made_;  // by source
};

}  // namespace narthex::cli
