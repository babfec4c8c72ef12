// What the services of FakeServer share. Only for fake_*.cc.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "clients/cpp/fake_server.h"

namespace narthex::client {

class FakeServer::State {
 public:
  struct UploadRow {
    v1::Upload upload;
    std::map<int64_t, v1::ObjectOutcome> outcomes;
    std::map<int64_t, std::string> objects;
  };
  struct SessionRow {
    v1::Session session;
    std::map<std::string, std::string> files;
  };

  absl::Mutex mutex;
  std::string token;
  Faults faults ABSL_GUARDED_BY(mutex);
  std::map<std::string, UploadRow> uploads ABSL_GUARDED_BY(mutex);
  std::map<std::string, v1::PrearchiveSession> prearchive ABSL_GUARDED_BY(mutex);
  std::map<std::string, SessionRow> sessions ABSL_GUARDED_BY(mutex);
  std::map<std::string, v1::Project> projects ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::map<std::string, v1::Member>> members ABSL_GUARDED_BY(mutex);
  std::map<std::string, google::longrunning::Operation> operations ABSL_GUARDED_BY(mutex);
  std::map<std::string, v1::Setting> settings ABSL_GUARDED_BY(mutex);
  std::set<std::string> known_digests ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::string> stored_instances ABSL_GUARDED_BY(mutex);  // digest to upload
  std::string imported ABSL_GUARDED_BY(mutex);
  int64_t received_objects ABSL_GUARDED_BY(mutex) = 0;
  int64_t received_packs ABSL_GUARDED_BY(mutex) = 0;
  int64_t received_chunks ABSL_GUARDED_BY(mutex) = 0;

  // UNAUTHENTICATED unless the call carries the token.
  grpc::Status Check(const grpc::ServerContext& context) const;

  google::longrunning::Operation Finished(const google::protobuf::Message& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  google::longrunning::Operation Failed(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
};

class FakeServer::Uploads final : public v1::UploadService::Service {
 public:
  explicit Uploads(State& state) : state_(state) {}

  grpc::Status CreateUpload(grpc::ServerContext* context, const v1::CreateUploadRequest* request,
                            v1::Upload* response) override;
  grpc::Status GetUpload(grpc::ServerContext* context, const v1::GetUploadRequest* request,
                         v1::Upload* response) override;
  grpc::Status Upload(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) override;
  grpc::Status FindMissing(grpc::ServerContext* context, const v1::FindMissingRequest* request,
                           v1::FindMissingResponse* response) override;
  grpc::Status CommitUpload(grpc::ServerContext* context, const v1::CommitUploadRequest* request,
                            v1::CommitUploadResponse* response) override;
  grpc::Status ImportArchive(grpc::ServerContext* context,
                             grpc::ServerReader<v1::ImportArchiveRequest>* reader,
                             v1::ImportArchiveResponse* response) override;
  grpc::Status ImportInbox(grpc::ServerContext* context, const v1::ImportInboxRequest* request,
                           google::longrunning::Operation* response) override;
  grpc::Status ListUploadOutcomes(grpc::ServerContext* context, const v1::ListUploadOutcomesRequest* request,
                                  v1::ListUploadOutcomesResponse* response) override;

 private:
  class StreamHandler;
  v1::Upload Make(const v1::CreateUploadRequest& request);

  State& state_;
};

class FakeServer::Prearchive final : public v1::PrearchiveService::Service {
 public:
  explicit Prearchive(State& state) : state_(state) {}

  grpc::Status ListPrearchiveSessions(grpc::ServerContext* context,
                                      const v1::ListPrearchiveSessionsRequest* request,
                                      v1::ListPrearchiveSessionsResponse* response) override;
  grpc::Status GetPrearchiveSession(grpc::ServerContext* context,
                                    const v1::GetPrearchiveSessionRequest* request,
                                    v1::PrearchiveSession* response) override;
  grpc::Status UpdatePrearchiveSession(grpc::ServerContext* context,
                                       const v1::UpdatePrearchiveSessionRequest* request,
                                       v1::PrearchiveSession* response) override;
  grpc::Status BuildPrearchiveSession(grpc::ServerContext* context,
                                      const v1::BuildPrearchiveSessionRequest* request,
                                      google::longrunning::Operation* response) override;
  grpc::Status CheckPrearchiveSession(grpc::ServerContext* context,
                                      const v1::CheckPrearchiveSessionRequest* request,
                                      v1::CheckPrearchiveSessionResponse* response) override;
  grpc::Status ArchivePrearchiveSession(grpc::ServerContext* context,
                                        const v1::ArchivePrearchiveSessionRequest* request,
                                        google::longrunning::Operation* response) override;
  grpc::Status DeletePrearchiveSession(grpc::ServerContext* context,
                                       const v1::DeletePrearchiveSessionRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::Status WatchPrearchiveSessions(grpc::ServerContext* context,
                                       const v1::WatchPrearchiveSessionsRequest* request,
                                       grpc::ServerWriter<v1::PrearchiveEvent>* writer) override;

 private:
  State& state_;
};

class FakeServer::Archive final : public v1::ArchiveService::Service {
 public:
  explicit Archive(State& state) : state_(state) {}

  grpc::Status SearchSessions(grpc::ServerContext* context, const v1::SearchSessionsRequest* request,
                              v1::SearchSessionsResponse* response) override;
  grpc::Status GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                          v1::Session* response) override;
  grpc::Status ListFiles(grpc::ServerContext* context, const v1::ListFilesRequest* request,
                         v1::ListFilesResponse* response) override;
  grpc::Status DownloadSession(grpc::ServerContext* context, const v1::DownloadSessionRequest* request,
                               grpc::ServerWriter<v1::DownloadSessionResponse>* writer) override;
  grpc::Status ReadFile(grpc::ServerContext* context, const v1::ReadFileRequest* request,
                        grpc::ServerWriter<v1::ReadFileResponse>* writer) override;

 private:
  State::SessionRow* Find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mutex);
  State& state_;
};

class FakeServer::Projects final : public v1::ProjectService::Service {
 public:
  explicit Projects(State& state) : state_(state) {}

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
  grpc::Status ListMembers(grpc::ServerContext* context, const v1::ListMembersRequest* request,
                           v1::ListMembersResponse* response) override;

 private:
  State& state_;
};

class FakeServer::Settings final : public v1::SettingsService::Service {
 public:
  explicit Settings(State& state) : state_(state) {}

  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* response) override;
  grpc::Status ListSettings(grpc::ServerContext* context, const v1::ListSettingsRequest* request,
                            v1::ListSettingsResponse* response) override;
  grpc::Status UpdateSetting(grpc::ServerContext* context, const v1::UpdateSettingRequest* request,
                             v1::Setting* response) override;

 private:
  State& state_;
};

class FakeServer::Operations final : public google::longrunning::Operations::Service {
 public:
  explicit Operations(State& state) : state_(state) {}

  grpc::Status GetOperation(grpc::ServerContext* context,
                            const google::longrunning::GetOperationRequest* request,
                            google::longrunning::Operation* response) override;
  grpc::Status ListOperations(grpc::ServerContext* context,
                              const google::longrunning::ListOperationsRequest* request,
                              google::longrunning::ListOperationsResponse* response) override;

 private:
  State& state_;
};

}  // namespace narthex::client
