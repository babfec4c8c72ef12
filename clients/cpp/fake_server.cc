#include "clients/cpp/fake_server.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"

#include "base/digest.h"
#include "base/limits.h"
#include "clients/cpp/fake_server_state.h"

namespace narthex::client {
namespace {

grpc::Status NoSuch(const std::string& reason, const std::string& name) {
  return FakeError(grpc::StatusCode::NOT_FOUND, reason, absl::StrCat("there is no ", name), {{"name", name}});
}

}  // namespace

grpc::Status FakeError(grpc::StatusCode code, const std::string& reason, const std::string& message,
                       const std::map<std::string, std::string>& metadata) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("narthex");
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = value;
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  status.add_details()->PackFrom(info);
  return grpc::Status(code, message, status.SerializeAsString());
}

grpc::Status FakeServer::State::Check(const grpc::ServerContext& context) const {
  if (token.empty()) return grpc::Status::OK;
  auto it = context.client_metadata().find("authorization");
  if (it != context.client_metadata().end() &&
      std::string(it->second.data(), it->second.size()) == absl::StrCat("Bearer ", token)) {
    return grpc::Status::OK;
  }
  return FakeError(grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED",
                   "the call has no valid token; give --token-file");
}

google::longrunning::Operation FakeServer::State::Finished(const google::protobuf::Message& response) {
  google::longrunning::Operation operation;
  operation.set_name(absl::StrCat("operations/", operations.size() + 1));
  operation.set_done(true);
  operation.mutable_response()->PackFrom(response);
  operations[operation.name()] = operation;
  return operation;
}

google::longrunning::Operation FakeServer::State::Failed(const grpc::Status& status) {
  google::longrunning::Operation operation;
  operation.set_name(absl::StrCat("operations/", operations.size() + 1));
  operation.set_done(true);
  operation.mutable_error()->ParseFromString(status.error_details());
  operations[operation.name()] = operation;
  return operation;
}

FakeServer::FakeServer(std::string token) : state_(std::make_unique<State>()) {
  state_->token = std::move(token);
  services_.push_back(std::make_unique<Uploads>(*state_));
  services_.push_back(std::make_unique<Prearchive>(*state_));
  services_.push_back(std::make_unique<Archive>(*state_));
  services_.push_back(std::make_unique<Projects>(*state_));
  services_.push_back(std::make_unique<Settings>(*state_));
  services_.push_back(std::make_unique<Operations>(*state_));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(limits::kMessageMaxBytes);
  for (auto& service : services_) builder.RegisterService(service.get());
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

std::shared_ptr<grpc::Channel> FakeServer::InProcessChannel() {
  return server_->InProcessChannel(grpc::ChannelArguments());
}

void FakeServer::SetFaults(const Faults& faults) {
  absl::MutexLock lock(&state_->mutex);
  state_->faults = faults;
}

std::map<int64_t, std::string> FakeServer::objects(const std::string& upload) const {
  absl::MutexLock lock(&state_->mutex);
  return state_->uploads[upload].objects;
}

std::map<int64_t, v1::ObjectOutcome> FakeServer::outcomes(const std::string& upload) const {
  absl::MutexLock lock(&state_->mutex);
  return state_->uploads[upload].outcomes;
}

std::vector<std::string> FakeServer::uploads() const {
  absl::MutexLock lock(&state_->mutex);
  std::vector<std::string> names;
  for (const auto& [name, row] : state_->uploads) names.push_back(name);
  return names;
}

int64_t FakeServer::received_objects() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->received_objects;
}

int64_t FakeServer::received_packs() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->received_packs;
}

int64_t FakeServer::received_chunks() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->received_chunks;
}

std::string FakeServer::imported() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->imported;
}

void FakeServer::AddSession(const v1::Session& session, const std::map<std::string, std::string>& files) {
  absl::MutexLock lock(&state_->mutex);
  state_->sessions[session.name()] = {session, files};
}

