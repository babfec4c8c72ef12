#include "server/gateway/fake_upload_service.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace narthex::gateway {
namespace {

v1::ObjectOutcome Stored(const FakeUploadService::Object&) {
  v1::ObjectOutcome outcome;
  outcome.set_outcome(v1::ObjectOutcome::STORED);
  return outcome;
}

}  // namespace

FakeUploadService::FakeUploadService() : judge_(Stored) {
  grpc::ServerBuilder builder;
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeUploadService::~FakeUploadService() { server_->Shutdown(std::chrono::system_clock::now()); }

std::shared_ptr<client::Connection> FakeUploadService::Connect() {
  return client::Connection::Wrap(server_->InProcessChannel({}));
}

void FakeUploadService::set_judge(Judge judge) {
  absl::MutexLock lock(&mutex_);
  judge_ = std::move(judge);
}

void FakeUploadService::set_keeping(bool keeping) {
  absl::MutexLock lock(&mutex_);
  keeping_ = keeping;
}

void FakeUploadService::FailOnce(const grpc::Status& status, bool at_open) {
  absl::MutexLock lock(&mutex_);
  failure_ = status;
  failure_at_open_ = at_open;
}

std::optional<grpc::Status> FakeUploadService::TakeFailure(bool at_open) {
  absl::MutexLock lock(&mutex_);
  if (!failure_ || failure_at_open_ != at_open) return std::nullopt;
  return std::exchange(failure_, std::nullopt);
}

std::string FakeUploadService::NameOf(const v1::UploadOpen& open) {
  absl::MutexLock lock(&mutex_);
  opens_.push_back(open);
  return open.name().empty() ? absl::StrCat("uploads/", opens_.size()) : open.name();
}

grpc::Status FakeUploadService::Upload(
    grpc::ServerContext* context, grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) {
  v1::UploadRequest request;
  if (!stream->Read(&request)) return grpc::Status::OK;
  if (auto failure = TakeFailure(true)) return *failure;
  v1::UploadResponse opened;
  opened.mutable_opened()->set_name(NameOf(request.open()));
  stream->Write(opened);

  bool keeping = true;
  {
    absl::MutexLock lock(&mutex_);
    keeping = keeping_;
  }
  Object object;
  object.upload = opened.opened().name();
  while (stream->Read(&request)) {
    if (auto failure = TakeFailure(false)) return *failure;
    const v1::ObjectChunk& chunk = request.chunk();
    if (chunk.offset() == 0) object.bytes.clear();
    object.sequence = chunk.sequence();
    if (keeping) object.bytes += chunk.data();
    if (!chunk.last() && !chunk.abandon()) continue;
    v1::UploadResponse response;
    v1::ObjectOutcome& outcome = *response.add_outcomes();
    if (chunk.abandon()) {
      absl::MutexLock lock(&mutex_);
      ++abandoned_count_;
      outcome.set_outcome(v1::ObjectOutcome::REJECTED);
      outcome.set_reason("OBJECT_ABANDONED");
    } else {
      Judge judge;
      {
        absl::MutexLock lock(&mutex_);
        if (keeping) objects_.push_back(object);
        judge = judge_;
      }
      outcome = judge(object);
    }
    outcome.set_sequence(chunk.sequence());
    stream->Write(response);
  }
  return grpc::Status::OK;
}

std::vector<FakeUploadService::Object> FakeUploadService::objects() const {
  absl::MutexLock lock(&mutex_);
  return objects_;
}
std::vector<v1::UploadOpen> FakeUploadService::opens() const {
  absl::MutexLock lock(&mutex_);
  return opens_;
}
int FakeUploadService::abandoned_count() const {
  absl::MutexLock lock(&mutex_);
  return abandoned_count_;
}
void FakeUploadService::AwaitAbandoned(int count) const {
  const auto enough = [this, count]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return abandoned_count_ >= count; };
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
}

}  // namespace narthex::gateway
