// Archived sessions: SessionStore changes them, SessionReader finds them. Thread-safe; calls block on the
// database. Each mutation is one transaction with its history row and audit event.
// Every method may also fail with UNAVAILABLE (DATABASE_UNAVAILABLE): try again later. A mutation may fail
// with UNAVAILABLE (COMMIT_UNKNOWN): the connection broke while committing and the outcome could not be
// settled yet; repeat it with the same request id, which answers what happened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"
#include "storage/metadata/session_filter.h"

namespace narthex::metadata {

class SessionStore {
 public:
  virtual ~SessionStore() = default;

  // Takes an accession id for the session that `request_id` (not "") will commit, and the id of its subject
  // (label `subject`, existing or not; a new one stays invisible until Commit). Durable when it returns;
  // repeating it returns the same ids. Ids that are never committed are never used again.
  // NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::StatusOr<Reservation> Reserve(absl::string_view project, absl::string_view subject,
                                              absl::string_view request_id) = 0;

  // Makes a session visible: subject (created if missing), session, scans, resources, files, history and
  // audit in ONE transaction. Counts are taken from `files`. Its status is QUARANTINE if asked for or if the
  // project says so, else ACTIVE. change.request_id is required: repeating it returns the first answer with
  // repeated = true. ALREADY_EXISTS (SESSION_EXISTS; metadata "session" is the existing accession id): the
  // label is taken in the project by a session that is not deleted. NOT_FOUND (PROJECT_NOT_FOUND).
  // INVALID_ARGUMENT (SESSION_INVALID).
  virtual absl::StatusOr<CommittedSession> Commit(const NewSession& session, const Change& change) = 0;

  // Adds to (or replaces in) a session that is there, in one transaction; counters follow. Idempotent as
  // Commit. NOT_FOUND (SESSION_NOT_FOUND), ABORTED (ETAG_MISMATCH), FAILED_PRECONDITION (SESSION_LOCKED),
  // ALREADY_EXISTS (FILE_EXISTS): a file of that path is there and not among removed_paths.
  virtual absl::StatusOr<CommittedSession> Merge(const SessionAddition& addition, const Change& change) = 0;

  // What Commit, Merge or Update answered to `request_id`; nullopt: no such transaction was committed.
  virtual absl::StatusOr<std::optional<CommittedSession>> FindRequest(absl::string_view request_id) = 0;

  // The id of the subject with that label; a new one stays invisible until a session gets it. Safe to repeat.
  // NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::StatusOr<std::string> ReserveSubject(absl::string_view project,
                                                     absl::string_view subject) = 0;

  // Changes what `update` names, in one transaction under the lock of the session's row. NOT_FOUND
  // (SESSION_NOT_FOUND, PROJECT_NOT_FOUND), ABORTED (ETAG_MISMATCH), ALREADY_EXISTS (SESSION_EXISTS: the
  // label is taken, be it in another project; FILE_EXISTS), FAILED_PRECONDITION (SESSION_LOCKED,
  // SESSION_DELETED).
  virtual absl::StatusOr<Session> Update(absl::string_view accession_id, const SessionUpdate& update,
                                         const Change& change) = 0;

  // Moves between ACTIVE, QUARANTINE, LOCKED and DELETED (which hides it and frees its label; nothing is
  // destroyed). To its own status: OK, nothing happens. ALREADY_EXISTS (SESSION_EXISTS): restoring, and the
  // label was taken meanwhile. NOT_FOUND (SESSION_NOT_FOUND), ABORTED (ETAG_MISMATCH).
  virtual absl::StatusOr<Session> SetStatus(absl::string_view accession_id, SessionStatus status,
                                            absl::string_view etag, const Change& change) = 0;

  // Brings a deleted session back with the status that it had, under `label` if that is not "". One that is
  // not deleted: OK, nothing happens. NOT_FOUND (SESSION_NOT_FOUND), ALREADY_EXISTS (SESSION_EXISTS),
  // FAILED_PRECONDITION (SESSION_PURGED). `document`: as in SessionUpdate.
  virtual absl::StatusOr<Session> Restore(absl::string_view accession_id, absl::string_view label,
                                          const std::optional<Phi<std::string>>& document,
                                          const Change& change) = 0;

  // Marks a deleted session as being purged: from now on it cannot be restored, and whoever finds the mark
  // removes its files and calls EndPurge. Safe to repeat, also once it is purged. NOT_FOUND
  // (SESSION_NOT_FOUND), FAILED_PRECONDITION (SESSION_NOT_DELETED).
  virtual absl::StatusOr<PurgeRecord> BeginPurge(absl::string_view accession_id, const Change& change) = 0;

  // After the files are gone. Safe to repeat. FAILED_PRECONDITION (SESSION_NOT_DELETED): it was not begun.
  virtual absl::Status EndPurge(absl::string_view accession_id, const Change& change) = 0;
};

