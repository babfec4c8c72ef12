#include "server/rpc/project_service.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/limits_server.h"
#include "base/status.h"
#include "imaging/identify/labels.h"
#include "server/auth/project_rules.h"
#include "server/rpc/convert.h"
#include "server/rpc/field_definitions.h"
#include "storage/metadata/access.h"

namespace narthex::rpc {
namespace {

metadata::AutoArchive FromProto(v1::AutoArchive::Mode mode) {
  switch (mode) {
    case v1::AutoArchive::AUTO:
      return metadata::AutoArchive::kAuto;
    case v1::AutoArchive::OVERWRITE:
      return metadata::AutoArchive::kOverwrite;
    default:
      return metadata::AutoArchive::kManual;
  }
}

metadata::Accessibility FromProto(v1::Project::Accessibility accessibility) {
  switch (accessibility) {
    case v1::Project::PROTECTED:
      return metadata::Accessibility::kProtected;
    case v1::Project::PUBLIC:
      return metadata::Accessibility::kPublic;
    default:
      return metadata::Accessibility::kPrivate;
  }
}

v1::Member ToProto(const metadata::Member& from) {
  v1::Member member;
  member.set_user(from.user);
  switch (from.role) {
    case metadata::Role::kOwner:
      member.set_role(v1::Member::OWNER);
      break;
    case metadata::Role::kMember:
      member.set_role(v1::Member::MEMBER);
      break;
    case metadata::Role::kCollaborator:
      member.set_role(v1::Member::COLLABORATOR);
      break;
  }
  return member;
}

absl::StatusOr<metadata::Role> FromProto(v1::Member::Role role) {
  switch (role) {
    case v1::Member::OWNER:
      return metadata::Role::kOwner;
    case v1::Member::MEMBER:
      return metadata::Role::kMember;
    case v1::Member::COLLABORATOR:
      return metadata::Role::kCollaborator;
    default:
      return InvalidField("member.role", "expected OWNER, MEMBER or COLLABORATOR");
  }
}

// Who only knows that there is a project learns what it is called, not what was noted about it.
v1::Project View(const auth::Caller& caller, const metadata::Project& project) {
  v1::Project view = rpc::ToProto(project);
  if (!caller.MayRead(project.id)) view.clear_fields();
  return view;
}

}  // namespace

grpc::Status ProjectServiceImpl::CreateProject(grpc::ServerContext* context,
                                               const v1::CreateProjectRequest* request,
                                               v1::Project* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Project> {
    NX_RETURN_IF_ERROR(caller.RequireUser());
    if (!identify::IsLabel(request->project().id())) {
      return InvalidField("project.id", "1 to 64 letters, digits, '_' and '-'");
    }
    metadata::Project project;
    project.id = request->project().id();
    project.name = request->project().title();
    project.description = request->project().description();
    project.aliases = {request->project().aliases().begin(), request->project().aliases().end()};
    project.accessibility = FromProto(request->project().accessibility());
    project.auto_archive = FromProto(request->project().auto_archive());
    project.quarantine = request->project().quarantine();
    // A project has no members yet who could be asked for their rights.
    const metadata::SystemScope scope;
    NX_ASSIGN_OR_RETURN(const auto created,
                        database_.projects().Create(project, {caller.user(), "", request->request_id()}));
    // Who makes a project owns it; administrators need no role.
    if (!caller.is_admin()) {
      NX_RETURN_IF_ERROR(database_.members().Set({created.id, caller.user(), metadata::Role::kOwner},
                                                 {caller.user(), "made the project", ""}));
      authenticator_.Forget();
    }
    NX_RETURN_IF_ERROR(cache_.Refresh());
    return rpc::ToProto(created);
  });
}

grpc::Status ProjectServiceImpl::GetProject(grpc::ServerContext* context,
                                            const v1::GetProjectRequest* request, v1::Project* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Project> {
    NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->name(), "projects", "name"));
    if (!caller.MayKnow(id)) NX_RETURN_IF_ERROR(caller.RequireRead(id));
    NX_ASSIGN_OR_RETURN(const auto project, database_.projects().Get(id));
    return View(caller, project);
  });
}

