#include "clients/cpp/upload_stream.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "clients/cpp/object_hasher.h"
#include "clients/cpp/upload_window.h"

namespace narthex::client {
namespace {

using Stream = grpc::ClientReaderWriterInterface<v1::UploadRequest, v1::UploadResponse>;

// A pack's message stays below limits::kMessageMaxBytes however small its objects are.
constexpr int kPackMaxObjects = 1024;  // fixed: as many as pay

absl::Status EndedEarly(int64_t objects) {
  return absl::UnavailableError(
      absl::StrCat("the server ended the upload stream while ", objects,
                   " objects had no outcome yet; open the upload again and send them again"));
}

UploadStreamOptions Bounded(UploadStreamOptions options) {
  options.chunk_bytes = std::clamp<size_t>(options.chunk_bytes, 1, limits::kChunkMaxBytes);
  options.pack_bytes = std::clamp<size_t>(options.pack_bytes, 1, limits::kChunkMaxBytes);
  options.packed_object_max_bytes = std::min(options.packed_object_max_bytes, options.pack_bytes);
  return options;
}

}  // namespace

// Two threads besides the caller's: one reads outcomes, one sends packs that do not fill (started with the
// first pack). gRPC allows one Write and one Read at a time; send_mutex_ is what makes writes one at a time,
// and is therefore held while writing.
class UploadStream::Impl {
 public:
  Impl(std::shared_ptr<Connection> connection, const UploadStreamOptions& options, OutcomeCallback on_outcome)
      : connection_(std::move(connection)),
        options_(Bounded(options)),
        on_outcome_(std::move(on_outcome)),
        window_(options.unacked_max_bytes, options.unacked_max_objects),
        context_(connection_->NewContext()) {}
  ~Impl();

  absl::Status Start(const v1::UploadOpen& open);
  const v1::Upload& upload() const { return upload_; }
  const UploadWindow& window() const { return window_; }

  absl::Status SendObject(const ObjectStart& start, absl::string_view data, absl::string_view digest);
  absl::Status BeginObject(const ObjectStart& start);
  absl::Status Append(absl::string_view data);
  absl::StatusOr<absl::Span<char>> AppendRoom();
  absl::Status Appended(size_t count);
  absl::Status EndObject();
  absl::StatusOr<v1::ObjectOutcome> EndObjectAndWait();
  absl::Status AbandonObject();
  absl::Status Flush();
  absl::Status Finish();
  void Cancel() { context_->TryCancel(); }

 private:
  struct Current {
    ObjectStart start;
    int64_t offset = 0;  // of the chunk that is being filled
  };

  void ReadLoop();
  void LingerLoop();
  void Deliver(const v1::UploadResponse& response);

