// narthex session lock|unlock|purge|share|unshare|scan|field|resource|check
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"
#include "clients/cli/progress.h"
#include "clients/cli/resource_tables.h"
#include "clients/cpp/resource_upload.h"

namespace narthex::cli {
namespace {

using Stub = v1::ArchiveService::StubInterface;
using ResourceStub = v1::ResourceService::StubInterface;

struct ChangeFlags {
  std::string ref;
  std::string comment;
  std::string confirm;
  std::string project;
  std::string label;
  std::string scan;
  std::optional<std::string> type, quality, note;
  std::string format, content;
  std::vector<std::string> words;  // NAME=VALUE, names or paths
  bool xml = false, repair = false, adopt = false, sizes_only = false;
};

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const ChangeFlags&);
using Flags = std::shared_ptr<ChangeFlags>;

ExitCode PrintOne(Program& program, const v1::Session& session) {
  return program.Print(session, [&](std::ostream& out) { PrintSession(out, session); });
}

template <typename Request>
absl::StatusOr<ExitCode> ChangeStatus(Program& program, const ChangeFlags& flags,
                                      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                   v1::Session*)) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  Request request;
  request.set_name(SessionName(flags.ref));
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session, connection->Call(connection->archive(), method, request));
  return PrintOne(program, session);
}

absl::StatusOr<ExitCode> Lock(Program& program, const ChangeFlags& flags) {
  return ChangeStatus<v1::LockSessionRequest>(program, flags, &Stub::LockSession);
}
absl::StatusOr<ExitCode> Unlock(Program& program, const ChangeFlags& flags) {
  return ChangeStatus<v1::UnlockSessionRequest>(program, flags, &Stub::UnlockSession);
}

absl::StatusOr<ExitCode> Purge(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::PurgeSessionRequest request;
  request.set_name(SessionName(flags.ref));
  request.set_confirm(flags.confirm);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::PurgeSessionResponse response,
                      connection->Call(connection->archive(), &Stub::PurgeSession, request, absl::Hours(1)));
  return program.Print(response, [&](std::ostream& out) {
    out << response.file_count() << " files, " << HumanSize(response.size_bytes())
        << ", were removed for good; SHA-256 of their list: " << response.manifest_sha256() << "\n";
  });
}

absl::StatusOr<ExitCode> Share(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ShareSessionRequest request;
  request.set_name(SessionName(flags.ref));
  request.set_project(flags.project);
  request.set_label(flags.label);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::ShareSession, request));
  return PrintOne(program, session);
}

absl::StatusOr<ExitCode> Unshare(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::UnshareSessionRequest request;
  request.set_name(SessionName(flags.ref));
  request.set_project(flags.project);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::UnshareSession, request));
  return PrintOne(program, session);
}

absl::StatusOr<ExitCode> UpdateScan(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::UpdateScanRequest request;
  request.set_session(SessionName(flags.ref));
  request.set_scan(flags.scan);
  if (flags.type) request.set_type(*flags.type);
  if (flags.quality) request.set_quality(*flags.quality);
  if (flags.note) request.set_note(*flags.note);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Scan scan, connection->Call(connection->archive(), &Stub::UpdateScan, request));
  v1::ListScansResponse one;
  *one.add_scans() = scan;
  return program.Print(scan, [&](std::ostream& out) { ScanTable(one.scans()).Print(out); });
}

absl::StatusOr<ExitCode> ShowScan(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::GetScanDocumentRequest request;
  request.set_session(SessionName(flags.ref));
  request.set_scan(flags.scan);
  NX_ASSIGN_OR_RETURN(v1::GetScanDocumentResponse response,
                      connection->Call(connection->archive(), &Stub::GetScanDocument, request));
  return program.Print(response, [&](std::ostream& out) { out << response.xml() << "\n"; });
}

absl::StatusOr<ExitCode> ChangeFields(Program& program, const ChangeFlags& flags, bool set) {
  v1::UpdateSessionRequest request;
  if (set) {
    NX_RETURN_IF_ERROR(cli::SetFields(flags.words, *request.mutable_set_fields()));
  } else {
    request.mutable_remove_fields()->Assign(flags.words.begin(), flags.words.end());
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  request.set_name(SessionName(flags.ref));
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::Session session,
                      connection->Call(connection->archive(), &Stub::UpdateSession, request));
  return PrintOne(program, session);
}

