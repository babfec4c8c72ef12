// What the header says decides: an object's session, and whether it is kept.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/ingest/difference.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/object_stream_current.h"

namespace narthex::ingest {
namespace {

using prearchive::Arrived;
using prearchive::Outcome;
using prearchive::OutcomeRow;
using prearchive::Reception;

constexpr size_t kPreambleBytes = 128;

// Where the data set begins in a Part 10 file whose meta group says its length (PS3.10 7.1); else 0.
size_t DataSetOffset(absl::string_view bytes) {
  static constexpr size_t kGroupLengthEnd = 144;  // preamble, "DICM", (0002,0000) UL
  if (bytes.size() < kGroupLengthEnd ||
      bytes.substr(kPreambleBytes, 12) != absl::string_view("DICM\2\0\0\0UL\4\0", 12))
    return 0;
  uint32_t length = 0;
  for (int i = 3; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[140 + i]);
  return length <= bytes.size() - kGroupLengthEnd ? kGroupLengthEnd + length : 0;
}

// Whether what is kept of an object begins with another preamble than `bytes`, its beginning.
bool ClearsPreamble(const Policy& policy, const dicom::HeaderFacts& facts, absl::string_view bytes) {
  return policy.clears_preambles && facts.has_preamble() &&
         bytes.substr(0, kPreambleBytes).find_first_not_of('\0') != absl::string_view::npos;
}

std::string WithClearPreamble(absl::string_view bytes) {
  return absl::StrCat(std::string(kPreambleBytes, '\0'), bytes.substr(kPreambleBytes));
}

// What is stored of an object: `row` tells what was received, and its facts. `cleared_xxh3` is of the object
// behind a cleared preamble; "": that is as it came.
void DescribeStored(const SiteStage* stage, std::string cleared_xxh3, prearchive::ObjectRow& row) {
  if (stage == nullptr) {
    row.set_stored_xxh3(cleared_xxh3.empty() ? row.received_xxh3() : std::move(cleared_xxh3));
    row.set_size_bytes(row.received_size_bytes());
    return;
  }
  row.set_facts(stage->facts().Encode());
  row.set_stored_xxh3(stage->xxh3());
  row.set_size_bytes(stage->size_bytes());
  row.set_anonymized(true);
  for (const std::string& step : stage->plan().summary) row.add_applied(step);
  row.set_locally_anonymized(stage->verify_only());
  for (const auto& [target, value] : stage->outcome().exports) {
    prearchive::ExportedRow& to = *row.add_exported();
    to.set_target(target);
    to.set_value(value.Reveal());
  }
  for (const anonymize::Leftover& leftover : stage->outcome().leftovers.found) {
    prearchive::LeftoverRow& to = *row.add_leftovers();
    to.set_path(leftover.path);
    to.set_keyword(leftover.name);
    to.set_source(leftover.source);
    to.set_count(leftover.count);
  }
}

size_t HeadBytes(const dicom::HeaderFacts& facts) { return facts.header_bytes() + kBulkHeadBytes; }

absl::string_view HeadOf(const dicom::HeaderFacts& facts, absl::string_view bytes) {
  return bytes.substr(0, HeadBytes(facts));
}

// Says of an object that other bytes of its instance are there, and in what they differ.
void TellOther(Outcome what, absl::string_view fate, const Reception& reception,
               const prearchive::ObjectRow& row, absl::string_view head, OutcomeRow& outcome) {
  outcome.set_outcome(static_cast<int>(what));
  outcome.set_reason("SAME_INSTANCE");
  const std::string difference = reception.other() == nullptr ? "" : DescribeDifference(reception, row, head);
  outcome.set_detail(absl::StrCat("other bytes with this SOP Instance UID are in the session already; ", fate,
                                  difference.empty() ? "" : "; ", difference));
}

}  // namespace

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
  const absl::Status kept = [&]() -> absl::Status {
    NX_ASSIGN_OR_RETURN(prearchive::ArrivingObject object, Receive(*facts, sequence, arrived.outcome));
    NX_ASSIGN_OR_RETURN(const std::unique_ptr<SiteStage> stage, NewStage(object, transfer_syntax_uid));
    std::string cleared;
    if (ClearsPreamble(*policy_, *facts, data)) cleared = WithClearPreamble(data);
    const absl::string_view kept = cleared.empty() ? data : cleared;
    if (stage != nullptr) {
      stage->Borrow(kept);
      NX_RETURN_IF_ERROR(stage->Add(kept));
      NX_RETURN_IF_ERROR(stage->Finish());
    }
    NX_ASSIGN_OR_RETURN(arrived.reception,
                        Join(std::move(object), stage ? stage->facts() : *facts, arrived.outcome));
    prearchive::ObjectRow row;
    row.set_facts(facts->Encode());
    row.set_received_digest(std::string(digest));
    row.set_received_xxh3(std::string(xxh3));
    row.set_data_set_xxh3(Xxh3(data.substr(DataSetOffset(data))));
    row.set_received_size_bytes(data.size());
    row.set_bulk_xxh3(Xxh3(data.substr(std::min<uint64_t>(facts->header_bytes(), data.size()))));
    DescribeStored(stage.get(), cleared.empty() ? "" : Xxh3(cleared), row);
    if (stage == nullptr) return Conclude(arrived, std::move(row), {kept}, HeadOf(*facts, kept));
    return Conclude(arrived, std::move(row), stage->pieces(), stage->Front(HeadBytes(stage->facts())));
  }();
  if (!kept.ok()) {
    arrived.reception.reset();
    Reject(sequence, kept, data.size(), digest);
    return absl::OkStatus();
  }
  Settle(std::move(arrived), data.size());
  return absl::OkStatus();
}

