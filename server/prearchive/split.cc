// Turns part of a session into another one. The bytes of that part are copied; then one write of the index
// makes both sessions what they will be. Before that write neither has changed, whatever happens.

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {
namespace {

using staging::Durability;
using staging::IndexBatch;
using staging::Table;

std::string Tombstone(absl::string_view id) { return absl::StrCat("removed/", id); }

}  // namespace

// Where the copies of a part are, and what is written of them.
struct Prearchive::SplitWork {
  std::string id, new_id, project;
  std::shared_ptr<staging::SessionLog> from, to;
  staging::Position end;
  uint32_t objects = 0, replaced = 0, contested = 0;
  uint64_t bytes = 0;
  IndexBatch batch;
};

absl::StatusOr<SplitParts> Prearchive::SplitOff(absl::string_view id, const SplitRequest& request) {
  NX_ASSIGN_OR_RETURN(const SessionRow row, Get(id));
  if (row.state() != static_cast<int>(State::kSeparating)) return Illegal(row, Event::kSplitDone);
  SplitWork work;
  work.id = row.id();
  work.new_id = row.split_into();
  work.project = row.key().project();
  // Until the last write a crash must not make a session of the copies.
  IndexBatch tombstone;
  tombstone.Put(Table::kMeta, Tombstone(work.new_id), "");
  NX_RETURN_IF_ERROR(index_.Write(tombstone, Durability::kPowerLoss));
  NX_RETURN_IF_ERROR(store_.Remove(work.new_id));
  NX_ASSIGN_OR_RETURN(work.from, OpenLog(id));
  NX_ASSIGN_OR_RETURN(work.to, store_.OpenSession(work.new_id));
  SessionRow other = row;
  other.set_id(work.new_id);
  other.mutable_key()->set_label(request.label);
  NX_RETURN_IF_ERROR(CopyPart(request, other.key(), work));
  NX_RETURN_IF_ERROR(work.to->Sync(work.end));
  return FinishSplit(request, std::move(other), work);
}

absl::Status Prearchive::CopyPart(const SplitRequest& request, const SessionKeyRow& key, SplitWork& work) {
  absl::Status status;
  const std::string prefix = keys::Text(work.id);
  NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   ObjectRow object;
                                   object.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   if (!request.moves(object.series_instance_uid())) return true;
                                   status = request.stopping && request.stopping()
                                                ? Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN",
                                                        "the split goes on at the next start")
                                                : CopyObject(std::move(object), key, work);
                                   return status.ok();
                                 }));
  return status;
}

absl::Status Prearchive::CopyObject(ObjectRow object, const SessionKeyRow& key, SplitWork& work) {
  NX_ASSIGN_OR_RETURN(const auto writer, work.to->StartObject());
  NX_RETURN_IF_ERROR(work.from->Read(StoredObjectOf(object),
                                     [&](absl::string_view piece) { return writer->Append(piece); }));
  if (object.size_bytes() == 0) NX_RETURN_IF_ERROR(writer->Append(""));
  object.clear_extents();
  *object.mutable_session() = key;
  NX_ASSIGN_OR_RETURN(const staging::StoredObject stored, writer->Finish(object.SerializeAsString()));
  object.clear_session();
  for (const staging::Extent& extent : stored.extents) {
    ExtentRow& to = *object.add_extents();
    to.set_segment(extent.segment);
    to.set_offset(extent.offset);
    to.set_length(extent.length);
    to.set_crc32c(extent.crc32c);
  }
  work.end = std::max(work.end, stored.position);
  work.batch.Delete(Table::kObjects, keys::Object(work.id, object.number()));
  work.batch.Put(Table::kObjects, keys::Object(work.new_id, object.number()), object.SerializeAsString());
  if (object.superseded_by() != 0) {
    ++work.replaced;
    return absl::OkStatus();
  }
  work.batch.Delete(Table::kDigests, keys::Digest(work.project, object.received_xxh3(), work.id));
  work.batch.Put(Table::kDigests, keys::Digest(work.project, object.received_xxh3(), work.new_id),
                 keys::Number(object.number()));
  if (object.contested()) {
    ++work.contested;
    return absl::OkStatus();
  }
  for (const std::string& name : {object.sop_instance_uid(), keys::ReceivedAs(object)}) {
    work.batch.Delete(Table::kInstances, keys::Instance(work.id, name));
    work.batch.Put(Table::kInstances, keys::Instance(work.new_id, name), keys::Number(object.number()));
  }
  ++work.objects;
  work.bytes += object.size_bytes();
  return absl::OkStatus();
}

