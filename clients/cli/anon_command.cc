// narthex anon get|set|enable|disable|check|preview
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/change_lines.h"
#include "clients/cli/program.h"
#include "clients/cli/resource_tables.h"
#include "imaging/dicom/rewriter.h"

namespace narthex::cli {
namespace {

using Stub = v1::AnonymizationService::StubInterface;

// Of a file whose header is looked at (AnonymizationService.PreviewScript).
constexpr size_t kHeadMaxBytes = 3 << 20;  // fixed: the server's preview_head_max_bytes
// Behind the header, so that the element which holds the bulk data is seen for what it is.
constexpr size_t kBulkHeadBytes = 64 << 10;

struct AnonFlags {
  std::string project;
  std::string file;
  std::optional<std::string> profile;
  std::optional<std::string> leftovers;
  std::string lookup;
  std::string dicom;
  std::string prearchive;
  std::string subject;
  std::string session;
  bool all = false;
};

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) return NotFound("NOT_FOUND", absl::StrCat("cannot read ", path), {{"path", path}});
  return text.str();
}

void PrintDiagnostics(std::ostream& out, const std::string& file,
                      const google::protobuf::RepeatedPtrField<v1::ScriptDiagnostic>& diagnostics) {
  for (const v1::ScriptDiagnostic& d : diagnostics) {
    out << Printable(file) << ":" << d.line() << ":" << d.column() << ": " << d.severity() << ": "
        << Printable(d.message()) << " [" << d.code() << "]\n";
  }
}

void PrintScript(std::ostream& out, const v1::AnonymizationScript& script) {
  PrintFields(out, {{"of", script.project().empty() ? "the site" : script.project()},
                    {"in force", script.enabled() ? "yes" : "no"},
                    {"profile", script.profile()},
                    {"script", script.text().empty() ? "" : absl::StrCat("SHA-256 ", script.digest())},
                    {"lookup table", script.lookup_table().empty() ? "" : "set"},
                    {"leftovers", script.leftovers()},
                    {"version", script.version() == 0 ? "" : absl::StrCat(script.version())},
                    {"set by", script.user()},
                    {"set", HumanTime(script.create_time())}});
  PrintDiagnostics(out, "script", script.diagnostics());
}

absl::StatusOr<ExitCode> Get(Program& program, const AnonFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::GetScriptRequest request;
  request.set_project(flags.project);
  NX_ASSIGN_OR_RETURN(v1::AnonymizationScript script,
                      connection->Call(connection->anonymization(), &Stub::GetScript, request));
  if (!flags.file.empty()) {
    std::ofstream out(flags.file, std::ios::binary);
    out << script.text();
    if (!out.flush()) return Internal("STORAGE_ERROR", absl::StrCat("cannot write ", flags.file));
  }
  return program.Print(script, [&](std::ostream& out) {
    PrintScript(out, script);
    if (flags.file.empty() && !script.text().empty()) out << "\n" << script.text();
  });
}

absl::StatusOr<ExitCode> Change(Program& program, const AnonFlags& flags, v1::SetScriptRequest request) {
  request.set_project(flags.project);
  request.set_request_id(NewUuid());
  if (flags.profile) request.set_profile(*flags.profile == "none" ? "" : *flags.profile);
  if (flags.leftovers) request.set_leftovers(*flags.leftovers);
  if (!flags.lookup.empty()) {
    NX_ASSIGN_OR_RETURN(*request.mutable_lookup_table(), ReadText(flags.lookup));
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::AnonymizationScript script,
                      connection->Call(connection->anonymization(), &Stub::SetScript, request));
  return program.Print(script, [&](std::ostream& out) { PrintScript(out, script); });
}

absl::StatusOr<ExitCode> Set(Program& program, const AnonFlags& flags) {
  v1::SetScriptRequest request;
  NX_ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags.file));
  return Change(program, flags, std::move(request));
}

absl::StatusOr<ExitCode> Enable(Program& program, const AnonFlags& flags) {
  v1::SetScriptRequest request;
  request.set_enabled(true);
  return Change(program, flags, std::move(request));
}

absl::StatusOr<ExitCode> Disable(Program& program, const AnonFlags& flags) {
  v1::SetScriptRequest request;
  request.set_enabled(false);
  return Change(program, flags, std::move(request));
}

absl::StatusOr<ExitCode> Check(Program& program, const AnonFlags& flags) {
  v1::CheckScriptRequest request;
  NX_ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags.file));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::CheckScriptResponse response,
                      connection->Call(connection->anonymization(), &Stub::CheckScript, request));
  program.Print(response, [&](std::ostream& out) {
    PrintDiagnostics(out, flags.file, response.diagnostics());
    if (response.usable()) out << "the script can be enabled\n";
  });
  return response.usable() ? ExitCode::kDone : ExitCode::kRefused;
}

