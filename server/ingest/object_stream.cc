#include "server/ingest/object_stream.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"

namespace narthex::ingest {
namespace {

using prearchive::Arrived;
using prearchive::Outcome;
using prearchive::OutcomeRow;
using prearchive::Reception;

// Objects up to this size are held until they are complete, so that a duplicate costs no write.
constexpr size_t kHeldMaxBytes = limits::kChunkMaxBytes;

absl::Status ProtocolError(int64_t sequence, absl::string_view what) {
  return InvalidArgument("UPLOAD_PROTOCOL", absl::StrCat("object ", sequence, ": ", what),
                         {{"sequence", absl::StrCat(sequence)}});
}

absl::Status Mismatch(absl::string_view what) {
  return DataLoss("DIGEST_MISMATCH", absl::StrCat(what, "; send the object again"));
}

// Where the data set begins in a Part 10 file whose meta group says its length (PS3.10 7.1); else 0.
size_t DataSetOffset(absl::string_view bytes) {
  static constexpr size_t kGroupLengthEnd = 144;  // preamble, "DICM", (0002,0000) UL
  if (bytes.size() < kGroupLengthEnd || bytes.substr(128, 12) != absl::string_view("DICM\2\0\0\0UL\4\0", 12))
    return 0;
  uint32_t length = 0;
  for (int i = 3; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[140 + i]);
  return length <= bytes.size() - kGroupLengthEnd ? kGroupLengthEnd + length : 0;
}

}  // namespace

// An object that arrives in chunks.
struct ObjectStream::Current {
  int64_t sequence = 0;
  std::string transfer_syntax_uid;
  std::string held;  // its bytes so far, until it is complete or too large to hold
  uint64_t received = 0;
  Xxh3Hasher xxh3;
  Xxh3Hasher data_set;  // of a large object: what stands behind its meta group
  std::optional<CryptoHasher> sha256;
  bool streaming = false;  // bytes go straight to `reception`
  std::unique_ptr<Reception> reception;
  OutcomeRow outcome;
  std::string facts;
};

ObjectStream::ObjectStream(StreamDependencies dependencies, prearchive::UploadRow upload,
                           const identify::ProjectDirectory& projects, bool resumed, OutcomeSink sink)
    : dependencies_(dependencies),
      upload_(std::move(upload)),
      projects_(projects),
      resumed_(resumed),
      sink_(std::move(sink)),
      policy_(dependencies.policies.Current()),
      acks_([this] { RunAcks(); }) {}

ObjectStream::~ObjectStream() {
  current_.reset();
  if (acks_.joinable()) {
    const absl::Status ignored = Finish();
    ignored.IgnoreError();
  }
}

absl::Status ObjectStream::Failed() {
  absl::MutexLock lock(&mutex_);
  return status_;
}

bool ObjectStream::Answered(int64_t sequence) {
  if (!resumed_) return false;
  auto settled = dependencies_.uploads.Settled(upload_.id(), sequence);
  if (!settled.ok() || !*settled) return false;
  Arrived arrived;
  arrived.outcome = **settled;
  arrived.durable_already = true;
  Settle(std::move(arrived), 0);
  return true;
}

absl::Status ObjectStream::Whole(int64_t sequence, absl::string_view data, absl::string_view digest,
                                 absl::string_view transfer_syntax_uid) {
  NX_RETURN_IF_ERROR(Failed());
  if (sequence < 0) return ProtocolError(sequence, "sequences begin at 0");
  if (current_) return ProtocolError(sequence, "an object begins while another one is not complete");
  if (Answered(sequence)) return absl::OkStatus();
  const std::string xxh3 = Xxh3(data);
  const bool sha = upload_.digest_algorithm() == static_cast<int>(DigestAlgorithm::kSha256);
  const std::string computed = sha ? Sha256(data) : xxh3;
  if (digest != computed) {
    Reject(sequence, Mismatch("the digest does not match the bytes"), data.size(), computed);
    return absl::OkStatus();
  }
  return WholeChecked(sequence, data, computed, xxh3, transfer_syntax_uid);
}

absl::Status ObjectStream::WholeChecked(int64_t sequence, absl::string_view data, absl::string_view digest,
                                        absl::string_view xxh3, absl::string_view transfer_syntax_uid) {
  policy_ = dependencies_.policies.Current();
  dicom::ScanOptions options;
  options.attributes = policy_->attributes.get();
  options.transfer_syntax_uid = std::string(transfer_syntax_uid);
  options.object_size = data.size();
  const auto facts = dicom::ScanWhole(data, options);
  if (!facts.ok()) {
    Reject(sequence, facts.status(), data.size(), digest);
    return absl::OkStatus();
  }
  Arrived arrived;
  arrived.outcome.set_digest(std::string(digest));
  arrived.outcome.set_size_bytes(data.size());
  auto reception = Receive(*facts, sequence, arrived.outcome);
  if (!reception.ok()) {
    Reject(sequence, reception.status(), data.size(), digest);
    return absl::OkStatus();
  }
  arrived.reception = *std::move(reception);
  prearchive::ObjectRow row;
  row.set_facts(facts->Encode());
  row.set_received_digest(std::string(digest));
  row.set_received_xxh3(std::string(xxh3));
  row.set_data_set_xxh3(Xxh3(data.substr(DataSetOffset(data))));
  row.set_received_size_bytes(data.size());
  if (absl::Status kept = Conclude(arrived, std::move(row), data); !kept.ok()) {
    arrived.reception.reset();
    Reject(sequence, kept, data.size(), digest);
    return absl::OkStatus();
  }
  Settle(std::move(arrived), data.size());
  return absl::OkStatus();
}

// Keeps the object whose digests stand in `row`, or finds that it is there already, and says so in its
// outcome. `bytes` are what of it was not yet appended.
absl::Status ObjectStream::Conclude(Arrived& arrived, prearchive::ObjectRow row, absl::string_view bytes) {
  OutcomeRow& outcome = arrived.outcome;
  switch (arrived.reception->Decide(row.received_xxh3(), row.data_set_xxh3())) {
    case Reception::Verdict::kDuplicate:
      outcome.set_outcome(static_cast<int>(Outcome::kDuplicate));
      outcome.set_reason("SAME_BYTES");
      return absl::OkStatus();
    case Reception::Verdict::kSameDataSet:
      outcome.set_outcome(static_cast<int>(Outcome::kDuplicate));
      outcome.set_reason("SAME_DATA_SET");
      outcome.set_detail(
          "the same data set is there; only the preamble or the file's meta information differs");
      return absl::OkStatus();
    case Reception::Verdict::kConflict:
      outcome.set_outcome(static_cast<int>(Outcome::kConflict));
      outcome.set_reason("SAME_INSTANCE");
      outcome.set_detail(
          "other bytes with this SOP Instance UID are in the session already; these were not kept");
      return absl::OkStatus();
    case Reception::Verdict::kStore:
      break;
  }
  outcome.set_outcome(static_cast<int>(Outcome::kStored));
  row.set_stored_xxh3(row.received_xxh3());
  row.set_size_bytes(row.received_size_bytes());
  if (!bytes.empty()) NX_RETURN_IF_ERROR(arrived.reception->Append(bytes));
  return arrived.reception->Finish(std::move(row));
}

// Routes the object and joins it to its session. Fills in what the outcome tells of the object.
absl::StatusOr<std::unique_ptr<Reception>> ObjectStream::Receive(const dicom::HeaderFacts& facts,
                                                                 int64_t sequence, OutcomeRow& outcome) {
  outcome.set_upload(upload_.id());
  outcome.set_sequence(sequence);
  outcome.set_sop_instance_uid(std::string(facts.sop_instance_uid()));
  outcome.set_series_instance_uid(std::string(facts.series_instance_uid()));
  if (facts.study_instance_uid().empty()) {
    return InvalidArgument("MISSING_STUDY_INSTANCE_UID",
                           "the object has no Study Instance UID (0020,000D), so it belongs to no session");
  }
  identify::ArrivalContext arrival;
  arrival.called_ae = upload_.called_ae_title();
  arrival.calling_ae = upload_.calling_ae_title();
  arrival.project = upload_.destination().project();
  arrival.subject = upload_.destination().subject();
  arrival.label = upload_.destination().label();
  NX_ASSIGN_OR_RETURN(const identify::Destination to, policy_->router->Route(facts, arrival, projects_));
  prearchive::ArrivingObject object;
  object.key.set_project(to.project);
  object.key.set_study_instance_uid(std::string(facts.study_instance_uid()));
  object.key.set_label(to.label);
  // Nobody is named: the session's label serves, so that the session can be archived.
  object.key.set_subject(to.subject.empty() ? to.label : to.subject);
  object.key.set_source(upload_.kind());
  object.key.set_auto_archive(upload_.destination().auto_archive());
  if (object.key.auto_archive() == 0 && to.auto_archive) {
    // Numbers of narthex.v1.AutoArchive.Mode: AA:true is AUTO, AA:false MANUAL.
    object.key.set_auto_archive(*to.auto_archive == identify::AutoArchive::kYes ? 2 : 1);
  }
  object.sop_instance_uid = std::string(facts.sop_instance_uid());
  object.series_instance_uid = std::string(facts.series_instance_uid());
  object.upload = upload_.id();
  object.sequence = sequence;
  return dependencies_.prearchive.Begin(std::move(object));
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
    current_ = std::make_unique<Current>();
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
  if (Crc32c(chunk.data) != chunk.crc32c)
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
  return FinishChunked(chunk);
}

absl::Status ObjectStream::AddToCurrent(absl::string_view data) {
  if (current_->streaming) {
    current_->data_set.Update(data);
    return current_->reception->Append(data);
  }
  current_->held.append(data.data(), data.size());
  if (current_->held.size() <= kHeldMaxBytes) return absl::OkStatus();
  return BeginLarge();
}

// Stops holding an object that is large: its header is read, and its bytes go to its session from now on.
absl::Status ObjectStream::BeginLarge() {
  policy_ = dependencies_.policies.Current();
  dicom::ScanOptions options;
  options.attributes = policy_->attributes.get();
  options.transfer_syntax_uid = current_->transfer_syntax_uid;
  dicom::HeaderScanner scanner(options);
  NX_ASSIGN_OR_RETURN(const dicom::ScanState state, scanner.Feed(current_->held));
  if (state != dicom::ScanState::kHeaderDone) {
    if (current_->held.size() <= limits::kHeaderMaxBytes) return absl::OkStatus();
    return InvalidArgument("HEADER_TOO_LARGE", absl::StrCat("the header does not end within ",
                                                            limits::kHeaderMaxBytes, " bytes"));
  }
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, scanner.Finish());
  current_->facts = facts.Encode();
  NX_ASSIGN_OR_RETURN(current_->reception, Receive(facts, current_->sequence, current_->outcome));
  current_->streaming = true;
  current_->data_set.Update(absl::string_view(current_->held).substr(DataSetOffset(current_->held)));
  NX_RETURN_IF_ERROR(current_->reception->Append(current_->held));
  std::string().swap(current_->held);
  return absl::OkStatus();
}

