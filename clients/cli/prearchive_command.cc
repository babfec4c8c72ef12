// narthex prearchive list|show|watch|build|check|archive|delete|split|header|outcomes
#include <functional>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/change_lines.h"
#include "clients/cli/operations.h"
#include "clients/cli/prearchive_review.h"
#include "clients/cli/prearchive_watch.h"
#include "clients/cli/program.h"
#include "clients/cli/resource_tables.h"

namespace narthex::cli {
namespace {

using google::longrunning::Operation;
using Stub = v1::PrearchiveService::StubInterface;

struct PrearchiveFlags {
  std::string id;
  std::string project;
  bool unassigned = false;
  std::string state;
  std::string conflict = "none";
  bool quarantine = false;
  bool no_wait = false;
  std::string instance;
  int64_t from = 0;
  std::string timeout;
  bool preview = false;
};

absl::StatusOr<ExitCode> List(Program& program, const PrearchiveFlags& flags) {
  v1::ListPrearchiveSessionsRequest request;
  request.set_project(flags.project);
  request.set_unassigned(flags.unassigned);
  if (!flags.state.empty()) {
    v1::PrearchiveSession::State state = v1::PrearchiveSession::STATE_UNSPECIFIED;
    v1::PrearchiveSession::State_Parse(absl::AsciiStrToUpper(flags.state), &state);
    request.set_state(state);
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(
      v1::ListPrearchiveSessionsResponse response,
      CallAllPages(*connection, connection->prearchive(), &Stub::ListPrearchiveSessions, request));
  return program.Print(response, [&](std::ostream& out) {
    PrearchiveTable({response.prearchive_sessions().begin(), response.prearchive_sessions().end()})
        .Print(out);
  });
}

absl::StatusOr<ExitCode> Show(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::GetPrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  NX_ASSIGN_OR_RETURN(v1::PrearchiveSession session,
                      connection->Call(connection->prearchive(), &Stub::GetPrearchiveSession, request));
  return program.Print(session, [&](std::ostream& out) { PrintPrearchiveSession(out, session); });
}

// Prints the operation (--no-wait), or waits for it and prints its response.
template <typename Response>
absl::StatusOr<ExitCode> Follow(Program& program, client::Connection& connection, const Operation& operation,
                                bool no_wait,
                                const std::function<void(std::ostream&, const Response&)>& table) {
  if (no_wait) return program.Print(operation, [&](std::ostream& out) { PrintOperation(out, operation); });
  NX_ASSIGN_OR_RETURN(Response response, AwaitResult<Response>(program, connection, operation.name()));
  return program.Print(response, [&](std::ostream& out) { table(out, response); });
}

absl::StatusOr<ExitCode> Build(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::BuildPrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(Operation operation,
                      connection->Call(connection->prearchive(), &Stub::BuildPrearchiveSession, request));
  return Follow<v1::PrearchiveSession>(program, *connection, operation, flags.no_wait,
                                       PrintPrearchiveSession);
}

absl::StatusOr<ExitCode> Split(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::SplitPrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(Operation operation,
                      connection->Call(connection->prearchive(), &Stub::SplitPrearchiveSession, request));
  using Response = v1::SplitPrearchiveSessionResponse;
  return Follow<Response>(
      program, *connection, operation, flags.no_wait, [](std::ostream& out, const Response& r) {
        PrearchiveTable({r.prearchive_sessions().begin(), r.prearchive_sessions().end()}).Print(out);
      });
}

void PrintArchived(std::ostream& out, const v1::Session& session) {
  PrintSession(out, session);
  for (const v1::LeftOutScan& left : session.left_out_scans()) {
    out << "left out by review: scan " << Printable(left.scan()) << ", with " << left.object_count()
        << (left.object_count() == 1 ? " object\n" : " objects\n");
  }
  if (!session.has_merge_result()) return;
  const v1::MergeResult& merged = session.merge_result();
  out << "merged: " << merged.added_count() << " files added, " << merged.replaced_count() << " replaced, "
      << merged.kept_count() << " kept as they were\n";
}

absl::StatusOr<ExitCode> Archive(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ArchivePrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  v1::ConflictPolicy::Mode mode = v1::ConflictPolicy::NONE;
  v1::ConflictPolicy::Mode_Parse(absl::AsciiStrToUpper(flags.conflict), &mode);
  request.set_conflict_policy(mode);
  request.set_quarantine(flags.quarantine);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(Operation operation,
                      connection->Call(connection->prearchive(), &Stub::ArchivePrearchiveSession, request));
  return Follow<v1::Session>(program, *connection, operation, flags.no_wait, PrintArchived);
}

absl::StatusOr<ExitCode> Check(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::CheckPrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  NX_ASSIGN_OR_RETURN(v1::CheckPrearchiveSessionResponse response,
                      connection->Call(connection->prearchive(), &Stub::CheckPrearchiveSession, request));
  return program.Print(response, [&](std::ostream& out) {
    out << (response.archivable() ? "can be archived\n" : "cannot be archived as it is\n");
    if (response.conflicts_size() > 0) ConflictTable(response.conflicts()).Print(out);
  });
}

absl::StatusOr<ExitCode> Delete(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::DeletePrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto empty,
                      connection->Call(connection->prearchive(), &Stub::DeletePrearchiveSession, request));
  return program.Print(empty, [&](std::ostream& out) { out << request.name() << " is deleted\n"; });
}

absl::StatusOr<ExitCode> Header(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::GetHeaderRequest request;
  request.set_name(PrearchiveName(flags.id));
  request.set_instance_uid(flags.instance);
  request.set_preview(flags.preview);
  NX_ASSIGN_OR_RETURN(v1::GetHeaderResponse response,
                      connection->Call(connection->prearchive(), &Stub::GetHeader, request));
  return program.Print(response, [&](std::ostream& out) {
    Table attributes({"TAG", "VR", "KEYWORD", "VALUE"});
    for (const v1::Attribute& a : response.attributes())
      attributes.Add({a.path(), a.vr(), a.keyword(), a.value()});
    attributes.Print(out);
    if (!flags.preview) return;
    out << "\nwhat the project's script would change:\n";
    PrintChanges(out, response.changes(), {.colour = program.draws_tables()});
  });
}

absl::StatusOr<ExitCode> Outcomes(Program& program, const PrearchiveFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ListOutcomesRequest request;
  request.set_name(PrearchiveName(flags.id));
  NX_ASSIGN_OR_RETURN(v1::ListOutcomesResponse response,
                      CallAllPages(*connection, connection->prearchive(), &Stub::ListOutcomes, request));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"OUTCOME", "REASON", ">SIZE", "SOP INSTANCE", "DETAIL"});
    for (const v1::ObjectOutcome& o : response.outcomes()) {
      table.Add({Lower(v1::ObjectOutcome::Outcome_Name(o.outcome())), o.reason(), HumanSize(o.size_bytes()),
                 o.sop_instance_uid(), o.detail()});
    }
    table.Print(out);
  });
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const PrearchiveFlags&);
using Flags = std::shared_ptr<PrearchiveFlags>;