// The file up to some bytes behind its header.
absl::StatusOr<std::string> ReadHead(const std::string& path) {
  NX_ASSIGN_OR_RETURN(std::string bytes, ReadText(path));
  size_t bulk = 0;
  NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader header, dicom::ParseObjectHeader(bytes, &bulk));
  if (!header.syntax.deflated && bulk + kBulkHeadBytes < bytes.size()) bytes.resize(bulk + kBulkHeadBytes);
  if (bytes.size() <= kHeadMaxBytes) return bytes;
  return ResourceExhausted("HEADER_TOO_LARGE",
                           absl::StrCat("the header of ", path, " is too large for a preview"));
}

absl::StatusOr<ExitCode> Preview(Program& program, const AnonFlags& flags) {
  v1::PreviewScriptRequest request;
  request.set_project(flags.project);
  NX_ASSIGN_OR_RETURN(*request.mutable_text(), ReadText(flags.file));
  request.set_profile(flags.profile.value_or(""));
  if (!flags.lookup.empty()) {
    NX_ASSIGN_OR_RETURN(*request.mutable_lookup_table(), ReadText(flags.lookup));
  }
  request.set_subject(flags.subject);
  request.set_session(flags.session);
  if (!flags.dicom.empty()) {
    NX_ASSIGN_OR_RETURN(*request.mutable_object_head(), ReadHead(flags.dicom));
  } else {
    request.set_prearchive_session(PrearchiveName(flags.prearchive));
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::PreviewScriptResponse response,
                      connection->Call(connection->anonymization(), &Stub::PreviewScript, request));
  program.Print(response, [&](std::ostream& out) {
    PrintChanges(out, response.changes(),
                 {.object_count = response.object_count(),
                  .colour = program.draws_tables(),
                  .width = program.draws_tables() && !flags.all ? TerminalColumns() : 0,
                  .sum_up_private = program.draws_tables() && !flags.all});
    if (response.truncated()) out << "... and more changes than are shown\n";
    if (response.pixel_edit_count() > 0) {
      out << "pixels: " << response.pixel_edit_count()
          << (response.pixel_edit_count() == 1 ? " rectangle" : " rectangles") << " blanked\n";
    }
    if (response.exported_size() > 0) {
      out << "exported to the session:\n";
      PrintExported(out, response.exported());
    }
    if (response.leftovers_size() > 0) out << "left of what identified the patient:\n";
    for (const v1::Leftover& left : response.leftovers()) {
      out << "! " << left.source() << " in "
          << Printable(left.keyword().empty() ? left.path() : left.keyword()) << ", " << left.count()
          << (left.count() == 1 ? " time\n" : " times\n");
    }
    for (const v1::PreviewRefusal& refusal : response.refusals()) {
      out << "refused: " << refusal.object_count() << " of " << response.object_count() << ": "
          << Printable(refusal.detail()) << " (" << refusal.reason() << ")\n";
    }
    out << response.object_count() << (response.object_count() == 1 ? " object" : " objects")
        << " looked at; nothing was changed\n";
  });
  return response.refusals_size() == 0 ? ExitCode::kDone : ExitCode::kRefused;
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const AnonFlags&);
using Flags = std::shared_ptr<AnonFlags>;

CLI::App* AddOne(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
                 Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

}  // namespace

void AddAnonCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<AnonFlags>();
  CLI::App* group =
      app.add_subcommand("anon", "anonymization scripts and profiles of the site and of projects");
  group->require_subcommand(1);
  CLI::App* get = AddOne(group, program, flags, "get", "shows what is set", Get);
  get->add_option("FILE", flags->file, "write the script there");
  CLI::App* set = AddOne(group, program, flags, "set", "sets the script; it stays on or off as it is", Set);
  CLI::App* enable = AddOne(group, program, flags, "enable", "puts script and profile in force", Enable);
  CLI::App* disable = AddOne(group, program, flags, "disable", "takes them out of force", Disable);
  CLI::App* check = AddOne(group, program, flags, "check", "says what is wrong with a script", Check);
  CLI::App* preview =
      AddOne(group, program, flags, "preview", "shows what a script would change; changes nothing", Preview);
  for (CLI::App* command : {set, check, preview})
    command->add_option("FILE", flags->file, "the script")->required();
  for (CLI::App* command : {get, set, enable, disable, preview})
    command->add_option("--project", flags->project, "of this project; else of the site");
  for (CLI::App* command : {enable, preview})
    command->add_option("--profile", flags->profile, "basic[,OPTION...] of PS3.15, or none");
  for (CLI::App* command : {set, enable}) {
    command
        ->add_option("--leftovers", flags->leftovers,
                     "identifiers that are left: off, report, or hold the session back")
        ->check(CLI::IsMember({"off", "report", "hold"}));
  }
  for (CLI::App* command : {set, preview})
    command->add_option("--lookup", flags->lookup, "file with lines keytype/value = result, for lookup[]");
  CLI::Option* file = preview->add_option("--file", flags->dicom, "a DICOM file");
  preview->add_option("--prearchive", flags->prearchive, "a session in the prearchive")->excludes(file);
  preview->add_option("--subject", flags->subject, "the variable subject");
  preview->add_option("--session", flags->session, "the variable session");
  preview->add_flag("--all", flags->all,
                    "on a terminal, too: each private attribute, and values as long as they are");
}

}  // namespace narthex::cli