// Keeps the object whose digests stand in `row`, or finds that it is there already, and says so in its
// outcome. `pieces` are what of it was not yet appended; `head` is its header and a little more.
absl::Status ObjectStream::Conclude(Arrived& arrived, prearchive::ObjectRow row,
                                    absl::Span<const absl::string_view> pieces, absl::string_view head) {
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
      TellOther(Outcome::kConflict, "these were not kept", *arrived.reception, row, head, outcome);
      return absl::OkStatus();
    case Reception::Verdict::kReplace:
      TellOther(Outcome::kReplaced, "these are in their place", *arrived.reception, row, head, outcome);
      break;
    case Reception::Verdict::kContest:
      TellOther(Outcome::kConflict, "these are kept beside them until somebody decides", *arrived.reception,
                row, head, outcome);
      break;
    case Reception::Verdict::kStore:
      outcome.set_outcome(static_cast<int>(Outcome::kStored));
      break;
  }
  for (const absl::string_view piece : pieces) NX_RETURN_IF_ERROR(arrived.reception->Append(piece));
  return arrived.reception->Finish(std::move(row));
}

// Stops holding an object whose header is there: its bytes go to its session from now on.
absl::Status ObjectStream::BeginStreaming() {
  policy_ = dependencies_.policies.Current();
  dicom::ScanOptions options;
  options.attributes = policy_->attributes.get();
  options.transfer_syntax_uid = current_->transfer_syntax_uid;
  dicom::HeaderScanner scanner(options);
  NX_ASSIGN_OR_RETURN(const dicom::ScanState state, scanner.Feed(current_->held));
  if (state != dicom::ScanState::kHeaderDone) {
    current_->next_scan = 2 * current_->held.size();  // all of it is read again then
    if (current_->held.size() <= limits::kHeaderMaxBytes) return absl::OkStatus();
    return InvalidArgument("HEADER_TOO_LARGE", absl::StrCat("the header does not end within ",
                                                            limits::kHeaderMaxBytes.get(), " bytes"));
  }
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, scanner.Finish());
  current_->facts = facts.Encode();
  auto object = Receive(facts, current_->sequence, current_->outcome);
  if (IsFiltered(object.status())) {
    // The rest is looked at for its digest only.
    current_->filtered = object.status();
    std::string().swap(current_->held);
    current_->Let();
    return absl::OkStatus();
  }
  NX_ASSIGN_OR_RETURN(current_->object, std::move(object));
  NX_ASSIGN_OR_RETURN(current_->stage, NewStage(current_->object, current_->transfer_syntax_uid));
  if (current_->stage == nullptr) {
    NX_ASSIGN_OR_RETURN(current_->reception, Join(std::move(current_->object), facts, current_->outcome));
  }
  current_->streaming = true;
  absl::string_view held = current_->held;
  current_->data_set.Update(held.substr(DataSetOffset(held)));
  current_->bulk.Update(held.substr(std::min<uint64_t>(facts.header_bytes(), held.size())));
  if (ClearsPreamble(*policy_, facts, held)) {
    current_->held = WithClearPreamble(held);
    current_->cleared.emplace();
    held = current_->held;
  }
  if (current_->stage == nullptr) current_->head = std::string(HeadOf(facts, held));
  NX_RETURN_IF_ERROR(Stream(current_->held));
  std::string().swap(current_->held);
  return absl::OkStatus();
}

