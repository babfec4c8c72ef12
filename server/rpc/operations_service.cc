#include "server/rpc/operations_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/rpc/status.pb.h"

#include "base/error.h"
#include "base/limits_server.h"
#include "base/status.h"
#include "narthex/v1/prearchive_service.pb.h"
#include "narthex/v1/upload_service.pb.h"
#include "server/archive/archiver.h"
#include "server/rpc/convert.h"
#include "server/rpc/session_view.h"
#include "storage/metadata/json.h"

namespace narthex::rpc {
namespace {

// One WaitOperation call lasts at most so long; clients ask again.

bool MaySee(const auth::Caller& caller, const operations::Operation& operation) {
  return operation.user == caller.user() || caller.MaySeePrearchive(operation.project);
}

// A session of the prearchive as it is now; its name only, if it is gone or where the caller does not see it.
v1::PrearchiveSession ShowRow(absl::string_view id, const ResultSources& sources, const auth::Caller& caller,
                              bool with_scans) {
  const auto row = sources.prearchive.Get(id);
  if (row.ok() && caller.MaySeePrearchive(row->key().project()))
    return ToProto(*row, sources.prearchive.BuildAfter(*row), with_scans);
  v1::PrearchiveSession message;
  message.set_name(absl::StrCat("prearchiveSessions/", id));
  return message;
}

// Likewise of the archive.
v1::Session ShowSession(const std::string& accession_id, const ResultSources& sources,
                        const auth::Caller& caller) {
  const auto session = sources.database.session_reader().Get(accession_id, caller.Visible(true));
  if (session.ok()) return View(caller, *session);
  v1::Session message;
  message.set_name(absl::StrCat("sessions/", accession_id));
  message.set_accession_id(accession_id);
  return message;
}

void PackResult(const operations::Operation& operation, const ResultSources& sources,
                const auth::Caller& caller, google::longrunning::Operation& to) {
  if (operation.kind == "archive") {
    const auto result = archiving::ArchiveResult::FromText(operation.result);
    v1::Session message = ShowSession(result.accession_id, sources, caller);
    if (result.merged) {
      v1::MergeResult& merged = *message.mutable_merge_result();
      merged.set_added_count(static_cast<int32_t>(result.counts.added));
      merged.set_replaced_count(static_cast<int32_t>(result.counts.replaced));
      merged.set_kept_count(static_cast<int32_t>(result.counts.kept));
    }
    for (const archiving::LeftOutScan& left : result.left_out) {
      v1::LeftOutScan& scan = *message.add_left_out_scans();
      scan.set_scan(left.scan);
      scan.set_object_count(static_cast<int32_t>(left.object_count));
    }
    to.mutable_response()->PackFrom(message);
  } else if (operation.kind == "build") {
    to.mutable_response()->PackFrom(ShowRow(operation.target, sources, caller, true));
  } else if (operation.kind == "split") {
    v1::SplitPrearchiveSessionResponse message;
    for (const absl::string_view id : absl::StrSplit(operation.result, ',', absl::SkipEmpty()))
      *message.add_prearchive_sessions() = ShowRow(id, sources, caller, false);
    to.mutable_response()->PackFrom(message);
  } else if (operation.kind == operations::kImportInbox) {
    v1::ImportArchiveResponse message;
    message.ParseFromString(operation.result);
    to.mutable_response()->PackFrom(message);
  }
}

}  // namespace

google::longrunning::Operation OperationToProto(const operations::Operation& operation,
                                                const ResultSources* sources, const auth::Caller* caller) {
  google::longrunning::Operation to;
  to.set_name(absl::StrCat("operations/", operation.id));
  v1::PrearchiveOperationMetadata metadata;
  metadata.set_prearchive_session(absl::StrCat("prearchiveSessions/", operation.target));
  metadata.set_kind(operation.kind);
  metadata.set_done_count(operation.done_count);
  metadata.set_total_count(operation.total_count);
  to.mutable_metadata()->PackFrom(metadata);
  if (operation.done && !operation.status.ok()) {
    to.set_done(true);
    to.mutable_error()->ParseFromString(ToRpcStatus(operation.status));
  } else if (operation.done && sources != nullptr && caller != nullptr) {
    to.set_done(true);
    PackResult(operation, *sources, *caller, to);
  }
  return to;
}

absl::StatusOr<operations::Operation> OperationsServiceImpl::Find(const auth::Caller& caller,
                                                                  absl::string_view name) const {
  NX_ASSIGN_OR_RETURN(const std::string id, IdOf(name, "operations", "name"));
  auto operation = operations_.Get(id);
  if (operation.ok() && !MaySee(caller, *operation)) {
    return NotFound("OPERATION_NOT_FOUND", absl::StrCat("there is no operation ", id), {{"operation", id}});
  }
  return operation;
}

grpc::Status OperationsServiceImpl::ListOperations(grpc::ServerContext* context,
                                                   const google::longrunning::ListOperationsRequest* request,
                                                   google::longrunning::ListOperationsResponse* response) {
  return gate_.Unary(
      context, response,
      [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::ListOperationsResponse> {
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        NX_ASSIGN_OR_RETURN(
            const auto operations,
            operations_.List(request->page_token(), size, [&](const operations::Operation& operation) {
              return MaySee(caller, operation);
            }));
        google::longrunning::ListOperationsResponse answer;
        for (const auto& operation : operations)
          *answer.add_operations() = OperationToProto(operation, &sources_, &caller);
        if (static_cast<int>(operations.size()) == size) answer.set_next_page_token(operations.back().id);
        return answer;
      });
}

grpc::Status OperationsServiceImpl::GetOperation(grpc::ServerContext* context,
                                                 const google::longrunning::GetOperationRequest* request,
                                                 google::longrunning::Operation* response) {
  return gate_.Unary(context, response,
                     [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
                       NX_ASSIGN_OR_RETURN(const auto operation, Find(caller, request->name()));
                       return OperationToProto(operation, &sources_, &caller);
                     });
}

grpc::Status OperationsServiceImpl::DeleteOperation(
    grpc::ServerContext* context, const google::longrunning::DeleteOperationRequest* request,
    google::protobuf::Empty* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_RETURN_IF_ERROR(Find(caller, request->name()).status());
        return FailedPrecondition("ILLEGAL_STATE", "operations are kept as a record and cannot be deleted");
      });
}

