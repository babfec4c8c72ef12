// An UploadService that keeps what it gets in memory, for the gateway's tests. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"

#include "clients/cpp/connection.h"
#include "narthex/v1/upload_service.grpc.pb.h"

namespace narthex::gateway {

class FakeUploadService : public v1::UploadService::Service {
 public:
  struct Object {
    std::string upload;
    int64_t sequence = 0;
    std::string bytes;
  };
  // Says what becomes of an object; may block. The default: STORED.
  using Judge = std::function<v1::ObjectOutcome(const Object&)>;

  FakeUploadService();
  ~FakeUploadService() override;

  // A connection over the in-process channel.
  std::shared_ptr<client::Connection> Connect();

  void set_judge(Judge judge);
  // False: objects are judged and forgotten, and their bytes are not even collected.
  void set_keeping(bool keeping);
  // The next stream that gets an object's chunk ends with this error. And opening fails so if `at_open`.
  void FailOnce(const grpc::Status& status, bool at_open);

  std::vector<Object> objects() const;
  std::vector<v1::UploadOpen> opens() const;
  int abandoned_count() const;
  // Waits until so many were abandoned.
  void AwaitAbandoned(int count) const;

  grpc::Status Upload(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) override;

 private:
  std::optional<grpc::Status> TakeFailure(bool at_open);
  std::string NameOf(const v1::UploadOpen& open);

  mutable absl::Mutex mutex_;
  Judge judge_ ABSL_GUARDED_BY(mutex_);
  bool keeping_ ABSL_GUARDED_BY(mutex_) = true;
  std::optional<grpc::Status> failure_ ABSL_GUARDED_BY(mutex_);
  bool failure_at_open_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Object> objects_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::UploadOpen> opens_ ABSL_GUARDED_BY(mutex_);
  int abandoned_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace narthex::gateway