absl::Status ObjectStream::FinishChunked(const Chunk& chunk) {
  std::unique_ptr<Current> current = std::move(current_);
  const std::string xxh3 = current->xxh3.Finish();
  const std::string digest = current->sha256 ? current->sha256->Finish() : xxh3;
  if (digest != chunk.digest) {
    Reject(current->sequence, Mismatch("the digest does not match the bytes"), current->received, digest);
    return absl::OkStatus();
  }
  if (!current->streaming) {
    const absl::string_view data = chunk.offset == 0 ? chunk.data : absl::string_view(current->held);
    return WholeChecked(current->sequence, data, digest, xxh3, current->transfer_syntax_uid);
  }
  Arrived arrived;
  arrived.outcome = std::move(current->outcome);
  arrived.outcome.set_digest(digest);
  arrived.outcome.set_size_bytes(current->received);
  prearchive::ObjectRow row;
  row.set_facts(current->facts);
  row.set_received_digest(digest);
  row.set_received_xxh3(xxh3);
  row.set_data_set_xxh3(current->data_set.Finish());
  row.set_received_size_bytes(current->received);
  arrived.reception = std::move(current->reception);
  if (absl::Status kept = Conclude(arrived, std::move(row), ""); !kept.ok()) {
    arrived.reception.reset();
    Reject(current->sequence, kept, current->received, digest);
    return absl::OkStatus();
  }
  // Its bytes are bounded by staging's own buffers, so they do not count as waiting here.
  Settle(std::move(arrived), 0);
  return absl::OkStatus();
}

