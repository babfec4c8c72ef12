// What is left: after anonymization, searches an object for what identified the patient in the original.
// Reports attribute names and counts, never values. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/phi.h"
#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

// Strings that identify, taken from an original: names (whole and in parts), patient and accession numbers,
// birth date, addresses, telephone numbers, physicians, institutions.
class Identifiers {
 public:
  // Collects from all levels of `original`.
  static Identifiers Collect(const dicom::DataSet& original);

  // Collects from all levels of `more` what is not there yet.
  void CollectMore(const dicom::DataSet& more);
  // Adds `value`, found in an attribute named `source`. Too short and too common ones are left out.
  void Add(absl::string_view source, absl::string_view value);
  // Does not look for `value` (what a script put in on purpose, such as the subject's label).
  void Allow(absl::string_view value);

  size_t size() const { return terms_.size(); }
  // Replaces every occurrence (upper or lower case, whole words) of an identifier in `text` by "***".
  std::string Scrub(absl::string_view text) const;

  struct Term {
    Phi<std::string> folded;  // lower case UTF-8
    Phi<std::string> latin1;  // the same in Latin 1; empty if equal or impossible
    std::string source;       // keyword
  };
  const std::vector<Term>& terms() const { return terms_; }

 private:
  std::vector<Term> terms_;
};

// `text` without identifiers, and without what looks like one: dates, long numbers, e-mail addresses,
// telephone numbers, names behind titles.
std::string CleanText(absl::string_view text, const Identifiers& identifiers);

struct Leftover {
  std::string path;    // where, with item numbers left out: "(0040,A730)/(0040,A160)"
  std::string name;    // keyword, or creator and element of a private attribute
  std::string source;  // which identifier: keyword of the attribute that held it
  int64_t count = 0;
};

struct LeftoverReport {
  std::vector<Leftover> found;
  int64_t searched_bytes = 0;
  bool clean() const { return found.empty(); }
};

// Searches a value that comes in pieces of any size, and holds a bounded part of it. Single-threaded.
class StreamSearch {
 public:
  // `identifiers` must outlive the search and stay as they are meanwhile.
  explicit StreamSearch(const Identifiers& identifiers);
  void Add(absl::string_view piece);
  // The value is complete: enters what was found at `path` under `name` into `report`.
  void Finish(const std::string& path, const std::string& name, LeftoverReport* report);

 private:
  void Search(bool last);

  const std::vector<Identifiers::Term>& terms_;
  size_t longest_ = 0;                 // bytes of a term
  std::string window_;                 // not searched, behind one byte that was
  bool begun_ = false;                 // window_ begins with such a byte
  std::vector<int64_t> raw_, latin1_;  // found so far, by term
  int64_t searched_bytes_ = 0;
};

// The keywords of the attributes whose identifiers `text` holds.
std::vector<std::string> IdentifiersIn(absl::string_view text, const Identifiers& identifiers);

// Searches strings, binary and private values, sequences, SR text, and encapsulated documents of `result`, as
// UTF-8 and as Latin 1, upper or lower case.
LeftoverReport FindLeftovers(const dicom::DataSet& result, const Identifiers& identifiers);

}  // namespace narthex::anonymize
