// narthex user create|list|show|update|disable|enable and narthex token create|list|revoke
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"
#include "clients/cpp/rpc_status.h"
#include "narthex/v1/identity_service.grpc.pb.h"

namespace narthex::cli {
namespace {

using Stub = v1::IdentityService::StubInterface;

struct IdentityFlags {
  std::string name;
  std::optional<std::string> display_name;
  std::optional<std::string> site_admin;
  std::optional<std::string> all_data_read;
  std::optional<std::string> all_data_admin;
  std::string user;
  std::string expires;
  std::string description;
  bool all = false;
};

std::unique_ptr<Stub> Identity(const client::Connection& connection) {
  return v1::IdentityService::NewStub(connection.channel());
}

// "users/ann" and "ann" to users/ann; likewise for tokens.
std::string Named(absl::string_view collection, absl::string_view id) {
  if (absl::ConsumePrefix(&id, collection)) return absl::StrCat(collection, id);
  return absl::StrCat(collection, id);
}

// "90s", "12h", "30d". Nothing but whole seconds.
absl::StatusOr<int64_t> SecondsOf(absl::string_view text) {
  int64_t days = 0;
  absl::Duration duration;
  absl::string_view number = text;
  if (absl::ConsumeSuffix(&number, "d") && absl::SimpleAtoi(number, &days)) return days * 86400;
  if (absl::ParseDuration(text, &duration)) return absl::ToInt64Seconds(duration);
  return InvalidArgument("INVALID_FIELD", "--expires: a duration such as 12h or 30d", {{"field", "expires"}});
}

std::string Roles(const v1::User& user) {
  std::string roles;
  for (const auto& [has, name] :
       {std::pair(user.site_admin(), "site-admin"), std::pair(user.all_data_admin(), "all-data-admin"),
        std::pair(user.all_data_read(), "all-data-read")}) {
    if (has) absl::StrAppend(&roles, roles.empty() ? "" : ", ", name);
  }
  return roles;
}

ExitCode Answer(Program& program, const v1::User& user) {
  return program.Print(user, [&](std::ostream& out) {
    PrintFields(out, {{"user", user.id()},
                      {"display name", Printable(user.display_name())},
                      {"roles", Roles(user)},
                      {"disabled", user.disabled() ? "yes" : ""},
                      {"made", HumanTime(user.create_time())}});
  });
}

absl::StatusOr<ExitCode> CreateUser(Program& program, const IdentityFlags& flags) {
  v1::CreateUserRequest request;
  v1::User& user = *request.mutable_user();
  user.set_id(flags.name);
  user.set_display_name(flags.display_name.value_or(""));
  user.set_site_admin(flags.site_admin == "on");
  user.set_all_data_read(flags.all_data_read == "on");
  user.set_all_data_admin(flags.all_data_admin == "on");
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::User made, connection->Call(*Identity(*connection), &Stub::CreateUser, request));
  return Answer(program, made);
}

absl::StatusOr<ExitCode> ShowUser(Program& program, const IdentityFlags& flags) {
  v1::GetUserRequest request;
  request.set_name(Named("users/", flags.name));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::User user, connection->Call(*Identity(*connection), &Stub::GetUser, request));
  return Answer(program, user);
}

absl::StatusOr<ExitCode> ListUsers(Program& program, const IdentityFlags&) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto response,
                      connection->Call(*Identity(*connection), &Stub::ListUsers, v1::ListUsersRequest()));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"USER", "DISPLAY NAME", "ROLES", "STATE"});
    for (const v1::User& user : response.users()) {
      table.Add({user.id(), Printable(user.display_name()), Roles(user), user.disabled() ? "disabled" : ""});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> Update(Program& program, v1::UpdateUserRequest request, const std::string& name) {
  request.set_name(Named("users/", name));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::User user, connection->Call(*Identity(*connection), &Stub::UpdateUser, request));
  return Answer(program, user);
}

absl::StatusOr<ExitCode> UpdateUser(Program& program, const IdentityFlags& flags) {
  v1::UpdateUserRequest request;
  if (flags.display_name) request.set_display_name(*flags.display_name);
  if (flags.site_admin) request.set_site_admin(*flags.site_admin == "on");
  if (flags.all_data_read) request.set_all_data_read(*flags.all_data_read == "on");
  if (flags.all_data_admin) request.set_all_data_admin(*flags.all_data_admin == "on");
  return Update(program, request, flags.name);
}

absl::StatusOr<ExitCode> Disable(Program& program, const IdentityFlags& flags) {
  v1::UpdateUserRequest request;
  request.set_disabled(true);
  return Update(program, request, flags.name);
}

absl::StatusOr<ExitCode> Enable(Program& program, const IdentityFlags& flags) {
  v1::UpdateUserRequest request;
  request.set_disabled(false);
  return Update(program, request, flags.name);
}

