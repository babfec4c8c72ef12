#include "storage/verify/report.h"

#include "absl/strings/str_cat.h"

#include "base/limits_storage.h"
#include "storage/metadata/json.h"

namespace narthex::verify {
namespace {

std::string ListToJson(const std::vector<Report::Finding>& findings) {
  std::string json = "[";
  for (const Report::Finding& finding : findings) {
    absl::StrAppend(
        &json, json.size() > 1 ? ",\n    " : "\n    ",
        metadata::JsonObject({{"kind", finding.kind}, {"where", finding.where}, {"what", finding.what}}));
  }
  return absl::StrCat(json, "]");
}

void Add(std::vector<Report::Finding>& list, uint64_t& count, absl::string_view kind, absl::string_view where,
         absl::string_view what) {
  if (++count > limits::kFindingsListedMax) return;
  list.push_back({std::string(kind), std::string(where), std::string(what)});
}

}  // namespace

void Report::Find(absl::string_view kind, absl::string_view where, absl::string_view what) {
  Add(findings, finding_count, kind, where, what);
}

void Report::FindUnfinished(absl::string_view kind, absl::string_view where, absl::string_view what) {
  Add(unfinished, unfinished_count, kind, where, what);
}

std::string Report::ToJson() const {
  return absl::StrCat(
      "{\n  \"clean\": ", clean() ? "true" : "false", ",\n  \"findingCount\": ", finding_count,
      ",\n  \"unfinishedCount\": ", unfinished_count, ",\n  \"stagedSessionCount\": ", staged_session_count,
      ",\n  \"stagedObjectCount\": ", staged_object_count, ",\n  \"stagedBytes\": ", staged_bytes,
      ",\n  \"archivedSessionCount\": ", archived_session_count,
      ",\n  \"archivedFileCount\": ", archived_file_count, ",\n  \"archivedBytes\": ", archived_bytes,
      ",\n  \"catalogCount\": ", catalog_count, ",\n  \"retoldOutcomeCount\": ", retold_outcome_count,
      ",\n  \"findings\": ", ListToJson(findings), ",\n  \"unfinished\": ", ListToJson(unfinished), "\n}\n");
}

}  // namespace narthex::verify
