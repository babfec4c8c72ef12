#include "server/prearchive/exported.h"

namespace narthex::prearchive {

void ExportedValues::Add(absl::string_view target, absl::string_view value) {
  const auto [there, first] = rows_.try_emplace(std::string(target));
  ExportedRow& row = there->second;
  if (first) {
    row.set_target(std::string(target));
    row.set_value(std::string(value));
  } else if (row.value() != value) {
    row.set_differing_count(row.differing_count() + 1);
  }
}

void ExportedValues::Override(const ExportedValues& later) {
  for (const auto& [target, row] : later.rows_) rows_[target] = row;
}

}  // namespace narthex::prearchive
