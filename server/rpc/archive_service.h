// ArchiveService.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "narthex/v1/archive_service.grpc.pb.h"
#include "server/archive/session_changes.h"
#include "server/archive/session_document.h"
#include "server/rpc/session_view.h"
#include "server/rpc/status.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class ArchiveServiceImpl final : public v1::ArchiveService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    metadata::Database& database;
    archiving::SessionChanges& changes;
    const session::TypeRegistry& types;
    fs::FileSystem& file_system;
    std::string archive_root;
  };
  explicit ArchiveServiceImpl(Dependencies dependencies)
      : with_(std::move(dependencies)), gate_(with_.gate), database_(with_.database) {}

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

  grpc::Status LockSession(grpc::ServerContext* context, const v1::LockSessionRequest* request,
                           v1::Session* response) override;
  grpc::Status UnlockSession(grpc::ServerContext* context, const v1::UnlockSessionRequest* request,
                             v1::Session* response) override;
  grpc::Status PurgeSession(grpc::ServerContext* context, const v1::PurgeSessionRequest* request,
                            v1::PurgeSessionResponse* response) override;
  grpc::Status UpdateScan(grpc::ServerContext* context, const v1::UpdateScanRequest* request,
                          v1::Scan* response) override;
  grpc::Status GetScanDocument(grpc::ServerContext* context, const v1::GetScanDocumentRequest* request,
                               v1::GetScanDocumentResponse* response) override;
  grpc::Status ShareSession(grpc::ServerContext* context, const v1::ShareSessionRequest* request,
                            v1::Session* response) override;
  grpc::Status UnshareSession(grpc::ServerContext* context, const v1::UnshareSessionRequest* request,
                              v1::Session* response) override;

 private:
  using Right = SessionRight;
  absl::StatusOr<metadata::Session> Find(const auth::Caller& caller, absl::string_view name, Right right,
                                         bool with_deleted = false) const {
    return FindSession(database_.session_reader(), caller, name, right, with_deleted);
  }
  // The session's document as the caller may see it.
  absl::StatusOr<archiving::SessionContents> Contents(const auth::Caller& caller,
                                                      const metadata::Session& session) const;
  // Gives the bytes of `file` from `offset` on to `sink`, and DATA_LOSS if its size is not the database's.
  absl::Status ReadBytes(const metadata::Session& session, const metadata::File& file, int64_t offset,
                         const std::function<absl::Status(absl::string_view)>& sink) const;
  // For owners; of a session that is `from` (or `to`: then nothing happens).
  absl::StatusOr<v1::Session> SetStatus(const auth::Caller& caller, absl::string_view name,
                                        metadata::SessionStatus from, metadata::SessionStatus to,
                                        const metadata::Change& change) const;

  const Dependencies with_;
  const Gate& gate_;
  metadata::Database& database_;
};

}  // namespace narthex::rpc
