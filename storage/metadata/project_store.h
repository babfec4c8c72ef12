// Projects, their members and subjects. Thread-safe; calls block on the database.
// Every method may also fail with UNAVAILABLE (DATABASE_UNAVAILABLE): try again later.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

class ProjectStore {
 public:
  virtual ~ProjectStore() = default;

  // ALREADY_EXISTS (PROJECT_EXISTS): the id (in any case) or an alias is taken. INVALID_ARGUMENT
  // (PROJECT_ID_INVALID, SETTINGS_INVALID). A repeated change.request_id returns the project of the first
  // call.
  virtual absl::StatusOr<Project> Create(const Project& project, const Change& change) = 0;

  // NOT_FOUND (PROJECT_NOT_FOUND). Only ids, not aliases.
  virtual absl::StatusOr<Project> Get(absl::string_view id) = 0;

  // The project whose id or else alias equals `candidate`. NOT_FOUND (PROJECT_NOT_FOUND).
  virtual absl::StatusOr<Project> Resolve(absl::string_view candidate) = 0;

  struct List {
    std::vector<Project> projects;  // by id
    std::string next_page_token;    // "" at the end
  };
  // The projects that `visible` names, or all. INVALID_ARGUMENT (PAGE_TOKEN_INVALID).
  virtual absl::StatusOr<List> ListProjects(const Visibility& visible, const Page& page) = 0;

  // Replaces all input fields. ABORTED (ETAG_MISMATCH): project.etag is set and no longer current.
  virtual absl::StatusOr<Project> Update(const Project& project, const Change& change) = 0;

  // What was changed in a project's row, or in that of its subject `subject_id` ("": the project's), the
  // newest first; at most 10,000.
  virtual absl::StatusOr<std::vector<HistoryEntry>> ListHistory(absl::string_view project,
                                                                absl::string_view subject_id) = 0;
};

class MemberStore {
 public:
  virtual ~MemberStore() = default;

  // Adds a member or changes the role. NOT_FOUND (PROJECT_NOT_FOUND, USER_NOT_FOUND).
  virtual absl::Status Set(const Member& member, const Change& change) = 0;
  // OK if there was none.
  // NOT_FOUND (USER_NOT_FOUND): not a member.
  virtual absl::Status Remove(absl::string_view project, absl::string_view user, const Change& change) = 0;
  // By user name.
  virtual absl::StatusOr<std::vector<Member>> ListMembers(absl::string_view project) = 0;
  // The roles of one user: project -> role.
  virtual absl::StatusOr<std::map<std::string, Role>> RolesOf(absl::string_view user) = 0;
};

class SubjectStore {
 public:
  virtual ~SubjectStore() = default;

  // ALREADY_EXISTS (SUBJECT_EXISTS). Sessions create their subjects themselves (SessionStore).
  virtual absl::StatusOr<Subject> Create(absl::string_view project, absl::string_view label,
                                         const Change& change) = 0;
  // By label (in any case) or subject id. NOT_FOUND (SUBJECT_NOT_FOUND).
  virtual absl::StatusOr<Subject> Get(absl::string_view project, absl::string_view label_or_id) = 0;

  struct List {
    std::vector<Subject> subjects;  // by label
    std::string next_page_token;
  };
  virtual absl::StatusOr<List> ListSubjects(absl::string_view project, const Page& page) = 0;

  // Replaces label and custom fields of the subject with that project and id. NOT_FOUND (SUBJECT_NOT_FOUND).
  // ABORTED (ETAG_MISMATCH): subject.etag is set and no longer current. INVALID_ARGUMENT
  // (SUBJECT_LABEL_INVALID). ALREADY_EXISTS (SUBJECT_EXISTS): another one, perhaps of a session that is
  // being archived, has the label.
  virtual absl::StatusOr<Subject> Update(const Subject& subject, const Change& change) = 0;
  // The id of the subject that the request `request_id` has updated; "": it has done nothing yet.
  virtual absl::StatusOr<std::string> FindUpdated(absl::string_view request_id) = 0;
};

}  // namespace narthex::metadata
