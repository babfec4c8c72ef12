// What a script changes, for people: one line an attribute. Single-threaded.
#pragma once

#include <ostream>

#include "narthex/v1/prearchive_service.pb.h"

namespace narthex::cli {

// "- (0010,0030) PatientBirthDate "19700101"", of `object_count` objects in all; red, green or yellow with
// `colour`.
void PrintChange(std::ostream& out, const v1::AttributeChange& change, int object_count, bool colour);

}  // namespace narthex::cli
