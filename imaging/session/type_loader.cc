#include "imaging/session/type_loader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/session/built_in_paths.h"

namespace narthex::session {

absl::Status TypeLoader::Fail(const std::string& file, int line, absl::string_view message) const {
  return InvalidArgument("INVALID_SCRIPT", absl::StrCat(file, ":", line, ": ", message),
                         {{"file", file}, {"line", absl::StrCat(line)}});
}

template <typename T>
absl::Status TypeLoader::Resolve(LoadedType<T>& loaded) {
  std::set<std::string> names;
  for (const std::string& group : loaded.groups) {
    const auto found = groups_.find(group);
    if (found == groups_.end()) {
      return Fail(loaded.file, loaded.line, absl::StrCat("there is no attribute group '", group, "'"));
    }
    for (const AttributeSpec* spec : found->second) {
      if (names.insert(spec->name).second) loaded.type->attributes.push_back(spec);
    }
  }
  return absl::OkStatus();
}

absl::Status TypeLoader::Claim(const LoadedType<ScanType>& loaded) {
  const auto claim = [&](const std::string& what, absl::flat_hash_map<std::string, const ScanType*>& claims) {
    std::string& before = claimed_in_[what];
    if (before == loaded.file && claims[what] != loaded.type) {
      return Fail(loaded.file, loaded.line,
                  absl::StrCat(what, " is claimed by another type of this file already"));
    }
    before = loaded.file;
    claims[what] = loaded.type;
    return absl::OkStatus();
  };
  for (const std::string& uid : loaded.sop_classes) NX_RETURN_IF_ERROR(claim(uid, registry_->by_sop_class_));
  for (const std::string& modality : loaded.modalities)
    NX_RETURN_IF_ERROR(claim(modality, registry_->by_modality_));
  return absl::OkStatus();
}

absl::Status TypeLoader::CheckSessionTypes() const {
  const auto exists = [&](const std::string& name) { return registry_->FindSessionType(name) != nullptr; };
  for (const auto& loaded : scan_types_) {
    if (loaded.type->session_type.empty() || exists(loaded.type->session_type)) continue;
    return Fail(loaded.file, loaded.line,
                absl::StrCat("there is no session type '", loaded.type->session_type, "'"));
  }
  for (const auto& loaded : session_types_) {
    for (const std::string& name : loaded.type->combines) {
      if (!exists(name))
        return Fail(loaded.file, loaded.line, absl::StrCat("there is no session type '", name, "'"));
    }
  }
  return absl::OkStatus();
}

void TypeLoader::CollectWanted() {
  std::vector<dicom::TagPath>& wanted = registry_->wanted_;
  const auto add = [&](const dicom::TagPath& path) {
    if (std::find(wanted.begin(), wanted.end(), path) == wanted.end()) wanted.push_back(path);
  };
  for (const dicom::TagPath& path : BuiltInPaths()) add(path);
  for (const auto& spec : registry_->attributes_) {
    for (const Source& source : spec->sources) {
      add(source.path);
      if (source.times.has_value()) add(*source.times);
    }
  }
}

absl::Status TypeLoader::Finish() {
  for (auto& loaded : session_types_) NX_RETURN_IF_ERROR(Resolve(loaded));
  for (auto& loaded : scan_types_) NX_RETURN_IF_ERROR(Resolve(loaded));
  for (const auto& loaded : scan_types_) NX_RETURN_IF_ERROR(Claim(loaded));
  NX_RETURN_IF_ERROR(CheckSessionTypes());
  registry_->modality_ranks_.insert(ranks_.begin(), ranks_.end());
  registry_->other_ = registry_->FindScanType("other");
  if (registry_->other_ == nullptr || registry_->FindSessionType("other") == nullptr) {
    return Fail("(all files)", 0, "there must be a scan type and a session type 'other'");
  }
  CollectWanted();
  return absl::OkStatus();
}

}  // namespace narthex::session
