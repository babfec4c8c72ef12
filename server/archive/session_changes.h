// Changes archived sessions: rows and document together, in one transaction each. Files stay where they are,
// so that renaming and moving cost the same however large a session is, unless a script is to be applied to
// them. Thread-safe; calls block on the database.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/session/types.h"
#include "server/archive/exported_fields.h"
#include "server/archive/session_document.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"

namespace narthex::deidentify {
class PlanSource;
}

namespace narthex::archiving {

class SessionChanges {
 public:
  struct Dependencies {
    metadata::Database& database;
    const session::TypeRegistry& types;
    fs::FileSystem& file_system;
    std::string archive_root;
    const deidentify::PlanSource* plans = nullptr;  // scripts of projects; null: there are none
    // Whether a project's script is applied to archived sessions that get into it or get other names there;
    // null: never.
    std::function<bool(const std::string& project)> anonymizes_moved;
    FieldDefinitionSource field_definitions = nullptr;  // null: nothing is defined
  };
  explicit SessionChanges(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Says in `update` what is to become of a session that is as `now`. Called again if somebody else was
  // faster.
  using Edit = std::function<absl::Status(const SessionContents& now, metadata::SessionUpdate& update)>;

  // Applies an edit and writes the document that goes with it. If `etag` is "" and the session changes in
  // between, it begins anew. Errors: those of `edit` and of SessionStore::Update.
  absl::StatusOr<metadata::Session> Update(const std::string& accession_id, absl::string_view etag,
                                           const metadata::Change& change, const Edit& edit);

  // The same where the edit may change project, subject or label: then, if that is set, the script of the
  // project where the session will be is applied to its files (moved_files.h), all or nothing, also over a
  // crash. That takes as long as writing the files. A repeated change.request_id changes nothing more. Errors
  // besides those of Update: SESSION_BUSY (ABORTED), ANONYMIZATION_FAILED and the like, LEFTOVERS_FOUND
  // (FAILED_PRECONDITION) unless `accept_leftovers`, those of the disk; then nothing has changed.
  struct RenameOptions {
    std::string etag;
    bool accept_leftovers = false;
  };
  absl::StatusOr<metadata::Session> Rename(const std::string& accession_id, const RenameOptions& options,
                                           const metadata::Change& change, const Edit& edit);

  // As SessionStore::Restore, with the document of the new label.
  absl::StatusOr<metadata::Session> Restore(const std::string& accession_id, const std::string& label,
                                            const metadata::Change& change);

  // Removes the files of a deleted session and leaves the record of what was there: mark, remove, record.
  // After an error or a crash it may be repeated, and ResumePurges does so. Errors: those of
  // SessionStore::BeginPurge and of the disk.
  absl::StatusOr<metadata::PurgeRecord> Purge(const std::string& accession_id,
                                              const metadata::Change& change);

  // At the start: goes on with purges that a crash interrupted. A failing one is logged and left for the next
  // start.
  absl::Status ResumePurges();

 private:
  absl::Status RemoveFiles(const std::string& accession_id, const metadata::PurgeRecord& record);

  const Dependencies with_;
};

// What `update` makes of the rows: for the document.
SessionContents Applied(const SessionContents& now, const metadata::SessionUpdate& update);

}  // namespace narthex::archiving
