// What a script changes, for people: what is changed, added and removed, one line an attribute. Thread-safe.
#pragma once

#include <cstddef>
#include <ostream>

#include "google/protobuf/repeated_field.h"

#include "narthex/v1/prearchive_service.pb.h"

namespace narthex::cli {

struct ChangeStyle {
  int object_count = 1;  // that were looked at
  bool colour = false;   // yellow, green and red
  size_t width = 0;      // of a line: longer values are cut; 0: as long as they are
  // Removed private attributes are counted by creator instead of being listed.
  bool sum_up_private = false;
};

// "removed: 2 attributes", and below "- (0010,0030) PatientBirthDate  "19700101"", and so on.
void PrintChanges(std::ostream& out, const google::protobuf::RepeatedPtrField<v1::AttributeChange>& changes,
                  const ChangeStyle& style);

}  // namespace narthex::cli
