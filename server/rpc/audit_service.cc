#include "server/rpc/audit_service.h"

#include <utility>

#include "absl/strings/escaping.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/rpc/audit_format.h"
#include "server/rpc/convert.h"
#include "storage/metadata/json.h"

namespace narthex::rpc {
namespace {

absl::Time ToTime(const google::protobuf::Timestamp& from) {
  return absl::FromUnixSeconds(from.seconds()) + absl::Nanoseconds(from.nanos());
}

absl::Status Gone() {
  return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "the client went away");
}

}  // namespace

grpc::Status AuditServiceImpl::VerifyAudit(grpc::ServerContext* context, const v1::VerifyAuditRequest*,
                                           grpc::ServerWriter<v1::VerifyAuditResponse>* writer) {
  return gate_.Stream(context, [&](const auth::Caller& caller) -> absl::Status {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    NX_ASSIGN_OR_RETURN(const auto chains, audit_.ListChains());
    auto client = gate_.Watched(context, writer);
    for (const std::string& project : chains) {
      v1::VerifyAuditResponse answer;
      answer.set_project(project);
      const auto chain = audit_.VerifyChain(project);
      if (chain.ok()) {
        answer.set_event_count(chain->event_count);
        answer.set_head(absl::BytesToHexString(chain->head));
        answer.set_intact(true);
      } else if (absl::IsDataLoss(chain.status())) {
        answer.set_problem(std::string(chain.status().message()));
      } else {
        return chain.status();
      }
      if (!client.Write(answer)) return Gone();
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<std::string>> AuditServiceImpl::Chains(const auth::Caller& caller,
                                                                  const std::string& project) const {
  if (!project.empty()) {
    NX_RETURN_IF_ERROR(caller.RequireOwn(project));
    return std::vector<std::string>{project};
  }
  NX_RETURN_IF_ERROR(caller.RequireUser());
  NX_ASSIGN_OR_RETURN(const auto all, audit_.ListChains());
  std::vector<std::string> chains;
  for (const std::string& chain : all) {
    if (caller.is_admin() || (!chain.empty() && caller.MayOwn(chain))) chains.push_back(chain);
  }
  return chains;
}

grpc::Status AuditServiceImpl::ExportAudit(grpc::ServerContext* context,
                                           const v1::ExportAuditRequest* request,
                                           grpc::ServerWriter<v1::ExportAuditResponse>* writer) {
  return gate_.Stream(context, [&](const auth::Caller& caller) -> absl::Status {
    if (request->format() != v1::ExportAuditRequest::ATNA &&
        request->format() != v1::ExportAuditRequest::FHIR) {
      return InvalidField("format", "expected ATNA or FHIR");
    }
    NX_ASSIGN_OR_RETURN(const auto chains, Chains(caller, request->project()));
    const absl::Time from = request->has_from_time() ? ToTime(request->from_time()) : absl::InfinitePast();
    const absl::Time to = request->has_to_time() ? ToTime(request->to_time()) : absl::InfiniteFuture();
    // Before the first line leaves: nobody reads the trail without a trace.
    metadata::AuditEvent event;
    event.project = request->project();
    event.user = caller.user();
    event.action = "AUDIT_EXPORT";
    event.object = request->project().empty() ? "all" : request->project();
    event.details_json =
        metadata::JsonObject({{"format", v1::ExportAuditRequest::Format_Name(request->format())}});
    NX_RETURN_IF_ERROR(audit_.Append(event).status());
    auto client = gate_.Watched(context, writer);
    for (const std::string& chain : chains) {
      metadata::Page page{limits::kPageSizeMax, ""};
      do {
        NX_ASSIGN_OR_RETURN(const auto list, audit_.ListEvents(chain, page));
        v1::ExportAuditResponse answer;
        for (const metadata::AuditEvent& event : list.events) {
          if (event.time < from || event.time >= to) continue;
          answer.add_lines(request->format() == v1::ExportAuditRequest::ATNA ? ToAtna(event, site_)
                                                                             : ToFhir(event, site_));
        }
        if (answer.lines_size() > 0 && !client.Write(answer)) return Gone();
        page.token = list.next_page_token;
      } while (!page.token.empty());
    }
    return absl::OkStatus();
  });
}

}  // namespace narthex::rpc
