// narthex session search|show|scans|files|history|download|delete|restore|quarantine|activate|update
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"
#include "clients/cli/progress.h"
#include "clients/cli/resource_tables.h"
#include "clients/cpp/download.h"

namespace narthex::cli {
namespace {

using Stub = v1::ArchiveService::StubInterface;

struct SessionFlags {
  bool scans_wanted = false;
  std::string ref;
  std::string filter;
  std::string order_by;
  int page_size = 0;
  bool xml = false;
  std::vector<std::string> scans;
  std::string destination;
  bool verify = false;
  std::string comment;
  std::optional<std::string> label;
  std::optional<std::string> subject;
  std::optional<std::string> project;
  std::optional<std::string> note;
  std::optional<std::string> date;
  bool accept_leftovers = false;
  std::vector<std::string> resources;
  std::string new_label;
};

absl::StatusOr<ExitCode> SearchScans(Program& program, const SessionFlags& flags) {
  v1::SearchScansRequest request;
  request.set_filter(flags.filter);
  request.set_order_by(flags.order_by);
  request.set_page_size(flags.page_size);
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::SearchScansResponse response,
                      CallAllPages(*connection, connection->archive(), &Stub::SearchScans, request));
  response.set_total_size(response.scans_size());
  return program.Print(response, [&](std::ostream& out) {
    Table table({"SESSION", "PROJECT", "LABEL", "SCAN", "TYPE", "DESCRIPTION", ">FRAMES", ">SIZE"});
    for (const v1::FoundScan& found : response.scans()) {
      table.Add({ShortName(found.session()), found.project(), found.label(), found.scan().id(),
                 Printable(found.scan().type()), Printable(found.scan().series_description()),
                 absl::StrCat(found.scan().frames()), HumanSize(found.scan().size_bytes())});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> Search(Program& program, const SessionFlags& flags) {
  if (flags.scans_wanted) return SearchScans(program, flags);
  v1::SearchSessionsRequest request;
  request.set_filter(flags.filter);
  request.set_order_by(flags.order_by);
  request.set_page_size(flags.page_size);
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::SearchSessionsResponse response,
                      CallAllPages(*connection, connection->archive(), &Stub::SearchSessions, request));
  response.set_total_size(response.sessions_size());
  return program.Print(response, [&](std::ostream& out) {
    SessionTable({response.sessions().begin(), response.sessions().end()}).Print(out);
  });
}

absl::StatusOr<ExitCode> Show(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  if (flags.xml) {
    v1::GetSessionDocumentRequest request;
    request.set_name(SessionName(flags.ref));
    NX_ASSIGN_OR_RETURN(v1::GetSessionDocumentResponse response,
                        connection->Call(connection->archive(), &Stub::GetSessionDocument, request));
    return program.Print(response, [&](std::ostream& out) { out << response.xml() << "\n"; });
  }
  v1::GetSessionRequest request;
  request.set_name(SessionName(flags.ref));
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::GetSession, request));
  return program.Print(session, [&](std::ostream& out) { PrintSession(out, session); });
}

absl::StatusOr<ExitCode> Scans(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ListScansRequest request;
  request.set_session(SessionName(flags.ref));
  NX_ASSIGN_OR_RETURN(v1::ListScansResponse response,
                      connection->Call(connection->archive(), &Stub::ListScans, request));
  return program.Print(response, [&](std::ostream& out) { ScanTable(response.scans()).Print(out); });
}

absl::StatusOr<ExitCode> Files(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ListFilesRequest request;
  request.set_session(SessionName(flags.ref));
  if (!flags.scans.empty()) request.set_scan(flags.scans.front());
  if (!flags.resources.empty()) request.set_resource(flags.resources.front());
  NX_ASSIGN_OR_RETURN(v1::ListFilesResponse response,
                      CallAllPages(*connection, connection->archive(), &Stub::ListFiles, request));
  return program.Print(response, [&](std::ostream& out) { FileTable(response.files()).Print(out); });
}

absl::StatusOr<ExitCode> History(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ListSessionHistoryRequest request;
  request.set_name(SessionName(flags.ref));
  NX_ASSIGN_OR_RETURN(v1::ListSessionHistoryResponse response,
                      connection->Call(connection->archive(), &Stub::ListSessionHistory, request));
  return program.Print(response, [&](std::ostream& out) { HistoryTable(response.entries()).Print(out); });
}

ExitCode PrintDownload(Program& program, const SessionFlags& flags, const client::DownloadReport& report) {
  if (program.json()) {
    const std::string damaged = absl::StrJoin(
        report.damaged, ", ",
        [](std::string* out, const std::string& path) { absl::StrAppend(out, JsonString(path)); });
    program.PrintJson(absl::StrCat(
        "{\"session\": ", JsonString(SessionName(flags.ref)),
        ", \"destination\": ", JsonString(flags.destination), ", \"fileCount\": ", report.file_count,
        ", \"sizeBytes\": \"", report.size_bytes, "\", \"skippedCount\": ", report.skipped_count,
        ", \"renamedCount\": ", report.renamed_count, ", \"verified\": ", flags.verify ? "true" : "false",
        ", \"damaged\": [", damaged, "]}"));
  } else {
    program.out() << report.file_count << " files, " << HumanSize(report.size_bytes) << ", in "
                  << flags.destination;
    if (report.skipped_count > 0) program.out() << "; " << report.skipped_count << " were there already";
    if (report.renamed_count > 0) program.out() << "; " << report.renamed_count << " have safer names here";
    if (flags.verify) program.out() << (report.damaged.empty() ? "; all verified" : "; verification failed");
    program.out() << "\n";
    for (const std::string& path : report.damaged) program.out() << "damaged: " << Printable(path) << "\n";
  }
  return report.damaged.empty() ? ExitCode::kDone : ExitCode::kRefused;
}

absl::StatusOr<ExitCode> Download(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  client::DownloadOptions options;
  options.session = SessionName(flags.ref);
  options.scans = flags.scans;
  options.resources = flags.resources;
  options.destination = flags.destination;
  options.verify = flags.verify;
  absl::StatusOr<client::DownloadReport> report;
  {
    ProgressBar bar(program);
    options.on_progress = [&](const client::DownloadProgress& progress) {
      bar.DrawBytes(progress.done_bytes, progress.total_bytes,
                    absl::StrCat(progress.done_count, " of ", progress.file_count, " files"));
    };
    report = client::DownloadSession(*connection, options);
  }
  if (!report.ok()) return report.status();
  return PrintDownload(program, flags, *report);
}

// A command that changes the state of a session and answers with the session.
template <typename Request>
absl::StatusOr<ExitCode> Change(Program& program, const SessionFlags& flags,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             v1::Session*)) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  Request request;
  request.set_name(SessionName(flags.ref));
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session, connection->Call(connection->archive(), method, request));
  return program.Print(session, [&](std::ostream& out) { PrintSession(out, session); });
}

