#include "server/archive/scan_type_memory.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "base/log.h"

namespace narthex::archiving {

decltype(session::BuildOptions::scan_type) ChosenScanTypes(metadata::Database& database,
                                                           absl::string_view project) {
  if (project.empty()) return nullptr;
  const auto chosen = database.session_reader().ListChosenScanTypes(project);
  if (!chosen.ok()) {
    Log(LogLevel::kWarning, "scan types not mapped", {{"project", project}, {"error", chosen.status()}});
    return nullptr;
  }
  if (chosen->empty()) return nullptr;
  // By key and modality, in the order of the list: the newest first.
  using Choices =
      absl::flat_hash_map<std::pair<std::string, std::string>, std::vector<metadata::ChosenScanType>>;
  auto choices = std::make_shared<Choices>();
  for (const metadata::ChosenScanType& type : *chosen) (*choices)[{type.key, type.modality}].push_back(type);
  return [choices](absl::string_view key, absl::string_view modality,
                   int64_t frames) -> std::optional<std::string> {
    if (key.empty()) return std::nullopt;
    const auto found = choices->find(std::make_pair(std::string(key), std::string(modality)));
    if (found == choices->end()) return std::nullopt;
    for (const metadata::ChosenScanType& type : found->second) {
      if (type.frames == frames) return type.type;
    }
    return found->second.front().type;
  };
}

}  // namespace narthex::archiving
