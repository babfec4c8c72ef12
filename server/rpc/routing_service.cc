#include "server/rpc/routing_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/identify/labels.h"
#include "server/rpc/convert.h"
#include "server/rpc/receiver_records.h"

namespace narthex::rpc {
namespace {

absl::Status CheckUid(const std::string& uid) {
  const bool valid =
      !uid.empty() && uid.size() <= limits::kUidMaxBytes &&
      std::all_of(uid.begin(), uid.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  return valid ? absl::OkStatus() : InvalidField("study_instance_uid", "a UID is 1 to 64 digits and dots");
}

v1::StudyRoute ToProto(const metadata::StudyRoute& from) {
  v1::StudyRoute route;
  route.set_study_instance_uid(from.study_instance_uid);
  route.set_project(from.project);
  route.set_subject(from.subject);
  route.set_session(from.label);
  return route;
}

v1::RoutingStep ToProto(const identify::Step& from) {
  v1::RoutingStep step;
  step.set_target(std::string(identify::TargetName(from.target)));
  step.set_stage(std::string(identify::StageName(from.stage)));
  step.set_line(from.line);
  step.set_attribute(from.attribute);
  step.set_result(std::string(identify::StepResultName(from.result)));
  step.set_candidate(from.candidate);
  return step;
}

// What the filters of `scope` say, added to `answer`. Whether they let the object in.
bool AddFilter(const identify::FilterSet* filters, absl::string_view scope, absl::string_view project,
               const dicom::HeaderFacts& facts, v1::ExplainRoutingResponse& answer) {
  v1::FilterStep& step = *answer.add_filters();
  step.set_scope(std::string(scope));
  const identify::SeriesFilter* filter = filters == nullptr ? nullptr : filters->Find(project);
  step.set_enabled(filter != nullptr);
  const identify::FilterVerdict verdict =
      filter == nullptr ? identify::FilterVerdict() : filter->Evaluate(facts);
  step.set_allowed(verdict.allowed);
  step.set_reason(verdict.reason);
  return verdict.allowed;
}

}  // namespace

absl::Status RoutingServiceImpl::Load() {
  NX_ASSIGN_OR_RETURN(const auto scripts, with_.database.scripts().ListCurrent(kFilterKind));
  for (const metadata::Script& script : scripts) {
    if (!script.enabled) continue;
    if (const absl::Status applied = with_.apply_filter(FromRecord(script)); !applied.ok()) {
      Log(LogLevel::kWarning, "stored series filter not applied",
          {{"project", script.project}, {"error", applied}});
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ExplainRoutingResponse> RoutingServiceImpl::Explain(
    const auth::Caller& caller, const v1::ExplainRoutingRequest& request) const {
  const auto policy = with_.policies.Current();
  v1::ExplainRoutingResponse answer;
  const identify::Router* router = policy->router.get();
  const std::string& title = request.receiver().empty() ? request.called_ae_title() : request.receiver();
  const ingest::ReceiverPolicy* receiver = policy->FindReceiver(title);
  if (receiver == nullptr && !request.receiver().empty()) {
    return NotFound("NOT_FOUND", absl::StrCat("there is no receiver ", request.receiver()),
                    {{"receiver", request.receiver()}});
  }
  answer.set_anonymize(true);
  if (receiver != nullptr) {
    router = receiver->router.get();
    answer.set_receiver(title);
    answer.set_anonymize(receiver->anonymize);
  }
  dicom::ScanOptions options;
  options.attributes = policy->attributes.get();
  dicom::HeaderScanner scanner(options);
  NX_RETURN_IF_ERROR(scanner.Feed(request.header()).status());
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, scanner.Finish());
  identify::ArrivalContext arrival;
  arrival.called_ae = request.called_ae_title().empty() ? title : request.called_ae_title();
  arrival.calling_ae = request.calling_ae_title();
  arrival.project = request.destination().project();
  arrival.subject = request.destination().subject();
  arrival.label = request.destination().session();
  arrival.studies = policy->studies;
  arrival.trace = identify::Trace::kWithValues;
  NX_ASSIGN_OR_RETURN(const identify::Destination to, router->Route(facts, arrival, caller));
  answer.set_project(to.project);
  answer.set_subject(to.subject.empty() ? to.label : to.subject);
  answer.set_session(to.label);
  answer.set_study_instance_uid(std::string(facts.study_instance_uid()));
  int mode = request.destination().auto_archive();
  if (mode == 0 && receiver != nullptr) mode = receiver->auto_archive;
  if (mode == 0 && to.auto_archive) {
    mode = *to.auto_archive == identify::AutoArchive::kYes ? v1::AutoArchive::AUTO : v1::AutoArchive::MANUAL;
  }
  answer.set_auto_archive(static_cast<v1::AutoArchive::Mode>(mode));
  for (const identify::Step& step : to.trace) *answer.add_steps() = ToProto(step);
  bool wanted = AddFilter(policy->filters.get(), "site", "", facts, answer);
  if (!to.project.empty()) {
    wanted = AddFilter(policy->filters.get(), "project", to.project, facts, answer) && wanted;
  }
  answer.set_filtered(!wanted);
  return answer;
}

grpc::Status RoutingServiceImpl::ExplainRouting(grpc::ServerContext* context,
                                                const v1::ExplainRoutingRequest* request,
                                                v1::ExplainRoutingResponse* response) {
  return with_.gate.Unary(context, response,
                          [&](const auth::Caller& caller) -> absl::StatusOr<v1::ExplainRoutingResponse> {
                            NX_RETURN_IF_ERROR(caller.RequireAdmin());
                            return Explain(caller, *request);
                          });
}

grpc::Status RoutingServiceImpl::ListStudyRoutes(grpc::ServerContext* context,
                                                 const v1::ListStudyRoutesRequest* request,
                                                 v1::ListStudyRoutesResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListStudyRoutesResponse> {
        NX_RETURN_IF_ERROR(caller.RequireAdmin());
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        if (!request->page_token().empty() && !CheckUid(request->page_token()).ok()) {
          return InvalidArgument("INVALID_PAGE_TOKEN", "this list did not give out that page token");
        }
        NX_ASSIGN_OR_RETURN(const auto routes,
                            with_.database.study_routes().ListRoutes(request->page_token(), size));
        v1::ListStudyRoutesResponse answer;
        for (const metadata::StudyRoute& route : routes) *answer.add_routes() = ToProto(route);
        if (static_cast<int>(routes.size()) == size) {
          answer.set_next_page_token(routes.back().study_instance_uid);
        }
        return answer;
      });
}

grpc::Status RoutingServiceImpl::SetStudyRoute(grpc::ServerContext* context,
                                               const v1::SetStudyRouteRequest* request,
                                               v1::StudyRoute* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::StudyRoute> {
        const v1::StudyRoute& given = request->route();
        NX_RETURN_IF_ERROR(CheckUid(given.study_instance_uid()));
        const auto project = caller.Resolve(given.project());
        NX_RETURN_IF_ERROR(caller.RequireOwn(project.value_or(given.project())));
        if (!project) {
          return NotFound("PROJECT_NOT_FOUND", absl::StrCat("there is no project ", given.project()),
                          {{"project", given.project()}});
        }
        for (const auto& [field, label] :
             {std::pair("route.subject", &given.subject()), std::pair("route.session", &given.session())}) {
          if (!label->empty() && !identify::IsLabel(*label)) {
            return InvalidField(field, "a label is letters, digits, '_' and '-', 64 at most");
          }
        }
        const metadata::StudyRoute route{given.study_instance_uid(), *project, given.subject(),
                                         given.session()};
        NX_RETURN_IF_ERROR(
            with_.routes.Set(route, caller.Visible(), {caller.user(), "", request->request_id()}));
        return ToProto(route);
      });
}

grpc::Status RoutingServiceImpl::DeleteStudyRoute(grpc::ServerContext* context,
                                                  const v1::DeleteStudyRouteRequest* request,
                                                  google::protobuf::Empty* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_RETURN_IF_ERROR(caller.RequireAdmin());
        NX_RETURN_IF_ERROR(CheckUid(request->study_instance_uid()));
        NX_RETURN_IF_ERROR(
            with_.routes.Forget(request->study_instance_uid(), {caller.user(), "", request->request_id()}));
        return google::protobuf::Empty();
      });
}

