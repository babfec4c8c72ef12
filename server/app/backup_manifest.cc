#include "server/app/backup_manifest.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/metadata/json.h"

namespace narthex::app {
namespace {

namespace files = std::filesystem;

constexpr int64_t kContentMaxBytes =
    1 << 20;  // fixed: manifests that were written say so; of larger files the size must do
constexpr size_t kBlock = 1 << 20;

std::string ManifestOf(const std::string& backup) { return backup + "/backup.json"; }

absl::Status Refused(absl::string_view what) { return FailedPrecondition("RESTORE_REFUSED", what); }

absl::Status AddContent(const files::path& path, Xxh3Hasher& hasher) {
  std::ifstream stream(path, std::ios::binary);
  std::string block(kBlock, '\0');
  while (stream) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    hasher.Update(absl::string_view(block).substr(0, static_cast<size_t>(stream.gcount())));
  }
  if (stream.eof()) return absl::OkStatus();
  return Internal("STORAGE_ERROR", absl::StrCat(path.string(), " cannot be read"));
}

// Files come in any order: their digests are added.
absl::StatusOr<absl::uint128> DigestOf(const files::path& path, const std::string& name, int64_t size,
                                       bool content) {
  Xxh3Hasher hasher;
  hasher.Update(absl::StrCat(name, "\n", size, "\n"));
  if (content) NX_RETURN_IF_ERROR(AddContent(path, hasher));
  absl::uint128 sum = 0;
  for (const char byte : hasher.Finish()) sum = (sum << 8) | static_cast<unsigned char>(byte);
  return sum;
}

int64_t Number(const std::map<std::string, std::string>& members, const std::string& name) {
  int64_t number = 0;
  const auto found = members.find(name);
  return found != members.end() && absl::SimpleAtoi(found->second, &number) ? number : 0;
}

// What is missing of a part, or too much; "": nothing.
std::string Lack(const std::string& name, const BackupPart& made, const BackupPart& there) {
  int64_t complete = there.files, bytes = there.bytes, strange = 0;
  if (made.digest.empty()) {
    complete = bytes = 0;
    strange = there.files;
    for (const auto& [file, size] : made.sizes) {
      const auto found = there.sizes.find(file);
      if (found == there.sizes.end()) continue;
      --strange;
      bytes += std::min(size, found->second);
      if (found->second >= size) ++complete;
    }
  }
  if (complete != made.files || bytes != made.bytes) {
    return absl::StrCat(name, " has ", complete, " of ", made.files, " files and ", bytes, " of ", made.bytes,
                        " bytes");
  }
  if (strange > 0) return absl::StrCat(name, " has ", strange, " files that are not of this backup");
  return made.digest == there.digest ? "" : absl::StrCat(name, " has other content than was backed up");
}

}  // namespace

absl::StatusOr<BackupPart> MeasurePart(const std::string& backup, const std::string& part) {
  const files::path root = files::path(backup) / part;
  const bool grows = part == kSegmentsPart;
  BackupPart measured;
  absl::uint128 sum = 0;
  const auto add = [&](const files::path& path, const std::string& name, int64_t content_max) {
    std::error_code error;
    const int64_t size = static_cast<int64_t>(files::file_size(path, error));
    if (error) return Internal("STORAGE_ERROR", absl::StrCat(path.string(), ": ", error.message()));
    ++measured.files;
    measured.bytes += size;
    if (grows) {
      measured.sizes[name] = size;
      return absl::OkStatus();
    }
    NX_ASSIGN_OR_RETURN(const absl::uint128 digest, DigestOf(path, name, size, size <= content_max));
    sum += digest;
    return absl::OkStatus();
  };
  std::error_code error;
  if (files::is_regular_file(root, error)) {
    NX_RETURN_IF_ERROR(add(root, part, std::numeric_limits<int64_t>::max()));
  } else {
    for (auto it = files::recursive_directory_iterator(root, error); !error && it != files::end(it);
         it.increment(error)) {
      if (!it->is_regular_file(error)) continue;
      NX_RETURN_IF_ERROR(add(it->path(), it->path().lexically_relative(root).string(),
                             part == kArchivePart ? -1 : kContentMaxBytes));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
      return Internal("STORAGE_ERROR", absl::StrCat(root.string(), ": ", error.message()));
    }
  }
  if (!grows) {
    measured.digest = absl::StrFormat("%016x%016x", absl::Uint128High64(sum), absl::Uint128Low64(sum));
  }
  return measured;
}

