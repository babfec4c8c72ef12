#include "server/rpc/prearchive_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/diff.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/rewriter.h"
#include "imaging/identify/labels.h"
#include "server/deidentify/plan_editor.h"
#include "server/rpc/anonymization_service.h"
#include "server/rpc/convert.h"
#include "server/rpc/operations_service.h"

namespace narthex::rpc {
namespace {

using prearchive::SessionRow;
using prearchive::State;

// How long a watcher sleeps before it looks whether its client is still there.
constexpr absl::Duration kWatchTick = absl::Milliseconds(500);
constexpr int kWatchBatch = 500;

// Every attribute of `part`, in order: what it has more than an empty data set.
void AddAttributes(const dicom::DataSet& part, v1::GetHeaderResponse& answer) {
  for (anonymize::AttributeChange& from :
       anonymize::DiffDataSets(*dicom::DataSet::Empty(part.encoding()), part)) {
    v1::Attribute& attribute = *answer.add_attributes();
    attribute.set_path(std::move(from.path));
    attribute.set_keyword(std::move(from.keyword));
    attribute.set_vr(std::move(from.vr));
    attribute.set_value(std::move(from.after));
  }
}

}  // namespace

absl::StatusOr<SessionRow> PrearchiveServiceImpl::Find(const auth::Caller& caller, absl::string_view name,
                                                       Right right) const {
  NX_ASSIGN_OR_RETURN(const std::string id, IdOf(name, "prearchiveSessions", "name"));
  auto row = with_.prearchive.Get(id);
  if (row.ok() && !caller.MaySeePrearchive(row->key().project())) return prearchive::NoSession(id);
  if (row.ok() && right == Right::kEdit) NX_RETURN_IF_ERROR(caller.RequireEdit(row->key().project()));
  return row;
}

v1::PrearchiveSession PrearchiveServiceImpl::Show(const SessionRow& row, bool with_scans) const {
  return ToProto(row, with_.prearchive.BuildAfter(row), with_scans);
}

grpc::Status PrearchiveServiceImpl::ListPrearchiveSessions(grpc::ServerContext* context,
                                                           const v1::ListPrearchiveSessionsRequest* request,
                                                           v1::ListPrearchiveSessionsResponse* response) {
  return with_.gate.Unary(
      context, response,
      [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListPrearchiveSessionsResponse> {
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        prearchive::ListQuery query;
        query.limit = size;
        query.after = request->page_token();
        if (request->unassigned()) query.project = "";
        if (!request->project().empty()) query.project = request->project();
        if (request->state() != 0) query.state = static_cast<State>(request->state());
        query.may_see = [&](const std::string& project) { return caller.MaySeePrearchive(project); };
        NX_ASSIGN_OR_RETURN(const auto rows, with_.prearchive.List(query));
        v1::ListPrearchiveSessionsResponse answer;
        for (const SessionRow& row : rows) *answer.add_prearchive_sessions() = Show(row, false);
        if (static_cast<int>(rows.size()) == size) answer.set_next_page_token(rows.back().id());
        return answer;
      });
}

grpc::Status PrearchiveServiceImpl::GetPrearchiveSession(grpc::ServerContext* context,
                                                         const v1::GetPrearchiveSessionRequest* request,
                                                         v1::PrearchiveSession* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::PrearchiveSession> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kRead));
        return Show(row, true);
      });
}

absl::StatusOr<google::longrunning::Operation> PrearchiveServiceImpl::Build(
    const SessionRow& row, const std::string& user, const std::string& request_id) const {
  NX_ASSIGN_OR_RETURN(std::string id, with_.build(row.id(), user, "request", request_id));
  // It is being built already: that operation is the answer.
  if (id.empty()) {
    NX_ASSIGN_OR_RETURN(const SessionRow now, with_.prearchive.Get(row.id()));
    if (now.state() != static_cast<int>(State::kBuilding)) {
      const std::string state(prearchive::StateName(static_cast<State>(now.state())));
      return FailedPrecondition("ILLEGAL_STATE",
                                absl::StrCat("session ", row.id(), " is ", state, " and cannot be built"),
                                {{"session", row.id()}, {"state", state}});
    }
    id = now.operation();
  }
  NX_ASSIGN_OR_RETURN(const auto operation, with_.operations.Get(id));
  return OperationToProto(operation, nullptr);
}

grpc::Status PrearchiveServiceImpl::BuildPrearchiveSession(grpc::ServerContext* context,
                                                           const v1::BuildPrearchiveSessionRequest* request,
                                                           google::longrunning::Operation* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kEdit));
        return audit_.Run(caller, row, {"PREARCHIVE_BUILD", {}, ""},
                          [&] { return Build(row, caller.user(), request->request_id()); });
      });
}

