// The in-memory twin of everything but sessions. Projects and people; the rest is in in_memory_settings.cc.
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
#include "storage/metadata/json.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"

namespace narthex::metadata {
namespace {

class InMemoryProjects : public ProjectStore {
 public:
  explicit InMemoryProjects(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<Project> Create(const Project& project, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckProject(project));
    absl::MutexLock lock(&t_.mutex);
    NX_ASSIGN_OR_RETURN(const std::string earlier, t_.Answered(change, "CreateProject"));
    if (!earlier.empty()) return t_.projects[earlier];
    NX_RETURN_IF_ERROR(CheckFree(project));
    for (const auto& [id, other] : t_.projects) {
      if (absl::AsciiStrToLower(id) == absl::AsciiStrToLower(project.id)) return Taken(project);
    }
    Project& made = t_.projects[project.id] = project;
    made.etag = "1";
    made.create_time = made.update_time = absl::Now();
    t_.Answer(change, "CreateProject", project.id);
    t_.Note(project.id, change, "PROJECT_CREATE", project.id);
    return made;
  }

  absl::StatusOr<Project> Get(absl::string_view id) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.projects.find(std::string(id));
    if (found == t_.projects.end()) return ProjectNotFound(id);
    return found->second;
  }

  absl::StatusOr<Project> Resolve(absl::string_view candidate) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.projects.find(std::string(candidate));
    if (found != t_.projects.end()) return found->second;
    for (const auto& [id, project] : t_.projects) {
      if (std::count(project.aliases.begin(), project.aliases.end(), candidate) > 0) return project;
    }
    return NotFound("PROJECT_NOT_FOUND", "no project has this id or alias", {});
  }

  absl::StatusOr<List> ListProjects(const Visibility& visible, const Page& page) override {
    const size_t size = static_cast<size_t>(PageSize(page, limits::kPageSizeMax));
    std::string after;
    if (!page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken("projects", page.token, 1));
      after = values.front();
    }
    absl::MutexLock lock(&t_.mutex);
    List list;
    for (auto it = t_.projects.upper_bound(after); it != t_.projects.end(); ++it) {
      const auto& names = visible.projects;
      if (!visible.all_projects && std::count(names.begin(), names.end(), it->first) == 0) continue;
      if (list.projects.size() == size) {
        list.next_page_token = EncodePageToken("projects", {list.projects.back().id});
        break;
      }
      list.projects.push_back(it->second);
    }
    return list;
  }

  absl::StatusOr<Project> Update(const Project& project, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckProject(project));
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.projects.find(project.id);
    if (found == t_.projects.end()) return ProjectNotFound(project.id);
    NX_ASSIGN_OR_RETURN(const std::string earlier, t_.Answered(change, "UpdateProject"));
    if (!earlier.empty()) return found->second;
    Project& old = found->second;
    if (!project.etag.empty() && project.etag != old.etag) {
      return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                   "the project was changed meanwhile; read it and try again");
    }
    NX_RETURN_IF_ERROR(CheckFree(project));
    Project now = project;
    int64_t version = 0;
    (void)absl::SimpleAtoi(old.etag, &version);
    now.etag = absl::StrCat(version + 1);
    now.create_time = old.create_time;
    now.update_time = absl::Now();
    t_.project_history[project.id].push_back(
        {version + 1, now.update_time, change.user, "UPDATE", change.note, Row(old), Row(now)});
    old = now;
    t_.Answer(change, "UpdateProject", project.id);
    t_.Note(project.id, change, "PROJECT_UPDATE", project.id);
    return now;
  }

  absl::StatusOr<std::vector<HistoryEntry>> ListHistory(absl::string_view project,
                                                        absl::string_view subject_id) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.project_history.find(std::string(project));
    if (found == t_.project_history.end() || !subject_id.empty()) return std::vector<HistoryEntry>();
    return std::vector<HistoryEntry>(found->second.rbegin(), found->second.rend());
  }

 private:
  static std::string Row(const Project& project) {
    std::map<std::string, std::string> row = {{"name", project.name}, {"description", project.description}};
    for (const auto& [name, value] : project.fields) row[absl::StrCat("fields.", name)] = value;
    return JsonObject(row);
  }

  static absl::Status Taken(const Project& project) {
    return Error(absl::StatusCode::kAlreadyExists, "PROJECT_EXISTS",
                 absl::StrCat("project ", project.id, " or one of its aliases is taken by another project"),
                 {{"project", project.id}});
  }

  // Names are ids in lower case and aliases as they are, as in the table project_names.
  absl::Status CheckFree(const Project& project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(t_.mutex) {
    std::set<std::string> names = {absl::AsciiStrToLower(project.id)};
    names.insert(project.aliases.begin(), project.aliases.end());
    for (const auto& [id, other] : t_.projects) {
      if (id == project.id) continue;
      if (names.count(absl::AsciiStrToLower(id)) > 0) return Taken(project);
      for (const std::string& alias : other.aliases) {
        if (names.count(alias) > 0) return Taken(project);
      }
    }
    return absl::OkStatus();
  }

  InMemoryTables& t_;
};