  absl::Status SendPacked(const ObjectStart& start, absl::string_view data, absl::string_view digest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status SendPack() ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status Begin(const ObjectStart& start) ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status Add(absl::string_view data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status SendChunk(absl::string_view final_digest, bool last)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status End(absl::string_view digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status Write(const v1::UploadRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status Ready(bool object_begun) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status Conclude() ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  void StopLinger() ABSL_LOCKS_EXCLUDED(send_mutex_);

  const std::shared_ptr<Connection> connection_;
  const UploadStreamOptions options_;
  const OutcomeCallback on_outcome_;
  UploadWindow window_;
  v1::Upload upload_;

  absl::Mutex send_mutex_;
  const std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  // Both messages are used again and again, so that their strings keep their memory.
  v1::UploadRequest pack_ ABSL_GUARDED_BY(send_mutex_);
  size_t pack_filled_bytes_ ABSL_GUARDED_BY(send_mutex_) = 0;
  int64_t pack_number_ ABSL_GUARDED_BY(send_mutex_) = 0;
  v1::UploadRequest chunk_ ABSL_GUARDED_BY(send_mutex_);
  size_t chunk_filled_bytes_ ABSL_GUARDED_BY(send_mutex_) = 0;
  std::optional<ObjectHasher> hasher_ ABSL_GUARDED_BY(send_mutex_);
  std::optional<Current> current_ ABSL_GUARDED_BY(send_mutex_);
  std::optional<absl::Status> conclusion_ ABSL_GUARDED_BY(send_mutex_);
  bool half_closed_ ABSL_GUARDED_BY(send_mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(send_mutex_) = false;
  std::thread linger_ ABSL_GUARDED_BY(send_mutex_);
  std::thread reader_;
};

UploadStream::Impl::~Impl() {
  if (stream_ == nullptr) return;
  StopLinger();
  absl::MutexLock lock(&send_mutex_);
  if (!conclusion_) {
    context_->TryCancel();
    Conclude().IgnoreError();
  }
  if (reader_.joinable()) reader_.join();
}

absl::Status UploadStream::Impl::Start(const v1::UploadOpen& open) {
  stream_ = connection_->uploads().Upload(context_.get());
  v1::UploadRequest request;
  *request.mutable_open() = open;
  v1::UploadResponse response;
  absl::MutexLock lock(&send_mutex_);
  if (!stream_->Write(request) || !stream_->Read(&response)) {
    window_.End();
    absl::Status status = Conclude();
    return status.ok() ? EndedEarly(0) : status;
  }
  upload_ = response.opened();
  hasher_.emplace(upload_.digest_algorithm());
  Deliver(response);
  reader_ = std::thread([this] { ReadLoop(); });
  return absl::OkStatus();
}

void UploadStream::Impl::ReadLoop() {
  v1::UploadResponse response;
  while (stream_->Read(&response)) Deliver(response);
  window_.End();
}

void UploadStream::Impl::Deliver(const v1::UploadResponse& response) {
  for (const v1::ObjectOutcome& outcome : response.outcomes()) {
    if (on_outcome_) on_outcome_(outcome);
    window_.Settle(outcome);
  }
}

void UploadStream::Impl::LingerLoop() {
  absl::MutexLock lock(&send_mutex_);
  auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_) {
    return stopping_ || pack_filled_bytes_ > 0 || pack_.pack().objects_size() > 0;
  };
  while (true) {
    send_mutex_.Await(absl::Condition(&wanted));
    if (stopping_) return;
    const int64_t number = pack_number_;
    auto sent = [this, number]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_) {
      return stopping_ || pack_number_ != number;
    };
    if (!send_mutex_.AwaitWithTimeout(absl::Condition(&sent), options_.pack_linger)) {
      // The next call of the sender reports an error.
      SendPack().IgnoreError();
    }
  }
}

void UploadStream::Impl::StopLinger() {
  std::thread linger;
  {
    absl::MutexLock lock(&send_mutex_);
    stopping_ = true;
    linger = std::move(linger_);
  }
  if (linger.joinable()) linger.join();
}

// Ends the call and finds out how it ended; waits until no more outcomes come.
absl::Status UploadStream::Impl::Conclude() {
  if (conclusion_) return *conclusion_;
  window_.WaitForEnd();
  absl::Status status = FromGrpcStatus(stream_->Finish());
  if (status.ok() && (window_.objects() > 0 || !half_closed_)) status = EndedEarly(window_.objects());
  conclusion_ = status;
  return status;
}

absl::Status UploadStream::Impl::Ready(bool object_begun) const {
  if (conclusion_ && !conclusion_->ok()) return *conclusion_;
  if (half_closed_) return absl::FailedPreconditionError("the upload stream was finished; open another one");
  if (object_begun != current_.has_value()) {
    return absl::FailedPreconditionError(object_begun ? "no object was begun"
                                                      : "the former object was not ended");
  }
  return absl::OkStatus();
}

absl::Status UploadStream::Impl::Write(const v1::UploadRequest& request) {
  if (stream_->Write(request)) return absl::OkStatus();
  return Conclude();
}

absl::Status UploadStream::Impl::SendObject(const ObjectStart& start, absl::string_view data,
                                            absl::string_view digest) {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(false));
  if (data.size() <= options_.packed_object_max_bytes) return SendPacked(start, data, digest);
  NX_RETURN_IF_ERROR(Begin(start));
  NX_RETURN_IF_ERROR(Add(data));
  return End(digest);
}

absl::Status UploadStream::Impl::SendPacked(const ObjectStart& start, absl::string_view data,
                                            absl::string_view digest) {
  const bool full = pack_filled_bytes_ + data.size() > options_.pack_bytes ||
                    pack_.pack().objects_size() >= kPackMaxObjects;
  if (full) NX_RETURN_IF_ERROR(SendPack());
  const auto bytes = static_cast<int64_t>(data.size());
  if (!window_.TryReserve(start.sequence, bytes)) {
    NX_RETURN_IF_ERROR(SendPack());
    if (!window_.Reserve(start.sequence, bytes, true)) return Conclude();
  }
  v1::WholeObject& object = *pack_.mutable_pack()->add_objects();
  object.set_sequence(start.sequence);
  object.set_data(data.data(), data.size());
  object.set_transfer_syntax_uid(start.transfer_syntax_uid);
  if (digest.empty()) {
    hasher_->Update(data);
    object.set_digest(hasher_->Finish());
  } else {
    object.set_digest(digest.data(), digest.size());
  }
  pack_filled_bytes_ += data.size();
  if (!linger_.joinable()) linger_ = std::thread([this] { LingerLoop(); });
  return pack_filled_bytes_ >= options_.pack_bytes ? SendPack() : absl::OkStatus();
}

absl::Status UploadStream::Impl::SendPack() {
  if (pack_.pack().objects().empty()) return absl::OkStatus();
  absl::Status status = Write(pack_);
  pack_.mutable_pack()->mutable_objects()->Clear();
  pack_filled_bytes_ = 0;
  ++pack_number_;
  return status;
}

absl::Status UploadStream::Impl::BeginObject(const ObjectStart& start) {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(false));
  window_.Expect(start.sequence);
  return Begin(start);
}

absl::Status UploadStream::Impl::Begin(const ObjectStart& start) {
  NX_RETURN_IF_ERROR(SendPack());
  current_ = Current{start};
  hasher_->Reset();
  v1::ObjectChunk& chunk = *chunk_.mutable_chunk();
  chunk.mutable_data()->clear();
  chunk_filled_bytes_ = 0;
  chunk.set_sequence(start.sequence);
  chunk.set_transfer_syntax_uid(start.transfer_syntax_uid);
  chunk.set_size_bytes(start.size_bytes);
  chunk.clear_digest();
  chunk.set_last(false);
  chunk.set_abandon(false);
  return absl::OkStatus();
}

absl::Status UploadStream::Impl::Append(absl::string_view data) {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(true));
  return Add(data);
}

absl::Status UploadStream::Impl::Add(absl::string_view data) {
  std::string& buffer = *chunk_.mutable_chunk()->mutable_data();
  while (!data.empty()) {
    // A full chunk goes only when more follows: the object's last one carries its digest.
    if (chunk_filled_bytes_ == options_.chunk_bytes) NX_RETURN_IF_ERROR(SendChunk({}, false));
    const size_t count = std::min(data.size(), options_.chunk_bytes - chunk_filled_bytes_);
    buffer.resize(chunk_filled_bytes_);
    buffer.append(data.data(), count);
    chunk_filled_bytes_ += count;
    data.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<char>> UploadStream::Impl::AppendRoom() {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(true));
  if (chunk_filled_bytes_ == options_.chunk_bytes) NX_RETURN_IF_ERROR(SendChunk({}, false));
  size_t room = options_.chunk_bytes - chunk_filled_bytes_;
  const int64_t rest =
      current_->start.size_bytes - current_->offset - static_cast<int64_t>(chunk_filled_bytes_);
  if (rest > 0) room = std::min(room, static_cast<size_t>(rest));
  std::string& buffer = *chunk_.mutable_chunk()->mutable_data();
  if (buffer.size() < chunk_filled_bytes_ + room) buffer.resize(chunk_filled_bytes_ + room);
  return absl::MakeSpan(buffer.data() + chunk_filled_bytes_, room);
}

absl::Status UploadStream::Impl::Appended(size_t count) {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(true));
  if (count > chunk_.chunk().data().size() - chunk_filled_bytes_) {
    return absl::InvalidArgumentError("more bytes were filled in than there was room");
  }
  chunk_filled_bytes_ += count;
  return absl::OkStatus();
}

absl::Status UploadStream::Impl::SendChunk(absl::string_view final_digest, bool last) {
  v1::ObjectChunk& chunk = *chunk_.mutable_chunk();
  chunk.mutable_data()->resize(chunk_filled_bytes_);
  const absl::string_view data(chunk.data());
  chunk.set_offset(current_->offset);
  chunk.set_crc32c(Crc32c(data));
  if (final_digest.empty()) hasher_->Update(data);
  current_->offset += static_cast<int64_t>(data.size());
  if (last) {
    chunk.set_last(true);
    chunk.set_size_bytes(current_->offset);
    chunk.set_digest(final_digest.empty() ? hasher_->Finish() : std::string(final_digest));
  }
  if (!window_.Reserve(chunk.sequence(), static_cast<int64_t>(data.size()), chunk.offset() == 0))
    return Conclude();
  absl::Status status = Write(chunk_);
  chunk.clear_transfer_syntax_uid();
  chunk_filled_bytes_ = 0;
  return status;
}

absl::Status UploadStream::Impl::End(absl::string_view digest) {
  absl::Status status = SendChunk(digest, true);
  current_.reset();
  return status;
}

absl::Status UploadStream::Impl::EndObject() {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(true));
  window_.Forget(current_->start.sequence);
  return End({});
}

