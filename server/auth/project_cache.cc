#include "server/auth/project_cache.h"

#include <utility>

#include "absl/strings/ascii.h"

#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/access.h"

namespace narthex::auth {
namespace {

constexpr absl::Duration kMissInterval = absl::Seconds(1);

}  // namespace

absl::Status ProjectCache::Refresh() const {
  const metadata::SystemScope scope;  // it knows all projects, whoever asks
  auto snapshot = std::make_shared<Snapshot>();
  metadata::Page page{limits::kPageSizeMax, ""};
  do {
    NX_ASSIGN_OR_RETURN(metadata::ProjectStore::List list,
                        store_.ListProjects(metadata::Visibility::All(), page));
    for (metadata::Project& project : list.projects) {
      for (const std::string& alias : project.aliases) {
        snapshot->by_alias.emplace(absl::AsciiStrToLower(alias), project.id);
      }
      std::string id = project.id;
      snapshot->by_id.emplace(std::move(id), std::move(project));
    }
    page.token = list.next_page_token;
  } while (!page.token.empty());
  absl::MutexLock lock(&mutex_);
  snapshot_ = std::move(snapshot);
  refreshed_ = clock_.Now();
  return absl::OkStatus();
}

std::shared_ptr<const ProjectCache::Snapshot> ProjectCache::Current() const {
  absl::MutexLock lock(&mutex_);
  return snapshot_;
}

std::shared_ptr<const ProjectCache::Snapshot> ProjectCache::RefreshedForMiss() const {
  {
    absl::MutexLock lock(&mutex_);
    if (clock_.Now() - refreshed_ < kMissInterval) return nullptr;
    refreshed_ = clock_.Now();
  }
  if (!Refresh().ok()) return nullptr;
  return Current();
}

std::optional<metadata::Project> ProjectCache::Get(absl::string_view id) const {
  auto snapshot = Current();
  auto it = snapshot->by_id.find(id);
  if (it == snapshot->by_id.end()) {
    snapshot = RefreshedForMiss();
    if (!snapshot) return std::nullopt;
    it = snapshot->by_id.find(id);
    if (it == snapshot->by_id.end()) return std::nullopt;
  }
  return it->second;
}

std::optional<std::string> ProjectCache::Resolve(absl::string_view candidate) const {
  const auto find = [&](const Snapshot& snapshot) -> std::optional<std::string> {
    if (snapshot.by_id.contains(candidate)) return std::string(candidate);
    const auto alias = snapshot.by_alias.find(absl::AsciiStrToLower(candidate));
    if (alias != snapshot.by_alias.end()) return alias->second;
    return std::nullopt;
  };
  auto id = find(*Current());
  if (id) return id;
  const auto refreshed = RefreshedForMiss();
  return refreshed ? find(*refreshed) : std::nullopt;
}

std::vector<metadata::Project> ProjectCache::All() const {
  const auto snapshot = Current();
  std::vector<metadata::Project> all;
  all.reserve(snapshot->by_id.size());
  for (const auto& [id, project] : snapshot->by_id) all.push_back(project);
  return all;
}

}  // namespace narthex::auth
