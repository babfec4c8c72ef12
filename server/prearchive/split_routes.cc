#include "server/prearchive/split_routes.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"

namespace narthex::prearchive {
namespace {

using staging::IndexBatch;
using staging::Table;

constexpr absl::string_view kPrefix = "split/";

int Bit(int part) { return 1 << part; }

// The key of a session of the same project and study under another label.
std::string WithLabel(absl::string_view key_text, absl::string_view label) {
  return absl::StrCat(key_text.substr(0, key_text.rfind('\0') + 1), label);
}

bool Has(const google::protobuf::RepeatedPtrField<std::string>& series, absl::string_view uid) {
  return std::find(series.begin(), series.end(), uid) != series.end();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SplitRoutes>> SplitRoutes::Open(staging::Index& index) {
  auto routes = std::make_unique<SplitRoutes>();
  absl::Status bad;
  const std::string prefix(kPrefix);
  absl::MutexLock lock(&routes->mutex_);
  NX_RETURN_IF_ERROR(index.Scan(
      Table::kMeta, prefix, keys::EndOf(prefix), [&](absl::string_view key, absl::string_view value) {
        SplitRouteRow row;
        if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          bad = DataLoss("INDEX_CORRUPT", "the row of a split study cannot be read");
          return false;
        }
        const std::string key_text(key.substr(kPrefix.size()));
        routes->Put(key_text, row, nullptr);
        // A split that has ended knows the series of its halves.
        if (row.pet_series().empty() && row.rest_series().empty()) routes->splitting_.insert(key_text);
        return true;
      }));
  NX_RETURN_IF_ERROR(bad);
  return routes;
}

void SplitRoutes::Put(const std::string& key_text, const SplitRouteRow& route, IndexBatch* batch) {
  Forget(key_text, nullptr);
  routes_[key_text] = route;
  halves_[WithLabel(key_text, route.pet_label())] = {key_text, kPetPart};
  halves_[WithLabel(key_text, route.rest_label())] = {key_text, kRestPart};
  if (batch != nullptr) batch->Put(Table::kMeta, absl::StrCat(kPrefix, key_text), route.SerializeAsString());
}

void SplitRoutes::Forget(const std::string& key_text, IndexBatch* batch) {
  if (const auto it = routes_.find(key_text); it != routes_.end()) {
    for (const std::string& label : {it->second.pet_label(), it->second.rest_label()}) {
      const auto half = halves_.find(WithLabel(key_text, label));
      if (half != halves_.end() && half->second.route == key_text) halves_.erase(half);
    }
    routes_.erase(it);
  }
  if (batch != nullptr) batch->Delete(Table::kMeta, absl::StrCat(kPrefix, key_text));
}

std::optional<std::string> SplitRoutes::Follow(absl::string_view key_text,
                                               absl::string_view series_instance_uid, bool pet_part) const {
  absl::MutexLock lock(&mutex_);
  if (routes_.empty()) return std::nullopt;
  const auto it = routes_.find(key_text);
  if (it == routes_.end()) return std::nullopt;
  const SplitRouteRow& route = it->second;
  const bool pet = Has(route.pet_series(), series_instance_uid) ||
                   (pet_part && !Has(route.rest_series(), series_instance_uid));
  return pet ? route.pet_label() : route.rest_label();
}

bool SplitRoutes::IsSplitting(const std::string& key_text) const {
  if (splitting_.contains(key_text)) return true;
  const auto half = halves_.find(key_text);
  return half != halves_.end() && splitting_.contains(half->second.route);
}

void SplitRoutes::Settle(absl::string_view key_text) {
  absl::MutexLock lock(&mutex_);
  splitting_.erase(key_text);
}

bool SplitRoutes::AwaitSettled(const std::string& key_text, absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  if (splitting_.empty() || !IsSplitting(key_text)) return true;
  const auto over = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || !IsSplitting(key_text); };
  mutex_.AwaitWithTimeout(absl::Condition(&over), timeout);
  return !IsSplitting(key_text);
}

void SplitRoutes::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

bool SplitRoutes::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

void SplitRoutes::Mark(SessionRow& row) const {
  absl::MutexLock lock(&mutex_);
  const auto it = halves_.find(keys::OfSession(row.key()));
  if (it == halves_.end()) return;
  row.set_split_part(it->second.part);
  row.set_split_route(it->second.route);
}

void SplitRoutes::Begin(const SessionKeyRow& key, const SplitRouteRow& route, IndexBatch& batch) {
  absl::MutexLock lock(&mutex_);
  Put(keys::OfSession(key), route, &batch);
  splitting_.insert(keys::OfSession(key));
}

void SplitRoutes::Finish(const SessionKeyRow& key, const SplitRouteRow& route, IndexBatch& batch) {
  absl::MutexLock lock(&mutex_);
  Put(keys::OfSession(key), route, &batch);
}

void SplitRoutes::Cancel(const SessionKeyRow& key, IndexBatch& batch) {
  absl::MutexLock lock(&mutex_);
  Forget(keys::OfSession(key), &batch);
}

void SplitRoutes::Rename(const SessionKeyRow& before, SessionRow& row, IndexBatch& batch) {
  absl::MutexLock lock(&mutex_);
  const auto old = routes_.find(row.split_route());
  if (old == routes_.end()) return;
  SplitRouteRow route = old->second;
  std::string key_text = row.split_route();
  if (row.key().project() != before.project()) {
    key_text = absl::StrCat(keys::Text(row.key().project()),
                            absl::string_view(key_text).substr(keys::Text(before.project()).size()));
    if (const auto there = routes_.find(key_text); there != routes_.end()) route = there->second;
    route.clear_deleted_parts();
    route.clear_archived_parts();
  }
  (row.split_part() == kPetPart ? route.mutable_pet_label() : route.mutable_rest_label())
      ->assign(row.key().label());
  row.set_split_route(key_text);
  Put(key_text, route, &batch);
}

void SplitRoutes::Leave(const SessionRow& row, bool archived, IndexBatch& batch) {
  absl::MutexLock lock(&mutex_);
  const auto it = routes_.find(row.split_route());
  if (it == routes_.end()) return;
  SplitRouteRow route = it->second;
  if (archived) {
    route.set_archived_parts(route.archived_parts() | Bit(row.split_part()));
  } else {
    route.set_deleted_parts(route.deleted_parts() | Bit(row.split_part()));
  }
  // People who deleted both halves may want it otherwise now.
  if (route.archived_parts() == 0 && route.deleted_parts() == (Bit(kPetPart) | Bit(kRestPart))) {
    Forget(row.split_route(), &batch);
  } else {
    Put(row.split_route(), route, &batch);
  }
}

}  // namespace narthex::prearchive