absl::StatusOr<ExitCode> SetFields(Program& program, const ChangeFlags& flags) {
  return ChangeFields(program, flags, true);
}
absl::StatusOr<ExitCode> RemoveFields(Program& program, const ChangeFlags& flags) {
  return ChangeFields(program, flags, false);
}

absl::StatusOr<ExitCode> ListResources(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::ListResourcesRequest request;
  request.set_session(SessionName(flags.ref));
  NX_ASSIGN_OR_RETURN(v1::ListResourcesResponse response,
                      connection->Call(connection->resources(), &ResourceStub::ListResources, request));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"SCAN", "RESOURCE", "FORMAT", "CONTENT", ">FILES", ">SIZE"});
    for (const v1::Resource& r : response.resources()) {
      table.Add({r.scan(), r.label(), r.format(), r.content(), absl::StrCat(r.file_count()),
                 HumanSize(r.size_bytes())});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> AddResource(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  client::ResourceUploadOptions options;
  options.session = SessionName(flags.ref);
  options.scan = flags.scan;
  options.resource = flags.label;
  options.format = flags.format;
  options.content = flags.content;
  options.comment = flags.comment;
  options.paths = flags.words;
  absl::StatusOr<v1::AddResourceFilesResponse> response;
  {
    ProgressBar bar(program);
    options.on_progress = [&](int64_t done, int64_t total) { bar.DrawBytes(done, total, ""); };
    response = client::AddResourceFiles(*connection, options);
  }
  if (!response.ok()) return response.status();
  return program.Print(*response, [&](std::ostream& out) { FileTable(response->files()).Print(out); });
}

absl::StatusOr<ExitCode> RemoveResource(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::RemoveResourceFilesRequest request;
  request.set_session(SessionName(flags.ref));
  request.set_scan(flags.scan);
  request.set_resource(flags.label);
  for (const std::string& path : flags.words) request.add_paths(path);
  request.set_comment(flags.comment);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::RemoveResourceFilesResponse response,
                      connection->Call(connection->resources(), &ResourceStub::RemoveResourceFiles, request));
  return program.Print(response, [&](std::ostream& out) {
    out << response.file_count() << " files were taken out; their bytes stay until the session is purged\n";
  });
}

absl::StatusOr<ExitCode> Check(Program& program, const ChangeFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::CheckSessionRequest request;
  request.set_session(SessionName(flags.ref));
  request.set_repair(flags.repair);
  request.set_adopt(flags.adopt);
  request.set_sizes_only(flags.sizes_only);
  const auto context = connection->NewContext();
  const auto reader = connection->resources().CheckSession(context.get(), request);
  v1::CheckSessionResponse response;
  v1::CheckSessionResponse::Summary summary;
  Table table({"KIND", "PLACE", "DETAIL", "REPAIRED"});
  while (reader->Read(&response)) {
    if (response.has_summary()) summary = response.summary();
    if (program.json()) {
      program.PrintLine(response);
    } else if (response.has_finding()) {
      const auto& finding = response.finding();
      table.Add({finding.kind(), Printable(finding.place()), Printable(finding.detail()),
                 finding.repaired() ? "yes" : "no"});
    }
  }
  NX_RETURN_IF_ERROR(client::FromGrpcStatus(reader->Finish()));
  if (!program.json()) {
    if (summary.finding_count() > 0) table.Print(program.out());
    program.out() << summary.file_count() << " files, " << HumanSize(summary.size_bytes()) << ": "
                  << (summary.finding_count() == 0
                          ? std::string("database, catalogs, document and disk agree")
                          : absl::StrCat(summary.finding_count(),
                                         (summary.finding_count() == 1 ? " finding, " : " findings, "),
                                         summary.repaired_count(), " put right"))
                  << "\n";
  }
  return summary.finding_count() == summary.repaired_count() ? ExitCode::kDone : ExitCode::kRefused;
}

CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  command->add_option("REF", flags->ref, "accession id or PROJECT/LABEL")->required();
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

void AddComment(CLI::App* command, const Flags& flags) {
  command->add_option("--comment", flags->comment, "why; kept in the history");
}

void AddScanAndFieldCommands(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* scan = group->add_subcommand("scan", "one scan of a session");
  scan->require_subcommand(1);
  CLI::App* show = AddOne(scan, program, flags, "show", "its part of the document in XNAT's form", ShowScan);
  CLI::App* update = AddOne(scan, program, flags, "update", "changes type, quality or note", UpdateScan);
  for (CLI::App* command : {show, update}) {
    command->add_option("SCAN", flags->scan, "scan id")->required();
  }
  update->add_option("--type", flags->type, "what kind of scan");
  update->add_option("--quality", flags->quality, "usable, questionable or unusable");
  update->add_option("--note", flags->note, "a remark");
  AddComment(update, flags);

  CLI::App* field = group->add_subcommand("field", "custom fields of a session");
  field->require_subcommand(1);
  CLI::App* set = AddOne(field, program, flags, "set", "gives custom fields values", SetFields);
  set->add_option("NAME=VALUE", flags->words, "what the project's definitions allow")->required();
  CLI::App* remove = AddOne(field, program, flags, "remove", "removes custom fields", RemoveFields);
  remove->add_option("NAME", flags->words, "field name")->required();
  for (CLI::App* command : {set, remove}) AddComment(command, flags);
}

void AddResourceCommands(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* resource = group->add_subcommand("resource", "files beside the images");
  resource->require_subcommand(1);
  AddOne(resource, program, flags, "list", "lists the resources of a session and its scans", ListResources);
  CLI::App* add = AddOne(resource, program, flags, "add", "adds files, all or none", AddResource);
  add->add_option("LABEL", flags->label, "the resource, such as NIFTI; made if it is not there")->required();
  add->add_option("PATH", flags->words, "file, or folder with all that is in it")->required();
  add->add_option("--format", flags->format, "such as NIFTI");
  add->add_option("--content", flags->content, "such as RAW");
  CLI::App* remove =
      AddOne(resource, program, flags, "remove", "takes files, or the whole resource, out", RemoveResource);
  remove->add_option("LABEL", flags->label, "the resource")->required();
  remove->add_option("NAME", flags->words, "file in the resource; none: all");
  for (CLI::App* command : {add, remove}) {
    command->add_option("--scan", flags->scan, "of this scan, not of the session");
    AddComment(command, flags);
  }
}

}  // namespace

void AddSessionChangeCommands(CLI::App* group, Program& program) {
  auto flags = std::make_shared<ChangeFlags>();
  CLI::App* lock = AddOne(group, program, flags, "lock", "makes a session read only", Lock);
  CLI::App* unlock = AddOne(group, program, flags, "unlock", "lets a session be changed again", Unlock);
  CLI::App* purge = AddOne(group, program, flags, "purge",
                           "removes the files of a deleted session for good; for administrators", Purge);
  purge->add_option("--confirm", flags->confirm, "its accession id once more")->required();
  CLI::App* share =
      AddOne(group, program, flags, "share", "lets another project's members read a session", Share);
  CLI::App* unshare = AddOne(group, program, flags, "unshare", "takes a share back", Unshare);
  for (CLI::App* command : {share, unshare}) {
    command->add_option("P", flags->project, "the other project")->required();
  }
  share->add_option("--label", flags->label, "its label there; else the one it has");
  for (CLI::App* command : {lock, unlock, purge, share, unshare}) AddComment(command, flags);
  AddScanAndFieldCommands(group, program, flags);
  AddResourceCommands(group, program, flags);
  CLI::App* check =
      AddOne(group, program, flags, "check", "compares database, catalogs, document and disk", Check);
  check->add_flag("--repair", flags->repair, "write catalogs, counters and document anew from the database");
  check->add_flag("--adopt", flags->adopt, "with --repair: take in files that nobody knows");
  check->add_flag("--sizes-only", flags->sizes_only, "compare no digests");
}

}  // namespace narthex::cli