grpc::Status OperationsServiceImpl::CancelOperation(
    grpc::ServerContext* context, const google::longrunning::CancelOperationRequest* request,
    google::protobuf::Empty* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_ASSIGN_OR_RETURN(const auto operation, Find(caller, request->name()));
        if (operation.user != caller.user()) NX_RETURN_IF_ERROR(caller.RequireEdit(operation.project));
        // As deeds in the prearchive: the event first, the failure after it.
        metadata::AuditEvent event;
        event.project = operation.project;
        event.user = caller.user();
        event.action = "OPERATION_CANCEL";
        event.object = operation.id;
        event.details_json = metadata::JsonObject({{"kind", operation.kind}});
        NX_RETURN_IF_ERROR(sources_.database.audit().Append(event).status());
        const absl::Status cancelled = operations_.Cancel(operation.id);
        if (!cancelled.ok()) {
          event.details_json =
              metadata::JsonObject({{"kind", operation.kind}, {"failed", ErrorReason(cancelled)}});
          sources_.database.audit().Append(event).IgnoreError();
          return cancelled;
        }
        return google::protobuf::Empty();
      });
}

grpc::Status OperationsServiceImpl::WaitOperation(grpc::ServerContext* context,
                                                  const google::longrunning::WaitOperationRequest* request,
                                                  google::longrunning::Operation* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
        NX_ASSIGN_OR_RETURN(operations::Operation operation, Find(caller, request->name()));
        if (operation.done) return OperationToProto(operation, &sources_, &caller);
        NX_ASSIGN_OR_RETURN(const auto place, gate_.Stay(caller, *context));
        absl::Duration timeout = absl::Seconds(limits::kOperationWaitMaxSeconds.get());
        if (request->has_timeout()) {
          timeout = std::min(timeout, absl::Seconds(request->timeout().seconds()) +
                                          absl::Nanoseconds(request->timeout().nanos()));
        }
        const absl::Time end = std::min(absl::Now() + timeout, absl::FromChrono(context->deadline()));
        // In short steps, so that a client that has gone away holds no thread.
        while (!operation.done && absl::Now() < end && !context->IsCancelled()) {
          NX_ASSIGN_OR_RETURN(operation,
                              operations_.Wait(operation.id, std::min(end, absl::Now() + absl::Seconds(1))));
        }
        return OperationToProto(operation, &sources_, &caller);
      });
}

}  // namespace narthex::rpc
