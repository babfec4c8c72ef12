#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/crc32c.h"
#include "base/ids.h"
#include "base/limits.h"
#include "clients/cpp/fake_server_state.h"
#include "clients/cpp/object_hasher.h"

namespace narthex::client {
namespace {

void FillDurable(const std::map<int64_t, v1::ObjectOutcome>& outcomes, v1::Upload* upload) {
  upload->clear_durable();
  upload->clear_outcome_counts();
  for (const auto& [sequence, outcome] : outcomes) {
    const int count = upload->durable_size();
    if (count > 0 && upload->durable(count - 1).last() == sequence - 1) {
      upload->mutable_durable(count - 1)->set_last(sequence);
    } else {
      auto* range = upload->add_durable();
      range->set_first(sequence);
      range->set_last(sequence);
    }
    ++(*upload->mutable_outcome_counts())[v1::ObjectOutcome::Outcome_Name(outcome.outcome())];
  }
}

grpc::Status UploadNotFound() {
  return FakeError(grpc::StatusCode::NOT_FOUND, "UPLOAD_NOT_FOUND", "there is no such upload");
}

}  // namespace

// One Upload stream.
class FakeServer::Uploads::StreamHandler {
 public:
  using Stream = grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>;
  StreamHandler(State& state, Stream& stream, std::string upload)
      : state_(state), stream_(stream), upload_(std::move(upload)), hasher_(v1::DIGEST_ALGORITHM_XXH3_128) {}

  // OK to go on.
  grpc::Status Take(const v1::UploadRequest& request) {
    if (request.has_pack()) {
      absl::MutexLock lock(&state_.mutex);
      ++state_.received_packs;
    }
    for (const v1::WholeObject& object : request.pack().objects()) {
      if (open_) return Protocol("a pack within an object");
      bytes_ = object.data();
      size_ = static_cast<int64_t>(bytes_.size());
      hasher_.Update(bytes_);
      grpc::Status status = End(object.sequence(), object.digest(), "");
      if (!status.ok()) return status;
    }
    return request.has_chunk() ? TakeChunk(request.chunk()) : grpc::Status::OK;
  }

  grpc::Status Flush() {
    std::reverse(held_.begin(), held_.end());
    for (v1::ObjectOutcome& outcome : held_) {
      v1::UploadResponse response;
      *response.add_outcomes() = std::move(outcome);
      stream_.Write(response);
    }
    held_.clear();
    return grpc::Status::OK;
  }

 private:
  grpc::Status Protocol(const std::string& what) {
    return FakeError(grpc::StatusCode::INVALID_ARGUMENT, "UPLOAD_PROTOCOL", what);
  }

  grpc::Status TakeChunk(const v1::ObjectChunk& chunk) {
    bool forget = false;
    {
      absl::MutexLock lock(&state_.mutex);
      ++state_.received_chunks;
      forget = state_.faults.forget_bytes;
    }
    if (chunk.data().size() > limits::kChunkMaxBytes) return Protocol("a chunk that is too large");
    if (open_ && sequence_ != chunk.sequence()) return Protocol("an object within an object");
    if (!open_ && chunk.offset() != 0) return Protocol("an object that does not start at 0");
    if (open_ && chunk.offset() != size_) return Protocol("a gap between chunks");
    if (!open_) {
      bytes_.clear();
      size_ = 0;
      hasher_.Reset();
    }
    open_ = true;
    sequence_ = chunk.sequence();
    if (chunk.abandon()) return End(sequence_, "", "OBJECT_ABANDONED");
    if (Crc32c(chunk.data()) != chunk.crc32c()) return Protocol("a wrong checksum");
    hasher_.Update(chunk.data());
    size_ += static_cast<int64_t>(chunk.data().size());
    if (!forget) bytes_ += chunk.data();
    if (!chunk.last()) return grpc::Status::OK;
    if (chunk.size_bytes() != size_) return Protocol("a wrong size");
    return End(sequence_, chunk.digest(), "");
  }

