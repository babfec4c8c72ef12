// From what the server says of an object to what a C-STORE-RSP says. Thread-safe (pure functions).
//
//   STORED, DUPLICATE, REPLACED, FILTERED   0x0000  the object is durable, or the site does not want it and
//   says so
//                                                   in its outcome
//   CONFLICT                                0x0111  duplicate SOP instance (PS3.7 C.5): other bytes of the
//   same UID
//                                                   are there; these were not kept, so 0x0000 would be a lie
//   REJECTED, for lack of something         0xA700  out of resources (PS3.4 table B.2-1): send it again later
//   REJECTED, UIDs missing or unequal       0xA900  data set does not match SOP class
//   REJECTED, otherwise                     0xC000 + number of the reason in proto/narthex/v1/errors.proto
//   FILTERED, where the receiver or the site wants senders to know
//                                           0xC03E  the number of SERIES_FILTER
//   no answer, or the upload broke          0xA700
//   no answer, not allowed                  0x0124  not authorized
//
// The error comment (0000,0902) is the reason's name: it holds no patient value.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "narthex/v1/resources.pb.h"

namespace narthex::gateway {

struct StoreStatus {
  uint16_t code = 0;
  std::string comment = {};  // "" for success
};

// `expected_instance_uid`: what the command set said; an outcome of another UID is a mismatch.
StoreStatus StoreStatusOf(const v1::ObjectOutcome& outcome, absl::string_view expected_instance_uid,
                          bool refuses_filtered = false);

// Of an upload that failed before the object got an outcome.
StoreStatus StoreStatusOf(const absl::Status& upload_error);

}  // namespace narthex::gateway
