#include "imaging/session/types.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_sessions.h"
#include "base/status.h"
#include "imaging/session/type_loader.h"

namespace narthex::session {
namespace {

absl::StatusOr<std::string> ReadTypeFile(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    return InvalidArgument("INVALID_SCRIPT", absl::StrCat(path.string(), " cannot be read"),
                           {{"file", path.string()}});
  }
  if (size > limits::kTypeFileMaxBytes) {
    return InvalidArgument("INVALID_SCRIPT", absl::StrCat(path.string(), " is larger than 1 MiB"),
                           {{"file", path.string()}});
  }
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

template <typename T>
const T* FindByName(const std::vector<std::unique_ptr<T>>& all, absl::string_view name) {
  for (const auto& one : all) {
    if (one->name == name) return one.get();
  }
  return nullptr;
}

template <typename T>
const T* FindByXsi(const std::vector<std::unique_ptr<T>>& all, absl::string_view xsi_type) {
  for (const auto& one : all) {
    if (one->xsi_type == xsi_type) return one.get();
  }
  return nullptr;
}

}  // namespace

const TypeRegistry& TypeRegistry::BuiltIn() {
  static const TypeRegistry* const kBuiltIn = [] {
    absl::StatusOr<std::unique_ptr<const TypeRegistry>> registry = Load({});
    // TypesTest loads the same files; that it cannot fail here is what that test shows.
    return registry.ok() ? registry->release() : new TypeRegistry();
  }();
  return *kBuiltIn;
}

absl::StatusOr<std::unique_ptr<const TypeRegistry>> TypeRegistry::Load(absl::Span<const TypeFile> extra) {
  std::unique_ptr<TypeRegistry> registry(new TypeRegistry());
  TypeLoader loader(registry.get());
  for (const TypeFile& file : BuiltInFiles()) NX_RETURN_IF_ERROR(loader.Read(file));
  for (const TypeFile& file : extra) NX_RETURN_IF_ERROR(loader.Read(file));
  NX_RETURN_IF_ERROR(loader.Finish());
  return registry;
}

absl::StatusOr<std::unique_ptr<const TypeRegistry>> TypeRegistry::LoadDirectory(
    const std::string& directory) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  if (!directory.empty()) {
    std::filesystem::directory_iterator entries(directory, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
      if (entries->path().extension() == ".toml") paths.push_back(entries->path());
      if (paths.size() > limits::kTypeFilesMax) {
        return InvalidArgument(
            "INVALID_SCRIPT",
            absl::StrCat(directory, " has more than ", limits::kTypeFilesMax.get(), " type files"),
            {{"file", directory}});
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<TypeFile> files;
  for (const std::filesystem::path& path : paths) {
    NX_ASSIGN_OR_RETURN(std::string text, ReadTypeFile(path));
    files.push_back({path.filename().string(), std::move(text)});
  }
  return Load(files);
}

const ScanType& TypeRegistry::TypeOf(absl::string_view sop_class_uid, absl::string_view modality) const {
  if (const auto found = by_sop_class_.find(sop_class_uid); found != by_sop_class_.end())
    return *found->second;
  if (const auto found = by_modality_.find(modality); found != by_modality_.end()) return *found->second;
  return *other_;
}

const ScanType* TypeRegistry::FindScanType(absl::string_view name) const {
  return FindByName(scan_types_, name);
}
const SessionType* TypeRegistry::FindSessionType(absl::string_view name) const {
  return FindByName(session_types_, name);
}
const SessionType* TypeRegistry::FindSessionTypeByXsi(absl::string_view xsi_type) const {
  return FindByXsi(session_types_, xsi_type);
}
const ScanType* TypeRegistry::FindScanTypeByXsi(absl::string_view xsi_type) const {
  return FindByXsi(scan_types_, xsi_type);
}

int TypeRegistry::ModalityRank(absl::string_view modality) const {
  const auto found = modality_ranks_.find(modality);
  return found == modality_ranks_.end() ? 1'000'000 : found->second;
}

}  // namespace narthex::session
