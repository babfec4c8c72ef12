#include "server/ingest/study_routes.h"

#include <utility>

#include "base/status.h"

namespace narthex::ingest {
namespace {

constexpr int kPage = 10'000;

}  // namespace

absl::Status StudyRoutes::Load() {
  absl::flat_hash_map<std::string, identify::StudyRoute> all;
  std::string after;
  while (true) {
    NX_ASSIGN_OR_RETURN(const auto routes, store_.ListRoutes(after, kPage));
    for (const metadata::StudyRoute& route : routes) {
      all[route.study_instance_uid] = {route.project, route.subject, route.label};
    }
    if (static_cast<int>(routes.size()) < kPage) break;
    after = routes.back().study_instance_uid;
  }
  absl::MutexLock lock(&mutex_);
  routes_ = std::move(all);
  return absl::OkStatus();
}

absl::Status StudyRoutes::Set(const metadata::StudyRoute& route, const metadata::Visibility& by,
                              const metadata::Change& change) {
  NX_RETURN_IF_ERROR(store_.Put(route, by, change));
  absl::MutexLock lock(&mutex_);
  routes_[route.study_instance_uid] = {route.project, route.subject, route.label};
  return absl::OkStatus();
}

absl::Status StudyRoutes::Forget(absl::string_view study_instance_uid, const metadata::Change& change) {
  NX_RETURN_IF_ERROR(store_.Remove(study_instance_uid, change));
  absl::MutexLock lock(&mutex_);
  routes_.erase(study_instance_uid);
  return absl::OkStatus();
}

std::optional<identify::StudyRoute> StudyRoutes::Find(absl::string_view study_instance_uid) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = routes_.find(study_instance_uid);
  if (found == routes_.end()) return std::nullopt;
  return found->second;
}

}  // namespace narthex::ingest
