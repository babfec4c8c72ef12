// Users and tokens in PostgreSQL.
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/mutation.h"
#include "storage/metadata/names.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {
namespace {

constexpr char kUserColumns[] =
    "u.user_name, u.display_name, u.site_admin, u.all_data_read, u.all_data_admin, u.disabled, "
    "unix_us(u.create_time)";
constexpr int kUserColumnCount = 7;

User ToUser(const Rows& rows, int row) {
  User user;
  user.name = rows.Text(row, 0);
  user.display_name = rows.Text(row, 1);
  user.site_admin = rows.Bool(row, 2);
  user.all_data_read = rows.Bool(row, 3);
  user.all_data_admin = rows.Bool(row, 4);
  user.disabled = rows.Bool(row, 5);
  user.create_time = rows.Time(row, 6);
  return user;
}

Statement& BindUser(Statement& statement, const User& user) {
  return statement.Text(user.name)
      .Text(user.display_name)
      .Bool(user.site_admin)
      .Bool(user.all_data_read)
      .Bool(user.all_data_admin)
      .Bool(user.disabled);
}

class PostgresUserStore : public UserStore {
 public:
  explicit PostgresUserStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<User> Create(const User& user, const Change& change) override {
    NX_RETURN_IF_ERROR(CheckUserName(user.name));
    Statement insert(
        "INSERT INTO users (user_name, display_name, site_admin, all_data_read, all_data_admin, disabled) "
        "VALUES ($1, $2, $3, $4, $5, $6)");
    BindUser(insert, user);
    Mutation mutation{.method = "CreateUser", .change = change, .action = "USER_CREATE", .object = user.name};
    mutation.answer = {user.name};
    mutation.first = {std::move(insert)};
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (Violates(result.status(), "users_pkey")) {
      return Error(absl::StatusCode::kAlreadyExists, "USER_EXISTS",
                   absl::StrCat("there is a user ", user.name), {{"user", user.name}});
    }
    NX_RETURN_IF_ERROR(result.status());
    return Get(result->answer.front());
  }

