// What follows what: idle sessions are built, built ones archived where that is wanted, and operations that a
// crash interrupted go on. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/session/types.h"
#include "server/archive/archiver.h"
#include "server/auth/project_cache.h"
#include "server/operations/operations.h"
#include "server/prearchive/prearchive.h"
#include "storage/metadata/database.h"

namespace narthex::app {

class Workflow {
 public:
  struct Dependencies {
    prearchive::Prearchive& prearchive;
    operations::Operations& operations;
    archiving::Archiver& archiver;
    const session::TypeRegistry& types;
    const auth::ProjectCache& projects;
    metadata::Database& database;
    // Called with the accession id after each archival; may be called again after a crash.
    std::function<void(const std::string& accession_id)> on_archived;
  };
  explicit Workflow(const Dependencies& dependencies) : with_(dependencies) {}

  // Registers the handlers of builds, archivals and (given) inbox imports.
  void Register(operations::Operations::Handler import_inbox);

  // Sets sessions right that a crash left between states, and goes on with unfinished operations; then idle
  // timers lead to builds.
  absl::Status Resume();

  // The operation's id; "" if the session's state does not allow a build, or it is gone. `completion`: what
  // ends reception, if that has not ended (narthex.v1.PrearchiveSession.completion).
  absl::StatusOr<std::string> StartBuild(const std::string& session, const std::string& user,
                                         const std::string& completion, const std::string& request_id);

  // Splits a PET-MR session. ILLEGAL_STATE, NOTHING_TO_SPLIT (FAILED_PRECONDITION). `then_archive`: both
  // parts are archived if that is wanted of such sessions.
  absl::StatusOr<operations::Operation> StartSplit(const prearchive::SessionRow& session,
                                                   const std::string& user, bool then_archive,
                                                   const std::string& request_id);

  // ILLEGAL_STATE, UNASSIGNED (FAILED_PRECONDITION).
  absl::StatusOr<operations::Operation> StartArchive(const prearchive::SessionRow& session,
                                                     const std::string& user,
                                                     archiving::ConflictPolicy policy, bool quarantine,
                                                     const std::string& request_id);

 private:
  absl::StatusOr<std::string> RunBuild(const operations::Operation& operation);
  // The ids of both parts, separated by a comma.
  absl::StatusOr<std::string> RunSplit(const operations::Operation& operation,
                                       operations::Progress& progress);
  // What follows a build: a split or an archival, if that is wanted.
  void GoOn(const prearchive::SessionRow& built, const std::string& user);
  void ArchiveIfWanted(const prearchive::SessionRow& session, const std::string& user);
  // Sessions whose operation was never written: builds are undone; archives end in ERROR and are returned.
  absl::StatusOr<std::vector<prearchive::SessionRow>> Reconcile();

  const Dependencies with_;
};

}  // namespace narthex::app
