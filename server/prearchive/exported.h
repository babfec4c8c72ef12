// What scripts exported about a session (DicomEdit's `export`), over its objects in order of arrival.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

#include "server/prearchive/rows.pb.h"

namespace narthex::prearchive {

// By target (imaging/anonymize/export_target.h). The first object's value holds; how many objects gave
// another one is counted. Values are a patient's: never log them.
class ExportedValues {
 public:
  void Add(absl::string_view target, absl::string_view value);
  void Add(const ExportedRow& row) { Add(row.target(), row.value()); }
  // What a later script exported holds.
  void Override(const ExportedValues& later);

  const std::map<std::string, ExportedRow>& rows() const { return rows_; }
  bool empty() const { return rows_.empty(); }

 private:
  std::map<std::string, ExportedRow> rows_;
};

}  // namespace narthex::prearchive