absl::StatusOr<ExitCode> CreateToken(Program& program, const IdentityFlags& flags) {
  v1::CreateTokenRequest request;
  request.set_user(flags.user);
  request.set_description(flags.description);
  if (!flags.expires.empty()) {
    NX_ASSIGN_OR_RETURN(const int64_t seconds, SecondsOf(flags.expires));
    request.mutable_expires_in()->set_seconds(seconds);
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  // Not repeated: a lost answer would leave a token that nobody knows.
  v1::CreateTokenResponse response;
  const auto context = connection->NewContext();
  const grpc::Status status = Identity(*connection)->CreateToken(context.get(), request, &response);
  if (!status.ok()) return client::FromGrpcStatus(status);
  return program.Print(response, [&](std::ostream& out) { out << response.secret() << "\n"; });
}

absl::StatusOr<ExitCode> ListTokens(Program& program, const IdentityFlags& flags) {
  v1::ListTokensRequest request;
  request.set_user(flags.all ? "-" : flags.user);
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto response, connection->Call(*Identity(*connection), &Stub::ListTokens, request));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"ID", "USER", "DESCRIPTION", "MADE", "EXPIRES", "REVOKED"});
    for (const v1::Token& token : response.tokens()) {
      table.Add({ShortName(token.name()), token.user(), Printable(token.description()),
                 HumanTime(token.create_time()), HumanTime(token.expire_time()),
                 HumanTime(token.revoke_time())});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> RevokeToken(Program& program, const IdentityFlags& flags) {
  v1::RevokeTokenRequest request;
  request.set_name(Named("tokens/", flags.name));
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto empty, connection->Call(*Identity(*connection), &Stub::RevokeToken, request));
  return program.Print(empty, [&](std::ostream& out) { out << "token " << flags.name << " is revoked\n"; });
}

using Handler = absl::StatusOr<ExitCode> (*)(Program&, const IdentityFlags&);
using Flags = std::shared_ptr<IdentityFlags>;

CLI::App* Add(CLI::App* group, Program& program, const Flags& flags, const char* name, const char* help,
              Handler handler) {
  CLI::App* command = group->add_subcommand(name, help);
  program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
  return command;
}

void AddUserCommands(CLI::App& app, Program& program, const Flags& flags) {
  CLI::App* group = app.add_subcommand("user", "the people and programs that may call the server");
  group->require_subcommand(1);
  CLI::App* create = Add(group, program, flags, "create", "makes a user; administrators only", CreateUser);
  Add(group, program, flags, "list", "lists users", ListUsers);
  CLI::App* show = Add(group, program, flags, "show", "shows a user", ShowUser);
  CLI::App* update = Add(group, program, flags, "update", "changes a user's roles", UpdateUser);
  CLI::App* disable =
      Add(group, program, flags, "disable", "refuses all of a user's tokens from now on", Disable);
  CLI::App* enable = Add(group, program, flags, "enable", "accepts a user's tokens again", Enable);
  for (CLI::App* command : {create, show, update, disable, enable}) {
    command->add_option("NAME", flags->name, "user name")->required();
  }
  for (CLI::App* command : {create, update}) {
    command->add_option("--display-name", flags->display_name, "for people");
    for (const auto& [flag, value, help] :
         {std::tuple("--site-admin", &flags->site_admin, "may do everything: on or off"),
          std::tuple("--all-data-read", &flags->all_data_read, "may read all projects: on or off"),
          std::tuple("--all-data-admin", &flags->all_data_admin, "owns all projects: on or off")}) {
      command->add_option(flag, *value, help)->check(CLI::IsMember({"on", "off"}));
    }
  }
}

void AddTokenCommands(CLI::App& app, Program& program, const Flags& flags) {
  CLI::App* group = app.add_subcommand("token", "what programs show to the server to say whose they are");
  group->require_subcommand(1);
  CLI::App* create =
      Add(group, program, flags, "create", "makes a token and prints it, this once", CreateToken);
  create->add_option("--user", flags->user, "whose; for administrators. Default: yours");
  create->add_option("--expires", flags->expires, "how long it holds, such as 12h or 30d; default: for ever");
  create->add_option("--description", flags->description, "what it is for");
  CLI::App* list = Add(group, program, flags, "list", "lists tokens", ListTokens);
  list->add_option("--user", flags->user, "whose; for administrators. Default: yours");
  list->add_flag("--all", flags->all, "everybody's; for administrators");
  CLI::App* revoke = Add(group, program, flags, "revoke", "ends a token", RevokeToken);
  revoke->add_option("ID", flags->name, "as `narthex token list` shows it")->required();
}

}  // namespace

void AddIdentityCommands(CLI::App& app, Program& program) {
  AddUserCommands(app, program, std::make_shared<IdentityFlags>());
  AddTokenCommands(app, program, std::make_shared<IdentityFlags>());
}

}  // namespace narthex::cli