struct SearchRequest {
  SessionFilter filter;  // default: everything
  std::string order_by;  // "sessionDate desc, label"; "" = newest first. INVALID_ARGUMENT (ORDER_BY_INVALID)
  Page page;
  bool count_total = false;  // costs a scan of everything that matches
};

struct SearchResult {
  std::vector<Session> sessions;
  std::string next_page_token;         // "" at the end
  std::optional<int64_t> total_count;  // of all pages, if asked for
};

struct FoundScan {
  std::string session;  // accession id
  std::string project;
  std::string subject;
  std::string label;  // of the session
  Scan scan;
};

struct ScanSearchResult {
  std::vector<FoundScan> scans;
  std::string next_page_token;
  std::optional<int64_t> total_count;
};

// Whatever `visible` excludes does not exist for these calls: NOT_FOUND (SESSION_NOT_FOUND), in no count, in
// no page.
class SessionReader {
 public:
  virtual ~SessionReader() = default;

  // `ref` is an accession id or `PROJECT/LABEL`.
  virtual absl::StatusOr<Session> Get(absl::string_view ref, const Visibility& visible) = 0;

  // The session XML; "" if it has none.
  virtual absl::StatusOr<Phi<std::string>> GetDocument(absl::string_view accession_id) = 0;

  // Sessions that are not deleted with this study in this project (for conflict checks), oldest first.
  virtual absl::StatusOr<std::vector<Session>> FindStudy(absl::string_view project,
                                                         absl::string_view study_instance_uid) = 0;

  // Which of these XXH3-128 (16 raw bytes each, of what senders sent) files of the project's sessions have
  // that are not deleted; in no order. One round trip.
  virtual absl::StatusOr<std::vector<std::string>> FindReceived(absl::string_view project,
                                                                const std::vector<std::string>& digests) = 0;

  struct Instance {
    std::string instance_uid, sop_class_uid;
    std::string received_identity;  // as File's
  };
  // Which of these SOP instances files of sessions of any project are that are not deleted, by UID or by what
  // stands for the UID that a script replaced (`received_identities`); in no order. One round trip.
  virtual absl::StatusOr<std::vector<Instance>> FindInstances(
      const std::vector<std::string>& instance_uids, const std::vector<std::string>& received_identities) = 0;

  // By number, then text. Call Get first: these take ids that the caller may see.
  virtual absl::StatusOr<std::vector<Scan>> ListScans(absl::string_view accession_id) = 0;
  virtual absl::StatusOr<std::vector<Resource>> ListResources(absl::string_view accession_id) = 0;

  // The scan types that were chosen in `project` (that differ from the series description), the newest choice
  // for each key, modality and number of frames first; at most 10,000. Of sessions that are not deleted.
  virtual absl::StatusOr<std::vector<ChosenScanType>> ListChosenScanTypes(absl::string_view project) = 0;

  struct FileQuery {
    std::optional<std::string> scan_id;   // "" = only files of the session itself
    std::optional<std::string> resource;  // label
    std::optional<std::string> path;      // exactly this one
    Page page;                            // size may be up to 100,000 here
  };
  struct FileList {
    std::vector<File> files;  // in the order they were added
    std::string next_page_token;
  };
  virtual absl::StatusOr<FileList> ListFiles(absl::string_view accession_id, const FileQuery& query) = 0;

  // INVALID_ARGUMENT (ORDER_BY_INVALID, PAGE_TOKEN_INVALID).
  virtual absl::StatusOr<SearchResult> Search(const SearchRequest& request, const Visibility& visible) = 0;

  // The same over scans: all conditions on scans are about the scan that is found.
  virtual absl::StatusOr<ScanSearchResult> SearchScans(const SearchRequest& request,
                                                       const Visibility& visible) = 0;

  // Oldest first, at most 10,000.
  virtual absl::StatusOr<std::vector<HistoryEntry>> ListHistory(absl::string_view accession_id) = 0;

  // Accession ids of sessions that BeginPurge has marked and EndPurge not.
  virtual absl::StatusOr<std::vector<std::string>> ListPurging() = 0;

  // Files that were taken out, oldest first; of one request if `request_id` is not "".
  virtual absl::StatusOr<std::vector<RemovedFile>> ListRemovedFiles(absl::string_view accession_id,
                                                                    absl::string_view request_id) = 0;
};

}  // namespace narthex::metadata