class InMemoryMembers : public MemberStore {
 public:
  explicit InMemoryMembers(InMemoryTables& tables) : t_(tables) {}

  absl::Status Set(const Member& member, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    if (member.project.empty() || !t_.KnowsProject(member.project)) return ProjectNotFound(member.project);
    if (t_.users.count(member.user) == 0) return UserNotFound(member.user);
    t_.members[{member.project, member.user}] = member;
    t_.Note(member.project, change, "MEMBER_SET", member.user);
    return absl::OkStatus();
  }

  absl::Status Remove(absl::string_view project, absl::string_view user, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    if (t_.members.erase({std::string(project), std::string(user)}) == 0) return NoMember(project, user);
    t_.Note(project, change, "MEMBER_REMOVE", user);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Member>> ListMembers(absl::string_view project) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Member> members;
    for (const auto& [key, member] : t_.members) {
      if (member.project == project) members.push_back(member);
    }
    return members;
  }

  absl::StatusOr<std::map<std::string, Role>> RolesOf(absl::string_view user) override {
    absl::MutexLock lock(&t_.mutex);
    std::map<std::string, Role> roles;
    for (const auto& [key, member] : t_.members) {
      if (member.user == user) roles[member.project] = member.role;
    }
    return roles;
  }

 private:
  InMemoryTables& t_;
};

class InMemoryUsers : public UserStore {
 public:
  explicit InMemoryUsers(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<User> Create(const User& user, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckUserName(user.name));
    absl::MutexLock lock(&t_.mutex);
    NX_ASSIGN_OR_RETURN(const std::string earlier, t_.Answered(change, "CreateUser"));
    if (!earlier.empty()) return t_.users[earlier];
    if (t_.users.count(user.name) > 0) {
      return Error(absl::StatusCode::kAlreadyExists, "USER_EXISTS",
                   absl::StrCat("there is a user ", user.name), {{"user", user.name}});
    }
    User& made = t_.users[user.name] = user;
    made.create_time = absl::Now();
    t_.Answer(change, "CreateUser", user.name);
    t_.Note("", change, "USER_CREATE", user.name);
    return made;
  }

  absl::StatusOr<User> Get(absl::string_view name) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.users.find(std::string(name));
    if (found == t_.users.end()) return UserNotFound(name);
    return found->second;
  }

  absl::StatusOr<std::vector<User>> ListUsers() override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<User> users;
    for (const auto& [name, user] : t_.users) users.push_back(user);
    return users;
  }

  absl::StatusOr<User> Update(const User& user, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.users.find(user.name);
    if (found == t_.users.end()) return UserNotFound(user.name);
    const bool leaves_none = std::none_of(t_.users.begin(), t_.users.end(), [&](const auto& entry) {
      return entry.first != user.name && entry.second.site_admin && !entry.second.disabled;
    });
    if (leaves_none && found->second.site_admin && !found->second.disabled &&
        (!user.site_admin || user.disabled)) {
      return LastAdministrator(user.name);
    }
    const absl::Time created = found->second.create_time;
    found->second = user;
    found->second.create_time = created;
    t_.Note("", change, "USER_UPDATE", user.name);
    return found->second;
  }

 private:
  InMemoryTables& t_;
};

class InMemoryTokens : public TokenStore {
 public:
  explicit InMemoryTokens(InMemoryTables& tables) : t_(tables) {}

