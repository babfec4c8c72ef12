// The in-memory twin of settings, scripts, receivers, study routes and audit.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/database.h"
#include "storage/metadata/in_memory_tables.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"

namespace narthex::metadata {
namespace {

class InMemorySettings : public SettingsStore {
 public:
  explicit InMemorySettings(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<std::optional<Setting>> Get(absl::string_view project, absl::string_view key) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.settings.find({std::string(project), std::string(key)});
    if (found == t_.settings.end()) return std::nullopt;
    return found->second;
  }

  absl::StatusOr<std::vector<Setting>> ListSettings(absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Setting> settings;
    for (const auto& [key, setting] : t_.settings) {
      if (key.first == project) settings.push_back(setting);
    }
    return settings;
  }

  absl::StatusOr<Setting> Set(absl::string_view project, absl::string_view key, absl::string_view value_json,
                              const Change& change) override {
    NX_RETURN_IF_ERROR(CheckSetting(key, value_json));
    absl::MutexLock lock(&t_.mutex);
    if (!t_.KnowsProject(project)) return ProjectNotFound(project);
    Setting& setting = t_.settings[{std::string(project), std::string(key)}];
    setting.project = std::string(project);
    setting.key = std::string(key);
    setting.value_json = std::string(value_json);
    ++setting.version;
    setting.user = change.user;
    setting.update_time = absl::Now();
    t_.Note(project, change, "SETTING_SET", key);
    return setting;
  }

  absl::Status Remove(absl::string_view project, absl::string_view key, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    t_.settings.erase({std::string(project), std::string(key)});
    t_.Note(project, change, "SETTING_REMOVE", key);
    return absl::OkStatus();
  }

 private:
  InMemoryTables& t_;
};

class InMemoryScripts : public ScriptStore {
 public:
  explicit InMemoryScripts(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<std::optional<Script>> Get(absl::string_view kind, absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    const std::vector<Script>& versions = t_.scripts[{std::string(kind), std::string(project)}];
    if (versions.empty()) return std::nullopt;
    return versions.back();
  }

  absl::StatusOr<Script> GetVersion(absl::string_view kind, absl::string_view project,
                                    int64_t version) override {
    absl::MutexLock lock(&t_.mutex);
    const std::vector<Script>& versions = t_.scripts[{std::string(kind), std::string(project)}];
    if (version >= 1 && version <= static_cast<int64_t>(versions.size()))
      return versions[static_cast<size_t>(version - 1)];
    return NotFound("SCRIPT_NOT_FOUND", absl::StrCat("there is no version ", version, " of this script"), {});
  }

  absl::StatusOr<Script> Set(const Script& script, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    if (!t_.KnowsProject(script.project)) return ProjectNotFound(script.project);
    std::vector<Script>& versions = t_.scripts[{script.kind, script.project}];
    Script added = script;
    added.version = static_cast<int64_t>(versions.size()) + 1;
    added.user = change.user;
    added.create_time = absl::Now();
    versions.push_back(added);
    t_.Note(script.project, change, "SCRIPT_SET", script.kind);
    return added;
  }

  absl::StatusOr<std::vector<Script>> ListCurrent(absl::string_view kind) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Script> scripts;
    for (const auto& [key, versions] : t_.scripts) {
      if (key.first == kind && !versions.empty()) scripts.push_back(versions.back());
    }
    return scripts;
  }

  absl::StatusOr<std::vector<Script>> ListVersions(absl::string_view kind,
                                                   absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Script> versions = t_.scripts[{std::string(kind), std::string(project)}];
    std::reverse(versions.begin(), versions.end());
    for (Script& script : versions) {
      script.text.clear();
      script.lookup_table = {};
    }
    return versions;
  }

  absl::StatusOr<std::string> Secret(absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    if (!t_.KnowsProject(project)) return ProjectNotFound(project);
    std::string& secret = t_.secrets[std::string(project)];
    if (secret.empty()) secret = RandomBytes(32);
    return secret;
  }

 private:
  InMemoryTables& t_;
};

class InMemoryReceivers : public ReceiverStore {
 public:
  explicit InMemoryReceivers(InMemoryTables& tables) : t_(tables) {}

  absl::Status Put(const Receiver& receiver, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckReceiver(receiver));
    absl::MutexLock lock(&t_.mutex);
    if (!t_.KnowsProject(receiver.project)) return ProjectNotFound(receiver.project);
    t_.receivers[receiver.ae_title] = receiver;
    t_.Note("", change, "RECEIVER_SET", receiver.ae_title);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Receiver>> ListReceivers() override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Receiver> receivers;
    for (const auto& [title, receiver] : t_.receivers) receivers.push_back(receiver);
    return receivers;
  }

  absl::Status Remove(absl::string_view ae_title, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    if (t_.receivers.erase(std::string(ae_title)) == 0) {
      return NotFound("RECEIVER_NOT_FOUND", absl::StrCat("there is no receiver ", ae_title), {});
    }
    t_.Note("", change, "RECEIVER_REMOVE", ae_title);
    return absl::OkStatus();
  }

 private:
  InMemoryTables& t_;
};

class InMemoryStudyRoutes : public StudyRouteStore {
 public:
  explicit InMemoryStudyRoutes(InMemoryTables& tables) : t_(tables) {}