grpc::Status PrearchiveServiceImpl::CheckPrearchiveSession(grpc::ServerContext* context,
                                                           const v1::CheckPrearchiveSessionRequest* request,
                                                           v1::CheckPrearchiveSessionResponse* response) {
  return with_.gate.Unary(
      context, response,
      [&](const auth::Caller& caller) -> absl::StatusOr<v1::CheckPrearchiveSessionResponse> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kRead));
        NX_ASSIGN_OR_RETURN(const auto conflicts, with_.checker.Check(row));
        v1::CheckPrearchiveSessionResponse answer;
        for (const auto& conflict : conflicts) *answer.add_conflicts() = ToProto(conflict);
        answer.set_archivable(!archiving::Checker::Refuses(conflicts, archiving::ConflictPolicy::kNone));
        return answer;
      });
}

grpc::Status PrearchiveServiceImpl::ArchivePrearchiveSession(
    grpc::ServerContext* context, const v1::ArchivePrearchiveSessionRequest* request,
    google::longrunning::Operation* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->name(), "prearchiveSessions", "name"));
        const auto row = Find(caller, request->name(), Right::kEdit);
        if (!row.ok()) {
          // Archived meanwhile by this very request: the same answer again.
          SessionRow gone;
          gone.set_id(id);
          if (!absl::IsNotFound(row.status()) || request->request_id().empty()) return row.status();
          auto again = with_.archive(gone, caller.user(), archiving::ConflictPolicy::kNone, false,
                                     request->request_id());
          if (!again.ok()) return row.status();
          return OperationToProto(*again, nullptr);
        }
        const auto policy = request->conflict_policy() == 0
                                ? archiving::ConflictPolicy::kNone
                                : static_cast<archiving::ConflictPolicy>(request->conflict_policy());
        const Deed deed{"PREARCHIVE_ARCHIVE",
                        {{"object_count", absl::StrCat(row->object_count())},
                         {"conflict_policy", absl::StrCat(static_cast<int>(policy))},
                         {"quarantine", request->quarantine() ? "true" : "false"}},
                        ""};
        NX_ASSIGN_OR_RETURN(const auto operation, audit_.Run(caller, *row, deed, [&] {
          return with_.archive(*row, caller.user(), policy, request->quarantine(), request->request_id());
        }));
        return OperationToProto(operation, nullptr);
      });
}

grpc::Status PrearchiveServiceImpl::SplitPrearchiveSession(grpc::ServerContext* context,
                                                           const v1::SplitPrearchiveSessionRequest* request,
                                                           google::longrunning::Operation* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kEdit));
        NX_ASSIGN_OR_RETURN(const auto operation, audit_.Run(caller, row, {"PREARCHIVE_SPLIT", {}, ""}, [&] {
          return with_.split(row, caller.user(), request->request_id());
        }));
        return OperationToProto(operation, nullptr);
      });
}

grpc::Status PrearchiveServiceImpl::DeletePrearchiveSession(grpc::ServerContext* context,
                                                            const v1::DeletePrearchiveSessionRequest* request,
                                                            google::protobuf::Empty* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kEdit));
        const Deed deed{"PREARCHIVE_DELETE", {{"object_count", absl::StrCat(row.object_count())}}, ""};
        NX_RETURN_IF_ERROR(audit_.Run(caller, row, deed, [&]() -> absl::Status {
          NX_RETURN_IF_ERROR(with_.prearchive.Apply(row.id(), prearchive::Event::kDelete).status());
          PausePoint("delete.begun");
          return with_.prearchive.Remove(row.id(), "");
        }));
        return google::protobuf::Empty();
      });
}

grpc::Status PrearchiveServiceImpl::ListOutcomes(grpc::ServerContext* context,
                                                 const v1::ListOutcomesRequest* request,
                                                 v1::ListOutcomesResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListOutcomesResponse> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kRead));
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        uint64_t after = 0;
        if (!request->page_token().empty() && !absl::SimpleAtoi(request->page_token(), &after)) {
          return InvalidArgument("INVALID_PAGE_TOKEN", "this list did not give out that page token");
        }
        NX_ASSIGN_OR_RETURN(const auto outcomes, with_.prearchive.ListOutcomes(row.id(), after, size));
        v1::ListOutcomesResponse answer;
        for (const auto& [number, outcome] : outcomes) *answer.add_outcomes() = ToProto(outcome);
        if (static_cast<int>(outcomes.size()) == size)
          answer.set_next_page_token(absl::StrCat(outcomes.back().first));
        return answer;
      });
}

