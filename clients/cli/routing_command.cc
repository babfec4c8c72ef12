// narthex routing get|set|test, narthex routing study list|set|delete and narthex filter
// get|set|enable|disable
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"
#include "imaging/dicom/header_scanner.h"

namespace narthex::cli {
namespace {

using Stub = v1::RoutingService::StubInterface;
using SettingsStub = v1::SettingsService::StubInterface;

// More header than this is not sent to be explained: with the rest of the request it must fit a message.
constexpr size_t kHeaderSentMaxBytes = 3 << 20;  // fixed: it fits into a message

struct RoutingFlags {
  std::string target;
  std::string file;
  std::string called_ae, calling_ae, receiver;
  std::string project, subject, session;
  std::string study;
  std::string mode;
};

// The whole of a text file; "" and "-" are standard input.
absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ostringstream text;
  if (path.empty() || path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(path);
  if (!file) return absl::InvalidArgumentError(absl::StrCat("the file ", path, " cannot be read"));
  text << file.rdbuf();
  return text.str();
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  return file ? absl::OkStatus()
              : absl::InvalidArgumentError(absl::StrCat("the file ", path, " cannot be written"));
}

std::string KeyOf(const RoutingFlags& flags) {
  return absl::StrCat("routing.", absl::StrReplaceAll(flags.target, {{"-", "_"}}), "_rules");
}

absl::StatusOr<ExitCode> GetRules(Program& program, const RoutingFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(
      v1::ListSettingsResponse response,
      connection->Call(connection->settings(), &SettingsStub::ListSettings, v1::ListSettingsRequest()));
  for (const v1::Setting& setting : response.settings()) {
    if (setting.key() != KeyOf(flags)) continue;
    if (!flags.file.empty()) NX_RETURN_IF_ERROR(WriteText(flags.file, setting.value()));
    return program.Print(setting, [&](std::ostream& out) {
      if (flags.file.empty()) out << setting.value();
    });
  }
  return NotFound("NOT_FOUND", absl::StrCat("the server has no rules for ", flags.target));
}

absl::StatusOr<ExitCode> SetRules(Program& program, const RoutingFlags& flags) {
  v1::UpdateSettingRequest request;
  request.set_key(KeyOf(flags));
  NX_ASSIGN_OR_RETURN(*request.mutable_value(), ReadText(flags.file));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Setting setting,
                      connection->Call(connection->settings(), &SettingsStub::UpdateSetting, request));
  return program.Print(setting, [&](std::ostream& out) { out << setting.value(); });
}

// The beginning of a DICOM file, up to its pixels.
absl::StatusOr<std::string> ReadHeader(const std::string& path) {
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::ScanFile(path));
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  // What follows the header tells the scanner on the other side that it has ended.
  bytes.resize(std::min<uint64_t>(facts.is_deflated() ? kHeaderSentMaxBytes : facts.header_bytes() + 64,
                                  kHeaderSentMaxBytes));
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return bytes;
}

void PrintExplanation(std::ostream& out, const v1::ExplainRoutingResponse& answer) {
  PrintFields(out, {{"receiver", answer.receiver()},
                    {"project", answer.project().empty() ? "(unassigned)" : answer.project()},
                    {"subject", answer.subject()},
                    {"session", answer.session()},
                    {"auto-archive", Lower(v1::AutoArchive::Mode_Name(answer.auto_archive()))},
                    {"site's script", answer.anonymize() ? "" : "not applied"},
                    {"wanted", answer.filtered() ? "no: a filter excludes it" : "yes"}});
  out << "\n";
  Table steps({"TARGET", "STAGE", ">LINE", "ATTRIBUTE", "RESULT", "VALUE"});
  for (const v1::RoutingStep& step : answer.steps()) {
    steps.Add({step.target(), step.stage(), step.line() == 0 ? "" : absl::StrCat(step.line()),
               step.attribute(), step.result(), Printable(step.candidate())});
  }
  for (const v1::FilterStep& step : answer.filters()) {
    steps.Add({"filter", step.scope(), "", "",
               !step.enabled() ? "not configured" : (step.allowed() ? "allowed" : "excluded"),
               step.reason()});
  }
  steps.Print(out);
}

