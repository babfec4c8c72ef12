// The rows of the metadata database as plain values. No patient value other than in Phi<> fields belongs
// here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "base/phi.h"

namespace narthex::metadata {

// Who changes something, why, and under which request id. Every mutation takes one; it goes into history and
// audit. A repeated `request_id` gets the first answer again ("" = not repeatable).
struct Change {
  std::string user;
  std::string note;
  std::string request_id;
};

// One page of a list. `page_token` is opaque and only valid for the same list with the same parameters.
struct Page {
  int size = 0;  // 0: limits::kPageSizeDefault; larger than limits::kPageSizeMax is cut down to it
  std::string token;
};

// ---- projects ----

enum class Accessibility { kPrivate, kProtected, kPublic };
enum class AutoArchive { kManual, kAuto, kOverwrite };
enum class Role { kCollaborator, kMember, kOwner };  // ordered by rights

struct Project {
  std::string id;  // [\w-]{1,64}; unique without regard to case; never changes
  std::string name;
  std::string description;
  std::vector<std::string> aliases;  // names that route to this project; unique among all ids and aliases
  Accessibility accessibility = Accessibility::kPrivate;
  AutoArchive auto_archive = AutoArchive::kManual;
  bool quarantine = false;                    // new sessions start in QUARANTINE
  std::string settings_json = "{}";           // a JSON object for what has no column yet
  std::map<std::string, std::string> fields;  // custom variables
  std::string etag;                           // output only
  absl::Time create_time;                     // output only
  absl::Time update_time;                     // output only
};

struct Member {
  std::string project;
  std::string user;
  Role role = Role::kCollaborator;
};

struct Subject {
  std::string id;  // `<SITE>_S00001`
  std::string uid;
  std::string project;
  std::string label;  // unique in the project without regard to case
  int64_t session_count = 0;
  absl::Time create_time;
  std::map<std::string, std::string> fields;  // custom variables
  absl::Time update_time;
  std::string etag;
};

// ---- sessions ----

enum class SessionStatus { kActive, kQuarantine, kLocked, kDeleted };

// Purging removes the files of a deleted session; rows stay as the record of what was there.
enum class PurgeState { kNone, kPurging, kPurged };

// A session that members of another project may read too, under a label of that project.
struct Share {
  std::string project;
  std::string label;

  friend bool operator==(const Share&, const Share&) = default;
};

// A session in the archive. Fields marked * are set by the store.
struct Session {
  std::string accession_id;  // * `<SITE>_E00001`
  std::string uid;           // * a UUID that never changes
  std::string project;
  std::string subject;     // its label
  std::string subject_id;  // * `<SITE>_S00001`
  std::string label;
  std::string study_instance_uid;
  std::string modality;
  std::string session_type;  // such as xnat:mrSessionData
  std::string session_date;  // YYYY-MM-DD or ""
  std::string session_time;  // HH:MM:SS[.ffffff] or ""
  std::string scanner;
  std::string scanner_manufacturer;
  std::string scanner_model;
  std::string acquisition_site;
  std::string description;                    // XNAT's session_type text, the study description
  std::map<std::string, std::string> fields;  // custom variables
  std::string folder;                         // of its files, below the archive: `P1/arc001/S1_MR1`
  int64_t scan_count = 0;                     // *
  int64_t file_count = 0;                     // *
  int64_t size_bytes = 0;                     // *
  SessionStatus status = SessionStatus::kActive;
  std::string etag;        // *
  absl::Time create_time;  // *
  absl::Time update_time;  // *
  std::string note;
  PurgeState purge_state = PurgeState::kNone;  // *
  std::vector<Share> shares;                   // * by project
};

struct Scan {
  std::string id;        // unique in the session
  std::string type;      // XNAT's scan type text
  std::string xsi_type;  // such as xnat:mrScanData
  std::string series_instance_uid;
  std::string series_description;
  std::string modality;
  int64_t frames = 0;
  std::string quality = "usable";
  std::string note;
  std::string start_time;  // HH:MM:SS[.ffffff] or ""
  std::string scanner;
  std::string scanner_manufacturer;
  std::string scanner_model;
  std::string body_part;
  std::string protocol_name;
  std::map<std::string, std::string>
      parameters;          // searchable as scans.parameters.<name>; numbers compare as numbers
  int64_t file_count = 0;  // * counted from the files
  int64_t size_bytes = 0;  // *
};

// A set of files with one catalog. The key is (scan_id, label).
struct Resource {
  std::string scan_id;  // "": of the session itself
  std::string label;    // DICOM, secondary, SNAPSHOTS, ...
  std::string format;
  std::string content = "RAW";
  std::string catalog_path;  // relative to the session's folder
  int64_t file_count = 0;    // *
  int64_t size_bytes = 0;    // *
};

struct File {
  std::string path;  // relative to the session's folder; unique in the session
  std::string scan_id;
  std::string resource;      // label
  std::string instance_uid;  // SOP Instance UID, or ""
  std::string sop_class_uid;
  int64_t instance_number = 0;
  int64_t size_bytes = 0;
  std::string md5;            // 16 raw bytes
  std::string sha256;         // 32 raw bytes
  std::string xxh3_received;  // 16 raw bytes: of what the sender sent; "" if unknown
  std::string xxh3_stored;    // 16 raw bytes: of what is in the archive; "" if unknown
  std::string format;         // DICOM, ...
  // What stands for the SOP Instance UID that the sender used, if a script replaced it (16 raw bytes; ""
  // else).
  std::string received_identity;
};

// A session that is to become visible, with all that belongs to it.
struct NewSession {
  Session session;  // accession_id, uid and subject_id: those of Reserve, or "" to get new ones
  std::vector<Scan> scans;
  std::vector<Resource> resources;
  std::vector<File> files;
  Phi<std::string> document;  // the session XML; "" for none
};

// What a merge did with the objects that it was given.
struct MergeCounts {
  int64_t added = 0;     // new files
  int64_t replaced = 0;  // files that took the place of an archived one
  int64_t kept = 0;      // not filed, because the archive keeps what it has