absl::StatusOr<v1::ObjectOutcome> UploadStream::Impl::EndObjectAndWait() {
  int64_t sequence = 0;
  {
    absl::MutexLock lock(&send_mutex_);
    NX_RETURN_IF_ERROR(Ready(true));
    sequence = current_->start.sequence;
    absl::Status status = End({});
    if (!status.ok()) {
      window_.Forget(sequence);
      return status;
    }
  }
  std::optional<v1::ObjectOutcome> outcome = window_.WaitFor(sequence);
  if (outcome) return *std::move(outcome);
  absl::MutexLock lock(&send_mutex_);
  absl::Status status = Conclude();
  return status.ok() ? EndedEarly(1) : status;
}

absl::Status UploadStream::Impl::AbandonObject() {
  absl::MutexLock lock(&send_mutex_);
  if (!current_) return absl::OkStatus();
  NX_RETURN_IF_ERROR(Ready(true));
  window_.Forget(current_->start.sequence);
  v1::ObjectChunk& chunk = *chunk_.mutable_chunk();
  chunk.mutable_data()->clear();
  chunk.set_offset(current_->offset);
  chunk.set_crc32c(0);
  chunk.set_abandon(true);
  const bool first = current_->offset == 0;
  current_.reset();
  if (!window_.Reserve(chunk.sequence(), 0, first)) return Conclude();
  return Write(chunk_);
}

