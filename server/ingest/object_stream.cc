#include "server/ingest/object_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/ingest/object_stream_current.h"

namespace narthex::ingest {
namespace {

// So much of an object may be held without asking for room.
constexpr size_t kHeldMaxBytes = limits::kChunkMaxBytes;  // fixed: one chunk

absl::Status ProtocolError(int64_t sequence, absl::string_view what) {
  return InvalidArgument("UPLOAD_PROTOCOL", absl::StrCat("object ", sequence, ": ", what),
                         {{"sequence", absl::StrCat(sequence)}});
}

}  // namespace

ObjectStream::ObjectStream(StreamDependencies dependencies, prearchive::UploadRow upload,
                           const identify::ProjectDirectory& projects, bool resumed, OutcomeSink sink,
                           Acks acks)
    : dependencies_(dependencies),
      upload_(std::move(upload)),
      projects_(projects),
      resumed_(resumed),
      sink_(std::move(sink)),
      policy_(dependencies.policies.Current()) {
  if (acks == Acks::kOnThread) acks_ = std::thread([this] { RunAcks(); });
}

ObjectStream::~ObjectStream() {
  current_.reset();
  if (acks_.joinable()) Finish().IgnoreError();
}

absl::Status ObjectStream::Failed() {
  absl::MutexLock lock(&mutex_);
  return status_;
}

absl::Status ObjectStream::CommittedAtOnce() { return acks_.joinable() ? absl::OkStatus() : Failed(); }

bool ObjectStream::Answered(int64_t sequence) {
  if (!resumed_) return false;
  auto settled = dependencies_.uploads.Settled(upload_.id(), sequence);
  if (!settled.ok() || !*settled) return false;
  prearchive::Arrived arrived;
  arrived.outcome = **settled;
  arrived.durable_already = true;
  Settle(std::move(arrived), 0);
  return true;
}

absl::Status ObjectStream::Whole(int64_t sequence, absl::string_view data, absl::string_view digest,
                                 absl::string_view transfer_syntax_uid) {
  NX_RETURN_IF_ERROR(BeginObject(sequence));
  if (Answered(sequence)) return absl::OkStatus();
  const std::string xxh3 = Xxh3(data);
  const bool sha = upload_.digest_algorithm() == static_cast<int>(DigestAlgorithm::kSha256);
  const std::string computed = sha ? Sha256(data) : xxh3;
  if (digest != computed) {
    Reject(sequence, Mismatch("the digest does not match the bytes"), data.size(), computed);
    return absl::OkStatus();
  }
  NX_RETURN_IF_ERROR(WholeChecked(sequence, data, computed, xxh3, transfer_syntax_uid));
  return CommittedAtOnce();
}

absl::Status ObjectStream::Own(int64_t sequence, absl::string_view data) {
  NX_RETURN_IF_ERROR(BeginObject(sequence));
  if (Answered(sequence)) return absl::OkStatus();
  const std::string xxh3 = Xxh3(data);
  const bool sha = upload_.digest_algorithm() == static_cast<int>(DigestAlgorithm::kSha256);
  NX_RETURN_IF_ERROR(WholeChecked(sequence, data, sha ? Sha256(data) : xxh3, xxh3, ""));
  return CommittedAtOnce();
}

absl::Status ObjectStream::BeginObject(int64_t sequence) {
  NX_RETURN_IF_ERROR(Failed());
  if (sequence < 0) return ProtocolError(sequence, "sequences begin at 0");
  if (current_) return ProtocolError(sequence, "an object begins while another one is not complete");
  return absl::OkStatus();
}

absl::Status ObjectStream::Add(const Chunk& chunk) {
  NX_RETURN_IF_ERROR(Failed());
  if (chunk.sequence < 0 || chunk.offset < 0)
    return ProtocolError(chunk.sequence, "negative sequence or offset");
  if (skipping_ >= 0) {
    if (chunk.sequence == skipping_) {
      if (chunk.last || chunk.abandon) skipping_ = -1;
      return absl::OkStatus();
    }
    skipping_ = -1;
  }
  if (!current_) {
    if (chunk.offset != 0) return ProtocolError(chunk.sequence, "its first chunk does not begin at offset 0");
    if (Answered(chunk.sequence)) {
      if (!chunk.last) skipping_ = chunk.sequence;
      return absl::OkStatus();
    }
    current_ = std::make_unique<Current>(
        dependencies_.admission,
        upload_.kind() == "dicom" ? SenderBehind(upload_.user(), upload_.address()) : upload_.user());
    current_->sequence = chunk.sequence;
    current_->transfer_syntax_uid = std::string(chunk.transfer_syntax_uid);
    if (upload_.digest_algorithm() == static_cast<int>(DigestAlgorithm::kSha256)) {
      current_->sha256.emplace(CryptoHasher::Sha256());
    }
  }
  if (chunk.sequence != current_->sequence) {
    return ProtocolError(chunk.sequence, "an object begins while another one is not complete");
  }
  if (static_cast<uint64_t>(chunk.offset) != current_->received) {
    return ProtocolError(chunk.sequence,
                         absl::StrCat("a chunk begins at ", chunk.offset, ", expected ", current_->received));
  }
  const auto refuse = [&](const absl::Status& why) {
    const uint64_t size = current_->received;
    current_.reset();
    if (!chunk.last && !chunk.abandon) skipping_ = chunk.sequence;
    Reject(chunk.sequence, why, size, "");
    return absl::OkStatus();
  };
  if (chunk.abandon) {
    return refuse(Error(absl::StatusCode::kAborted, "OBJECT_ABANDONED", "the sender gave the object up"));
  }
  if (chunk.data.size() > limits::kChunkMaxBytes)
    return ProtocolError(chunk.sequence, "a chunk is over 2 MiB");
  if (!chunk.own && Crc32c(chunk.data) != chunk.crc32c)
    return refuse(Mismatch("a chunk's CRC-32C does not match its bytes"));
  current_->received += chunk.data.size();
  if (current_->received > policy_->object_max_bytes) {
    return refuse(ResourceExhausted(
        "OBJECT_TOO_LARGE", absl::StrCat("the object is larger than ", policy_->object_max_bytes, " bytes")));
  }
  current_->xxh3.Update(chunk.data);
  if (current_->sha256) current_->sha256->Update(chunk.data);
  // One chunk that is the whole object is not copied.
  if (!(chunk.last && chunk.offset == 0)) {
    if (absl::Status added = AddToCurrent(chunk.data); !added.ok()) return refuse(added);
  }
  if (!chunk.last) return absl::OkStatus();
  if (chunk.size_bytes != 0 && static_cast<uint64_t>(chunk.size_bytes) != current_->received) {
    return refuse(Mismatch("the object's size does not match its bytes"));
  }
  NX_RETURN_IF_ERROR(FinishChunked(chunk));
  return CommittedAtOnce();
}

absl::Status ObjectStream::AddToCurrent(absl::string_view data) {
  if (!current_->filtered.ok()) return absl::OkStatus();
  if (current_->streaming) {
    current_->data_set.Update(data);
    current_->bulk.Update(data);
    return Stream(data);
  }
  if (current_->held.size() + data.size() > kHeldMaxBytes) NX_RETURN_IF_ERROR(current_->Hold(data.size()));
  current_->held.append(data.data(), data.size());
  return current_->held.size() < current_->next_scan ? absl::OkStatus() : BeginStreaming();
}

}  // namespace narthex::ingest
