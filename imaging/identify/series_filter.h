// Series import filters (XNAT's): which objects a site or a project wants.
//
// Deny-list and allow-list: one regular expression a line, searched for (not matched whole) without regard to
// case in SeriesDescription, or in the attribute named by the `[Header]` line above it. `EXISTS` and
// `!EXISTS` ask whether the attribute is there. `#` begins a comment line.
//
//   localizer
//   [BurnedInAnnotation]
//   ^yes$
//   [(0008,0008)]
//   PATIENT_PROTOCOL
//
// Modality map: `NAME: expression` lines; `exclude` and `default` are special names. filter_expression.h has
// the language.
//
//   exclude: '#BurnedInAnnotation#' ~ '^yes$'
//   PT: '#Modality#' == 'PT' || ('#Modality#' == 'MR' && '#SeriesDescription#' == 'PET Data')
//   MR: '#Modality#' == 'MR'
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/tag.h"

namespace narthex::dicom {
class HeaderFacts;
}

namespace narthex::identify {

enum class FilterMode {
  kDenyList,     // XNAT: blacklist. Everything except what a line matches.
  kAllowList,    // XNAT: whitelist. Only what a line matches.
  kModalityMap,  // Only what some NAME's expression holds for (or all, with a `default`), and not `exclude`.
};

// "deny", "allow", "modality-map"; Parse also takes XNAT's blacklist, whitelist and modalityMap, in any case.
absl::string_view FilterModeName(FilterMode mode);
absl::StatusOr<FilterMode> ParseFilterMode(absl::string_view name);

struct FilterVerdict {
  bool allowed = true;
  int line = 0;          // of the line that decided; 0: none did (nothing matched)
  std::string section;   // its attribute ("SeriesDescription") or its name in a modality map ("exclude")
  std::string modality;  // modality map: the first NAME that holds, or the default; "" else

  // Free of patient values: "deny-list line 3 (BurnedInAnnotation)" or "no line of the allow-list matches".
  std::string reason;  // "" if allowed
};

// Immutable; thread-safe; cheap to move.
class SeriesFilter {
 public:
  // INVALID_ARGUMENT (INVALID_SCRIPT, metadata "line", "column"): says which lines are wrong and why,
  // all of them up to ten. Also for over limits::kSeriesFilterMaxBytes, or limits::kSeriesFilterLinesMax
  // lines that ask something.
  static absl::StatusOr<SeriesFilter> Parse(FilterMode mode, absl::string_view text,
                                            Origin origin = Origin::kArriving);

  SeriesFilter(SeriesFilter&&) noexcept;
  SeriesFilter& operator=(SeriesFilter&&) noexcept;
  ~SeriesFilter();

  FilterVerdict Evaluate(const dicom::HeaderFacts& facts) const;

  // Has no line that asks something: allows everything, also as an allow-list (as XNAT, an empty filter is
  // off).
  bool empty() const;
  // The attributes that Evaluate may ask for: the header scanner must keep them.
  const std::vector<dicom::Tag>& wanted() const;

  struct Rep;  // of the implementation

 private:
  explicit SeriesFilter(std::unique_ptr<const Rep> rep);
  std::unique_ptr<const Rep> rep_;
};

}  // namespace narthex::identify