  friend bool operator==(const MergeCounts&, const MergeCounts&) = default;
};

// What is added to (or replaced in) an archived session.
struct SessionAddition {
  std::string accession_id;
  std::string etag;                 // of the session as it was read; "" for whatever it is
  std::vector<Scan> scans;          // new ones, and existing ones with their new column values
  std::vector<Resource> resources;  // likewise
  std::vector<File> files;          // new ones
  std::vector<std::string>
      removed_paths;  // existing files that are superseded; taken out before `files` go in
  std::vector<std::string> removed_scans;  // scans that lost all their files: they and their resources go
  std::string modality;                    // of the session from now on; "" keeps it
  std::string session_type;                // likewise
  std::optional<std::map<std::string, std::string>> fields;  // likewise
  std::optional<std::string> note;                           // likewise
  Phi<std::string> document;  // the whole new session XML; "" keeps the old one
  bool quarantine = false;    // an ACTIVE session goes to QUARANTINE, as it does if its project says so
  MergeCounts counts;         // for the answer and the audit event
};

// What Reserve promised to one request: known before anything is visible, so that documents can name it.
struct Reservation {
  std::string accession_id;
  std::string uid;
  std::string subject_id;  // of the subject with that label, existing or new
};

struct CommittedSession {
  std::string accession_id;
  std::string uid;
  std::string subject_id;
  bool repeated = false;  // the request id was answered before; nothing was done now
  bool merged = false;    // by Merge, not Commit
  MergeCounts counts;     // of the merge
};

// A scan type that somebody chose in a project.
struct ChosenScanType {
  std::string key;  // of the series description: session::ScanTypeKey
  std::string modality;
  int64_t frames = 0;
  std::string type;
};

// A resource: its scan ("" for the session's own) and label.
struct ResourceKey {
  std::string scan_id;
  std::string label;

