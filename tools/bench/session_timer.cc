// narthex-bench-session: times what the server does after an upload.
//
//   narthex-bench-session commit UPLOAD      from CommitUpload until every session of it is READY
//   narthex-bench-session archive SESSION..  from ArchivePrearchiveSession until the operation is done, one
//   by one
//
// Looks every 2 ms. Server and token come from NARTHEX_SERVER and NARTHEX_TOKEN. Prints one JSON object.
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

#include "CLI/CLI.hpp"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/rpc_status.h"

namespace narthex::bench {
namespace {

using client::Connection;
using google::longrunning::Operation;
using google::longrunning::Operations;

constexpr absl::Duration kLook = absl::Milliseconds(2);
constexpr absl::Duration kPatience = absl::Minutes(10);

absl::Status AwaitOperation(Connection& connection, const std::string& name) {
  google::longrunning::GetOperationRequest request;
  request.set_name(name);
  const absl::Time end = absl::Now() + kPatience;
  while (absl::Now() < end) {
    NX_ASSIGN_OR_RETURN(
        const Operation operation,
        connection.Call(connection.operations(), &Operations::StubInterface::GetOperation, request));
    if (operation.done()) {
      return operation.has_error() ? client::FromRpcStatus(operation.error()) : absl::OkStatus();
    }
    absl::SleepFor(kLook);
  }
  return absl::DeadlineExceededError(absl::StrCat(name, " does not end"));
}

absl::Status Commit(Connection& connection, const std::string& upload) {
  v1::CommitUploadRequest request;
  request.set_name(upload);
  request.set_request_id(NewUuid());
  const absl::Time begin = absl::Now();
  NX_ASSIGN_OR_RETURN(
      const auto response,
      connection.Call(connection.uploads(), &v1::UploadService::StubInterface::CommitUpload, request));
  const double answered = absl::ToDoubleSeconds(absl::Now() - begin);
  for (const std::string& operation : response.build_operations()) {
    NX_RETURN_IF_ERROR(AwaitOperation(connection, operation));
  }
  const double ready = absl::ToDoubleSeconds(absl::Now() - begin);
  const auto quoted = [](std::string* out, const std::string& name) {
    absl::StrAppend(out, "\"", name, "\"");
  };
  absl::PrintF("{\"commit_seconds\": %.6f, \"seconds\": %.6f, \"sessions\": [%s]}\n", answered, ready,
               absl::StrJoin(response.upload().prearchive_sessions(), ", ", quoted));
  return absl::OkStatus();
}

absl::Status Archive(Connection& connection, const std::vector<std::string>& sessions) {
  const absl::Time begin = absl::Now();
  std::vector<std::string> operations;
  for (const std::string& session : sessions) {
    v1::ArchivePrearchiveSessionRequest request;
    request.set_name(session);
    request.set_request_id(NewUuid());
    NX_ASSIGN_OR_RETURN(
        const Operation operation,
        connection.Call(connection.prearchive(),
                        &v1::PrearchiveService::StubInterface::ArchivePrearchiveSession, request));
    operations.push_back(operation.name());
  }
  for (const std::string& operation : operations) NX_RETURN_IF_ERROR(AwaitOperation(connection, operation));
  absl::PrintF("{\"seconds\": %.6f}\n", absl::ToDoubleSeconds(absl::Now() - begin));
  return absl::OkStatus();
}

}  // namespace
}  // namespace narthex::bench

int main(int argc, char** argv) {
  std::string upload;
  std::vector<std::string> sessions;
  CLI::App app("Times builds and archives.", "narthex-bench-session");
  app.require_subcommand(1);
  CLI::App* commit = app.add_subcommand("commit", "from the commit to READY");
  commit->add_option("UPLOAD", upload, "uploads/ID")->required();
  app.add_subcommand("archive", "sessions side by side")
      ->add_option("SESSION", sessions, "prearchiveSessions/ID")
      ->required();
  CLI11_PARSE(app, argc, argv);

  narthex::client::ConnectionOptions options;
  const char* address = std::getenv("NARTHEX_SERVER");
  const char* token = std::getenv("NARTHEX_TOKEN");
  if (address != nullptr) options.address = address;
  if (token != nullptr) options.token = token;
  const auto connection = narthex::client::Connection::Open(options);
  absl::Status status = connection.status();
  if (status.ok()) {
    status = commit->parsed() ? narthex::bench::Commit(**connection, upload)
                              : narthex::bench::Archive(**connection, sessions);
  }
  if (status.ok()) return 0;
  std::cerr << "narthex-bench-session: " << status.ToString() << "\n";
  return 1;
}