absl::StatusOr<ExitCode> Test(Program& program, const RoutingFlags& flags) {
  v1::ExplainRoutingRequest request;
  NX_ASSIGN_OR_RETURN(*request.mutable_header(), ReadHeader(flags.file));
  request.set_called_ae_title(flags.called_ae);
  request.set_calling_ae_title(flags.calling_ae);
  request.set_receiver(flags.receiver);
  request.mutable_destination()->set_project(flags.project);
  request.mutable_destination()->set_subject(flags.subject);
  request.mutable_destination()->set_session(flags.session);
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::ExplainRoutingResponse answer,
                      connection->Call(connection->routing(), &Stub::ExplainRouting, request));
  return program.Print(answer, [&](std::ostream& out) { PrintExplanation(out, answer); });
}

absl::StatusOr<ExitCode> ListStudies(Program& program, const RoutingFlags& /*flags*/) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(
      v1::ListStudyRoutesResponse response,
      CallAllPages(*connection, connection->routing(), &Stub::ListStudyRoutes, v1::ListStudyRoutesRequest()));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"STUDY", "PROJECT", "SUBJECT", "SESSION"});
    for (const v1::StudyRoute& route : response.routes()) {
      table.Add({route.study_instance_uid(), route.project(), route.subject(), route.session()});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> SetStudy(Program& program, const RoutingFlags& flags) {
  v1::SetStudyRouteRequest request;
  v1::StudyRoute& route = *request.mutable_route();
  route.set_study_instance_uid(flags.study);
  route.set_project(flags.project);
  route.set_subject(flags.subject);
  route.set_session(flags.session);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::StudyRoute set,
                      connection->Call(connection->routing(), &Stub::SetStudyRoute, request));
  return program.Print(set, [&](std::ostream& out) {
    out << "study " << set.study_instance_uid() << " goes to project " << set.project() << "\n";
  });
}

absl::StatusOr<ExitCode> DeleteStudy(Program& program, const RoutingFlags& flags) {
  v1::DeleteStudyRouteRequest request;
  request.set_study_instance_uid(flags.study);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto empty, connection->Call(connection->routing(), &Stub::DeleteStudyRoute, request));
  return program.Print(empty,
                       [&](std::ostream& out) { out << "study " << flags.study << " has no route\n"; });
}

ExitCode Answer(Program& program, const v1::SeriesFilter& filter, bool with_text) {
  return program.Print(filter, [&](std::ostream& out) {
    std::string mode = Lower(v1::SeriesFilter::Mode_Name(filter.mode()));
    PrintFields(out, {{"filter of", filter.project().empty() ? "the site" : filter.project()},
                      {"mode", absl::StrReplaceAll(mode, {{"_", "-"}})},
                      {"enabled", filter.enabled() ? "yes" : "no"},
                      {"version", filter.version() == 0 ? "never set" : absl::StrCat(filter.version())},
                      {"set by", filter.user()}});
    if (with_text && !filter.text().empty()) out << "\n" << filter.text();
  });
}

absl::StatusOr<v1::SeriesFilter> CurrentFilter(client::Connection& connection, const RoutingFlags& flags) {
  v1::GetSeriesFilterRequest request;
  request.set_project(flags.project);
  return connection.Call(connection.routing(), &Stub::GetSeriesFilter, request);
}

absl::StatusOr<ExitCode> GetFilter(Program& program, const RoutingFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(const v1::SeriesFilter filter, CurrentFilter(*connection, flags));
  if (!flags.file.empty()) NX_RETURN_IF_ERROR(WriteText(flags.file, filter.text()));
  return Answer(program, filter, flags.file.empty());
}

// Sends `filter` as the new one.
absl::StatusOr<ExitCode> Put(Program& program, client::Connection& connection, v1::SeriesFilter filter) {
  v1::SetSeriesFilterRequest request;
  *request.mutable_filter() = std::move(filter);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(const v1::SeriesFilter set,
                      connection.Call(connection.routing(), &Stub::SetSeriesFilter, request));
  return Answer(program, set, false);
}

