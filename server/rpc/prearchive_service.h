// PrearchiveService.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "imaging/dicom/rewriter.h"
#include "narthex/v1/prearchive_service.grpc.pb.h"
#include "server/archive/checker.h"
#include "server/deidentify/plans.h"
#include "server/operations/operations.h"
#include "server/prearchive/prearchive.h"
#include "server/rpc/prearchive_audit.h"
#include "server/rpc/status.h"
#include "server/rpc/upload_service.h"

namespace narthex::rpc {

// Starts archiving a session. Errors as ArchivePrearchiveSession.
using ArchiveStarter = std::function<absl::StatusOr<operations::Operation>(
    const prearchive::SessionRow& session, const std::string& user, archiving::ConflictPolicy policy,
    bool quarantine, const std::string& request_id)>;

class PrearchiveServiceImpl final : public v1::PrearchiveService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    metadata::AuditStore& audit;
    prearchive::Prearchive& prearchive;
    operations::Operations& operations;
    const archiving::Checker& checker;
    BuildStarter build;
    ArchiveStarter archive;
    // Shows in a built session what an update changed; the row as it is then.
    std::function<absl::StatusOr<prearchive::SessionRow>(const prearchive::SessionRow& edited)> show_edits;
    std::function<absl::StatusOr<operations::Operation>(
        const prearchive::SessionRow& session, const std::string& user, const std::string& request_id)>
        split;
    std::function<bool()> may_claim;                // whether people may claim unassigned sessions
    const deidentify::PlanSource* plans = nullptr;  // what GetHeader's preview runs
  };
  explicit PrearchiveServiceImpl(Dependencies dependencies)
      : with_(std::move(dependencies)), audit_(with_.audit) {}

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
  grpc::Status SplitPrearchiveSession(grpc::ServerContext* context,
                                      const v1::SplitPrearchiveSessionRequest* request,
                                      google::longrunning::Operation* response) override;
  grpc::Status DeletePrearchiveSession(grpc::ServerContext* context,
                                       const v1::DeletePrearchiveSessionRequest* request,
                                       google::protobuf::Empty* response) override;
  grpc::Status ListOutcomes(grpc::ServerContext* context, const v1::ListOutcomesRequest* request,
                            v1::ListOutcomesResponse* response) override;
  grpc::Status GetHeader(grpc::ServerContext* context, const v1::GetHeaderRequest* request,
                         v1::GetHeaderResponse* response) override;
  grpc::Status DiffInstance(grpc::ServerContext* context, const v1::DiffInstanceRequest* request,
                            v1::DiffInstanceResponse* response) override;
  grpc::Status ClaimPrearchiveSession(grpc::ServerContext* context,
                                      const v1::ClaimPrearchiveSessionRequest* request,
                                      v1::PrearchiveSession* response) override;
  grpc::Status WatchPrearchiveSessions(grpc::ServerContext* context,
                                       const v1::WatchPrearchiveSessionsRequest* request,
                                       grpc::ServerWriter<v1::PrearchiveEvent>* writer) override;

 private:
  enum class Right { kRead, kEdit };
  // The session, if the caller may do this with it; what they may not see does not exist.
  absl::StatusOr<prearchive::SessionRow> Find(const auth::Caller& caller, absl::string_view name,
                                              Right right) const;
  absl::StatusOr<google::longrunning::Operation> Build(const prearchive::SessionRow& row,
                                                       const std::string& user,
                                                       const std::string& request_id) const;
  absl::Status AddPreview(const prearchive::SessionRow& row, const prearchive::ObjectRow& object,
                          const std::string& head, v1::GetHeaderResponse& answer) const;
  // Changes the session, notes who did it, and shows what that makes of it.
  absl::StatusOr<v1::PrearchiveSession> Change(const auth::Caller& caller, const prearchive::SessionRow& row,
                                               const prearchive::SessionUpdate& update,
                                               absl::string_view action) const;
  // The header of an object as it is stored.
  absl::StatusOr<dicom::ObjectHeader> ReadHeader(const prearchive::SessionRow& row,
                                                 const prearchive::ObjectRow& object) const;
  std::optional<v1::PrearchiveEvent> Tell(const prearchive::EventLog::Entry& entry,
                                          const auth::Caller& caller,
                                          const v1::WatchPrearchiveSessionsRequest& request) const;
  v1::PrearchiveSession Show(const prearchive::SessionRow& row, bool with_scans) const;

  const Dependencies with_;
  const PrearchiveAudit audit_;
};

}  // namespace narthex::rpc
