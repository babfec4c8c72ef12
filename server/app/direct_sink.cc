#include "server/app/direct_sink.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/auth/caller.h"
#include "server/rpc/convert.h"

namespace narthex::app {
namespace {

// An object of less is handed on in one piece.
constexpr size_t kHeldMaxBytes = 64 << 10;  // fixed: when pieces are passed on

class DirectSink : public gateway::ObjectSink {
 public:
  DirectSink(std::shared_ptr<const DirectSinkDependencies> with, gateway::SinkRequest request)
      : with_(std::move(with)),
        on_outcome_(std::move(request.on_outcome)),
        one_at_a_time_(request.one_at_a_time) {
    *first_open_.mutable_destination() = std::move(request.destination);
    *first_open_.mutable_source() = std::move(request.source);
  }

  absl::StatusOr<int64_t> Begin() override {
    if (stream_ == nullptr) NX_RETURN_IF_ERROR(Open());
    held_.clear();
    sent_ = 0;
    return next_sequence_++;
  }

  absl::Status Append(absl::string_view data) override {
    if (stream_ == nullptr) return absl::UnavailableError("the upload stream broke");
    if (sent_ == 0) {
      held_.append(data.data(), data.size());
      if (held_.size() < kHeldMaxBytes) return absl::OkStatus();
      data = held_;
    }
    for (; !data.empty(); data.remove_prefix(std::min(data.size(), limits::kChunkMaxBytes)))
      NX_RETURN_IF_ERROR(SendChunk(data.substr(0, limits::kChunkMaxBytes), {}));
    return absl::OkStatus();
  }

  absl::Status End() override {
    if (stream_ == nullptr) return absl::UnavailableError("the upload stream broke");
    if (sent_ == 0) return Watched(stream_->Own(next_sequence_ - 1, held_));
    ingest::ObjectStream::Chunk last;
    last.last = true;
    return SendChunk("", std::move(last));
  }

  void Abandon() override {
    if (stream_ == nullptr || sent_ == 0) return;  // nothing of it has left this sink
    ingest::ObjectStream::Chunk abandoned;
    abandoned.sequence = next_sequence_ - 1;
    abandoned.offset = sent_;
    abandoned.abandon = true;
    sent_ = 0;
    Watched(stream_->Add(abandoned)).IgnoreError();
  }

  absl::Status Finish() override {
    if (stream_ == nullptr) return absl::OkStatus();
    const absl::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }

 private:
  absl::Status Open() {
    NX_ASSIGN_OR_RETURN(metadata::Identity identity, with_->sender());
    caller_.emplace(std::move(identity), with_->projects);
    if (!upload_name_.empty()) {
      v1::UploadOpen again;
      again.set_name(upload_name_);
      const absl::Status status = OpenAs(again);
      const std::string reason = ErrorReason(status);
      if (reason != "UPLOAD_COMMITTED" && reason != "UPLOAD_NOT_FOUND") return status;
      // Somebody closed it, which does not concern the sender: what still comes goes into another upload.
    }
    next_sequence_ = 0;
    return OpenAs(first_open_);
  }

  absl::Status OpenAs(const v1::UploadOpen& open) {
    NX_ASSIGN_OR_RETURN(const prearchive::UploadRow row, with_->uploads.OpenUpload(*caller_, "", open));
    upload_name_ = absl::StrCat("uploads/", row.id());
    using Acks = ingest::ObjectStream::Acks;
    stream_ = std::make_unique<ingest::ObjectStream>(
        with_->streams, row, *caller_, /*resumed=*/false,
        [this](const std::vector<prearchive::OutcomeRow>& outcomes) {
          for (const prearchive::OutcomeRow& outcome : outcomes) on_outcome_(rpc::ToProto(outcome));
        },
        one_at_a_time_ ? Acks::kAtOnce : Acks::kOnThread);
    return absl::OkStatus();
  }

  absl::Status SendChunk(absl::string_view data, ingest::ObjectStream::Chunk chunk) {
    chunk.sequence = next_sequence_ - 1;
    chunk.offset = sent_;
    chunk.data = data;
    chunk.own = true;
    sent_ += static_cast<int64_t>(data.size());
    return Watched(stream_->Add(chunk));
  }

  // Passes `status` on. A stream that failed is left behind: the next object opens another one.
  absl::Status Watched(absl::Status status) {
    if (!status.ok()) stream_.reset();
    return status;
  }

  const std::shared_ptr<const DirectSinkDependencies> with_;
  const OutcomeCallback on_outcome_;
  const bool one_at_a_time_;
  v1::UploadOpen first_open_;
  std::string upload_name_;
  std::optional<auth::Caller> caller_;  // the stream borrows it
  std::unique_ptr<ingest::ObjectStream> stream_;
  int64_t next_sequence_ = 0;
  std::string held_;  // of the object, as long as nothing was sent to the stream
  int64_t sent_ = 0;
};

}  // namespace

gateway::SinkFactory DirectSinks(DirectSinkDependencies dependencies) {
  return [with = std::make_shared<const DirectSinkDependencies>(std::move(dependencies))](
             gateway::SinkRequest request) -> std::unique_ptr<gateway::ObjectSink> {
    return std::make_unique<DirectSink>(with, std::move(request));
  };
}

}  // namespace narthex::app
