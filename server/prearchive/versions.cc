// Instances that came with several contents: which one counts, and what becomes of the others.

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {
namespace {

using staging::IndexBatch;
using staging::Table;

void PutObject(const ObjectRow& object, const SessionRow& row, IndexBatch& batch) {
  batch.Put(Table::kObjects, keys::Object(row.id(), object.number()), object.SerializeAsString());
}

// Makes `object` the one that its instance's key leads to.
void PutLookups(const ObjectRow& object, const SessionRow& row, IndexBatch& batch) {
  for (const std::string& name : {object.sop_instance_uid(), keys::ReceivedAs(object)})
    batch.Put(Table::kInstances, keys::Instance(row.id(), name), keys::Number(object.number()));
  batch.Put(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), row.id()),
            keys::Number(object.number()));
}

// Marks `older` as one that is not archived. Whoever asks for its bytes is told that they are not there.
void Supersede(ObjectRow older, uint64_t by, SessionRow& row, IndexBatch& batch) {
  batch.Delete(Table::kDigests, keys::Digest(row.key().project(), older.received_xxh3(), row.id()));
  older.set_superseded_by(by);
  older.set_contested(false);
  PutObject(older, row, batch);
  row.set_replaced_count(row.replaced_count() + 1);
}

}  // namespace

absl::Status Prearchive::Enter(const ObjectRow& object, SessionRow& row, IndexBatch& batch,
                               RecentObjects* recent) {
  if (object.contested()) {
    PutObject(object, row, batch);
    batch.Put(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), row.id()),
              keys::Number(object.number()));
    row.set_contested_count(row.contested_count() + 1);
    return absl::OkStatus();
  }
  if (object.outcome() == static_cast<int>(Outcome::kReplaced)) {
    std::optional<ObjectRow> older;
    if (recent != nullptr) {
      if (const auto it = recent->find(keys::ReceivedAs(object)); it != recent->end()) older = it->second;
    }
    if (!older) {
      auto found = FindObject(row.id(), keys::ReceivedAs(object));
      if (found.ok()) older = *std::move(found);
      if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
    }
    if (older) {
      row.set_object_count(row.object_count() - 1);
      row.set_size_bytes(row.size_bytes() - older->size_bytes());
      Supersede(*std::move(older), object.number(), row, batch);
    }
  }
  PutObject(object, row, batch);
  PutLookups(object, row, batch);
  row.set_object_count(row.object_count() + 1);
  row.set_size_bytes(row.size_bytes() + object.size_bytes());
  if (recent != nullptr) (*recent)[keys::ReceivedAs(object)] = object;
  return absl::OkStatus();
}

// Ends all contests of a session: the object that came first, or that which came last, counts.
absl::Status Prearchive::DecideContested(bool last, SessionRow& row, IndexBatch& batch) {
  std::map<std::string, std::vector<ObjectRow>> contested;
  const std::string prefix = keys::Text(row.id());
  NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   ObjectRow object;
                                   object.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   if (object.contested())
                                     contested[keys::ReceivedAs(object)].push_back(std::move(object));
                                   return true;
                                 }));
  for (auto& [instance, objects] : contested) {
    NX_ASSIGN_OR_RETURN(ObjectRow winner, FindObject(row.id(), instance));
    if (last) {
      row.set_size_bytes(row.size_bytes() - winner.size_bytes() + objects.back().size_bytes());
      std::swap(winner, objects.back());
      winner.set_contested(false);
    }
    for (ObjectRow& loser : objects) Supersede(std::move(loser), winner.number(), row, batch);
    PutObject(winner, row, batch);
    PutLookups(winner, row, batch);
  }
  row.set_contested_count(0);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ObjectRow>> Prearchive::FindVersions(absl::string_view id,
                                                                absl::string_view sop_instance_uid) {
  NX_ASSIGN_OR_RETURN(const ObjectRow current, FindObject(id, sop_instance_uid));
  const std::string name = keys::ReceivedAs(current);
  std::vector<ObjectRow> versions;
  const std::string prefix = keys::Text(id);
  NX_RETURN_IF_ERROR(index_.Scan(Table::kObjects, prefix, keys::EndOf(prefix),
                                 [&](absl::string_view, absl::string_view value) {
                                   ObjectRow object;
                                   object.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                   if (keys::ReceivedAs(object) == name)
                                     versions.push_back(std::move(object));
                                   return true;
                                 }));
  return versions;
}

}  // namespace narthex::prearchive