absl::Status UploadStream::Impl::Flush() {
  absl::MutexLock lock(&send_mutex_);
  NX_RETURN_IF_ERROR(Ready(false));
  return SendPack();
}

absl::Status UploadStream::Impl::Finish() {
  StopLinger();
  absl::MutexLock lock(&send_mutex_);
  if (conclusion_) return *conclusion_;
  NX_RETURN_IF_ERROR(Ready(false));
  NX_RETURN_IF_ERROR(SendPack());
  half_closed_ = true;
  stream_->WritesDone();
  return Conclude();
}

absl::StatusOr<std::unique_ptr<UploadStream>> UploadStream::Open(std::shared_ptr<Connection> connection,
                                                                 const v1::UploadOpen& open,
                                                                 const UploadStreamOptions& options,
                                                                 OutcomeCallback on_outcome) {
  auto impl = std::make_unique<Impl>(std::move(connection), options, std::move(on_outcome));
  NX_RETURN_IF_ERROR(impl->Start(open));
  return std::unique_ptr<UploadStream>(new UploadStream(std::move(impl)));
}

UploadStream::UploadStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UploadStream::~UploadStream() = default;

const v1::Upload& UploadStream::upload() const { return impl_->upload(); }
absl::Status UploadStream::SendObject(const ObjectStart& start, absl::string_view data,
                                      absl::string_view digest) {
  return impl_->SendObject(start, data, digest);
}
absl::Status UploadStream::BeginObject(const ObjectStart& start) { return impl_->BeginObject(start); }
absl::Status UploadStream::Append(absl::string_view data) { return impl_->Append(data); }
absl::StatusOr<absl::Span<char>> UploadStream::AppendRoom() { return impl_->AppendRoom(); }
absl::Status UploadStream::Appended(size_t count) { return impl_->Appended(count); }
absl::Status UploadStream::EndObject() { return impl_->EndObject(); }
absl::StatusOr<v1::ObjectOutcome> UploadStream::EndObjectAndWait() { return impl_->EndObjectAndWait(); }
absl::Status UploadStream::AbandonObject() { return impl_->AbandonObject(); }
absl::Status UploadStream::Flush() { return impl_->Flush(); }
absl::Status UploadStream::Finish() { return impl_->Finish(); }
void UploadStream::Cancel() { impl_->Cancel(); }
int64_t UploadStream::unacked_objects() const { return impl_->window().objects(); }
int64_t UploadStream::unacked_bytes() const { return impl_->window().bytes(); }

}  // namespace narthex::client
