// What holds for arriving objects, made of the settings and replaced as a whole when one changes.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "imaging/session/types.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/policy.h"

namespace narthex::app {

// A receiver as routing needs it.
struct ReceiverRules {
  std::string ae_title;
  // fixed_* and receiver_* only; the site's rules are added.
  identify::RoutingConfig routing;
  ingest::ReceiverPolicy policy;  // without router
};

class LivePolicy : public ingest::PolicySource {
 public:
  // Both are borrowed; `studies` may be null.
  LivePolicy(const session::TypeRegistry& types, const identify::StudyRoutingTable* studies)
      : types_(types), studies_(studies) {}

  // Each builds the policy anew. INVALID_ARGUMENT (INVALID_SCRIPT): what is given does not parse; the old
  // policy stays.
  absl::Status SetRouting(const identify::RoutingConfig& routing);
  absl::Status SetReceivers(std::vector<ReceiverRules> receivers);
  // Of the site ("") or a project; an empty text takes the filter away.
  absl::Status SetFilter(absl::string_view project, identify::FilterMode mode, absl::string_view text);
  absl::Status SetClearsPreambles(bool clears);

  std::shared_ptr<const ingest::Policy> Current() const override;
  identify::RoutingConfig routing() const;

  // What excludes an object with this header from `project` now: "" if nothing does.
  std::string Excludes(absl::string_view project, const dicom::HeaderFacts& facts) const;

 private:
  struct FilterText {
    identify::FilterMode mode;
    std::string text;
  };
  struct Sources {
    identify::RoutingConfig routing;
    std::vector<ReceiverRules> receivers;
    std::map<std::string, FilterText> filters;  // by project
    bool clears_preambles = false;
  };

  // Changes the sources and builds the policy; nothing has changed if that fails.
  absl::Status Change(const std::function<void(Sources&)>& change);
  absl::StatusOr<std::shared_ptr<const ingest::Policy>> Build(const Sources& sources) const;

  const session::TypeRegistry& types_;
  const identify::StudyRoutingTable* const studies_;
  absl::Mutex change_mutex_;  // one change at a time; before mutex_
  mutable absl::Mutex mutex_;
  Sources sources_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ingest::Policy> policy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::app