  grpc::Status End(int64_t sequence, const std::string& digest, const std::string& reason) {
    open_ = false;
    const std::string computed = hasher_.Finish();
    v1::ObjectOutcome outcome;
    absl::Duration delay;
    bool broken = false;
    bool lost = false;
    {
      absl::MutexLock lock(&state_.mutex);
      const bool damaged =
          state_.faults.damage_object >= 0 && state_.received_objects == state_.faults.damage_object;
      ++state_.received_objects;
      auto& row = state_.uploads[upload_];
      if (row.outcomes.count(sequence) != 0) {
        outcome = row.outcomes[sequence];
      } else {
        outcome = Decide(sequence, damaged ? "?" : digest, computed, reason);
        row.outcomes[sequence] = outcome;
        if (outcome.outcome() == v1::ObjectOutcome::STORED && !state_.faults.forget_bytes) {
          row.objects[sequence] = bytes_;
        }
      }
      delay = state_.faults.outcome_delay;
      if (state_.faults.break_stream_after_outcomes >= 0 &&
          state_.faults.break_stream_after_outcomes-- == 0) {
        broken = true;
        lost = state_.faults.lose_outcome_at_break;
      }
      if (!lost) held_.push_back(outcome);
    }
    absl::SleepFor(delay);
    if (broken) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the cable was pulled");
    return static_cast<int>(held_.size()) >= Group() ? Flush() : grpc::Status::OK;
  }

  int Group() {
    absl::MutexLock lock(&state_.mutex);
    return state_.faults.reverse_group;
  }

  v1::ObjectOutcome Decide(int64_t sequence, const std::string& digest, const std::string& computed,
                           const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mutex) {
    v1::ObjectOutcome outcome;
    outcome.set_sequence(sequence);
    outcome.set_size_bytes(size_);
    outcome.set_digest(absl::BytesToHexString(computed));
    outcome.set_outcome(v1::ObjectOutcome::REJECTED);
    if (!reason.empty()) {
      outcome.set_reason(reason);
    } else if (digest != computed) {
      outcome.set_reason("DIGEST_MISMATCH");
    } else if (bytes_.rfind("junk", 0) == 0) {
      outcome.set_reason("NOT_DICOM");
      outcome.set_detail("the object is not DICOM");
    } else {
      const bool fresh = state_.known_digests.insert(computed).second;
      outcome.set_outcome(fresh ? v1::ObjectOutcome::STORED : v1::ObjectOutcome::DUPLICATE);
      if (!fresh) outcome.set_reason("SAME_BYTES");
      outcome.set_prearchive_session("prearchiveSessions/one");
    }
    return outcome;
  }

