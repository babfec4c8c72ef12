// The series import filters in force: the site's and those of projects.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imaging/dicom/tag.h"
#include "imaging/identify/series_filter.h"

namespace narthex::identify {

// Thread-compatible: thread-safe once it is filled.
class FilterSet {
 public:
  // `project` "" is the site. Replaces what was there.
  void Set(absl::string_view project, SeriesFilter filter);

  // What the site's filter, then that of `project` ("": Unassigned, which has none) says of an object. The
  // reason of a refusal names the filter: "site filter: deny-list line 3 (BurnedInAnnotation)". At arrival
  // `facts` are those of the raw header.
  FilterVerdict Evaluate(absl::string_view project, const dicom::HeaderFacts& facts) const;

  // The filter of the site ("") or of a project; null if there is none that is on.
  const SeriesFilter* Find(absl::string_view project) const;

  // The attributes that Evaluate may ask for: the header scanner must keep them.
  std::vector<dicom::Tag> wanted() const;

 private:
  std::map<std::string, SeriesFilter, std::less<>> filters_;
};

}  // namespace narthex::identify