  absl::StatusOr<User> Get(absl::string_view name) override {
    Statement select(absl::StrCat("SELECT ", kUserColumns, " FROM users u WHERE u.user_name = $1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(name)));
    if (rows.size() == 0) return UserNotFound(name);
    return ToUser(rows, 0);
  }

  absl::StatusOr<std::vector<User>> ListUsers() override {
    NX_ASSIGN_OR_RETURN(
        Rows rows, pool_.Read(Statement(absl::StrCat("SELECT ", kUserColumns, " FROM users u ORDER BY 1"))));
    std::vector<User> users;
    for (int i = 0; i < rows.size(); ++i) users.push_back(ToUser(rows, i));
    return users;
  }

  absl::StatusOr<User> Update(const User& user, const Change& change) override {
    Statement update(
        "UPDATE users SET display_name = $2, site_admin = $3, all_data_read = $4, all_data_admin = $5, "
        "disabled = $6 "
        "WHERE user_name = $1 RETURNING 1");
    BindUser(update, user);
    // Two administrators who disable each other: the second one waits here, and then finds nobody left.
    Statement lock("SELECT user_name FROM users WHERE site_admin AND NOT disabled ORDER BY 1 FOR UPDATE");
    Statement left("SELECT 1 FROM users WHERE site_admin AND NOT disabled LIMIT 1");
    Mutation mutation{.method = "UpdateUser", .change = change, .action = "USER_UPDATE", .object = user.name};
    mutation.details_json = JsonObject({{"site_admin", user.site_admin ? "true" : "false"},
                                        {"all_data_read", user.all_data_read ? "true" : "false"},
                                        {"all_data_admin", user.all_data_admin ? "true" : "false"},
                                        {"disabled", user.disabled ? "true" : "false"}});
    mutation.first = {std::move(lock), std::move(update), std::move(left)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      if (rows[1].size() == 0) return UserNotFound(user.name);
      if (rows[2].size() == 0 && rows[0].size() > 0) return LastAdministrator(user.name);
      return std::vector<Statement>();
    };
    NX_RETURN_IF_ERROR(Apply(pool_, std::move(mutation)).status());
    return Get(user.name);
  }

 private:
  Pool& pool_;
};

constexpr char kTokenColumns[] =
    "t.token_id, t.user_name, t.description, unix_us(t.create_time), CASE WHEN t.expire_time = 'infinity' "
    "THEN NULL ELSE "
    "unix_us(t.expire_time) END, unix_us(t.revoke_time)";

Token ToToken(const Rows& rows, int row) {
  Token token;
  token.id = rows.Text(row, 0);
  token.user = rows.Text(row, 1);
  token.description = rows.Text(row, 2);
  token.create_time = rows.Time(row, 3);
  token.expire_time = rows.Time(row, 4);
  if (!rows.IsNull(row, 5)) token.revoke_time = rows.Time(row, 5);
  return token;
}

class PostgresTokenStore : public TokenStore {
 public:
  explicit PostgresTokenStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<Token> Create(const Token& token, absl::string_view hash, const Change& change) override {
    if (hash.size() != 32)
      return InvalidArgument("TOKEN_HASH_INVALID", "a token's hash is a SHA-256 of 32 bytes", {});
    Mutation mutation{
        .method = "CreateToken", .change = change, .action = "TOKEN_CREATE", .object = NewRandomId()};
    mutation.answer = {mutation.object};
    Statement insert(
        "INSERT INTO tokens (token_id, hash, user_name, description, expire_time) VALUES ($1, $2, $3, $4, "
        "$5)");
    insert.Text(mutation.object).Bytes(hash).Text(token.user).Text(token.description).Time(token.expire_time);
    mutation.first = {std::move(insert)};
    absl::StatusOr<MutationResult> result = Apply(pool_, std::move(mutation));
    if (Violates(result.status(), "tokens_user_name_fkey")) return UserNotFound(token.user);
    if (Violates(result.status(), "tokens_hash")) {
      return Error(absl::StatusCode::kAlreadyExists, "TOKEN_EXISTS",
                   "this token is registered; make a new one", {});
    }
    NX_RETURN_IF_ERROR(result.status());
    Statement select(absl::StrCat("SELECT ", kTokenColumns, " FROM tokens t WHERE t.token_id = $1"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(result->answer.front())));
    if (rows.size() == 0) return Internal("TOKEN_LOST", "a token that was just made is gone", {});
    return ToToken(rows, 0);
  }

  absl::StatusOr<Identity> Verify(absl::string_view hash, absl::Time now) override {
    Statement select(absl::StrCat(
        "SELECT ", kUserColumns,
        ", t.token_id, array_remove(array_agg(m.project_id ORDER BY m.project_id), NULL), "
        "array_remove(array_agg(m.role ORDER BY m.project_id), NULL) "
        "FROM tokens t JOIN users u USING (user_name) LEFT JOIN members m USING (user_name) "
        "WHERE t.hash = $1 AND t.revoke_time IS NULL AND t.expire_time > $2::timestamptz AND NOT u.disabled "
        "GROUP BY u.user_name, t.token_id"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Bytes(hash).Time(now)));
    if (rows.size() == 0) {
      return Error(absl::StatusCode::kUnauthenticated, "TOKEN_INVALID",
                   "the token is not valid; `narthex token create` makes one");
    }
    Identity identity;
    identity.user = ToUser(rows, 0);
    identity.token_id = rows.Text(0, kUserColumnCount);
    const std::vector<std::string> projects = rows.Texts(0, kUserColumnCount + 1);
    const std::vector<std::string> roles = rows.Texts(0, kUserColumnCount + 2);
    for (size_t i = 0; i < projects.size() && i < roles.size(); ++i)
      identity.roles[projects[i]] = ParseRole(roles[i]);
    return identity;
  }

  absl::StatusOr<std::vector<std::string>> ListHashes(absl::Time now, int limit) override {
    Statement select(
        "SELECT hash FROM tokens WHERE revoke_time IS NULL AND expire_time > $1::timestamptz "
        "ORDER BY create_time DESC, token_id LIMIT $2");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Time(now).Int(limit)));
    std::vector<std::string> hashes;
    for (int i = 0; i < rows.size(); ++i) hashes.push_back(rows.Bytes(i, 0));
    return hashes;
  }

  absl::StatusOr<std::vector<Token>> ListTokens(absl::string_view user) override {
    Statement select(absl::StrCat(
        "SELECT ", kTokenColumns,
        " FROM tokens t WHERE $1 = '' OR t.user_name = $1 ORDER BY t.create_time DESC, t.token_id"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(user)));
    std::vector<Token> tokens;
    for (int i = 0; i < rows.size(); ++i) tokens.push_back(ToToken(rows, i));
    return tokens;
  }

  absl::Status Revoke(absl::string_view id, const Change& change) override {
    Statement update(
        "UPDATE tokens SET revoke_time = coalesce(revoke_time, now()) WHERE token_id = $1 RETURNING 1");
    update.Text(id);
    Mutation mutation{
        .method = "RevokeToken", .change = change, .action = "TOKEN_REVOKE", .object = std::string(id)};
    mutation.first = {std::move(update)};
    mutation.then = [&](const std::vector<Rows>& rows, Mutation&) -> absl::StatusOr<std::vector<Statement>> {
      if (rows[0].size() > 0) return std::vector<Statement>();
      return NotFound("TOKEN_NOT_FOUND",
                      absl::StrCat("there is no token ", id, "; `narthex token list` lists them"),
                      {{"token", std::string(id)}});
    };
    return Apply(pool_, std::move(mutation)).status();
  }

 private:
  Pool& pool_;
};

}  // namespace

std::unique_ptr<UserStore> NewPostgresUserStore(Pool& pool) {
  return std::make_unique<PostgresUserStore>(pool);
}
std::unique_ptr<TokenStore> NewPostgresTokenStore(Pool& pool) {
  return std::make_unique<PostgresTokenStore>(pool);
}

}  // namespace narthex::metadata
