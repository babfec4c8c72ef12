#include "clients/cpp/file_set.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <sys/stat.h>

#include "base/error.h"
#include "base/status.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFilesMax = 10'000'000;  // fixed: the user's own files
constexpr int kDepthMax = 256;            // fixed: the user's own folders

bool IsHidden(absl::string_view name) {
  return absl::StartsWith(name, ".") || name == "Thumbs.db" || name == "desktop.ini" || name == "__MACOSX";
}

absl::Status CannotRead(const std::string& path, int error) {
  const auto code = error == ENOENT || error == ENOTDIR ? absl::StatusCode::kNotFound
                    : error == EACCES                   ? absl::StatusCode::kPermissionDenied
                                                        : absl::StatusCode::kUnknown;
  return absl::Status(code, absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
}

// Walks arguments and folders; keeps what it found in a FileSet.
class Collector {
 public:
  absl::Status AddArgument(const std::string& path);
  FileSet Take() { return std::move(found_); }

 private:
  absl::Status AddFolder(const std::string& folder, int depth);
  absl::Status AddFile(const std::string& path, const struct stat& facts, bool may_be_archive);
  absl::Status AddLink(const std::string& path);

  FileSet found_;
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> seen_;  // device and inode
  std::string root_;                                         // real path of the argument that is being walked
};

absl::Status Collector::AddArgument(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) != 0) return CannotRead(path, errno);
  if (S_ISREG(facts.st_mode)) return AddFile(path, facts, true);
  if (!S_ISDIR(facts.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is neither a file nor a folder"));
  }
  std::error_code error;
  root_ = fs::canonical(path, error).string();
  if (error) return CannotRead(path, error.value());
  return AddFolder(path, 0);
}

absl::Status Collector::AddFile(const std::string& path, const struct stat& facts, bool may_be_archive) {
  if (!seen_.insert({facts.st_dev, facts.st_ino}).second) return absl::OkStatus();
  if (facts.st_size == 0) {
    ++found_.empty_count;
    return absl::OkStatus();
  }
  LocalFile file{path, facts.st_size, int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec};
  std::vector<LocalFile>& list = may_be_archive && IsArchiveName(path) ? found_.archives : found_.files;
  list.push_back(std::move(file));
  if (found_.files.size() > kFilesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kFilesMax, " files; upload them in parts"));
  }
  return absl::OkStatus();
}

// A link counts if it leads to a file below the argument; folders are not entered through links, which could
// be circles.
absl::Status Collector::AddLink(const std::string& path) {
  struct stat facts;
  std::error_code error;
  const std::string target = fs::canonical(path, error).string();
  const bool inside = !error && absl::StartsWith(target, absl::StrCat(root_, "/"));
  if (!inside || ::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ++found_.special_count;
    return absl::OkStatus();
  }
  return AddFile(path, facts, false);
}

absl::Status Collector::AddFolder(const std::string& folder, int depth) {
  if (depth > kDepthMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("folders are nested deeper than ", kDepthMax, " at ", folder));
  }
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) return CannotRead(folder, error.value());
  std::vector<std::string> names;
  for (fs::directory_iterator end; entries != end; entries.increment(error)) {
    names.push_back(entries->path().filename().string());
  }
  if (error) return CannotRead(folder, error.value());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (IsHidden(name)) {
      ++found_.hidden_count;
      continue;
    }
    const std::string path = absl::StrCat(absl::StripSuffix(folder, "/"), "/", name);
    struct stat facts;
    if (::lstat(path.c_str(), &facts) != 0) return CannotRead(path, errno);
    if (S_ISDIR(facts.st_mode)) {
      NX_RETURN_IF_ERROR(AddFolder(path, depth + 1));
    } else if (S_ISREG(facts.st_mode)) {
      NX_RETURN_IF_ERROR(AddFile(path, facts, false));
    } else if (S_ISLNK(facts.st_mode)) {
      NX_RETURN_IF_ERROR(AddLink(path));
    } else {
      ++found_.special_count;
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsArchiveName(absl::string_view path) {
  const std::string name = absl::AsciiStrToLower(path);
  return absl::EndsWith(name, ".zip") || absl::EndsWith(name, ".tar") || absl::EndsWith(name, ".tar.gz") ||
         absl::EndsWith(name, ".tgz");
}

absl::StatusOr<FileSet> CollectFiles(const std::vector<std::string>& paths) {
  Collector collector;
  for (const std::string& path : paths) NX_RETURN_IF_ERROR(collector.AddArgument(path));
  return collector.Take();
}

}  // namespace narthex::client