  absl::StatusOr<Token> Create(const Token& token, absl::string_view hash, const Change& change) override {
    if (hash.size() != 32)
      return InvalidArgument("TOKEN_HASH_INVALID", "a token's hash is a SHA-256 of 32 bytes", {});
    absl::MutexLock lock(&t_.mutex);
    NX_ASSIGN_OR_RETURN(const std::string earlier, t_.Answered(change, "CreateToken"));
    if (!earlier.empty()) return t_.tokens[earlier];
    if (t_.users.count(token.user) == 0) return UserNotFound(token.user);
    if (t_.hashes.count(std::string(hash)) > 0) {
      return Error(absl::StatusCode::kAlreadyExists, "TOKEN_EXISTS",
                   "this token is registered; make a new one", {});
    }
    Token made = token;
    made.id = NewRandomId();
    made.create_time = absl::Now();
    made.revoke_time.reset();
    t_.tokens[made.id] = made;
    t_.hashes[std::string(hash)] = made.id;
    t_.Answer(change, "CreateToken", made.id);
    t_.Note("", change, "TOKEN_CREATE", made.id);
    return made;
  }

  absl::StatusOr<Identity> Verify(absl::string_view hash, absl::Time now) override {
    absl::MutexLock lock(&t_.mutex);
    const auto id = t_.hashes.find(std::string(hash));
    const Token* token = id == t_.hashes.end() ? nullptr : &t_.tokens[id->second];
    if (token == nullptr || token->revoke_time || token->expire_time <= now ||
        t_.users[token->user].disabled) {
      return Error(absl::StatusCode::kUnauthenticated, "TOKEN_INVALID",
                   "the token is not valid; `narthex token create` makes one");
    }
    Identity identity{t_.users[token->user], token->id, {}};
    for (const auto& [key, member] : t_.members) {
      if (member.user == token->user) identity.roles[member.project] = member.role;
    }
    return identity;
  }

  absl::StatusOr<std::vector<std::string>> ListHashes(absl::Time now, int limit) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<std::string> hashes;
    for (const auto& [hash, id] : t_.hashes) {
      const Token& token = t_.tokens[id];
      if (!token.revoke_time && token.expire_time > now && static_cast<int>(hashes.size()) < limit)
        hashes.push_back(hash);
    }
    return hashes;
  }

  absl::StatusOr<std::vector<Token>> ListTokens(absl::string_view user) override {
    absl::MutexLock lock(&t_.mutex);
    std::vector<Token> tokens;
    for (const auto& [id, token] : t_.tokens) {
      if (user.empty() || token.user == user) tokens.push_back(token);
    }
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const Token& a, const Token& b) { return a.create_time > b.create_time; });
    return tokens;
  }

  absl::Status Revoke(absl::string_view id, const Change& change) override {
    absl::MutexLock lock(&t_.mutex);
    const auto found = t_.tokens.find(std::string(id));
    if (found == t_.tokens.end()) {
      return NotFound("TOKEN_NOT_FOUND", absl::StrCat("there is no token ", id),
                      {{"token", std::string(id)}});
    }
    if (!found->second.revoke_time) found->second.revoke_time = absl::Now();
    t_.Note("", change, "TOKEN_REVOKE", id);
    return absl::OkStatus();
  }

 private:
  InMemoryTables& t_;
};

class InMemoryAdminStores : public AdminStores {
 public:
  ProjectStore& projects() override { return projects_; }
  MemberStore& members() override { return members_; }
  UserStore& users() override { return users_; }
  TokenStore& tokens() override { return tokens_; }
  SettingsStore& settings() override { return *settings_; }
  ScriptStore& scripts() override { return *scripts_; }
  ReceiverStore& receivers() override { return *receivers_; }
  StudyRouteStore& study_routes() override { return *study_routes_; }
  AuditStore& audit() override { return *audit_; }
  HoldStore& holds() override { return *holds_; }

 private:
  InMemoryTables tables_;
  InMemoryProjects projects_{tables_};
  InMemoryMembers members_{tables_};
  InMemoryUsers users_{tables_};
  InMemoryTokens tokens_{tables_};
  const std::unique_ptr<SettingsStore> settings_ = NewInMemorySettings(tables_);
  const std::unique_ptr<ScriptStore> scripts_ = NewInMemoryScripts(tables_);
  const std::unique_ptr<ReceiverStore> receivers_ = NewInMemoryReceivers(tables_);
  const std::unique_ptr<StudyRouteStore> study_routes_ = NewInMemoryStudyRoutes(tables_);
  const std::unique_ptr<AuditStore> audit_ = NewInMemoryAudit(tables_);
  const std::unique_ptr<HoldStore> holds_ = NewInMemoryHolds(tables_);
};

}  // namespace

std::unique_ptr<AdminStores> NewInMemoryAdminStores() { return std::make_unique<InMemoryAdminStores>(); }

}  // namespace narthex::metadata
