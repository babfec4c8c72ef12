#include "imaging/identify/filter_set.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "imaging/dicom/header_facts.h"

namespace narthex::identify {

void FilterSet::Set(absl::string_view project, SeriesFilter filter) {
  filters_.insert_or_assign(std::string(project), std::move(filter));
}

const SeriesFilter* FilterSet::Find(absl::string_view project) const {
  const auto found = filters_.find(std::string(project));
  return found == filters_.end() ? nullptr : &found->second;
}

FilterVerdict FilterSet::Evaluate(absl::string_view project, const dicom::HeaderFacts& facts) const {
  FilterVerdict verdict;
  if (filters_.empty()) return verdict;
  if (const SeriesFilter* site = Find(""); site != nullptr) {
    verdict = site->Evaluate(facts);
    if (!verdict.allowed) verdict.reason = absl::StrCat("site filter: ", verdict.reason);
  }
  if (!verdict.allowed || project.empty()) return verdict;
  if (const SeriesFilter* own = Find(project); own != nullptr) {
    verdict = own->Evaluate(facts);
    if (!verdict.allowed) verdict.reason = absl::StrCat("project filter: ", verdict.reason);
  }
  return verdict;
}

std::vector<dicom::Tag> FilterSet::wanted() const {
  std::vector<dicom::Tag> wanted;
  for (const auto& [project, filter] : filters_) {
    wanted.insert(wanted.end(), filter.wanted().begin(), filter.wanted().end());
  }
  return wanted;
}

}  // namespace narthex::identify
