// ReceiverService: which application entities there are. It keeps them in the database and sees that they are
// taken into use.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "base/limits_gateway.h"
#include "narthex/v1/receiver_service.grpc.pb.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class ReceiverServiceImpl final : public v1::ReceiverService::Service {
 public:
  // Takes these receivers into use, all at once; nothing has changed if it fails (INVALID_FIELD,
  // INVALID_SCRIPT). Else what keeps the server's own gateway from listening, by AE title.
  using Applier = std::function<absl::StatusOr<std::map<std::string, absl::Status>>(
      const std::vector<v1::Receiver>& receivers)>;

  struct Dependencies {
    const Gate& gate;
    metadata::Database& database;
    const auth::ProjectCache& projects;
    Applier apply;
    // The site's setting of what senders of filtered objects are told.
    std::function<bool()> refuses_filtered;
  };
  explicit ReceiverServiceImpl(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Reads the receivers, makes the one called `default_ae_title` if this has never been done, and takes them
  // into use as far as possible. At the start, before the service is used.
  absl::Status Load(const std::string& default_ae_title);
  // Takes them into use again: after a change of what they depend on.
  void Reapply();
  // Ends the watches.
  void Close();

  // By AE title.
  std::vector<v1::Receiver> Receivers() const;

  grpc::Status ListReceivers(grpc::ServerContext* context, const v1::ListReceiversRequest* request,
                             v1::ListReceiversResponse* response) override;
  grpc::Status CreateReceiver(grpc::ServerContext* context, const v1::CreateReceiverRequest* request,
                              v1::Receiver* response) override;
  grpc::Status UpdateReceiver(grpc::ServerContext* context, const v1::UpdateReceiverRequest* request,
                              v1::Receiver* response) override;
  grpc::Status DeleteReceiver(grpc::ServerContext* context, const v1::DeleteReceiverRequest* request,
                              google::protobuf::Empty* response) override;
  grpc::Status WatchReceivers(grpc::ServerContext* context, const v1::WatchReceiversRequest* request,
                              grpc::ServerWriter<v1::WatchReceiversResponse>* writer) override;

 private:
  using ByTitle = std::map<std::string, v1::Receiver>;

  absl::Status Seed(const std::string& ae_title);
  // Administrators, and the server's own gateway.
  static absl::Status RequireGateway(const auth::Caller& caller);
  // Checks `receiver` and takes it (`remove`: leaves it) into use, then writes it.
  absl::StatusOr<v1::Receiver> Put(v1::Receiver receiver, const metadata::Change& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mutex_);
  absl::StatusOr<std::map<std::string, absl::Status>> Apply(const ByTitle& receivers) const;
  void Publish(ByTitle receivers, const std::map<std::string, absl::Status>& errors);
  v1::Receiver Shown(v1::Receiver receiver) const;

  const Dependencies with_;
  absl::Mutex change_mutex_;  // one change at a time; before mutex_
  mutable absl::Mutex mutex_;
  ByTitle receivers_ ABSL_GUARDED_BY(mutex_);
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  ingest::Places watches_{"receiver_watches", "watches of receivers", limits::kReceiverWatchesMax,
                          limits::kReceiverWatchesMax};
};

}  // namespace narthex::rpc
