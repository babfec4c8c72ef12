// narthex project create|list|show|update|history and narthex project member add|remove|list
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/field_options.h"
#include "clients/cli/program.h"
#include "clients/cli/resource_tables.h"

namespace narthex::cli {
namespace {

using Stub = v1::ProjectService::StubInterface;

struct ProjectFlags {
  std::string id;
  std::optional<std::string> title;
  std::optional<std::string> description;
  std::optional<std::string> accessibility;
  std::optional<std::string> auto_archive;
  std::optional<std::string> quarantine;
  std::optional<std::string> duplicates, pet_mr, scan_type_mapping, modality_guard;
  std::optional<int64_t> idle_build;
  std::vector<std::string> aliases;
  FieldFlags change;
  std::string user;
  std::string role;
};

v1::Project::Accessibility AccessibilityOf(const std::string& text) {
  v1::Project::Accessibility value = v1::Project::ACCESSIBILITY_UNSPECIFIED;
  v1::Project::Accessibility_Parse(absl::AsciiStrToUpper(text), &value);
  return value;
}

v1::AutoArchive::Mode AutoArchiveOf(const std::string& text) {
  v1::AutoArchive::Mode value = v1::AutoArchive::MODE_UNSPECIFIED;
  v1::AutoArchive::Mode_Parse(absl::AsciiStrToUpper(text), &value);
  return value;
}

v1::Switch::Mode SwitchOf(const std::string& text) {
  v1::Switch::Mode value = v1::Switch::MODE_UNSPECIFIED;  // "site"
  v1::Switch::Mode_Parse(absl::AsciiStrToUpper(text), &value);
  return value;
}

ExitCode Answer(Program& program, const v1::Project& project) {
  return program.Print(project, [&](std::ostream& out) { PrintProject(out, project); });
}

absl::StatusOr<ExitCode> Create(Program& program, const ProjectFlags& flags) {
  v1::CreateProjectRequest request;
  v1::Project& project = *request.mutable_project();
  project.set_id(flags.id);
  project.set_title(flags.title.value_or(""));
  project.set_description(flags.description.value_or(""));
  if (flags.accessibility) project.set_accessibility(AccessibilityOf(*flags.accessibility));
  if (flags.auto_archive) project.set_auto_archive(AutoArchiveOf(*flags.auto_archive));
  project.set_quarantine(flags.quarantine == "on");
  for (const std::string& alias : flags.aliases) project.add_aliases(alias);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Project made,
                      connection->Call(connection->projects(), &Stub::CreateProject, request));
  return Answer(program, made);
}

absl::StatusOr<ExitCode> List(Program& program, const ProjectFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(
      v1::ListProjectsResponse response,
      CallAllPages(*connection, connection->projects(), &Stub::ListProjects, v1::ListProjectsRequest()));
  return program.Print(response, [&](std::ostream& out) { ProjectTable(response.projects()).Print(out); });
}

absl::StatusOr<ExitCode> Show(Program& program, const ProjectFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::GetProjectRequest request;
  request.set_name(ProjectName(flags.id));
  NX_ASSIGN_OR_RETURN(v1::Project project,
                      connection->Call(connection->projects(), &Stub::GetProject, request));
  return Answer(program, project);
}

absl::StatusOr<ExitCode> Update(Program& program, const ProjectFlags& flags) {
  v1::UpdateProjectRequest request;
  request.set_name(ProjectName(flags.id));
  if (flags.title) request.set_title(*flags.title);
  if (flags.description) request.set_description(*flags.description);
  if (flags.accessibility) request.set_accessibility(AccessibilityOf(*flags.accessibility));
  if (flags.auto_archive) request.set_auto_archive(AutoArchiveOf(*flags.auto_archive));
  if (flags.quarantine) request.set_quarantine(*flags.quarantine == "on");
  if (flags.duplicates) {
    v1::DuplicatePolicy::Mode mode = v1::DuplicatePolicy::MODE_UNSPECIFIED;  // "site"
    v1::DuplicatePolicy::Mode_Parse(absl::AsciiStrToUpper(*flags.duplicates), &mode);
    request.set_duplicates(mode);
  }
  if (flags.pet_mr) {
    v1::PetMr::Mode mode = v1::PetMr::MODE_UNSPECIFIED;  // "site"
    v1::PetMr::Mode_Parse(absl::AsciiStrToUpper(*flags.pet_mr), &mode);
    request.set_pet_mr(mode);
  }
  if (flags.scan_type_mapping) request.set_scan_type_mapping(SwitchOf(*flags.scan_type_mapping));
  if (flags.modality_guard) request.set_modality_guard(SwitchOf(*flags.modality_guard));
  if (flags.idle_build) request.set_idle_build_seconds(*flags.idle_build);
  for (const std::string& alias : flags.aliases) request.add_aliases(alias);
  request.set_replace_aliases(!flags.aliases.empty());
  NX_RETURN_IF_ERROR(ChangeFields(flags.change, request));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Project project,
                      connection->Call(connection->projects(), &Stub::UpdateProject, request));
  return Answer(program, project);
}

absl::StatusOr<ExitCode> History(Program& program, const ProjectFlags& flags) {
  v1::ListProjectHistoryRequest request;
  request.set_project(ProjectName(flags.id));
  return PrintProjectHistory(program, request);
}