absl::StatusOr<ExitCode> Restore(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::RestoreSessionRequest request;
  request.set_name(SessionName(flags.ref));
  request.set_label(flags.new_label);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::RestoreSession, request));
  return program.Print(session, [&](std::ostream& out) { PrintSession(out, session); });
}
absl::StatusOr<ExitCode> Quarantine(Program& program, const SessionFlags& flags) {
  return Change<v1::QuarantineSessionRequest>(program, flags, &Stub::QuarantineSession);
}
absl::StatusOr<ExitCode> Activate(Program& program, const SessionFlags& flags) {
  return Change<v1::ActivateSessionRequest>(program, flags, &Stub::ActivateSession);
}

absl::StatusOr<ExitCode> Delete(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::DeleteSessionRequest request;
  request.set_name(SessionName(flags.ref));
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto empty, connection->Call(connection->archive(), &Stub::DeleteSession, request));
  return program.Print(empty, [&](std::ostream& out) {
    out << request.name() << " is marked as deleted; `narthex session restore` brings it back\n";
  });
}

// A project's script may have to go through all files.
constexpr absl::Duration kRenameMax = absl::Hours(1);  // fixed: who waits can stop

absl::StatusOr<ExitCode> Update(Program& program, const SessionFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::UpdateSessionRequest request;
  request.set_name(SessionName(flags.ref));
  if (flags.label) request.set_label(*flags.label);
  if (flags.subject) request.set_subject(*flags.subject);
  if (flags.project) request.set_project(*flags.project);
  if (flags.note) request.set_note(*flags.note);
  if (flags.date) request.set_session_date(*flags.date);
  request.set_accept_leftovers(flags.accept_leftovers);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::UpdateSession, request, kRenameMax));
  return program.Print(session, [&](std::ostream& out) { PrintSession(out, session); });
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const SessionFlags&);
using Flags = std::shared_ptr<SessionFlags>;

CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  command->add_option("REF", flags->ref, "accession id or PROJECT/LABEL")->required();
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

void AddSearch(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* search = group->add_subcommand("search", "finds sessions");
  search->add_option("FILTER", flags->filter, R"(such as 'modality = "MR" AND sessionDate >= "2024-01-01"')");
  search->add_flag("--scans", flags->scans_wanted, "finds scans: conditions on scans.* are about one scan");
  search->add_option("--order-by", flags->order_by, R"(such as "session_date desc, label")");
  search->add_option("--page-size", flags->page_size, "sessions a call; all pages are shown")
      ->check(CLI::Range(1, limits::kPageSizeMax.get()));
  program.OnChosen(search, [&program, flags] { return Search(program, *flags); });
}

}  // namespace

void AddSessionCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<SessionFlags>();
  CLI::App* group = app.add_subcommand("session", "sessions in the archive");
  group->require_subcommand(1);
  AddSearch(group, program, flags);
  AddOne(group, program, flags, "show", "shows a session", Show)
      ->add_flag("--xml", flags->xml, "its document in XNAT's form");
  AddOne(group, program, flags, "scans", "lists the scans", Scans);
  CLI::App* files = AddOne(group, program, flags, "files", "lists the files", Files);
  AddOne(group, program, flags, "history", "lists what was done to a session, the newest first", History);
  CLI::App* download = AddOne(group, program, flags, "download", "gets the files", Download);
  download->add_option("-o,--out", flags->destination, "folder, FILE.zip or FILE.tar")->required();
  download->add_flag("--verify", flags->verify, "compare the SHA-256 of every file");
  files->add_option("--scan", flags->scans, "only of this scan")->expected(1);
  files->add_option("--resource", flags->resources, "only of resources of this label")->expected(1);
  download->add_option("--scan", flags->scans, "only this scan; may be repeated")->allow_extra_args(false);
  download->add_option("--resource", flags->resources, "only resources of this label; may be repeated")
      ->allow_extra_args(false);
  CLI::App* remove = AddOne(group, program, flags, "delete", "marks a session as deleted", Delete);
  CLI::App* restore = AddOne(group, program, flags, "restore", "brings a deleted session back", Restore);
  CLI::App* quarantine =
      AddOne(group, program, flags, "quarantine", "hides a session until it is activated", Quarantine);
  CLI::App* activate =
      AddOne(group, program, flags, "activate", "releases a session from quarantine", Activate);
  CLI::App* update = AddOne(group, program, flags, "update", "renames, moves or annotates a session", Update);
  update->add_option("--label", flags->label, "new label");
  update->add_option("--subject", flags->subject, "other subject; made if it does not exist");
  update->add_option("--project", flags->project, "other project; its subject goes along by its label");
  update->add_option("--note", flags->note, "a remark");
  update->add_option("--date", flags->date, "YYYY-MM-DD");
  update->add_flag("--accept-leftovers", flags->accept_leftovers,
                   "identifiers that the project's script leaves in the files do not stop the change");
  restore->add_option("--label", flags->new_label, "another label, if the former one was taken");
  for (CLI::App* command : {remove, restore, quarantine, activate, update}) {
    command->add_option("--comment", flags->comment, "why; kept in the history");
  }
  AddSessionChangeCommands(group, program);
}

}  // namespace narthex::cli
