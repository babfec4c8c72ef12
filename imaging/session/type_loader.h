// Reads type files into a TypeRegistry. Inside imaging/session; docs/session-types.md describes the format.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "imaging/session/types.h"

namespace narthex::session {

// A type as its file has it: with the names of groups, not yet their attributes.
template <typename T>
struct LoadedType {
  T* type = nullptr;  // owned by the registry
  std::vector<std::string> groups;
  std::vector<std::string> sop_classes, modalities;  // of scan types
  std::string file;
  int line = 0;
};

// Single-threaded. Read() files in order, then Finish().
class TypeLoader {
 public:
  explicit TypeLoader(TypeRegistry* registry) : registry_(registry) {}

  // INVALID_ARGUMENT (INVALID_SCRIPT): see TypeRegistry::Load.
  absl::Status Read(const TypeFile& file);
  // Resolves names and fills the registry.
  absl::Status Finish();

 private:
  friend class TypeFileReader;

  absl::Status Fail(const std::string& file, int line, absl::string_view message) const;
  template <typename T>
  absl::Status Resolve(LoadedType<T>& loaded);
  absl::Status Claim(const LoadedType<ScanType>& loaded);
  absl::Status CheckSessionTypes() const;
  void CollectWanted();

  TypeRegistry* registry_;
  std::map<std::string, std::vector<const AttributeSpec*>> groups_;
  std::vector<LoadedType<ScanType>> scan_types_;
  std::vector<LoadedType<SessionType>> session_types_;
  std::map<std::string, std::string> claimed_in_;  // SOP class or modality -> file and type that claimed it
  std::map<std::string, int> ranks_;
};

}  // namespace narthex::session
