#include "server/app/policy.h"

#include <utility>

#include "base/limits.h"
#include "base/status.h"

namespace narthex::app {

absl::Status LivePolicy::SetRouting(const identify::RoutingConfig& routing) {
  return Change([&](Sources& sources) { sources.routing = routing; });
}

absl::Status LivePolicy::SetReceivers(std::vector<ReceiverRules> receivers) {
  return Change([&](Sources& sources) { sources.receivers = std::move(receivers); });
}

absl::Status LivePolicy::SetFilter(absl::string_view project, identify::FilterMode mode,
                                   absl::string_view text) {
  return Change([&](Sources& sources) {
    if (text.empty()) {
      sources.filters.erase(std::string(project));
    } else {
      sources.filters[std::string(project)] = {mode, std::string(text)};
    }
  });
}

absl::Status LivePolicy::SetClearsPreambles(bool clears) {
  return Change([&](Sources& sources) { sources.clears_preambles = clears; });
}

absl::Status LivePolicy::Change(const std::function<void(Sources&)>& change) {
  absl::MutexLock one_at_a_time(&change_mutex_);
  Sources changed;
  {
    absl::MutexLock lock(&mutex_);
    changed = sources_;
  }
  change(changed);
  NX_ASSIGN_OR_RETURN(std::shared_ptr<const ingest::Policy> policy, Build(changed));
  absl::MutexLock lock(&mutex_);
  sources_ = std::move(changed);
  policy_ = std::move(policy);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const ingest::Policy>> LivePolicy::Build(const Sources& sources) const {
  auto policy = std::make_shared<ingest::Policy>();
  std::vector<dicom::TagPath> wanted(types_.wanted().begin(), types_.wanted().end());
  const auto add_router =
      [&wanted](
          const identify::RoutingConfig& config) -> absl::StatusOr<std::shared_ptr<const identify::Router>> {
    NX_ASSIGN_OR_RETURN(identify::Router router, identify::Router::Create(config, Origin::kStored));
    for (dicom::Tag tag : router.wanted()) wanted.emplace_back(tag);
    return std::make_shared<const identify::Router>(std::move(router));
  };
  NX_ASSIGN_OR_RETURN(policy->router, add_router(sources.routing));
  for (const ReceiverRules& rules : sources.receivers) {
    identify::RoutingConfig config = sources.routing;
    config.fixed_project = rules.routing.fixed_project;
    config.fixed_subject = rules.routing.fixed_subject;
    config.receiver_project = rules.routing.receiver_project;
    config.receiver_subject = rules.routing.receiver_subject;
    config.receiver_session = rules.routing.receiver_session;
    ingest::ReceiverPolicy receiver = rules.policy;
    NX_ASSIGN_OR_RETURN(receiver.router, add_router(config));
    policy->receivers[rules.ae_title] = std::move(receiver);
  }
  auto filters = std::make_shared<identify::FilterSet>();
  for (const auto& [project, from] : sources.filters) {
    NX_ASSIGN_OR_RETURN(identify::SeriesFilter filter,
                        identify::SeriesFilter::Parse(from.mode, from.text, Origin::kStored));
    filters->Set(project, std::move(filter));
  }
  for (dicom::Tag tag : filters->wanted()) wanted.emplace_back(tag);
  policy->filters = std::move(filters);
  policy->attributes = std::make_shared<dicom::AttributeSet>(dicom::AttributeSet::Default().With(wanted));
  policy->studies = studies_;
  policy->object_max_bytes = limits::kObjectMaxBytes;
  policy->clears_preambles = sources.clears_preambles;
  return std::shared_ptr<const ingest::Policy>(std::move(policy));
}

std::shared_ptr<const ingest::Policy> LivePolicy::Current() const {
  absl::MutexLock lock(&mutex_);
  return policy_;
}

identify::RoutingConfig LivePolicy::routing() const {
  absl::MutexLock lock(&mutex_);
  return sources_.routing;
}

std::string LivePolicy::Excludes(absl::string_view project, const dicom::HeaderFacts& facts) const {
  const auto policy = Current();
  return policy->filters->Evaluate(project, facts).reason;
}

}  // namespace narthex::app
