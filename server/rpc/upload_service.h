// UploadService over gRPC's synchronous API: one thread reads a stream, the ObjectStream's thread writes the
// outcomes.
#pragma once

#include "narthex/v1/upload_service.grpc.pb.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/uploads.h"
#include "server/operations/operations.h"
#include "server/rpc/stall_watch.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

// Starts the build of a session. `completion` says what ended its reception. Returns the operation's id; ""
// if the session is not in a state that can be built (it is being built, or gone).
using BuildStarter =
    std::function<absl::StatusOr<std::string>(const std::string& session, const std::string& user,
                                              const std::string& completion, const std::string& request_id)>;

// The directory of who may send to one project and knows its id already.
class FixedProject : public identify::ProjectDirectory {
 public:
  explicit FixedProject(std::string id) : id_(std::move(id)) {}
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    if (candidate == id_) return id_;
    return std::nullopt;
  }

 private:
  const std::string id_;
};

// The address of a call's peer, without port: "127.0.0.1".
std::string AddressOf(const grpc::ServerContext& context);

class UploadServiceImpl final : public v1::UploadService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    ingest::StreamDependencies streams;
    operations::Operations& operations;
    metadata::Database& database;
    BuildStarter build;
    std::string inbox_root;
    StallWatch& stalls;
  };
  explicit UploadServiceImpl(Dependencies dependencies) : with_(std::move(dependencies)) {}

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

  // Handler of the operations of kind "import-inbox".
  absl::StatusOr<std::string> RunInboxImport(const operations::Operation& operation,
                                             operations::Progress& progress) const;

  // The row of the upload that a stream opens: a new one, or the caller's own of that name. For senders in
  // this process, too, which feed an ingest::ObjectStream themselves. `address`: the sender's.
  // Errors as the RPC Upload.
  absl::StatusOr<prearchive::UploadRow> OpenUpload(const auth::Caller& caller, const std::string& address,
                                                   const v1::UploadOpen& open) const;

 private:
  // The row of a new upload as the caller may make it: an existing project, a source that the caller may
  // claim.
  absl::StatusOr<prearchive::UploadRow> NewRow(const auth::Caller& caller, const std::string& address,
                                               const v1::Destination& destination, int digest_algorithm,
                                               const v1::ArrivalSource& source) const;
  // Room for one more stream. Calls of this process have room of their own (the gateway's associations are
  // limited), and a gateway's senders are not one user.
  absl::StatusOr<ingest::Places::Place> Enter(const auth::Caller& caller, const grpc::ServerContext& context,
                                              const v1::ArrivalSource& source) const;
  absl::StatusOr<prearchive::UploadRow> GetOwn(const auth::Caller& caller, absl::string_view name) const;
  absl::StatusOr<v1::CommitUploadResponse> Commit(const std::string& user, const prearchive::UploadRow& row,
                                                  uint64_t expected_count,
                                                  const std::vector<std::string>& manifest,
                                                  const std::string& request_id) const;
  absl::Status Pump(ingest::ObjectStream& objects,
                    grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>& stream,
                    StallWatch::Guard& reading) const;

  const Dependencies with_;
};

}  // namespace narthex::rpc
