// What `narthex project` and `narthex subject` share: custom fields and history.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"

namespace narthex::cli {

// What changes custom fields, and why.
struct FieldFlags {
  std::vector<std::string> fields, removed_fields;
  std::string comment;
};

// --field, --remove-field and --comment; `flags` must outlive the command.
void AddFieldOptions(CLI::App* command, FieldFlags& flags);

// `Request` is an UpdateProjectRequest or an UpdateSubjectRequest. INVALID_ARGUMENT: a field is not
// NAME=VALUE.
template <typename Request>
absl::Status ChangeFields(const FieldFlags& flags, Request& request) {
  NX_RETURN_IF_ERROR(SetFields(flags.fields, *request.mutable_set_fields()));
  request.mutable_remove_fields()->Assign(flags.removed_fields.begin(), flags.removed_fields.end());
  request.set_comment(flags.comment);
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> PrintProjectHistory(Program& program, const v1::ListProjectHistoryRequest& request);

}  // namespace narthex::cli
