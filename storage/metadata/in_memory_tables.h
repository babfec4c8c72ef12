// The rows of the in-memory twin, shared by its stores. Thread-safe by its mutex. Only in_memory*.cc needs
// this.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "storage/metadata/audit_store.h"
#include "storage/metadata/hold_store.h"
#include "storage/metadata/records.h"
#include "storage/metadata/settings_store.h"

namespace narthex::metadata {

using Key = std::pair<std::string, std::string>;

struct InMemoryTables {
  absl::Mutex mutex;
  std::map<std::string, Project> projects ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::vector<HistoryEntry>> project_history ABSL_GUARDED_BY(mutex);
  std::map<Key, Member> members ABSL_GUARDED_BY(mutex);
  std::map<std::string, User> users ABSL_GUARDED_BY(mutex);
  std::map<std::string, Token> tokens ABSL_GUARDED_BY(mutex);        // by id
  std::map<std::string, std::string> hashes ABSL_GUARDED_BY(mutex);  // hash -> token id
  std::map<Key, Setting> settings ABSL_GUARDED_BY(mutex);
  std::map<Key, std::vector<Script>> scripts ABSL_GUARDED_BY(mutex);  // kind, project
  std::map<std::string, std::string> secrets ABSL_GUARDED_BY(mutex);  // of projects
  std::map<std::string, Receiver> receivers ABSL_GUARDED_BY(mutex);
  std::map<std::string, StudyRoute> routes ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::vector<AuditEvent>> audit ABSL_GUARDED_BY(mutex);
  std::map<std::string, SessionHold> holds ABSL_GUARDED_BY(mutex);  // by session
  std::map<std::string, std::pair<std::string, std::string>> requests
      ABSL_GUARDED_BY(mutex);  // id -> method, answer

  AuditEvent Append(AuditEvent event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::vector<AuditEvent>& chain = audit[event.project];
    event.sequence = static_cast<int64_t>(chain.size()) + 1;
    event.time = absl::FromUnixMicros(absl::ToUnixMicros(absl::Now()));
    event.hash = AuditHash(chain.empty() ? "" : chain.back().hash, event);
    chain.push_back(event);
    return event;
  }

  void Note(absl::string_view project, const Change& change, absl::string_view action,
            absl::string_view object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    AuditEvent event;
    event.project = std::string(project);
    event.user = change.user;
    event.action = std::string(action);
    event.object = std::string(object);
    Append(std::move(event));
  }

  // The first answer to a request id; "" if this is the first time.
  absl::StatusOr<std::string> Answered(const Change& change, absl::string_view method)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto found = requests.find(change.request_id);
    if (change.request_id.empty() || found == requests.end()) return std::string();
    if (found->second.first == method) return found->second.second;
    return FailedPrecondition("REQUEST_ID_REUSED",
                              "the request id was used for another method; take a new one", {});
  }

  void Answer(const Change& change, absl::string_view method, absl::string_view answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (!change.request_id.empty()) requests[change.request_id] = {std::string(method), std::string(answer)};
  }

  bool KnowsProject(absl::string_view project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return project.empty() || projects.count(std::string(project)) > 0;
  }
};

std::unique_ptr<SettingsStore> NewInMemorySettings(InMemoryTables& tables);
std::unique_ptr<ScriptStore> NewInMemoryScripts(InMemoryTables& tables);
std::unique_ptr<ReceiverStore> NewInMemoryReceivers(InMemoryTables& tables);
std::unique_ptr<StudyRouteStore> NewInMemoryStudyRoutes(InMemoryTables& tables);
std::unique_ptr<AuditStore> NewInMemoryAudit(InMemoryTables& tables);
std::unique_ptr<HoldStore> NewInMemoryHolds(InMemoryTables& tables);

}  // namespace narthex::metadata
