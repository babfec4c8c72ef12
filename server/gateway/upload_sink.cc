#include <utility>

#include "base/error.h"
#include "base/limits_gateway.h"
#include "base/status.h"
#include "clients/cpp/upload_stream.h"
#include "server/gateway/object_sink.h"

namespace narthex::gateway {
namespace {

// With many associations at once memory counts more than the last few percent of throughput. But a slice of
// 512 x 512 pixels fits with its header: the server copies twice less what comes in one piece.
constexpr size_t kChunkBytes = 640 << 10;

class UploadSink : public ObjectSink {
 public:
  UploadSink(std::shared_ptr<client::Connection> connection, SinkRequest request)
      : connection_(std::move(connection)), on_outcome_(std::move(request.on_outcome)) {
    *first_open_.mutable_destination() = std::move(request.destination);
    *first_open_.mutable_source() = std::move(request.source);
  }

  absl::StatusOr<int64_t> Begin() override {
    const bool was_open = stream_ != nullptr;
    if (!was_open) NX_RETURN_IF_ERROR(Open());
    const int64_t sequence = next_sequence_++;
    absl::Status begun = Watched(stream_->BeginObject({.sequence = sequence}));
    if (!begun.ok() && was_open) return absl::AbortedError(begun.message());
    NX_RETURN_IF_ERROR(begun);
    return sequence;
  }

  absl::Status Append(absl::string_view data) override {
    if (stream_ == nullptr) return absl::UnavailableError("the upload stream broke");
    return Watched(stream_->Append(data));
  }

  absl::Status End() override {
    if (stream_ == nullptr) return absl::UnavailableError("the upload stream broke");
    return Watched(stream_->EndObject());
  }

  void Abandon() override {
    if (stream_ != nullptr) Watched(stream_->AbandonObject()).IgnoreError();
  }

  absl::Status Finish() override {
    if (stream_ == nullptr) return absl::OkStatus();
    absl::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }

 private:
  absl::Status Open() {
    if (!upload_name_.empty()) {
      v1::UploadOpen again;
      again.set_name(upload_name_);
      absl::Status status = OpenAs(again);
      const std::string reason = ErrorReason(status);
      if (reason != "UPLOAD_COMMITTED" && reason != "UPLOAD_NOT_FOUND") return status;
      // Somebody closed it, which does not concern the sender: what still comes goes into another upload.
    }
    NX_RETURN_IF_ERROR(OpenAs(first_open_));
    upload_name_ = stream_->upload().name();
    next_sequence_ = 0;
    return absl::OkStatus();
  }

  absl::Status OpenAs(const v1::UploadOpen& open) {
    client::UploadStreamOptions options;
    options.chunk_bytes = kChunkBytes;
    options.packed_object_max_bytes = 0;
    options.unacked_max_bytes = limits::kGatewayUnackedMaxBytes;
    NX_ASSIGN_OR_RETURN(stream_, client::UploadStream::Open(connection_, open, options, on_outcome_));
    return absl::OkStatus();
  }

  // Passes `status` on. A stream that failed is left behind: the next object opens another one.
  absl::Status Watched(absl::Status status) {
    if (!status.ok()) stream_.reset();
    return status;
  }

  const std::shared_ptr<client::Connection> connection_;
  const OutcomeCallback on_outcome_;
  v1::UploadOpen first_open_;
  std::string upload_name_;
  std::unique_ptr<client::UploadStream> stream_;
  int64_t next_sequence_ = 0;
};

}  // namespace

SinkFactory UploadSinks(std::shared_ptr<client::Connection> connection) {
  return [connection = std::move(connection)](SinkRequest request) -> std::unique_ptr<ObjectSink> {
    return std::make_unique<UploadSink>(connection, std::move(request));
  };
}

}  // namespace narthex::gateway
