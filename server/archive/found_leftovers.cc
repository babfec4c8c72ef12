#include "server/archive/found_leftovers.h"

#include "absl/strings/str_cat.h"

namespace narthex::archiving {
namespace {

// Remarks name so many attributes at most.
constexpr size_t kNotedMax = 20;  // fixed: what one note tells

}  // namespace

void FoundLeftovers::Add(const google::protobuf::RepeatedPtrField<prearchive::LeftoverRow>& rows,
                         const anonymize::LeftoverReport& report) {
  for (const prearchive::LeftoverRow& row : rows) Count(row.path(), row.keyword(), row.source(), row.count());
  for (const anonymize::Leftover& found : report.found)
    Count(found.path, found.name, found.source, found.count);
  if (!rows.empty() || !report.found.empty()) ++object_count_;
}

void FoundLeftovers::Count(const std::string& path, const std::string& keyword, const std::string& source,
                           int64_t count) {
  prearchive::LeftoverRow& row = found_[{path, source}];
  row.set_path(path);
  row.set_keyword(keyword);
  row.set_source(source);
  row.set_count(row.count() + count);
}

std::string FoundLeftovers::Summary() const {
  return absl::StrCat(object_count_, object_count_ == 1 ? " object still holds" : " objects still hold",
                      " identifiers of the original after anonymization");
}

void FoundLeftovers::Write(prearchive::SessionRow& row) const {
  row.clear_leftovers();
  for (const auto& [key, leftover] : found_) *row.add_leftovers() = leftover;
  row.set_leftover_object_count(static_cast<int32_t>(object_count_));
}

void FoundLeftovers::AddRemarks(std::vector<std::string>& remarks) const {
  size_t noted = 0;
  for (const auto& [key, row] : found_) {
    if (++noted > kNotedMax) break;
    remarks.push_back(absl::StrCat("left: ", row.source(), " in ",
                                   row.keyword().empty() ? row.path() : row.keyword(), " (", row.count(),
                                   ")"));
  }
}

}  // namespace narthex::archiving
