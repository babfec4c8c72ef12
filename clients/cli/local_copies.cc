#include "clients/cli/local_copies.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <sys/stat.h>

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"

namespace narthex::cli {
namespace {

constexpr char kMagic[] = "narthex-copies 1 ";
constexpr char kManifest[] = "/manifest";
constexpr int kSecretBytes = 32;
constexpr mode_t kPrivate = 0700;

absl::Status Failed(absl::string_view what) { return Internal("STORAGE_ERROR", what); }

}  // namespace

absl::StatusOr<std::unique_ptr<LocalCopies>> LocalCopies::Open(const std::string& folder,
                                                               const std::string& made_with) {
  const bool temporary = folder.empty();
  std::string place = folder;
  std::error_code error;
  if (temporary) {
    place = (std::filesystem::temp_directory_path() / "narthex-anonymized-XXXXXX").string();
    if (::mkdtemp(place.data()) == nullptr) return Failed(absl::StrCat("cannot make a folder ", place));
  } else if (::mkdir(place.c_str(), kPrivate) != 0 && !std::filesystem::is_directory(place, error)) {
    return Failed(absl::StrCat("cannot make the folder ", place));
  }
  auto copies = absl::WrapUnique(new LocalCopies(place, temporary));
  if (copies->ReadManifest(made_with)) return copies;
  copies->restarted_ = std::filesystem::exists(absl::StrCat(place, kManifest), error);
  if (!copies->restarted_ && !std::filesystem::is_empty(place, error))
    return Failed(absl::StrCat("the folder ", place, " holds something else; choose another resume file"));
  copies->Remove();
  if (::mkdir(place.c_str(), kPrivate) != 0) return Failed(absl::StrCat("cannot make the folder ", place));
  copies->secret_ = RandomBytes(kSecretBytes);
  NX_RETURN_IF_ERROR(copies->Append(absl::StrCat(kMagic, made_with)));
  NX_RETURN_IF_ERROR(copies->Append(absl::StrCat("secret ", absl::BytesToHexString(copies->secret_))));
  return copies;
}

LocalCopies::~LocalCopies() {
  if (temporary_) Remove();
}

void LocalCopies::Remove() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
  made_.clear();
  count_ = 0;
}

std::string LocalCopies::PathOf(int64_t number) const { return absl::StrCat(folder_, "/", number, ".dcm"); }

std::string LocalCopies::NewPath() { return PathOf(count_++); }

// False: there is none, or it is of copies that were made with something else.
bool LocalCopies::ReadManifest(const std::string& made_with) {
  std::ifstream in(absl::StrCat(folder_, kManifest));
  std::string line;
  if (!std::getline(in, line) || line != absl::StrCat(kMagic, made_with)) return false;
  while (std::getline(in, line)) {
    // A line that a kill cut off has no line feed, and is the last one.
    if (in.eof()) break;
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 2 && words[0] == "secret") secret_ = absl::HexStringToBytes(words[1]);
    if (words.size() != 5 || words[0] != "copy") continue;
    Made made;
    int64_t number = 0;
    if (!absl::SimpleAtoi(words[1], &number) || !absl::SimpleAtoi(words[2], &made.file.size_bytes)) continue;
    made.file.path = PathOf(number);
    count_ = std::max(count_, number + 1);
    std::error_code gone;
    if (std::filesystem::file_size(made.file.path, gone) != static_cast<uint64_t>(made.file.size_bytes))
      continue;
    for (absl::string_view word : absl::StrSplit(words[4], ',', absl::SkipEmpty()))
      made.changed.emplace(word);
    made_[absl::HexStringToBytes(words[3])] = std::move(made);
  }
  return secret_.size() == kSecretBytes;
}

absl::Status LocalCopies::Append(const std::string& line) {
  std::ofstream out(absl::StrCat(folder_, kManifest), std::ios::binary | std::ios::app);
  out << line << "\n";
  return out.flush() ? absl::OkStatus() : Failed("cannot note the anonymized copy");
}

const LocalCopies::Made* LocalCopies::Find(const std::string& source) const {
  const auto found = made_.find(source);
  return found == made_.end() ? nullptr : &found->second;
}

absl::Status LocalCopies::Add(const std::string& source, const Made& made) {
  const std::string number = std::filesystem::path(made.file.path).stem().string();
  return Append(absl::StrCat("copy ", number, " ", made.file.size_bytes, " ", absl::BytesToHexString(source),
                             " ", absl::StrJoin(made.changed, ",")));
}

}  // namespace narthex::cli
