#include "server/app/policy.h"

#include <utility>

#include "base/limits.h"
#include "base/status.h"

namespace narthex::app {

absl::Status LivePolicy::SetRouting(const identify::RoutingConfig& routing) {
  NX_ASSIGN_OR_RETURN(identify::Router router, identify::Router::Create(routing));
  std::vector<dicom::TagPath> more(types_.wanted().begin(), types_.wanted().end());
  for (dicom::Tag tag : router.wanted()) more.emplace_back(tag);
  auto policy = std::make_shared<ingest::Policy>();
  policy->attributes = std::make_shared<dicom::AttributeSet>(dicom::AttributeSet::Default().With(more));
  policy->router = std::make_shared<identify::Router>(std::move(router));
  policy->object_max_bytes = limits::kObjectMaxBytes;
  absl::MutexLock lock(&mutex_);
  routing_ = routing;
  policy_ = std::move(policy);
  return absl::OkStatus();
}

std::shared_ptr<const ingest::Policy> LivePolicy::Current() const {
  absl::MutexLock lock(&mutex_);
  return policy_;
}

identify::RoutingConfig LivePolicy::routing() const {
  absl::MutexLock lock(&mutex_);
  return routing_;
}

}  // namespace narthex::app
