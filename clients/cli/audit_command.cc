// narthex server verify-audit and narthex server export-audit
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/status.h"
#include "clients/cli/program.h"
#include "clients/cpp/rpc_status.h"
#include "narthex/v1/audit_service.grpc.pb.h"

namespace narthex::cli {
namespace {

struct AuditFlags {
  std::string format;
  std::string project;
  std::string from;
  std::string to;
};

absl::StatusOr<ExitCode> Verify(Program& program) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  const auto stub = v1::AuditService::NewStub(connection->channel());
  const auto context = connection->NewContext();
  const auto reader = stub->VerifyAudit(context.get(), v1::VerifyAuditRequest());
  v1::VerifyAuditResponse chain;
  bool intact = true;
  while (reader->Read(&chain)) {
    intact &= chain.intact();
    if (program.json()) {
      program.PrintLine(chain);
      continue;
    }
    program.out() << (chain.project().empty() ? "site" : absl::StrCat("project ", chain.project())) << ": ";
    if (chain.intact()) {
      program.out() << chain.event_count() << " events, intact, head " << chain.head() << "\n";
    } else {
      program.out() << "BROKEN: " << Printable(chain.problem()) << "\n";
    }
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return client::FromGrpcStatus(status);
  return intact ? ExitCode::kDone : ExitCode::kRefused;
}

absl::Status SetTime(const std::string& text, const char* flag, google::protobuf::Timestamp* to) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error) &&
      !absl::ParseTime("%Y-%m-%d", text, &time, &error)) {
    return InvalidArgument("INVALID_FIELD",
                           absl::StrCat(flag, ": a date or a time such as 2024-05-17T12:00:00Z"),
                           {{"field", flag}});
  }
  to->set_seconds(absl::ToUnixSeconds(time));
  to->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(absl::ToUnixSeconds(time)))));
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> Export(Program& program, const AuditFlags& flags) {
  v1::ExportAuditRequest request;
  request.set_format(flags.format == "atna" ? v1::ExportAuditRequest::ATNA : v1::ExportAuditRequest::FHIR);
  request.set_project(flags.project);
  if (!flags.from.empty()) NX_RETURN_IF_ERROR(SetTime(flags.from, "--from", request.mutable_from_time()));
  if (!flags.to.empty()) NX_RETURN_IF_ERROR(SetTime(flags.to, "--to", request.mutable_to_time()));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  const auto stub = v1::AuditService::NewStub(connection->channel());
  const auto context = connection->NewContext();
  const auto reader = stub->ExportAudit(context.get(), request);
  v1::ExportAuditResponse response;
  while (reader->Read(&response)) {
    for (const std::string& line : response.lines()) program.out() << line << "\n";
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return client::FromGrpcStatus(status);
  return ExitCode::kDone;
}

}  // namespace

void AddAuditCommands(CLI::App* server, Program& program) {
  CLI::App* verify = server->add_subcommand(
      "verify-audit", "proves that no audit event was changed, removed or put in; exit code 1: one was");
  program.OnChosen(verify, [&program] { return Verify(program); });
  auto flags = std::make_shared<AuditFlags>();
  CLI::App* write = server->add_subcommand(
      "export-audit",
      "writes audit events, one a line, as DICOM audit messages (atna) or FHIR AuditEvents (fhir)");
  write->add_option("--format", flags->format, "atna or fhir")
      ->required()
      ->check(CLI::IsMember({"atna", "fhir"}));
  write->add_option("--project", flags->project, "only this project's; default: all that you may see");
  write->add_option("--from", flags->from, "at or after this date or time (UTC)");
  write->add_option("--to", flags->to, "before this date or time (UTC)");
  program.OnChosen(write, [&program, flags] { return Export(program, *flags); });
}

}  // namespace narthex::cli
