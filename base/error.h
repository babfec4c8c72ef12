// Errors with a machine-readable reason. The code says what kind of thing went wrong, the reason says which
// (upper case, stable, from the catalogue in proto/narthex/v1/errors.proto), the message tells a person what,
// where and what to do, and the metadata repeats every value that the message interpolates.
//
//   return Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND",
//                absl::StrCat("there is no session ", ref, "; `narthex session search` lists them"),
//                {{"session", ref}});
//
// Never put a patient value into either. Thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narthex {

using ErrorMetadata = std::map<std::string, std::string>;

// A status that carries `reason` and `metadata` as payloads.
absl::Status Error(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                   const ErrorMetadata& metadata = {});

// The reason of `status`, or "" if it has none (or is OK).
std::string ErrorReason(const absl::Status& status);

// The metadata of `status`; empty if it has none.
ErrorMetadata ErrorMetadataOf(const absl::Status& status);

// Shorthands for the kinds that are used most.
absl::Status InvalidArgument(absl::string_view reason, absl::string_view message,
                             const ErrorMetadata& metadata = {});
absl::Status NotFound(absl::string_view reason, absl::string_view message,
                      const ErrorMetadata& metadata = {});
absl::Status FailedPrecondition(absl::string_view reason, absl::string_view message,
                                const ErrorMetadata& metadata = {});
absl::Status ResourceExhausted(absl::string_view reason, absl::string_view message,
                               const ErrorMetadata& metadata = {});
absl::Status DataLoss(absl::string_view reason, absl::string_view message,
                      const ErrorMetadata& metadata = {});
absl::Status Internal(absl::string_view reason, absl::string_view message,
                      const ErrorMetadata& metadata = {});

// The same status with "context: " before its message; code and payloads are kept. OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace narthex