// Every outcome goes with its series, so that both sessions' outcomes still add up to what was received.
absl::Status Prearchive::MoveOutcomes(const SplitRequest& request, SessionRow& row, SessionRow& other,
                                      SplitWork& work) {
  row.clear_outcome_counts();
  other.clear_outcome_counts();
  const std::string prefix = keys::Text(work.id);
  return index_.Scan(
      Table::kOutcomes, prefix, keys::EndOf(prefix), [&](absl::string_view key, absl::string_view value) {
        OutcomeRow outcome;
        outcome.ParseFromArray(value.data(), static_cast<int>(value.size()));
        const bool moves = request.moves(outcome.series_instance_uid());
        ++(*(moves ? other : row).mutable_outcome_counts())[outcome.outcome()];
        if (!moves) return true;
        outcome.set_session(work.new_id);
        work.batch.Delete(Table::kOutcomes, key);
        work.batch.Put(Table::kOutcomes, keys::Object(work.new_id, keys::LastNumber(key)),
                       outcome.SerializeAsString());
        work.batch.Put(Table::kUploadObjects, keys::UploadObject(outcome.upload(), outcome.sequence()),
                       outcome.SerializeAsString());
        return true;
      });
}

absl::StatusOr<SplitParts> Prearchive::FinishSplit(const SplitRequest& request, SessionRow other,
                                                   SplitWork& work) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(work.id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone) return NoSession(work.id);
  SessionRow row = session->row;
  row.set_state(static_cast<int>(State::kReady));
  row.mutable_key()->set_label(request.remaining_label);
  row.set_object_count(row.object_count() - work.objects);
  row.set_size_bytes(row.size_bytes() - work.bytes);
  row.set_replaced_count(row.replaced_count() - work.replaced);
  row.set_contested_count(row.contested_count() - work.contested);
  row.set_moved_below(row.next_number());
  for (const std::string& series : request.series) row.add_moved_series(series);
  row.set_split_part(request.remaining_part);
  row.set_split_route(keys::OfSession(session->row.key()));
  other.set_state(static_cast<int>(State::kReady));
  other.set_object_count(work.objects);
  other.set_size_bytes(work.bytes);
  other.set_replaced_count(work.replaced);
  other.set_contested_count(work.contested);
  other.set_split_part(request.part);
  other.set_split_route(row.split_route());
  other.clear_split_into();
  other.mutable_indexed()->set_segment(work.end.segment);
  other.mutable_indexed()->set_offset(work.end.offset);
  NX_RETURN_IF_ERROR(MoveOutcomes(request, row, other, work));
  request.show(row, other);

  work.batch.Delete(Table::kMeta, Tombstone(work.new_id));
  SplitRouteRow route;
  const bool pet_goes = request.part == kPetPart;
  route.set_pet_label(pet_goes ? request.label : request.remaining_label);
  route.set_rest_label(pet_goes ? request.remaining_label : request.label);
  for (const std::string& series : pet_goes ? request.series : request.remaining_series)
    route.add_pet_series(series);
  for (const std::string& series : pet_goes ? request.remaining_series : request.series)
    route.add_rest_series(series);
  split_routes_->Finish(session->row.key(), route, work.batch);
  const std::string split_key = row.split_route();
  NX_RETURN_IF_ERROR(Rekey(*session, row, work.batch));
  const std::string other_key = keys::OfSession(other.key());
  NX_ASSIGN_OR_RETURN(const auto taken, index_.Get(Table::kSessionKeys, other_key));
  if (!taken) work.batch.Put(Table::kSessionKeys, other_key, other.id());
  other.set_version(1);
  work.batch.Put(Table::kSessions, other.id(), other.SerializeAsString());
  EventRow made;
  made.set_session(other.id());
  *made.mutable_row() = other;
  made.set_time_us(NowMicros());
  const int64_t event = events_->Add(made, work.batch);
  const absl::Status written =
      WriteRow(*session, std::move(row), std::move(work.batch), Durability::kPowerLoss, true);
  events_->Publish(event);
  NX_RETURN_IF_ERROR(written);
  split_routes_->Settle(split_key);
  return SplitParts{session->row, std::move(other)};
}

// From the moment that a split begins, late objects go to what its halves will be called.
void Prearchive::RouteSplit(Event event, const SessionRow& row, IndexBatch& batch) {
  if (event == Event::kSplitFailed) split_routes_->Cancel(row.key(), batch);
  if (event != Event::kSplit) return;
  const session::SplitLabels labels = session::SplitPetMrLabel(row.key().label());
  SplitRouteRow route;
  route.set_pet_label(labels.pet);
  route.set_rest_label(labels.mr);
  split_routes_->Begin(row.key(), route, batch);
}

}  // namespace narthex::prearchive
