// narthex operation show|wait|cancel|list
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"

#include "base/error.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/operations.h"
#include "clients/cli/program.h"
#include "clients/cli/progress.h"
#include "narthex/v1/prearchive_service.pb.h"
#include "narthex/v1/upload_service.pb.h"

namespace narthex::cli {
namespace {

using google::longrunning::Operation;
using Stub = google::longrunning::Operations::StubInterface;

struct OperationFlags {
  std::string name;
  std::string timeout;
};

std::string StateOf(const Operation& operation) {
  if (!operation.done()) return "running";
  return operation.has_error() ? "failed" : "done";
}

// What it works on, and how far it is.
std::pair<std::string, std::string> SubjectAndProgress(const Operation& operation) {
  v1::PrearchiveOperationMetadata prearchive;
  if (operation.metadata().UnpackTo(&prearchive)) {
    return {absl::StrCat(prearchive.kind(), " ", prearchive.prearchive_session()),
            absl::StrCat(prearchive.done_count(), " of ", prearchive.total_count())};
  }
  v1::ImportInboxMetadata inbox;
  if (operation.metadata().UnpackTo(&inbox)) {
    return {absl::StrCat("import ", inbox.upload()), absl::StrCat(inbox.object_count())};
  }
  return {"", ""};
}

absl::StatusOr<ExitCode> Show(Program& program, const OperationFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  google::longrunning::GetOperationRequest request;
  request.set_name(OperationName(flags.name));
  NX_ASSIGN_OR_RETURN(Operation operation,
                      connection->Call(connection->operations(), &Stub::GetOperation, request));
  return program.Print(operation, [&](std::ostream& out) { PrintOperation(out, operation); });
}

absl::StatusOr<ExitCode> Wait(Program& program, const OperationFlags& flags) {
  absl::Duration timeout = absl::InfiniteDuration();
  if (!flags.timeout.empty() && !absl::ParseDuration(flags.timeout, &timeout)) {
    return absl::InvalidArgumentError("--timeout is a duration such as 90s or 10m");
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  auto awaited = Await(program, *connection, OperationName(flags.name), timeout);
  if (absl::IsDeadlineExceeded(awaited.status()) && timeout != absl::InfiniteDuration()) {
    program.Note(awaited.status().message());
    NX_RETURN_IF_ERROR(Show(program, flags).status());
    return ExitCode::kRefused;
  }
  NX_ASSIGN_OR_RETURN(Operation operation, std::move(awaited));
  program.Print(operation, [&](std::ostream& out) { PrintOperation(out, operation); });
  return operation.has_error() ? ExitCode::kRefused : ExitCode::kDone;
}

absl::StatusOr<ExitCode> Cancel(Program& program, const OperationFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  google::longrunning::CancelOperationRequest request;
  request.set_name(OperationName(flags.name));
  NX_ASSIGN_OR_RETURN(auto empty,
                      connection->Call(connection->operations(), &Stub::CancelOperation, request));
  return program.Print(empty, [&](std::ostream& out) { out << request.name() << " will be cancelled\n"; });
}

absl::StatusOr<ExitCode> List(Program& program) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  google::longrunning::ListOperationsRequest request;
  request.set_name("operations");
  NX_ASSIGN_OR_RETURN(google::longrunning::ListOperationsResponse response,
                      CallAllPages(*connection, connection->operations(), &Stub::ListOperations, request));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"OPERATION", "STATE", "WORK", ">DONE", "ERROR"});
    for (const Operation& operation : response.operations()) {
      const auto [work, done] = SubjectAndProgress(operation);
      table.Add({operation.name(), StateOf(operation), work, done, operation.error().message()});
    }
    table.Print(out);
  });
}

}  // namespace

void PrintOperation(std::ostream& out, const Operation& operation) {
  const auto [work, done] = SubjectAndProgress(operation);
  PrintFields(out, {{"operation", operation.name()},
                    {"state", StateOf(operation)},
                    {"work", work},
                    {"done", done},
                    {"error", operation.error().message()},
                    {"reason", ErrorReason(client::FromRpcStatus(operation.error()))}});
}

absl::StatusOr<Operation> Await(Program& program, client::Connection& connection, const std::string& name,
                                absl::Duration timeout) {
  ProgressBar bar(program);
  auto operation = client::WaitForOperation(connection, name, timeout, [&](const Operation& seen) {
    v1::PrearchiveOperationMetadata metadata;
    if (!seen.metadata().UnpackTo(&metadata)) return bar.Draw(absl::StrCat(name, " is running"));
    bar.Draw(absl::StrCat(metadata.kind(), " ", metadata.done_count(), " of ", metadata.total_count(),
                          " objects"));
  });
  return operation;
}

void AddOperationCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<OperationFlags>();
  CLI::App* group = app.add_subcommand("operation", "long-running work of the server");
  group->require_subcommand(1);
  CLI::App* show = group->add_subcommand("show", "shows an operation");
  show->add_option("NAME", flags->name, "the operation")->required();
  program.OnChosen(show, [&program, flags] { return Show(program, *flags); });
  CLI::App* wait = group->add_subcommand("wait", "waits for an operation; exit code 1 if it failed");
  wait->add_option("NAME", flags->name, "the operation")->required();
  wait->add_option("--timeout", flags->timeout, "give up after so long, such as 90s");
  program.OnChosen(wait, [&program, flags] { return Wait(program, *flags); });
  CLI::App* cancel = group->add_subcommand("cancel", "asks the server to give an operation up");
  cancel->add_option("NAME", flags->name, "the operation")->required();
  program.OnChosen(cancel, [&program, flags] { return Cancel(program, *flags); });
  CLI::App* list = group->add_subcommand("list", "lists the operations");
  program.OnChosen(list, [&program] { return List(program); });
}

}  // namespace narthex::cli