  absl::Status Put(const StudyRoute& route, const Visibility& by, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    if (route.project.empty() || !t_.KnowsProject(route.project)) return ProjectNotFound(route.project);
    const auto found = t_.routes.find(route.study_instance_uid);
    if (found != t_.routes.end() && !by.all_projects &&
        std::count(by.quarantine_projects.begin(), by.quarantine_projects.end(), found->second.project) ==
            0) {
      return StudyRouted();
    }
    t_.routes[route.study_instance_uid] = route;
    t_.Note(route.project, change, "STUDY_ROUTE_SET", route.study_instance_uid);
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<StudyRoute>> Get(absl::string_view study_instance_uid) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.routes.find(std::string(study_instance_uid));
    if (found == t_.routes.end()) return std::nullopt;
    return found->second;
  }

  absl::StatusOr<std::vector<StudyRoute>> ListRoutes(absl::string_view after, int limit) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<StudyRoute> routes;
    for (auto it = t_.routes.upper_bound(std::string(after));
         it != t_.routes.end() && static_cast<int>(routes.size()) < limit; ++it) {
      routes.push_back(it->second);
    }
    return routes;
  }

  absl::Status Remove(absl::string_view study_instance_uid, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.routes.find(std::string(study_instance_uid));
    if (found == t_.routes.end()) return absl::OkStatus();
    t_.Note(found->second.project, change, "STUDY_ROUTE_REMOVE", found->first);
    t_.routes.erase(found);
    return absl::OkStatus();
  }

 private:
  InMemoryTables& t_;
};

class InMemoryAudit : public AuditStore {
 public:
  explicit InMemoryAudit(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<AuditEvent> Append(const AuditEvent& event) override {
    NX_RETURN_IF_ERROR(CheckAuditEvent(event));
    absl::MutexLock lock(&t_.mutex);
    return t_.Append(event);
  }

  absl::StatusOr<List> ListEvents(absl::string_view project, const Page& page) override {
    const std::string list_name = absl::StrCat("audit/", project);
    size_t after = 0;
    if (!page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken(list_name, page.token, 1));
      if (!absl::SimpleAtoi(values.front(), &after))
        return InvalidArgument("PAGE_TOKEN_INVALID", "not a page of this list", {});
    }
    absl::MutexLock lock(&t_.mutex);
    const std::vector<AuditEvent>& chain = t_.audit[std::string(project)];
    const size_t end =
        std::min(chain.size(), after + static_cast<size_t>(PageSize(page, limits::kPageSizeMax.get())));
    List list;
    for (size_t i = after; i < end; ++i) list.events.push_back(chain[i]);
    if (end < chain.size()) list.next_page_token = EncodePageToken(list_name, {absl::StrCat(end)});
    return list;
  }

  absl::StatusOr<std::vector<std::string>> ListChains() override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<std::string> chains;
    for (const auto& [project, events] : t_.audit) chains.push_back(project);
    return chains;
  }

  absl::StatusOr<Chain> VerifyChain(absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    const auto& events = t_.audit[std::string(project)];
    return Chain{static_cast<int64_t>(events.size()), events.empty() ? "" : events.back().hash};
  }

 private:
  InMemoryTables& t_;
};

class InMemoryHolds : public HoldStore {
 public:
  explicit InMemoryHolds(InMemoryTables& tables) : t_(tables) {}

  absl::Status Hold(absl::string_view accession_id, absl::string_view holder,
                    absl::string_view purpose) override {
    absl::MutexLock lock(&t_.mutex);
    const std::string session(accession_id);
    const SessionHold& held = t_.holds
                                  .try_emplace(session, SessionHold{session, std::string(holder),
                                                                    std::string(purpose), absl::Now()})
                                  .first->second;
    return held.holder == holder ? absl::OkStatus() : SessionHeld(held);
  }

  absl::Status Release(absl::string_view holder) override {
    absl::MutexLock lock(&t_.mutex);
    for (auto it = t_.holds.begin(); it != t_.holds.end();) {
      it = it->second.holder == holder ? t_.holds.erase(it) : std::next(it);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<SessionHold>> ListHolds() override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<SessionHold> holds;
    for (const auto& [session, hold] : t_.holds) holds.push_back(hold);
    std::stable_sort(holds.begin(), holds.end(), [](const SessionHold& a, const SessionHold& b) {
      return a.create_time < b.create_time;
    });
    return holds;
  }

 private:
  InMemoryTables& t_;
};

}  // namespace

std::unique_ptr<SettingsStore> NewInMemorySettings(InMemoryTables& tables) {
  return std::make_unique<InMemorySettings>(tables);
}
std::unique_ptr<ScriptStore> NewInMemoryScripts(InMemoryTables& tables) {
  return std::make_unique<InMemoryScripts>(tables);
}
std::unique_ptr<ReceiverStore> NewInMemoryReceivers(InMemoryTables& tables) {
  return std::make_unique<InMemoryReceivers>(tables);
}
std::unique_ptr<StudyRouteStore> NewInMemoryStudyRoutes(InMemoryTables& tables) {
  return std::make_unique<InMemoryStudyRoutes>(tables);
}
std::unique_ptr<AuditStore> NewInMemoryAudit(InMemoryTables& tables) {
  return std::make_unique<InMemoryAudit>(tables);
}

std::unique_ptr<HoldStore> NewInMemoryHolds(InMemoryTables& tables) {
  return std::make_unique<InMemoryHolds>(tables);
}

}  // namespace narthex::metadata
