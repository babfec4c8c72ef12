// ProjectService.
#pragma once

#include "narthex/v1/project_service.grpc.pb.h"
#include "server/auth/project_cache.h"
#include "server/rpc/field_definitions.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class ProjectServiceImpl final : public v1::ProjectService::Service {
 public:
  ProjectServiceImpl(const Gate& gate, metadata::Database& database, auth::Authenticator& authenticator,
                     const auth::ProjectCache& cache)
      : gate_(gate), database_(database), authenticator_(authenticator), cache_(cache) {}

  grpc::Status CreateProject(grpc::ServerContext* context, const v1::CreateProjectRequest* request,
                             v1::Project* response) override;
  grpc::Status GetProject(grpc::ServerContext* context, const v1::GetProjectRequest* request,
                          v1::Project* response) override;
  grpc::Status ListProjects(grpc::ServerContext* context, const v1::ListProjectsRequest* request,
                            v1::ListProjectsResponse* response) override;
  grpc::Status UpdateProject(grpc::ServerContext* context, const v1::UpdateProjectRequest* request,
                             v1::Project* response) override;
  grpc::Status AddMember(grpc::ServerContext* context, const v1::AddMemberRequest* request,
                         v1::Member* response) override;
  grpc::Status RemoveMember(grpc::ServerContext* context, const v1::RemoveMemberRequest* request,
                            google::protobuf::Empty* response) override;
  grpc::Status ListMembers(grpc::ServerContext* context, const v1::ListMembersRequest* request,
                           v1::ListMembersResponse* response) override;

  // In project_subjects.cc.
  grpc::Status ListSubjects(grpc::ServerContext* context, const v1::ListSubjectsRequest* request,
                            v1::ListSubjectsResponse* response) override;
  grpc::Status GetSubject(grpc::ServerContext* context, const v1::GetSubjectRequest* request,
                          v1::Subject* response) override;
  grpc::Status UpdateSubject(grpc::ServerContext* context, const v1::UpdateSubjectRequest* request,
                             v1::Subject* response) override;
  grpc::Status ListProjectHistory(grpc::ServerContext* context, const v1::ListProjectHistoryRequest* request,
                                  v1::ListProjectHistoryResponse* response) override;

  // In field_definitions.cc.
  grpc::Status ListFieldDefinitions(grpc::ServerContext* context,
                                    const v1::ListFieldDefinitionsRequest* request,
                                    v1::ListFieldDefinitionsResponse* response) override;
  grpc::Status SetFieldDefinitions(grpc::ServerContext* context,
                                   const v1::SetFieldDefinitionsRequest* request,
                                   v1::ListFieldDefinitionsResponse* response) override;

 private:
  // Sets and removes custom fields as `request` says and checks what is there then.
  template <typename Request>
  absl::Status ChangeFields(const Request& request, const std::string& project,
                            v1::FieldDefinition::Holder holder, archiving::Fields& fields) const {
    return ChangeCustomFields(database_.settings(), project, holder, request.set_fields(),
                              request.remove_fields(), fields);
  }

  const Gate& gate_;
  metadata::Database& database_;
  auth::Authenticator& authenticator_;
  const auth::ProjectCache& cache_;
};

}  // namespace narthex::rpc