void ObjectStream::Reject(int64_t sequence, const absl::Status& why, uint64_t size_bytes,
                          absl::string_view digest) {
  const std::string reason = ErrorReason(why);
  Arrived arrived;
  arrived.outcome.set_upload(upload_.id());
  arrived.outcome.set_sequence(sequence);
  arrived.outcome.set_outcome(static_cast<int>(Outcome::kRejected));
  arrived.outcome.set_reason(reason.empty() ? "INTERNAL" : reason);
  arrived.outcome.set_detail(std::string(why.message()));
  arrived.outcome.set_digest(std::string(digest));
  arrived.outcome.set_size_bytes(size_bytes);
  Settle(std::move(arrived), 0);
}

void ObjectStream::Settle(Arrived arrived, uint64_t size_bytes) {
  absl::MutexLock lock(&mutex_);
  const auto room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return (waiting_bytes_ < limits::kUploadUnackedMaxBytes &&
            waiting_.size() < limits::kUploadUnackedMaxObjects) ||
           !status_.ok();
  };
  mutex_.Await(absl::Condition(&room));
  waiting_.push_back(std::move(arrived));
  waiting_bytes_ += size_bytes;
}

void ObjectStream::RunAcks() {
  while (true) {
    std::vector<Arrived> batch;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [&]()
                             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return finished_ || !waiting_.empty(); };
      mutex_.Await(absl::Condition(&awake));
      if (waiting_.empty()) return;
      batch.swap(waiting_);
      waiting_bytes_ = 0;
      if (!status_.ok()) continue;  // after an error nothing is acknowledged
    }
    auto outcomes = dependencies_.prearchive.Commit(std::move(batch));
    if (!outcomes.ok()) {
      Log(LogLevel::kError, "objects could not be committed",
          {{"upload", upload_.id()}, {"error", outcomes.status()}});
      std::function<void()> on_failure;
      {
        absl::MutexLock lock(&mutex_);
        status_ = outcomes.status();
        on_failure.swap(on_failure_);
      }
      if (on_failure) on_failure();
      continue;
    }
    std::map<int, int> counts;
    for (const OutcomeRow& outcome : *outcomes) ++counts[outcome.outcome()];
    for (const auto& [outcome, count] : counts) {
      Metrics::Global().Count("objects_total", "Objects received, by outcome.", count,
                              {{"outcome", std::string(OutcomeName(static_cast<Outcome>(outcome)))}});
    }
    // If the sender is gone, what it sent is kept all the same.
    sink_(*outcomes);
  }
}

void ObjectStream::OnFailure(std::function<void()> callback) {
  absl::MutexLock lock(&mutex_);
  on_failure_ = std::move(callback);
}

absl::Status ObjectStream::Finish() {
  if (current_) {
    const int64_t sequence = current_->sequence;
    const uint64_t received = current_->received;
    current_.reset();
    Reject(sequence,
           Error(absl::StatusCode::kAborted, "OBJECT_ABANDONED", "the stream ended within the object"),
           received, "");
  }
  {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
  }
  acks_.join();
  absl::MutexLock lock(&mutex_);
  return status_;
}

}  // namespace narthex::ingest