grpc::Status ProjectServiceImpl::ListProjects(grpc::ServerContext* context,
                                              const v1::ListProjectsRequest* request,
                                              v1::ListProjectsResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListProjectsResponse> {
        NX_ASSIGN_OR_RETURN(const int size, PageSize(request->page_size()));
        metadata::Visibility visible = caller.Visible();
        if (!visible.all_projects) {
          for (const auto& project : cache_.All()) {
            if (caller.MayKnow(project.id) && !caller.MayRead(project.id))
              visible.projects.push_back(project.id);
          }
        }
        NX_ASSIGN_OR_RETURN(const auto list,
                            database_.projects().ListProjects(visible, {size, request->page_token()}));
        v1::ListProjectsResponse answer;
        for (const auto& project : list.projects) *answer.add_projects() = View(caller, project);
        answer.set_next_page_token(list.next_page_token);
        return answer;
      });
}

grpc::Status ProjectServiceImpl::UpdateProject(grpc::ServerContext* context,
                                               const v1::UpdateProjectRequest* request,
                                               v1::Project* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Project> {
    NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->name(), "projects", "name"));
    NX_RETURN_IF_ERROR(caller.RequireOwn(id));
    NX_ASSIGN_OR_RETURN(metadata::Project project, database_.projects().Get(id));
    if (!request->etag().empty()) project.etag = request->etag();
    if (request->has_title()) project.name = request->title();
    if (request->has_description()) project.description = request->description();
    if (request->has_accessibility()) project.accessibility = FromProto(request->accessibility());
    if (request->has_auto_archive()) project.auto_archive = FromProto(request->auto_archive());
    if (request->has_quarantine()) project.quarantine = request->quarantine();
    auth::ProjectRules rules = auth::RulesOf(project);
    if (request->has_duplicates()) rules.duplicates = request->duplicates();
    if (request->has_pet_mr()) rules.pet_mr = request->pet_mr();
    if (request->has_scan_type_mapping()) rules.scan_type_mapping = request->scan_type_mapping();
    if (request->has_modality_guard()) rules.modality_guard = request->modality_guard();
    if (request->has_idle_build_seconds()) {
      if (request->idle_build_seconds() < 0 || request->idle_build_seconds() > limits::kIdleBuildSecondsMax) {
        return InvalidField("idle_build_seconds", "expected 0 to 86400 (seconds)");
      }
      rules.idle_build_seconds = request->idle_build_seconds();
    }
    auth::SetRules(rules, project);
    if (request->replace_aliases()) project.aliases = {request->aliases().begin(), request->aliases().end()};
    NX_RETURN_IF_ERROR(ChangeFields(*request, id, v1::FieldDefinition::PROJECT, project.fields));
    NX_ASSIGN_OR_RETURN(
        const auto updated,
        database_.projects().Update(project, {caller.user(), request->comment(), request->request_id()}));
    NX_RETURN_IF_ERROR(cache_.Refresh());
    return rpc::ToProto(updated);
  });
}

grpc::Status ProjectServiceImpl::AddMember(grpc::ServerContext* context, const v1::AddMemberRequest* request,
                                           v1::Member* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Member> {
    NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
    NX_RETURN_IF_ERROR(caller.RequireOwn(id));
    NX_ASSIGN_OR_RETURN(const metadata::Role role, FromProto(request->member().role()));
    NX_RETURN_IF_ERROR(database_.members().Set({id, request->member().user(), role},
                                               {caller.user(), "", request->request_id()}));
    authenticator_.Forget();
    return request->member();
  });
}

grpc::Status ProjectServiceImpl::RemoveMember(grpc::ServerContext* context,
                                              const v1::RemoveMemberRequest* request,
                                              google::protobuf::Empty* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireOwn(id));
        NX_RETURN_IF_ERROR(
            database_.members().Remove(id, request->user(), {caller.user(), "", request->request_id()}));
        authenticator_.Forget();
        return google::protobuf::Empty();
      });
}

grpc::Status ProjectServiceImpl::ListMembers(grpc::ServerContext* context,
                                             const v1::ListMembersRequest* request,
                                             v1::ListMembersResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListMembersResponse> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireRead(id));
        NX_ASSIGN_OR_RETURN(const auto members, database_.members().ListMembers(id));
        v1::ListMembersResponse answer;
        for (const auto& member : members) *answer.add_members() = ToProto(member);
        return answer;
      });
}

}  // namespace narthex::rpc
