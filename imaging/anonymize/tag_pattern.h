// Tag paths of the DicomEdit language, wildcards included, and the search for what they match. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

// One tag: each hexadecimal digit exact, any (X), even (@) or odd (#).
struct TagPattern {
  uint32_t mask = 0;  // bits that must be as in `value`
  uint32_t value = 0;
  bool has_creator = false;  // then the block digits (bits 8 to 15) do not count
  std::string creator;

  bool exact() const { return mask == (has_creator ? 0xffff00ff : 0xffffffff); }
  dicom::Tag tag() const { return dicom::Tag(value); }  // if exact and without creator
  bool Matches(const dicom::Item& item, dicom::Tag tag) const;
};

struct PathStep {
  enum class Kind { kElement, kAnyDepth, kOneOrMore, kOneLevel };
  enum class Items { kUnsaid, kAll, kIndex };
  Kind kind = Kind::kElement;
  TagPattern tag;
  Items items = Items::kUnsaid;
  uint32_t index = 0;
};

struct PathPattern {
  std::vector<PathStep> steps;  // the last is an element; empty: no path
  std::string text;             // as written

  bool empty() const { return steps.empty(); }
  // Can match one attribute only: no wildcard, and an item number for every sequence.
  bool singular() const;
};

// Reads a path from the beginning of `text`. `odd_without_creator` allows (0019,1008) as DicomEdit 4 does.
// The error message says what is wrong; its offset in `text` is in `error_at`. `consumed` gets the length.
absl::StatusOr<PathPattern> ParsePath(absl::string_view text, bool odd_without_creator, size_t* consumed,
                                      size_t* error_at);

struct PathMatch {
  dicom::Item* item;
  dicom::Tag tag;
};

// Bounds the work of one script on one object.
struct WorkBudget {
  int64_t steps = 0;
  int64_t max_steps = 0;
  // RESOURCE_EXHAUSTED (ANONYMIZATION_FAILED) when the bound is reached.
  absl::Status Spend(int64_t steps);
};

// All attributes of `root` that `path` matches, outer before inner ones.
absl::StatusOr<std::vector<PathMatch>> FindMatches(dicom::Item& root, const PathPattern& path,
                                                   WorkBudget& budget);

// All attributes on all levels of `root` for which `wanted` is true, outer before inner ones.
absl::StatusOr<std::vector<PathMatch>> FindElements(
    dicom::Item& root, WorkBudget& budget,
    absl::FunctionRef<bool(const dicom::Item&, const dicom::Element&)> wanted);

// Removes them, inner before outer ones.
void RemoveMatches(std::vector<PathMatch> matches);

}  // namespace narthex::anonymize