  friend auto operator<=>(const ResourceKey&, const ResourceKey&) = default;
};

// A file that was taken out of a resource and stays on the disk until the session is purged.
struct RemovedFile {
  int64_t number = 0;       // * the version of the session that took it out
  std::string path;         // where it was
  std::string stored_path;  // where it is, below the session's folder
  int64_t size_bytes = 0;   // *
  std::string sha256;       // * raw bytes
};

struct SessionUpdate {
  std::optional<std::string> label;
  std::optional<std::string> subject;  // a label; created if missing
  std::optional<std::string> folder;   // where the files are now
  std::optional<std::string> session_date;
  std::optional<std::map<std::string, std::string>> fields;
  std::optional<Phi<std::string>> document;  // the whole new session XML
  std::string etag;                          // "" for whatever it is
  std::optional<std::string> project;        // moves it there, with all that belongs to it
  std::optional<std::string> note;
  std::vector<Scan> scans;                     // existing ones with their new column values
  std::vector<Resource> resources;             // new ones, and existing ones with their new column values
  std::vector<ResourceKey> removed_resources;  // whose files are among removed_files, all
  std::vector<File> files;                     // new ones
  std::vector<RemovedFile> removed_files;      // path and stored_path; taken out before `files` go in
  std::vector<std::string> superseded_paths;   // files that go for good, before `files` go in
  // The files say something else now: the columns that come from headers (study_instance_uid, modality,
  // session_type, session_date, session_time, scanner..., acquisition_site, description). Former versions of
  // the document, which say what the files said, go for good, and so does what the session's history has of
  // these columns in whatever project: "(anonymized)" stands there.
  std::optional<Session> described;
  std::optional<Share> share;          // with another project
  std::optional<std::string> unshare;  // with this one no more
  bool recount = false;                // counts the files anew, also if none is added or taken out
  std::string action = "UPDATE";       // of the history entry
  // What the entry says beside the columns of the session's row, by name.
  std::map<std::string, std::string> before, after;
};

// What purging takes away.
struct PurgeRecord {
  PurgeState state = PurgeState::kNone;
  std::string folder;  // below the archive
  int64_t file_count = 0;
  int64_t size_bytes = 0;
  // SHA-256, in hexadecimal, of the lines "<sha256>  <path>" of all files by path, joined by line feeds.
  std::string manifest_sha256;
};

struct HistoryEntry {
  int64_t number = 0;  // from 1, per session
  absl::Time time;
  std::string user;
  std::string action;  // CREATE, MERGE, UPDATE, STATUS, ...
  std::string note;
  std::string old_json;  // the session's row before the change ("" for CREATE)
  std::string new_json;  // and after it
};

// What a caller may see. Computed by the server from the identity; stores only apply it.
struct Visibility {
  bool all_projects = false;                     // site administrators and all-data roles
  std::vector<std::string> projects;             // whose sessions may be read
  std::vector<std::string> quarantine_projects;  // of these: whose quarantined sessions may be seen (owners)
  bool deleted = false;  // deleted sessions of quarantine_projects (or all) count as there

  static Visibility All(bool with_deleted = false) {
    Visibility all;
    all.all_projects = true;
    all.deleted = with_deleted;
    return all;
  }
};

// ---- people ----

struct User {
  std::string name;  // [a-z0-9._@-]{1,64}; never changes
  std::string display_name;
  bool site_admin = false;
  bool all_data_read = false;
  bool all_data_admin = false;
  bool disabled = false;
  absl::Time create_time;
};

struct Token {
  std::string id;
  std::string user;
  std::string description;
  absl::Time create_time;
  absl::Time expire_time = absl::InfiniteFuture();
  std::optional<absl::Time> revoke_time;
};

// Who a verified token speaks for, with everything that authorisation asks about.
struct Identity {
  User user;
  std::string token_id;
  std::map<std::string, Role> roles;  // project -> role
  bool internal = false;              // a part of the server itself, which is no user of the database
};

// ---- settings ----

struct Setting {
  std::string project;  // "": the site
  std::string key;
  std::string value_json;
  int64_t version = 0;
  std::string user;
  absl::Time update_time;
};

// One version of an anonymization script (or filter); the newest is in force if enabled.
struct Script {
  std::string kind;     // "anonymize", "series-filter", ...
  std::string project;  // "": the site
  std::string text;
  bool enabled = false;
  int64_t version = 0;  // from 1
  std::string user;
  absl::Time create_time;
  std::string profile;            // of kind "anonymize": as anonymize::ProfileOptions::Parse, or ""
  Phi<std::string> lookup_table;  // likewise: may name patients
  std::string leftovers;          // likewise: "off" (or ""), "report", "hold"
};

struct Receiver {
  std::string ae_title;  // at most 16 characters
  int port = 0;          // 0: the default listener
  std::string project;   // "": routed by the objects
  bool enabled = true;
  std::string settings_json = "{}";
};

struct StudyRoute {
  std::string study_instance_uid;
  std::string project;
  std::string subject;
  std::string label;
};

// ---- audit ----

struct AuditEvent {
  std::string project;   // "": the site; each project has a hash chain of its own
  int64_t sequence = 0;  // from 1 without gaps, per project
  absl::Time time;
  std::string user;
  std::string action;  // SESSION_CREATE, TOKEN_REVOKE, ...
  std::string object;  // what it was done to: an accession id, a user, ...
  std::string details_json = "{}";
  std::string hash;  // 32 raw bytes
};

}  // namespace narthex::metadata
