// Makes a Part 10 file of a data set that came over the network (PS3.10 section 7.1). Thread-safe (pure
// function).
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace narthex::gateway {

// What a file's meta group says; UIDs without padding, at most 64 bytes.
struct Part10Identity {
  absl::string_view sop_class_uid;
  absl::string_view sop_instance_uid;
  absl::string_view transfer_syntax_uid;
  absl::string_view source_ae_title;  // ""; left out
};

// The preamble (128 zero bytes), "DICM" and group 0002 with its length: version 0001, SOP class and instance,
// transfer syntax, our implementation class and version, and the source AE title. The data set's bytes follow
// as they came.
std::string EncodePart10Header(const Part10Identity& identity);

}  // namespace narthex::gateway