// What the project's script and profile will make of the object.
absl::Status PrearchiveServiceImpl::AddPreview(const SessionRow& row, const prearchive::ObjectRow& object,
                                               const std::string& head, v1::GetHeaderResponse& answer) const {
  if (with_.plans == nullptr || row.key().project().empty()) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(const auto plan, with_.plans->Project(row.key().project()));
  if (plan == nullptr) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
  deidentify::PlanEditor::Options options;
  options.variables = deidentify::VariablesOf(row.key().project(), row.key().subject(), row.key().label());
  options.seed = absl::StrCat(row.id(), "/", object.number());
  options.honour_record = object.locally_anonymized();
  options.keep_data_sets = true;
  deidentify::PlanEditor editor(plan, std::move(options));
  dicom::ScanOptions scan;
  scan.origin = Origin::kStored;
  scan.transfer_syntax_uid = deidentify::UntoldSyntax(facts);
  NX_RETURN_IF_ERROR(deidentify::EditHead(editor, head, scan).status());
  for (const anonymize::AttributeChange& change : anonymize::DiffDataSets(*editor.before(), *editor.after()))
    *answer.add_changes() = ToProto(change);
  return absl::OkStatus();
}

grpc::Status PrearchiveServiceImpl::GetHeader(grpc::ServerContext* context,
                                              const v1::GetHeaderRequest* request,
                                              v1::GetHeaderResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::GetHeaderResponse> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kRead));
        NX_ASSIGN_OR_RETURN(const prearchive::ObjectRow object,
                            with_.prearchive.FindObject(row.id(), request->instance_uid()));
        NX_ASSIGN_OR_RETURN(const std::string bytes, ReadHead(with_.prearchive, row.id(), object));
        NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader header, dicom::ParseObjectHeader(bytes));
        v1::GetHeaderResponse answer;
        for (const dicom::DataSet* part : {header.meta.get(), header.data.get()}) {
          if (part != nullptr) AddAttributes(*part, answer);
        }
        if (request->preview()) NX_RETURN_IF_ERROR(AddPreview(row, object, bytes, answer));
        return answer;
      });
}

// What a watcher learns of an event; nullopt: nothing.
std::optional<v1::PrearchiveEvent> PrearchiveServiceImpl::Tell(
    const prearchive::EventLog::Entry& entry, const auth::Caller& caller,
    const v1::WatchPrearchiveSessionsRequest& request) const {
  const auto sees = [&](const std::string& project) {
    return caller.MaySeePrearchive(project) && (request.project().empty() || project == request.project());
  };
  const std::string name = absl::StrCat("prearchiveSessions/", entry.row.session());
  if (!request.name().empty() && request.name() != name) return std::nullopt;
  v1::PrearchiveEvent event;
  event.set_sequence(entry.sequence);
  if (sees(entry.row.row().key().project())) {
    *event.mutable_prearchive_session() = Show(entry.row.row(), false);
    event.set_removed(entry.row.removed());
    if (!entry.row.archived_as().empty())
      event.set_session(absl::StrCat("sessions/", entry.row.archived_as()));
    return event;
  }
  if (!entry.row.has_former_project() || !sees(entry.row.former_project())) return std::nullopt;
  // Where it went, and as what, is not for them.
  event.mutable_prearchive_session()->set_name(name);
  event.mutable_prearchive_session()->set_project(entry.row.former_project());
  event.set_removed(true);
  event.set_moved(true);
  return event;
}

grpc::Status PrearchiveServiceImpl::WatchPrearchiveSessions(grpc::ServerContext* context,
                                                            const v1::WatchPrearchiveSessionsRequest* request,
                                                            grpc::ServerWriter<v1::PrearchiveEvent>* writer) {
  auto caller = with_.gate.Admit(*context);
  if (!caller.ok()) return ToGrpc(caller.status());
  const auto place = with_.gate.Stay(*caller, *context);
  if (!place.ok()) return ToGrpc(place.status());
  if (!request->name().empty()) {
    const auto id = IdOf(request->name(), "prearchiveSessions", "name");
    if (!id.ok()) return ToGrpc(id.status());
  }
  if (request->from_sequence() < 0) return ToGrpc(InvalidField("from_sequence", "negative"));
  prearchive::EventLog& events = with_.prearchive.events();
  int64_t next = request->from_sequence() > 0 ? request->from_sequence() : events.NextSequence();
  // The client learns at once that it is let in.
  context->AddInitialMetadata("narthex-next-sequence", absl::StrCat(next));
  writer->SendInitialMetadata();
  auto client = with_.gate.Watched(context, writer);
  while (!context->IsCancelled()) {
    // A reader that is slower than events come would miss some.
    if (const absl::Status covered = events.Covers(next); !covered.ok()) return ToGrpc(covered);
    const auto entries = events.Read(next, kWatchBatch, absl::Now() + kWatchTick);
    if (!entries.ok()) return ToGrpc(entries.status());
    // Rights and tokens may have gone since.
    caller = with_.gate.Admit(*context);
    if (!caller.ok()) return ToGrpc(caller.status());
    for (const auto& entry : *entries) {
      next = entry.sequence + 1;
      const std::optional<v1::PrearchiveEvent> event = Tell(entry, *caller, *request);
      if (event && !client.Write(*event)) return grpc::Status::CANCELLED;
    }
  }
  return grpc::Status::CANCELLED;
}

}  // namespace narthex::rpc
