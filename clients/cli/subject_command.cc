// narthex subject list|show|update|history
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/field_options.h"
#include "clients/cli/program.h"
#include "clients/cli/resource_tables.h"

namespace narthex::cli {
namespace {

using Stub = v1::ProjectService::StubInterface;

struct SubjectFlags {
  std::string ref;  // of `list`: the project
  std::optional<std::string> label;
  FieldFlags change;
};

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const SubjectFlags&);
using Flags = std::shared_ptr<SubjectFlags>;

ExitCode PrintOne(Program& program, const v1::Subject& subject) {
  return program.Print(subject, [&](std::ostream& out) { PrintSubject(out, subject); });
}

absl::StatusOr<ExitCode> List(Program& program, const SubjectFlags& flags) {
  v1::ListSubjectsRequest request;
  request.set_project(ProjectName(flags.ref));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::ListSubjectsResponse response,
                      CallAllPages(*connection, connection->projects(), &Stub::ListSubjects, request));
  return program.Print(response, [&](std::ostream& out) { SubjectTable(response.subjects()).Print(out); });
}

absl::StatusOr<ExitCode> Show(Program& program, const SubjectFlags& flags) {
  v1::GetSubjectRequest request;
  request.set_name(SubjectName(flags.ref));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Subject subject,
                      connection->Call(connection->projects(), &Stub::GetSubject, request));
  return PrintOne(program, subject);
}

absl::StatusOr<ExitCode> Update(Program& program, const SubjectFlags& flags) {
  v1::UpdateSubjectRequest request;
  request.set_name(SubjectName(flags.ref));
  if (flags.label) request.set_label(*flags.label);
  NX_RETURN_IF_ERROR(ChangeFields(flags.change, request));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Subject subject,
                      connection->Call(connection->projects(), &Stub::UpdateSubject, request));
  return PrintOne(program, subject);
}

absl::StatusOr<ExitCode> History(Program& program, const SubjectFlags& flags) {
  const std::string name = SubjectName(flags.ref);
  const size_t split = name.find("/subjects/");
  if (split == std::string::npos) return absl::InvalidArgumentError("expected PROJECT/SUBJECT");
  v1::ListProjectHistoryRequest request;
  request.set_project(name.substr(0, split));
  request.set_subject(ShortName(name));
  return PrintProjectHistory(program, request);
}

CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

}  // namespace

void AddSubjectCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<SubjectFlags>();
  CLI::App* group = app.add_subcommand("subject", "subjects and their custom fields");
  group->require_subcommand(1);
  CLI::App* list = AddOne(group, program, flags, "list", "lists the subjects of a project", List);
  list->add_option("P", flags->ref, "project id")->required();
  CLI::App* show = AddOne(group, program, flags, "show", "shows a subject", Show);
  CLI::App* update =
      AddOne(group, program, flags, "update", "changes a subject's label or custom fields", Update);
  CLI::App* history = AddOne(group, program, flags, "history",
                             "lists what was changed in a subject, the newest first", History);
  for (CLI::App* command : {show, update, history}) {
    command->add_option("SUBJECT", flags->ref, "PROJECT/SUBJECT, by label or accession id")->required();
  }
  update->add_option("--label", flags->label, "its new label; its sessions stay its own");
  AddFieldOptions(update, flags->change);
}

}  // namespace narthex::cli
