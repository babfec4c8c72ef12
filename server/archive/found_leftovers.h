// What was found of the original identifiers in the objects of a session after anonymization: attributes and
// counts, never a value. Thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "imaging/anonymize/leftover.h"
#include "server/prearchive/rows.pb.h"

namespace narthex::archiving {

class FoundLeftovers {
 public:
  // What one object has: from its row, of what was found at arrival, and from a report.
  void Add(const google::protobuf::RepeatedPtrField<prearchive::LeftoverRow>& rows,
           const anonymize::LeftoverReport& report);

  bool empty() const { return found_.empty(); }
  // Objects that have some.
  int64_t object_count() const { return object_count_; }
  // "3 objects still hold identifiers of the original after anonymization".
  std::string Summary() const;
  void Write(prearchive::SessionRow& row) const;
  // For a history: "left: PatientName in ImageComments (2)".
  void AddRemarks(std::vector<std::string>& remarks) const;

 private:
  void Count(const std::string& path, const std::string& keyword, const std::string& source, int64_t count);

  std::map<std::pair<std::string, std::string>, prearchive::LeftoverRow> found_;  // by path and source
  int64_t object_count_ = 0;
};

}  // namespace narthex::archiving
