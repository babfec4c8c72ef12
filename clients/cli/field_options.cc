#include "clients/cli/field_options.h"

#include "clients/cli/resource_tables.h"

namespace narthex::cli {

void AddFieldOptions(CLI::App* command, FieldFlags& flags) {
  command->add_option("--field", flags.fields, "custom field NAME=VALUE; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--remove-field", flags.removed_fields, "custom field to remove; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--comment", flags.comment, "why; kept in the history");
}

absl::StatusOr<ExitCode> PrintProjectHistory(Program& program, const v1::ListProjectHistoryRequest& request) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::ListProjectHistoryResponse response,
                      connection->Call(connection->projects(),
                                       &v1::ProjectService::StubInterface::ListProjectHistory, request));
  return program.Print(response, [&](std::ostream& out) { HistoryTable(response.entries()).Print(out); });
}

}  // namespace narthex::cli