absl::Status WriteManifest(const BackupManifest& manifest, const std::string& backup) {
  std::vector<std::string> parts;
  for (const auto& [name, part] : manifest.parts) {
    std::vector<std::string> sizes;
    for (const auto& [file, size] : part.sizes)
      sizes.push_back(absl::StrCat(metadata::JsonQuote(file), ": ", size));
    parts.push_back(absl::StrCat(
        "\n  ", metadata::JsonQuote(name), ": {\"files\": ", part.files, ", \"bytes\": ", part.bytes,
        part.digest.empty() ? absl::StrCat(", \"sizes\": {", absl::StrJoin(sizes, ", "), "}")
                            : absl::StrCat(", \"digest\": \"", part.digest, "\""),
        "}"));
  }
  const std::string fresh = ManifestOf(backup) + ".new";
  std::ofstream stream(fresh);
  stream << absl::StrCat("{\"version\": ", metadata::JsonQuote(manifest.version), ", \"time\": \"",
                         absl::FormatTime(absl::Now(), absl::UTCTimeZone()),
                         "\", \"database\": ", manifest.database ? "true" : "false",
                         ", \"sessions\": ", manifest.sessions.value_or(0), ", \"parts\": {",
                         absl::StrJoin(parts, ","), "}}\n");
  stream.close();
  if (!stream || std::rename(fresh.c_str(), ManifestOf(backup).c_str()) != 0) {
    return Internal("STORAGE_ERROR", absl::StrCat(ManifestOf(backup), " cannot be written"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BackupManifest> ReadManifest(const std::string& backup) {
  std::ifstream stream(ManifestOf(backup));
  if (!stream) {
    return Refused(
        absl::StrCat(backup, " has no backup.json: it is no backup, or one that was not completed"));
  }
  std::stringstream text;
  text << stream.rdbuf();
  const auto members = metadata::ParseJsonObject(text.str());
  BackupManifest manifest;
  if (members.count("version") == 0 || members.count("database") == 0) {
    return Refused(absl::StrCat(ManifestOf(backup), " is cut off or not one: copy the backup again"));
  }
  manifest.version = members.at("version");
  manifest.database = members.at("database") == "true";
  if (members.count("parts") == 0) return manifest;
  manifest.sessions = Number(members, "sessions");
  for (const auto& [name, part] : metadata::ParseJsonObject(members.at("parts"))) {
    const auto facts = metadata::ParseJsonObject(part);
    BackupPart& read = manifest.parts[name];
    read.files = Number(facts, "files");
    read.bytes = Number(facts, "bytes");
    if (facts.count("digest") > 0) read.digest = facts.at("digest");
    if (facts.count("sizes") == 0) continue;
    const auto sizes = metadata::ParseJsonObject(facts.at("sizes"));
    for (const auto& [file, size] : sizes) read.sizes[file] = Number(sizes, file);
  }
  return manifest;
}

absl::Status CheckComplete(const BackupManifest& manifest, const std::string& backup) {
  if (manifest.parts.empty()) {
    std::error_code error;
    if (manifest.database && !files::exists(files::path(backup) / kDumpPart, error)) {
      return Refused(absl::StrCat(backup, " is not complete: it has no ", kDumpPart));
    }
    Log(LogLevel::kWarning, "the backup is of a version that did not write down what must be in it",
        {{"version", manifest.version}});
    return absl::OkStatus();
  }
  std::vector<std::string> lacks;
  for (const auto& [name, made] : manifest.parts) {
    NX_ASSIGN_OR_RETURN(const BackupPart there, MeasurePart(backup, name));
    if (std::string lack = Lack(name, made, there); !lack.empty()) lacks.push_back(std::move(lack));
  }
  if (lacks.empty()) return absl::OkStatus();
  return Refused(
      absl::StrCat(backup, " is not complete: ", absl::StrJoin(lacks, "; "),
                   ". Copy it again from where it was made, or take another; nothing was restored"));
}

}  // namespace narthex::app
