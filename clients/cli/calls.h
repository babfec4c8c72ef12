// How commands name things and call the server.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <google/protobuf/map.h>

#include "base/limits.h"
#include "base/status.h"
#include "clients/cpp/connection.h"

namespace narthex::cli {

// "PROJECT/LABEL" to projects/PROJECT/sessions/LABEL, "NARTHEX_E00001" to sessions/NARTHEX_E00001; full names
// stay.
std::string SessionName(absl::string_view ref);
// "x" and "prearchiveSessions/x" to prearchiveSessions/x; likewise below.
std::string PrearchiveName(absl::string_view id);
std::string ProjectName(absl::string_view id);
std::string OperationName(absl::string_view id);
// "PROJECT/SUBJECT" to projects/PROJECT/subjects/SUBJECT; full names stay.
std::string SubjectName(absl::string_view ref);
// "prearchiveSessions/x" to "x".
std::string ShortName(absl::string_view name);

// The words NAME=VALUE as custom fields. INVALID_ARGUMENT: one has no '='.
absl::Status SetFields(const std::vector<std::string>& words,
                       google::protobuf::Map<std::string, std::string>& fields);

// The pages of a list, put together into one response. `request` may hold a page size; else pages are large.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CallAllPages(client::Connection& connection, Stub& stub,
                                      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                   Response*),
                                      Request request) {
  if (request.page_size() == 0) request.set_page_size(limits::kPageSizeMax);
  Response all;
  do {
    NX_ASSIGN_OR_RETURN(Response page, connection.Call(stub, method, request));
    request.set_page_token(page.next_page_token());
    page.clear_next_page_token();
    all.MergeFrom(page);
  } while (!request.page_token().empty());
  return all;
}

}  // namespace narthex::cli
