// Settings, scripts, receivers and study routes: what administrators and owners configure. Thread-safe.
// `project` "" means the site. Every method may also fail with UNAVAILABLE (DATABASE_UNAVAILABLE).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

class SettingsStore {
 public:
  virtual ~SettingsStore() = default;

  // nullopt: never set.
  virtual absl::StatusOr<std::optional<Setting>> Get(absl::string_view project, absl::string_view key) = 0;
  // By key.
  virtual absl::StatusOr<std::vector<Setting>> ListSettings(absl::string_view project) = 0;
  // `value_json` is any JSON value. INVALID_ARGUMENT (SETTING_INVALID): it is not JSON, or the key is not
  // [A-Za-z0-9._-]{1,128}. NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::StatusOr<Setting> Set(absl::string_view project, absl::string_view key,
                                      absl::string_view value_json, const Change& change) = 0;
  // OK if there was none.
  virtual absl::Status Remove(absl::string_view project, absl::string_view key, const Change& change) = 0;
};

class ScriptStore {
 public:
  virtual ~ScriptStore() = default;

  // The newest version; nullopt if none was ever set.
  virtual absl::StatusOr<std::optional<Script>> Get(absl::string_view kind, absl::string_view project) = 0;
  // NOT_FOUND (SCRIPT_NOT_FOUND).
  virtual absl::StatusOr<Script> GetVersion(absl::string_view kind, absl::string_view project,
                                            int64_t version) = 0;
  // Adds a version (input: all but version, user and time). Old versions stay readable for ever.
  virtual absl::StatusOr<Script> Set(const Script& script, const Change& change) = 0;
  // The newest version of this kind of every project (and the site), by project.
  virtual absl::StatusOr<std::vector<Script>> ListCurrent(absl::string_view kind) = 0;
  // Newest first, without their texts.
  virtual absl::StatusOr<std::vector<Script>> ListVersions(absl::string_view kind,
                                                           absl::string_view project) = 0;

  // The secret of a project ("": of the site), made of 32 random bytes at the first call. Safe to repeat;
  // several callers at once get the same one. NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::StatusOr<std::string> Secret(absl::string_view project) = 0;
};

class ReceiverStore {
 public:
  virtual ~ReceiverStore() = default;

  // Creates or replaces. INVALID_ARGUMENT (RECEIVER_INVALID), NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::Status Put(const Receiver& receiver, const Change& change) = 0;
  // By AE title.
  virtual absl::StatusOr<std::vector<Receiver>> ListReceivers() = 0;
  // NOT_FOUND (RECEIVER_NOT_FOUND).
  virtual absl::Status Remove(absl::string_view ae_title, const Change& change) = 0;
};

class StudyRouteStore {
 public:
  virtual ~StudyRouteStore() = default;

  // Creates the route of one study, or replaces it if `by` owns the project that it leads to (all projects,
  // or those of Visibility::quarantine_projects). ALREADY_EXISTS (STUDY_ROUTED): it leads to another one.
  virtual absl::Status Put(const StudyRoute& route, const Visibility& by, const Change& change) = 0;
  virtual absl::StatusOr<std::optional<StudyRoute>> Get(absl::string_view study_instance_uid) = 0;
  // By Study Instance UID (as text), behind `after`, at most `limit`.
  virtual absl::StatusOr<std::vector<StudyRoute>> ListRoutes(absl::string_view after, int limit) = 0;
  // OK if there was none; then nothing is noted.
  virtual absl::Status Remove(absl::string_view study_instance_uid, const Change& change) = 0;
};

}  // namespace narthex::metadata