  State& state_;
  Stream& stream_;
  const std::string upload_;
  ObjectHasher hasher_;
  std::string bytes_;
  int64_t size_ = 0;
  int64_t sequence_ = 0;
  bool open_ = false;
  std::vector<v1::ObjectOutcome> held_;
};

v1::Upload FakeServer::Uploads::Make(const v1::CreateUploadRequest& request) {
  absl::MutexLock lock(&state_.mutex);
  v1::Upload upload;
  upload.set_name(absl::StrCat("uploads/", NewRandomId()));
  *upload.mutable_destination() = request.destination();
  upload.set_state(v1::Upload::OPEN);
  upload.set_digest_algorithm(v1::DIGEST_ALGORITHM_XXH3_128);
  state_.uploads[upload.name()].upload = upload;
  return upload;
}

grpc::Status FakeServer::Uploads::CreateUpload(grpc::ServerContext* context,
                                               const v1::CreateUploadRequest* request, v1::Upload* response) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  if (request->destination().project() == "NOWHERE") {
    return FakeError(grpc::StatusCode::NOT_FOUND, "PROJECT_NOT_FOUND",
                     "there is no project NOWHERE; `narthex project list` lists them",
                     {{"project", "NOWHERE"}});
  }
  *response = Make(*request);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Uploads::GetUpload(grpc::ServerContext* context, const v1::GetUploadRequest* request,
                                            v1::Upload* response) {
  absl::MutexLock lock(&state_.mutex);
  if (state_.faults.unavailable_calls > 0) {
    --state_.faults.unavailable_calls;
    return FakeError(grpc::StatusCode::UNAVAILABLE, "DATABASE_UNAVAILABLE", "the database cannot be reached");
  }
  auto it = state_.uploads.find(request->name());
  if (it == state_.uploads.end()) return UploadNotFound();
  FillDurable(it->second.outcomes, &it->second.upload);
  *response = it->second.upload;
  return grpc::Status::OK;
}

grpc::Status FakeServer::Uploads::Upload(
    grpc::ServerContext* context, grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) {
  if (grpc::Status status = state_.Check(*context); !status.ok()) return status;
  v1::UploadRequest request;
  if (!stream->Read(&request) || !request.has_open()) {
    return FakeError(grpc::StatusCode::INVALID_ARGUMENT, "UPLOAD_PROTOCOL",
                     "the first message must be `open`");
  }
  v1::UploadResponse response;
  if (request.open().name().empty()) {
    v1::CreateUploadRequest create;
    *create.mutable_destination() = request.open().destination();
    *response.mutable_opened() = Make(create);
  } else {
    absl::MutexLock lock(&state_.mutex);
    auto it = state_.uploads.find(request.open().name());
    if (it == state_.uploads.end()) return UploadNotFound();
    *response.mutable_opened() = it->second.upload;
  }
  stream->Write(response);
  StreamHandler handler(state_, *stream, response.opened().name());
  while (stream->Read(&request)) {
    if (grpc::Status status = handler.Take(request); !status.ok()) return status;
  }
  return handler.Flush();
}

grpc::Status FakeServer::Uploads::FindMissing(grpc::ServerContext* context,
                                              const v1::FindMissingRequest* request,
                                              v1::FindMissingResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  for (const std::string& digest : request->digests()) {
    if (state_.known_digests.count(digest) == 0) response->add_missing(digest);
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::Uploads::CommitUpload(grpc::ServerContext* context,
                                               const v1::CommitUploadRequest* request,
                                               v1::CommitUploadResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  auto it = state_.uploads.find(request->name());
  if (it == state_.uploads.end()) return UploadNotFound();
  State::UploadRow& row = it->second;
  const auto count = static_cast<int64_t>(row.outcomes.size());
  if (request->expected_count() != 0 && request->expected_count() != count) {
    return FakeError(grpc::StatusCode::FAILED_PRECONDITION, "UPLOAD_INCOMPLETE",
                     absl::StrCat("the upload holds ", count, " objects, not ", request->expected_count()));
  }
  row.upload.set_state(v1::Upload::COMMITTED);
  row.upload.clear_prearchive_sessions();
  row.upload.add_prearchive_sessions("prearchiveSessions/one");
  FillDurable(row.outcomes, &row.upload);
  v1::PrearchiveSession& session = state_.prearchive["prearchiveSessions/one"];
  session.set_name("prearchiveSessions/one");
  session.set_state(v1::PrearchiveSession::READY);
  session.set_project(row.upload.destination().project());
  session.set_label("L1");
  *response->mutable_upload() = row.upload;
  response->add_build_operations(state_.Finished(session).name());
  return grpc::Status::OK;
}

grpc::Status FakeServer::Uploads::ImportArchive(grpc::ServerContext* context,
                                                grpc::ServerReader<v1::ImportArchiveRequest>* reader,
                                                v1::ImportArchiveResponse* response) {
  v1::ImportArchiveRequest request;
  if (!reader->Read(&request) || !request.has_options()) {
    return FakeError(grpc::StatusCode::INVALID_ARGUMENT, "UPLOAD_PROTOCOL",
                     "the first message must be `options`");
  }
  v1::CreateUploadRequest create;
  *create.mutable_destination() = request.options().destination();
  *response->mutable_upload() = Make(create);
  (*response->mutable_upload()->mutable_outcome_counts())["STORED"] = 1;
  absl::MutexLock lock(&state_.mutex);
  state_.imported.clear();
  while (reader->Read(&request)) state_.imported += request.data();
  if (state_.imported.rfind("PK", 0) == 0) return grpc::Status::OK;
  return FakeError(grpc::StatusCode::INVALID_ARGUMENT, "ARCHIVE_UNREADABLE", "the file is not a zip file");
}

grpc::Status FakeServer::Uploads::ImportInbox(grpc::ServerContext* context,
                                              const v1::ImportInboxRequest* request,
                                              google::longrunning::Operation* response) {
  absl::MutexLock lock(&state_.mutex);
  v1::ImportArchiveResponse result;
  result.mutable_upload()->set_name("uploads/inbox");
  (*result.mutable_upload()->mutable_outcome_counts())["STORED"] = 2;
  *response = state_.Finished(result);
  return grpc::Status::OK;
}

grpc::Status FakeServer::Uploads::ListUploadOutcomes(grpc::ServerContext* context,
                                                     const v1::ListUploadOutcomesRequest* request,
                                                     v1::ListUploadOutcomesResponse* response) {
  absl::MutexLock lock(&state_.mutex);
  const auto& outcomes = state_.uploads[request->name()].outcomes;
  const int64_t first = request->page_token().empty() ? 0 : std::stoll(request->page_token());
  auto it = outcomes.lower_bound(first);
  for (; it != outcomes.end() && response->outcomes_size() < 2; ++it) *response->add_outcomes() = it->second;
  if (it != outcomes.end()) response->set_next_page_token(std::to_string(it->first));
  return grpc::Status::OK;
}

}  // namespace narthex::client