void FakeServer::AddPrearchiveSession(const v1::PrearchiveSession& session) {
  absl::MutexLock lock(&state_->mutex);
  state_->prearchive[session.name()] = session;
}

grpc::Status FakeServer::Prearchive::ListPrearchiveSessions(grpc::ServerContext* context,
                                                            const v1::ListPrearchiveSessionsRequest* request,
                                                            v1::ListPrearchiveSessionsResponse* response) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.prearchive.upper_bound(request->page_token());
  for (; it != state_.prearchive.end(); ++it) {
    if (!request->project().empty() && it->second.project() != request->project()) continue;
    if (request->state() != 0 && it->second.state() != request->state()) continue;
    *response->add_prearchive_sessions() = it->second;
    // Small pages, so that clients must page.
    if (response->prearchive_sessions_size() < 2) continue;
    if (std::next(it) != state_.prearchive.end()) response->set_next_page_token(it->first);
    break;
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::GetPrearchiveSession(grpc::ServerContext* context,
                                                          const v1::GetPrearchiveSessionRequest* request,
                                                          v1::PrearchiveSession* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.prearchive.find(request->name());
  if (it == state_.prearchive.end()) return NoSuch("PREARCHIVE_SESSION_NOT_FOUND", request->name());
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::UpdatePrearchiveSession(
    grpc::ServerContext* context, const v1::UpdatePrearchiveSessionRequest* request,
    v1::PrearchiveSession* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.prearchive.find(request->name());
  if (it == state_.prearchive.end()) return NoSuch("PREARCHIVE_SESSION_NOT_FOUND", request->name());
  if (request->has_project()) it->second.set_project(request->project());
  if (request->has_subject()) it->second.set_subject(request->subject());
  if (request->has_label()) it->second.set_label(request->label());
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::BuildPrearchiveSession(grpc::ServerContext* context,
                                                            const v1::BuildPrearchiveSessionRequest* request,
                                                            google::longrunning::Operation* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.prearchive.find(request->name());
  if (it == state_.prearchive.end()) return NoSuch("PREARCHIVE_SESSION_NOT_FOUND", request->name());
  it->second.set_state(v1::PrearchiveSession::READY);
  *response = state_.Finished(it->second);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::CheckPrearchiveSession(grpc::ServerContext* context,
                                                            const v1::CheckPrearchiveSessionRequest* request,
                                                            v1::CheckPrearchiveSessionResponse* response) {
  response->set_archivable(true);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::ArchivePrearchiveSession(
    grpc::ServerContext* context, const v1::ArchivePrearchiveSessionRequest* request,
    google::longrunning::Operation* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.prearchive.find(request->name());
  if (it == state_.prearchive.end()) return NoSuch("PREARCHIVE_SESSION_NOT_FOUND", request->name());
  if (it->second.state() == v1::PrearchiveSession::CONFLICT &&
      request->conflict_policy() <= v1::ConflictPolicy::NONE) {
    *response = state_.Failed(FakeError(grpc::StatusCode::FAILED_PRECONDITION, "ARCHIVE_CONFLICT",
                                        "the session exists in the archive; give --conflict append"));
    return grpc::Status::OK;
  }
  v1::Session session;
  session.set_name("sessions/NARTHEX_E00001");
  session.set_accession_id("NARTHEX_E00001");
  session.set_project(it->second.project());
  session.set_label(it->second.label());
  session.set_status(request->quarantine() ? v1::Session::QUARANTINE : v1::Session::ACTIVE);
  state_.sessions[session.name()].session = session;
  state_.prearchive.erase(it);
  *response = state_.Finished(session);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::DeletePrearchiveSession(
    grpc::ServerContext* context, const v1::DeletePrearchiveSessionRequest* request,
    google::protobuf::Empty* response) {
  absl::MutexLock lock(&state_.mutex);
  if (state_.prearchive.erase(request->name()) == 0) {
    return NoSuch("PREARCHIVE_SESSION_NOT_FOUND", request->name());
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::Prearchive::WatchPrearchiveSessions(
    grpc::ServerContext* context, const v1::WatchPrearchiveSessionsRequest* request,
    grpc::ServerWriter<v1::PrearchiveEvent>* writer) {
  absl::MutexLock lock(&state_.mutex);
  int64_t sequence = 0;
  for (const auto& [name, session] : state_.prearchive) {
    v1::PrearchiveEvent event;
    event.set_sequence(++sequence);
    *event.mutable_prearchive_session() = session;
    writer->Write(event);
  }
  return FakeError(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED", "you watched enough");
}

FakeServer::State::SessionRow* FakeServer::Archive::Find(const std::string& name) {
  for (auto& [key, row] : state_.sessions) {
    const std::string other =
        absl::StrCat("projects/", row.session.project(), "/sessions/", row.session.label());
    if (name == key || name == other) return &row;
  }
  return nullptr;
}

grpc::Status FakeServer::Archive::SearchSessions(grpc::ServerContext* context,
                                                 const v1::SearchSessionsRequest* request,
                                                 v1::SearchSessionsResponse* response) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  absl::MutexLock lock(&state_.mutex);
  for (const auto& [name, row] : state_.sessions) *response->add_sessions() = row.session;
  response->set_total_size(response->sessions_size());
  return grpc::Status::OK;
}

grpc::Status FakeServer::Archive::GetSession(grpc::ServerContext* context,
                                             const v1::GetSessionRequest* request, v1::Session* response) {
  absl::MutexLock lock(&state_.mutex);
  State::SessionRow* row = Find(request->name());
  if (row == nullptr) return NoSuch("SESSION_NOT_FOUND", request->name());
  *response = row->session;
  return grpc::Status::OK;
}

namespace {

v1::File Describe(const std::string& path, const std::string& bytes) {
  v1::File file;
  file.set_path(path);
  file.set_size_bytes(static_cast<int64_t>(bytes.size()));
  file.set_sha256(absl::BytesToHexString(Sha256(bytes)));
  file.set_md5(absl::BytesToHexString(Md5(bytes)));
  return file;
}

}  // namespace

grpc::Status FakeServer::Archive::ListFiles(grpc::ServerContext* context, const v1::ListFilesRequest* request,
                                            v1::ListFilesResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  State::SessionRow* row = Find(request->session());
  if (row == nullptr) return NoSuch("SESSION_NOT_FOUND", request->session());
  for (const auto& [path, bytes] : row->files) *response->add_files() = Describe(path, bytes);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Archive::DownloadSession(grpc::ServerContext* context,
                                                  const v1::DownloadSessionRequest* request,
                                                  grpc::ServerWriter<v1::DownloadSessionResponse>* writer) {
  absl::MutexLock lock(&state_.mutex);
  State::SessionRow* row = Find(request->session());
  if (row == nullptr) return NoSuch("SESSION_NOT_FOUND", request->session());
  const std::set<std::string> skip(request->skip_paths().begin(), request->skip_paths().end());
  int64_t sent = 0;
  for (const auto& [path, bytes] : row->files) {
    if (skip.count(path) != 0) continue;
    v1::DownloadSessionResponse response;
    *response.mutable_file() = Describe(path, bytes);
    writer->Write(response);
    response.clear_file();
    for (size_t offset = 0; offset < bytes.size(); offset += 1000) {
      response.set_data(bytes.substr(offset, 1000));
      if (state_.faults.corrupt_download) (*response.mutable_data())[0] ^= 1;
      sent += static_cast<int64_t>(response.data().size());
      if (state_.faults.break_download_after >= 0 && sent > state_.faults.break_download_after) {
        state_.faults.break_download_after = -1;
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the cable was pulled");
      }
      writer->Write(response);
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::Archive::ReadFile(grpc::ServerContext* context, const v1::ReadFileRequest* request,
                                           grpc::ServerWriter<v1::ReadFileResponse>* writer) {
  absl::MutexLock lock(&state_.mutex);
  State::SessionRow* row = Find(request->session());
  if (row == nullptr) return NoSuch("SESSION_NOT_FOUND", request->session());
  v1::ReadFileResponse response;
  response.set_data(row->files[request->path()].substr(request->offset()));
  writer->Write(response);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::CreateProject(grpc::ServerContext* context,
                                                 const v1::CreateProjectRequest* request,
                                                 v1::Project* response) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  absl::MutexLock lock(&state_.mutex);
  const std::string name = absl::StrCat("projects/", request->project().id());
  if (state_.projects.count(name) != 0) {
    return FakeError(grpc::StatusCode::ALREADY_EXISTS, "PROJECT_EXISTS", "there is such a project already");
  }
  v1::Project& project = state_.projects[name];
  project = request->project();
  project.set_name(name);
  *response = project;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::GetProject(grpc::ServerContext* context,
                                              const v1::GetProjectRequest* request, v1::Project* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.projects.find(request->name());
  if (it == state_.projects.end()) return NoSuch("PROJECT_NOT_FOUND", request->name());
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::ListProjects(grpc::ServerContext* context,
                                                const v1::ListProjectsRequest* request,
                                                v1::ListProjectsResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  for (const auto& [name, project] : state_.projects) *response->add_projects() = project;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::UpdateProject(grpc::ServerContext* context,
                                                 const v1::UpdateProjectRequest* request,
                                                 v1::Project* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.projects.find(request->name());
  if (it == state_.projects.end()) return NoSuch("PROJECT_NOT_FOUND", request->name());
  if (request->has_auto_archive()) it->second.set_auto_archive(request->auto_archive());
  if (request->has_quarantine()) it->second.set_quarantine(request->quarantine());
  if (request->has_accessibility()) it->second.set_accessibility(request->accessibility());
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::AddMember(grpc::ServerContext* context,
                                             const v1::AddMemberRequest* request, v1::Member* response) {
  absl::MutexLock lock(&state_.mutex);
  state_.members[request->project()][request->member().user()] = request->member();
  *response = request->member();
  return grpc::Status::OK;
}

grpc::Status FakeServer::Projects::ListMembers(grpc::ServerContext* context,
                                               const v1::ListMembersRequest* request,
                                               v1::ListMembersResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  for (const auto& [user, member] : state_.members[request->project()]) *response->add_members() = member;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Settings::GetServerInfo(grpc::ServerContext* context,
                                                 const v1::GetServerInfoRequest* request,
                                                 v1::ServerInfo* response) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  response->set_version("0.1.0");
  response->set_site_id("NARTHEX");
  return grpc::Status::OK;
}

grpc::Status FakeServer::Settings::ListSettings(grpc::ServerContext* context,
                                                const v1::ListSettingsRequest* request,
                                                v1::ListSettingsResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  for (const auto& [key, setting] : state_.settings) *response->add_settings() = setting;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Settings::UpdateSetting(grpc::ServerContext* context,
                                                 const v1::UpdateSettingRequest* request,
                                                 v1::Setting* response) {
  absl::MutexLock lock(&state_.mutex);
  v1::Setting& setting = state_.settings[request->key()];
  setting.set_key(request->key());
  setting.set_value(request->value());
  *response = setting;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Operations::GetOperation(grpc::ServerContext* context,
                                                  const google::longrunning::GetOperationRequest* request,
                                                  google::longrunning::Operation* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.operations.find(request->name());
  if (it == state_.operations.end()) return NoSuch("OPERATION_NOT_FOUND", request->name());
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Operations::ListOperations(grpc::ServerContext* context,
                                                    const google::longrunning::ListOperationsRequest* request,
                                                    google::longrunning::ListOperationsResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  for (const auto& [name, operation] : state_.operations) *response->add_operations() = operation;
  return grpc::Status::OK;
}

}  // namespace narthex::client
