// Which of the codes that Checker finds stop an archive operation under which policy: the one table of it.
// docs/states.md shows it; CheckerTest compares every code with every policy.
#include <algorithm>

#include "server/archive/checker.h"

namespace narthex::archiving {
namespace {

// What merging resolves: the session, its scans and its files are there (1, 14, 16, 17, 18), or are just
// being made by an operation that this one then waits for (10). Never: another study (5) or subject (4),
// images of another kind (19), and whatever is wrong with the session itself.
bool IsResolvedByMerging(ConflictCode code) {
  switch (code) {
    case ConflictCode::kSessionExists:
    case ConflictCode::kBusy:
    case ConflictCode::kFilesExist:
    case ConflictCode::kSameScan:
    case ConflictCode::kScanRenamed:
    case ConflictCode::kScanRenumbered:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool Checker::Refuses(const std::vector<prearchive::ConflictRow>& conflicts, ConflictPolicy policy) {
  const bool merges = policy == ConflictPolicy::kAppend || policy == ConflictPolicy::kOverwrite;
  return std::any_of(conflicts.begin(), conflicts.end(), [&](const prearchive::ConflictRow& conflict) {
    if (conflict.type() == static_cast<int>(ConflictType::kWarn)) return false;
    if (conflict.type() == static_cast<int>(ConflictType::kFail)) return true;
    return !(merges && IsResolvedByMerging(static_cast<ConflictCode>(conflict.code())));
  });
}

}  // namespace narthex::archiving