// More bytes of an object whose header was there.
absl::Status ObjectStream::Stream(absl::string_view data) {
  if (current_->cleared) current_->cleared->Update(data);
  if (current_->stage == nullptr) return current_->reception->Append(data);
  NX_RETURN_IF_ERROR(current_->stage->Add(data));
  if (current_->reception != nullptr || !current_->stage->header_done()) return absl::OkStatus();
  return JoinStaged();
}

// The stage has done the header: from now on its output goes to the session.
absl::Status ObjectStream::JoinStaged() {
  current_->head = current_->stage->Front(HeadBytes(current_->stage->facts()));
  NX_ASSIGN_OR_RETURN(current_->reception,
                      Join(std::move(current_->object), current_->stage->facts(), current_->outcome));
  return current_->stage->PassOn(
      [reception = current_->reception.get()](absl::string_view piece) { return reception->Append(piece); });
}

absl::Status ObjectStream::FinishChunked(const Chunk& chunk) {
  const std::string xxh3 = current_->xxh3.Finish();
  const std::string digest = current_->sha256 ? current_->sha256->Finish() : xxh3;
  if (!chunk.own && digest != chunk.digest) {
    const std::unique_ptr<Current> refused = std::move(current_);
    Reject(refused->sequence, Mismatch("the digest does not match the bytes"), refused->received, digest);
    return absl::OkStatus();
  }
  if (!current_->filtered.ok()) {
    const std::unique_ptr<Current> refused = std::move(current_);
    Reject(refused->sequence, refused->filtered, refused->received, digest);
    return absl::OkStatus();
  }
  if (!current_->streaming) {
    const std::unique_ptr<Current> current = std::move(current_);
    const absl::string_view data = chunk.offset == 0 ? chunk.data : absl::string_view(current->held);
    return WholeChecked(current->sequence, data, digest, xxh3, current->transfer_syntax_uid);
  }
  if (current_->stage != nullptr) {
    absl::Status passed = current_->stage->Finish();
    if (passed.ok() && current_->reception == nullptr) passed = JoinStaged();
    if (!passed.ok()) {
      const std::unique_ptr<Current> refused = std::move(current_);
      Reject(refused->sequence, passed, refused->received, digest);
      return absl::OkStatus();
    }
  }
  const std::unique_ptr<Current> current = std::move(current_);
  Arrived arrived;
  arrived.outcome = std::move(current->outcome);
  arrived.outcome.set_digest(digest);
  arrived.outcome.set_size_bytes(current->received);
  prearchive::ObjectRow row;
  row.set_facts(current->facts);
  row.set_received_digest(digest);
  row.set_received_xxh3(xxh3);
  row.set_data_set_xxh3(current->data_set.Finish());
  row.set_bulk_xxh3(current->bulk.Finish());
  row.set_received_size_bytes(current->received);
  DescribeStored(current->stage.get(), current->cleared ? current->cleared->Finish() : "", row);
  arrived.reception = std::move(current->reception);
  if (absl::Status kept = Conclude(arrived, std::move(row), {}, current->head); !kept.ok()) {
    arrived.reception.reset();
    Reject(current->sequence, kept, current->received, digest);
    return absl::OkStatus();
  }
  // Its bytes are bounded by staging's own buffers, so they do not count as waiting here.
  Settle(std::move(arrived), 0);
  return absl::OkStatus();
}

}  // namespace narthex::ingest