grpc::Status RoutingServiceImpl::GetSeriesFilter(grpc::ServerContext* context,
                                                 const v1::GetSeriesFilterRequest* request,
                                                 v1::SeriesFilter* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::SeriesFilter> {
        // The site's filter is no secret: it explains what became of the objects that somebody sent.
        if (!request->project().empty()) NX_RETURN_IF_ERROR(caller.RequireRead(request->project()));
        NX_ASSIGN_OR_RETURN(const auto script, with_.database.scripts().Get(kFilterKind, request->project()));
        if (script) return FromRecord(*script);
        v1::SeriesFilter none;
        none.set_project(request->project());
        none.set_mode(v1::SeriesFilter::DENY);
        return none;
      });
}

grpc::Status RoutingServiceImpl::SetSeriesFilter(grpc::ServerContext* context,
                                                 const v1::SetSeriesFilterRequest* request,
                                                 v1::SeriesFilter* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::SeriesFilter> {
        const v1::SeriesFilter& given = request->filter();
        NX_RETURN_IF_ERROR(given.project().empty() ? caller.RequireAdmin()
                                                   : caller.RequireOwn(given.project()));
        // Also of a filter that is switched off: it can be switched on later.
        NX_RETURN_IF_ERROR(identify::SeriesFilter::Parse(ModeOf(given), given.text()).status());
        absl::MutexLock lock(&filter_mutex_);
        NX_ASSIGN_OR_RETURN(
            const auto script,
            with_.database.scripts().Set(ToRecord(given), {caller.user(), "", request->request_id()}));
        const v1::SeriesFilter filter = FromRecord(script);
        NX_RETURN_IF_ERROR(with_.apply_filter(filter));
        return filter;
      });
}

}  // namespace narthex::rpc