absl::StatusOr<ExitCode> AddMember(Program& program, const ProjectFlags& flags) {
  v1::AddMemberRequest request;
  request.set_project(ProjectName(flags.id));
  request.mutable_member()->set_user(flags.user);
  v1::Member::Role role = v1::Member::ROLE_UNSPECIFIED;
  v1::Member::Role_Parse(absl::AsciiStrToUpper(flags.role), &role);
  request.mutable_member()->set_role(role);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Member member, connection->Call(connection->projects(), &Stub::AddMember, request));
  return program.Print(member, [&](std::ostream& out) {
    out << Printable(member.user()) << " is " << Lower(v1::Member::Role_Name(member.role())) << " of "
        << flags.id << "\n";
  });
}

absl::StatusOr<ExitCode> RemoveMember(Program& program, const ProjectFlags& flags) {
  v1::RemoveMemberRequest request;
  request.set_project(ProjectName(flags.id));
  request.set_user(flags.user);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto empty, connection->Call(connection->projects(), &Stub::RemoveMember, request));
  return program.Print(empty, [&](std::ostream& out) {
    out << flags.user << " is no member of " << flags.id << " any more\n";
  });
}

absl::StatusOr<ExitCode> ListMembers(Program& program, const ProjectFlags& flags) {
  v1::ListMembersRequest request;
  request.set_project(ProjectName(flags.id));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::ListMembersResponse response,
                      connection->Call(connection->projects(), &Stub::ListMembers, request));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"USER", "ROLE"});
    for (const v1::Member& member : response.members()) {
      table.Add({member.user(), Lower(v1::Member::Role_Name(member.role()))});
    }
    table.Print(out);
  });
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const ProjectFlags&);
using Flags = std::shared_ptr<ProjectFlags>;

CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  command->add_option("P", flags->id, "project id")->required();
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

void AddMemberCommands(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* member = group->add_subcommand("member", "who may do what in a project");
  member->require_subcommand(1);
  CLI::App* add = AddOne(member, program, flags, "add", "gives a user a role, or another one", AddMember);
  CLI::App* remove = AddOne(member, program, flags, "remove", "takes a user's role away", RemoveMember);
  for (CLI::App* command : {add, remove}) command->add_option("USER", flags->user, "user name")->required();
  add->add_option("ROLE", flags->role, "owner, member or collaborator")
      ->required()
      ->check(CLI::IsMember({"owner", "member", "collaborator"}));
  AddOne(member, program, flags, "list", "lists the members", ListMembers);
}

}  // namespace

void AddProjectCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<ProjectFlags>();
  CLI::App* group = app.add_subcommand("project", "projects and their members");
  group->require_subcommand(1);
  CLI::App* create = AddOne(group, program, flags, "create", "makes a project", Create);
  CLI::App* list = group->add_subcommand("list", "lists the projects that you may see");
  program.OnChosen(list, [&program, flags] { return List(program, *flags); });
  AddOne(group, program, flags, "show", "shows a project", Show);
  CLI::App* update = AddOne(group, program, flags, "update", "changes a project", Update);
  for (CLI::App* command : {create, update}) {
    command->add_option("--title", flags->title, "for people");
    command->add_option("--description", flags->description, "for people");
    command->add_option("--accessibility", flags->accessibility, "private, protected or public")
        ->check(CLI::IsMember({"private", "protected", "public"}));
    command
        ->add_option("--auto-archive", flags->auto_archive,
                     "what happens to built sessions: manual, auto, overwrite")
        ->check(CLI::IsMember({"manual", "auto", "overwrite"}));
    command
        ->add_option("--quarantine", flags->quarantine, "whether new sessions wait for activation: on or off")
        ->check(CLI::IsMember({"on", "off"}));
    command->add_option("--alias", flags->aliases, "other id that routing accepts; may be repeated")
        ->allow_extra_args(false);
  }
  update
      ->add_option("--duplicates", flags->duplicates,
                   "other content under a SOP Instance UID that is there: keep, replace, conflict or site")
      ->check(CLI::IsMember({"keep", "replace", "conflict", "site"}));
  update
      ->add_option("--pet-mr", flags->pet_mr,
                   "studies of both PET and MR become: separate, pet, petmr or site")
      ->check(CLI::IsMember({"separate", "pet", "petmr", "site"}));
  update
      ->add_option("--scan-type-mapping", flags->scan_type_mapping,
                   "whether scans are called what people called such scans of the project before: on, off or "
                   "site")
      ->check(CLI::IsMember({"on", "off", "site"}));
  update
      ->add_option("--modality-guard", flags->modality_guard,
                   "whether images of another modality are kept out of archived sessions: on, off or site")
      ->check(CLI::IsMember({"on", "off", "site"}));
  update
      ->add_option("--idle-build", flags->idle_build,
                   "seconds without an object until a build; 0: as the site")
      ->check(CLI::Range(0, 86'400));
  AddFieldOptions(update, flags->change);
  AddOne(group, program, flags, "history", "lists what was changed in a project, the newest first", History);
  AddMemberCommands(group, program, flags);
  AddProjectFieldCommands(group, program);
}

}  // namespace narthex::cli
