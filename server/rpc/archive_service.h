// ArchiveService.
#pragma once

#include <string>

#include "narthex/v1/archive_service.grpc.pb.h"
#include "server/rpc/status.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class ArchiveServiceImpl final : public v1::ArchiveService::Service {
 public:
  ArchiveServiceImpl(const Gate& gate, metadata::Database& database, fs::FileSystem& file_system,
                     std::string archive_root)
      : gate_(gate), database_(database), file_system_(file_system), archive_root_(std::move(archive_root)) {}

  grpc::Status SearchSessions(grpc::ServerContext* context, const v1::SearchSessionsRequest* request,
                              v1::SearchSessionsResponse* response) override;
  grpc::Status SearchScans(grpc::ServerContext* context, const v1::SearchScansRequest* request,
                           v1::SearchScansResponse* response) override;
  grpc::Status GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                          v1::Session* response) override;
  grpc::Status GetSessionDocument(grpc::ServerContext* context, const v1::GetSessionDocumentRequest* request,
                                  v1::GetSessionDocumentResponse* response) override;
  grpc::Status ListScans(grpc::ServerContext* context, const v1::ListScansRequest* request,
                         v1::ListScansResponse* response) override;
  grpc::Status ListFiles(grpc::ServerContext* context, const v1::ListFilesRequest* request,
                         v1::ListFilesResponse* response) override;
  grpc::Status ReadFile(grpc::ServerContext* context, const v1::ReadFileRequest* request,
                        grpc::ServerWriter<v1::ReadFileResponse>* writer) override;
  grpc::Status DownloadSession(grpc::ServerContext* context, const v1::DownloadSessionRequest* request,
                               grpc::ServerWriter<v1::DownloadSessionResponse>* writer) override;
  grpc::Status UpdateSession(grpc::ServerContext* context, const v1::UpdateSessionRequest* request,
                             v1::Session* response) override;
  grpc::Status DeleteSession(grpc::ServerContext* context, const v1::DeleteSessionRequest* request,
                             google::protobuf::Empty* response) override;
  grpc::Status RestoreSession(grpc::ServerContext* context, const v1::RestoreSessionRequest* request,
                              v1::Session* response) override;
  grpc::Status QuarantineSession(grpc::ServerContext* context, const v1::QuarantineSessionRequest* request,
                                 v1::Session* response) override;
  grpc::Status ActivateSession(grpc::ServerContext* context, const v1::ActivateSessionRequest* request,
                               v1::Session* response) override;
  grpc::Status ListSessionHistory(grpc::ServerContext* context, const v1::ListSessionHistoryRequest* request,
                                  v1::ListSessionHistoryResponse* response) override;

 private:
  enum class Right { kRead, kEdit, kOwn };
  absl::StatusOr<metadata::Session> Find(const auth::Caller& caller, absl::string_view name, Right right,
                                         bool with_deleted = false) const;
  // A session whose files the caller may have.
  absl::StatusOr<metadata::Session> FindReadable(const auth::Caller& caller, absl::string_view name) const;
  // Gives the bytes of `file` from `offset` on to `sink`, and DATA_LOSS if its size is not the database's.
  absl::Status ReadBytes(const metadata::Session& session, const metadata::File& file, int64_t offset,
                         const std::function<absl::Status(absl::string_view)>& sink) const;
  absl::StatusOr<v1::Session> SetStatus(const auth::Caller& caller, absl::string_view name,
                                        metadata::SessionStatus from, metadata::SessionStatus to,
                                        const metadata::Change& change) const;

  const Gate& gate_;
  metadata::Database& database_;
  fs::FileSystem& file_system_;
  const std::string archive_root_;
};

}  // namespace narthex::rpc