// A command that takes a session's id.
CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  command->add_option("ID", flags->id, "the session in the prearchive")->required();
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

void AddList(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* list = group->add_subcommand("list", "lists the sessions that wait, the newest first");
  CLI::Option* project = list->add_option("--project", flags->project, "only of this project");
  list->add_flag("--unassigned", flags->unassigned, "only those without project")->excludes(project);
  list->add_option("--state", flags->state, "only in this state")
      ->check(CLI::IsMember({"RECEIVING", "BUILDING", "READY", "CONFLICT", "ERROR", "ARCHIVING", "MOVING",
                             "SEPARATING", "DELETING"},
                            CLI::ignore_case));
  program.OnChosen(list, [&program, flags] { return List(program, *flags); });
}

void AddWatch(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* watch = group->add_subcommand("watch", "shows every change, without end");
  watch->add_option("ID", flags->id, "only this session");
  watch->add_option("--project", flags->project, "only of this project");
  watch->add_option("--from", flags->from, "sequence of the first event; else from now on")
      ->check(CLI::NonNegativeNumber);
  watch->add_option("--timeout", flags->timeout,
                    "give up when the server was away for so long, such as 90s; else it is waited for");
  program.OnChosen(watch, [&program, flags]() -> absl::StatusOr<ExitCode> {
    WatchOptions options{flags->id.empty() ? "" : PrearchiveName(flags->id), flags->project, flags->from, {}};
    absl::Duration timeout;
    if (!flags->timeout.empty()) {
      if (!absl::ParseDuration(flags->timeout, &timeout))
        return absl::InvalidArgumentError("--timeout is a duration such as 90s or 10m");
      options.give_up_after = timeout;
    }
    return WatchPrearchive(program, options);
  });
}

}  // namespace

void AddPrearchiveCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<PrearchiveFlags>();
  CLI::App* group = app.add_subcommand("prearchive", "sessions that wait between reception and archive");
  group->require_subcommand(1);
  AddList(group, program, flags);
  AddOne(group, program, flags, "show", "shows one session with its scans", Show);
  AddWatch(group, program, flags);
  CLI::App* build = AddOne(group, program, flags, "build", "builds a session now", Build);
  AddOne(group, program, flags, "check", "says what archiving would run into; changes nothing", Check);
  CLI::App* archive = AddOne(group, program, flags, "archive", "files a session for good", Archive);
  archive
      ->add_option("--conflict", flags->conflict,
                   "if the session exists in the archive: none, append or overwrite")
      ->check(CLI::IsMember({"none", "append", "overwrite"}))
      ->capture_default_str();
  archive->add_flag("--quarantine", flags->quarantine, "archive into quarantine");
  AddOne(group, program, flags, "delete", "deletes a session and its objects; cannot be undone", Delete);
  AddPrearchiveReviewCommands(group, program);
  CLI::App* split = AddOne(group, program, flags, "split", "splits a PET-MR session into PET and MR", Split);
  CLI::App* header = AddOne(group, program, flags, "header", "shows the header of one object", Header);
  header->add_option("--instance", flags->instance, "SOP Instance UID")->required();
  header->add_flag("--preview", flags->preview, "also what the project's script would change");
  AddOne(group, program, flags, "outcomes", "lists what became of every object received", Outcomes);
  for (CLI::App* command : {build, archive, split}) {
    command->add_flag("--no-wait", flags->no_wait, "print the operation and leave");
  }
}

}  // namespace narthex::cli
