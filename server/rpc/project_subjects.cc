// ProjectService: subjects, and the history of projects and subjects.
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "base/status.h"
#include "server/rpc/convert.h"
#include "server/rpc/field_definitions.h"
#include "server/rpc/project_service.h"

namespace narthex::rpc {
namespace {

// How often a change of fields begins anew because somebody else changed the subject.
constexpr int kAttempts = 8;

struct SubjectRef {
  std::string project;
  std::string label;  // or accession id
};

absl::StatusOr<SubjectRef> ParseSubject(absl::string_view name) {
  const std::vector<std::string> parts = absl::StrSplit(name.substr(0, 256), '/');
  if (parts.size() != 4 || parts[0] != "projects" || parts[2] != "subjects" || parts[1].empty() ||
      parts[3].empty()) {
    return InvalidField("name", "expected projects/PROJECT/subjects/LABEL");
  }
  return SubjectRef{parts[1], parts[3]};
}

v1::Subject ToProto(const metadata::Subject& from) {
  v1::Subject subject;
  subject.set_name(absl::StrCat("projects/", from.project, "/subjects/", from.label));
  subject.set_accession_id(from.id);
  subject.set_project(from.project);
  subject.set_label(from.label);
  subject.set_session_count(static_cast<int32_t>(from.session_count));
  SetTime(from.create_time, subject.mutable_create_time());
  for (const auto& [name, value] : from.fields) (*subject.mutable_fields())[name] = value;
  SetTime(from.update_time, subject.mutable_update_time());
  subject.set_etag(from.etag);
  return subject;
}

}  // namespace

grpc::Status ProjectServiceImpl::ListSubjects(grpc::ServerContext* context,
                                              const v1::ListSubjectsRequest* request,
                                              v1::ListSubjectsResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListSubjectsResponse> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireRead(id));
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        NX_ASSIGN_OR_RETURN(const auto list,
                            database_.subjects().ListSubjects(id, {size, request->page_token()}));
        v1::ListSubjectsResponse answer;
        for (const auto& subject : list.subjects) *answer.add_subjects() = ToProto(subject);
        answer.set_next_page_token(list.next_page_token);
        return answer;
      });
}

grpc::Status ProjectServiceImpl::GetSubject(grpc::ServerContext* context,
                                            const v1::GetSubjectRequest* request, v1::Subject* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Subject> {
    NX_ASSIGN_OR_RETURN(const SubjectRef ref, ParseSubject(request->name()));
    NX_RETURN_IF_ERROR(caller.RequireRead(ref.project));
    NX_ASSIGN_OR_RETURN(const auto subject, database_.subjects().Get(ref.project, ref.label));
    return ToProto(subject);
  });
}

grpc::Status ProjectServiceImpl::UpdateSubject(grpc::ServerContext* context,
                                               const v1::UpdateSubjectRequest* request,
                                               v1::Subject* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Subject> {
    NX_ASSIGN_OR_RETURN(const SubjectRef ref, ParseSubject(request->name()));
    NX_RETURN_IF_ERROR(caller.RequireEdit(ref.project));
    // A repeated renaming may still name it by its former label.
    NX_ASSIGN_OR_RETURN(const std::string updated_id,
                        database_.subjects().FindUpdated(request->request_id()));
    for (int attempt = 1;; ++attempt) {
      NX_ASSIGN_OR_RETURN(metadata::Subject subject,
                          database_.subjects().Get(ref.project, updated_id.empty() ? ref.label : updated_id));
      if (request->has_label()) subject.label = request->label();
      if (!request->etag().empty()) subject.etag = request->etag();
      NX_RETURN_IF_ERROR(ChangeFields(*request, ref.project, v1::FieldDefinition::SUBJECT, subject.fields));
      const auto updated =
          database_.subjects().Update(subject, {caller.user(), request->comment(), request->request_id()});
      if (updated.ok()) return ToProto(*updated);
      const bool raced = request->etag().empty() && ErrorReason(updated.status()) == "ETAG_MISMATCH";
      if (!raced || attempt == kAttempts) return updated.status();
    }
  });
}

grpc::Status ProjectServiceImpl::ListProjectHistory(grpc::ServerContext* context,
                                                    const v1::ListProjectHistoryRequest* request,
                                                    v1::ListProjectHistoryResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListProjectHistoryResponse> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireRead(id));
        std::string subject_id;
        if (!request->subject().empty()) {
          NX_ASSIGN_OR_RETURN(const auto subject, database_.subjects().Get(id, request->subject()));
          subject_id = subject.id;
        }
        NX_ASSIGN_OR_RETURN(const auto entries, database_.projects().ListHistory(id, subject_id));
        v1::ListProjectHistoryResponse answer;
        for (const auto& entry : entries) *answer.add_entries() = rpc::ToProto(entry);
        return answer;
      });
}

}  // namespace narthex::rpc
