// narthex project field list|set|remove: the custom fields of a project, its subjects and sessions
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"

namespace narthex::cli {
namespace {

using Stub = v1::ProjectService::StubInterface;

struct DefinitionFlags {
  std::string project;
  std::string name;
  std::string type = "string";
  std::string holder = "session";
  bool required = false;
  std::vector<std::string> values;
  std::string description;
};

v1::FieldDefinition::Holder HolderOf(const std::string& text) {
  v1::FieldDefinition::Holder holder = v1::FieldDefinition::SESSION;
  v1::FieldDefinition::Holder_Parse(absl::AsciiStrToUpper(text), &holder);
  return holder;
}

v1::FieldDefinition::Holder HolderOf(const v1::FieldDefinition& definition) {
  const bool unset = definition.holder() == v1::FieldDefinition::HOLDER_UNSPECIFIED;
  return unset ? v1::FieldDefinition::SESSION : definition.holder();
}

absl::StatusOr<v1::ListFieldDefinitionsResponse> Load(client::Connection& connection,
                                                      const DefinitionFlags& flags) {
  v1::ListFieldDefinitionsRequest request;
  request.set_project(ProjectName(flags.project));
  return connection.Call(connection.projects(), &Stub::ListFieldDefinitions, request);
}

ExitCode Print(Program& program, const v1::ListFieldDefinitionsResponse& response) {
  return program.Print(response, [&](std::ostream& out) {
    Table table({"NAME", "OF", "TYPE", "REQUIRED", "VALUES", "DESCRIPTION"});
    for (const v1::FieldDefinition& d : response.definitions()) {
      table.Add({d.name(), Lower(v1::FieldDefinition::Holder_Name(HolderOf(d))),
                 Lower(v1::FieldDefinition::Type_Name(d.type())), d.required() ? "yes" : "no",
                 Printable(absl::StrJoin(d.possible_values(), ", ")), Printable(d.description())});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> List(Program& program, const DefinitionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(const auto response, Load(*connection, flags));
  return Print(program, response);
}

// All definitions but the one of this name and holder, and `added` if it is not null.
absl::StatusOr<ExitCode> Change(Program& program, const DefinitionFlags& flags,
                                const v1::FieldDefinition* added) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(const auto before, Load(*connection, flags));
  v1::SetFieldDefinitionsRequest request;
  request.set_project(ProjectName(flags.project));
  request.set_request_id(NewUuid());
  for (const v1::FieldDefinition& definition : before.definitions()) {
    const bool meant = definition.name() == flags.name && HolderOf(definition) == HolderOf(flags.holder);
    if (!meant) *request.add_definitions() = definition;
  }
  if (added != nullptr) *request.add_definitions() = *added;
  NX_ASSIGN_OR_RETURN(v1::ListFieldDefinitionsResponse response,
                      connection->Call(connection->projects(), &Stub::SetFieldDefinitions, request));
  return Print(program, response);
}

absl::StatusOr<ExitCode> Set(Program& program, const DefinitionFlags& flags) {
  v1::FieldDefinition definition;
  definition.set_name(flags.name);
  v1::FieldDefinition::Type type = v1::FieldDefinition::STRING;
  v1::FieldDefinition::Type_Parse(absl::AsciiStrToUpper(flags.type), &type);
  definition.set_type(type);
  definition.set_holder(HolderOf(flags.holder));
  definition.set_required(flags.required);
  for (const std::string& value : flags.values) definition.add_possible_values(value);
  definition.set_description(flags.description);
  return Change(program, flags, &definition);
}

absl::StatusOr<ExitCode> Remove(Program& program, const DefinitionFlags& flags) {
  return Change(program, flags, nullptr);
}

}  // namespace

void AddProjectFieldCommands(CLI::App* group, Program& program) {
  auto flags = std::make_shared<DefinitionFlags>();
  CLI::App* field = group->add_subcommand("field", "custom fields of a project, its subjects and sessions");
  field->require_subcommand(1);
  CLI::App* list = field->add_subcommand("list", "lists the definitions");
  CLI::App* set = field->add_subcommand("set", "defines a field, or defines it anew");
  CLI::App* remove = field->add_subcommand("remove", "removes a definition; values stay");
  for (CLI::App* command : {list, set, remove}) {
    command->add_option("P", flags->project, "project id")->required();
  }
  for (CLI::App* command : {set, remove}) {
    command->add_option("NAME", flags->name, "field name")->required();
    command->add_option("--of", flags->holder, "session, subject or project; default session")
        ->check(CLI::IsMember({"session", "subject", "project"}));
  }
  set->add_option("--type", flags->type, "string, integer, float, boolean or date")
      ->check(CLI::IsMember({"string", "integer", "float", "boolean", "date"}));
  set->add_flag("--required", flags->required,
                "whatever has such fields must have it whenever they are changed");
  set->add_option("--value", flags->values, "possible value; may be repeated; none: any")
      ->allow_extra_args(false);
  set->add_option("--description", flags->description, "for people");
  program.OnChosen(list, [&program, flags] { return List(program, *flags); });
  program.OnChosen(set, [&program, flags] { return Set(program, *flags); });
  program.OnChosen(remove, [&program, flags] { return Remove(program, *flags); });
}

}  // namespace narthex::cli