absl::StatusOr<ExitCode> SetFilter(Program& program, const RoutingFlags& flags) {
  NX_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.file));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::SeriesFilter filter, CurrentFilter(*connection, flags));
  filter.set_project(flags.project);
  filter.set_text(text);
  // A filter that is set is meant to filter; one that was switched off stays so.
  if (filter.version() == 0) filter.set_enabled(true);
  if (!flags.mode.empty()) {
    v1::SeriesFilter::Mode mode = v1::SeriesFilter::MODE_UNSPECIFIED;
    v1::SeriesFilter::Mode_Parse(absl::StrReplaceAll(absl::AsciiStrToUpper(flags.mode), {{"-", "_"}}), &mode);
    filter.set_mode(mode);
  }
  return Put(program, *connection, std::move(filter));
}

absl::StatusOr<ExitCode> Switch(Program& program, const RoutingFlags& flags, bool on) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::SeriesFilter filter, CurrentFilter(*connection, flags));
  filter.set_project(flags.project);
  filter.set_enabled(on);
  return Put(program, *connection, std::move(filter));
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const RoutingFlags&);

void AddFilterCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<RoutingFlags>();
  CLI::App* group = app.add_subcommand("filter", "series import filters: which objects are wanted");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, Handler handler) {
    CLI::App* command = group->add_subcommand(name, help);
    command->add_option("--project", flags->project, "the project's filter; without it the site's");
    program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
    return command;
  };
  add("get", "shows the filter", GetFilter)->add_option("FILE", flags->file, "where to write its lines");
  CLI::App* set = add("set", "replaces the filter; holds for what arrives from now on", SetFilter);
  set->add_option("FILE", flags->file, "its lines; \"-\" or nothing: standard input");
  set->add_option("--mode", flags->mode, "deny (default), allow or modality-map")
      ->check(CLI::IsMember({"deny", "allow", "modality-map"}));
  add("enable", "switches the filter on",
      [](Program& p, const RoutingFlags& f) { return Switch(p, f, true); });
  add("disable", "switches the filter off and keeps its lines",
      [](Program& p, const RoutingFlags& f) { return Switch(p, f, false); });
}

}  // namespace

void AddRoutingCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<RoutingFlags>();
  CLI::App* group = app.add_subcommand("routing", "how project, subject and session of an object are found");
  group->require_subcommand(1);
  const auto add = [&](CLI::App* parent, const char* name, const char* help, Handler handler) {
    CLI::App* command = parent->add_subcommand(name, help);
    program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
    return command;
  };
  CLI::App* get = add(group, "get", "shows the site's rules", GetRules);
  CLI::App* set = add(group, "set", "replaces the site's rules; no lines: none", SetRules);
  for (CLI::App* command : {get, set}) {
    command->add_option("TARGET", flags->target, "project, subject, session, auto-archive or legacy-project")
        ->required()
        ->check(CLI::IsMember({"project", "subject", "session", "auto-archive", "legacy-project"}));
  }
  get->add_option("FILE", flags->file, "where to write them");
  set->add_option("FILE", flags->file, "the rules; \"-\" or nothing: standard input");
  CLI::App* test =
      add(group, "test", "explains rule by rule where an object would go; changes nothing", Test);
  test->add_option("FILE", flags->file, "a DICOM file; only its header is sent")->required();
  test->add_option("--called-ae", flags->called_ae, "the AE title that the sender would call");
  test->add_option("--calling-ae", flags->calling_ae, "the sender's AE title");
  test->add_option("--receiver", flags->receiver, "the receiver, if it is not the called AE title");
  CLI::App* study = group->add_subcommand("study", "where studies go, said in advance");
  study->require_subcommand(1);
  add(study, "list", "lists the study routing table", ListStudies);
  CLI::App* put = add(study, "set", "says where a study goes, until it is archived", SetStudy);
  CLI::App* remove = add(study, "delete", "forgets where a study goes", DeleteStudy);
  for (CLI::App* command : {put, remove}) {
    command->add_option("UID", flags->study, "Study Instance UID")->required();
  }
  for (CLI::App* command : {test, put}) {
    command->add_option("--project", flags->project, "project")->required(command == put);
    command->add_option("--subject", flags->subject, "subject label");
    command->add_option("--session", flags->session, "session label");
  }
  AddFilterCommands(app, program);
}

}  // namespace narthex::cli
