#include "server/rpc/identity_service.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_server.h"
#include "base/status.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

v1::User ToProto(const metadata::User& from) {
  v1::User user;
  user.set_name(absl::StrCat("users/", from.name));
  user.set_id(from.name);
  user.set_display_name(from.display_name);
  user.set_site_admin(from.site_admin);
  user.set_all_data_read(from.all_data_read);
  user.set_all_data_admin(from.all_data_admin);
  user.set_disabled(from.disabled);
  SetTime(from.create_time, user.mutable_create_time());
  return user;
}

v1::Token ToProto(const metadata::Token& from) {
  v1::Token token;
  token.set_name(absl::StrCat("tokens/", from.id));
  token.set_user(from.user);
  token.set_description(from.description);
  SetTime(from.create_time, token.mutable_create_time());
  if (from.expire_time != absl::InfiniteFuture()) SetTime(from.expire_time, token.mutable_expire_time());
  if (from.revoke_time) SetTime(*from.revoke_time, token.mutable_revoke_time());
  return token;
}

absl::Status NoUser(absl::string_view name) {
  return NotFound("NOT_FOUND", absl::StrCat("there is no user ", name, "; `narthex user list` lists them"),
                  {{"user", std::string(name)}});
}

}  // namespace

absl::StatusOr<metadata::User> IdentityServiceImpl::Find(const auth::Caller& caller,
                                                         absl::string_view name) const {
  NX_ASSIGN_OR_RETURN(const std::string id, IdOf(name, "users", "name"));
  if (!caller.is_admin() && id != caller.user()) return NoUser(id);
  auto user = stores_.users().Get(id);
  if (absl::IsNotFound(user.status())) return NoUser(id);
  return user;
}

grpc::Status IdentityServiceImpl::CreateUser(grpc::ServerContext* context,
                                             const v1::CreateUserRequest* request, v1::User* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::User> {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    const v1::User& from = request->user();
    if (auth::IsReservedUser(from.id()))
      return InvalidField("user.id", "the server goes by this name itself");
    if (from.display_name().size() > limits::kDisplayNameMaxBytes)
      return InvalidField("user.display_name", "too long");
    metadata::User user;
    user.name = from.id();
    user.display_name = from.display_name();
    user.site_admin = from.site_admin();
    user.all_data_read = from.all_data_read();
    user.all_data_admin = from.all_data_admin();
    user.disabled = from.disabled();
    NX_ASSIGN_OR_RETURN(const auto made,
                        stores_.users().Create(user, {caller.user(), "", request->request_id()}));
    return ToProto(made);
  });
}

grpc::Status IdentityServiceImpl::GetUser(grpc::ServerContext* context, const v1::GetUserRequest* request,
                                          v1::User* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::User> {
    NX_ASSIGN_OR_RETURN(const auto user, Find(caller, request->name()));
    return ToProto(user);
  });
}

grpc::Status IdentityServiceImpl::ListUsers(grpc::ServerContext* context, const v1::ListUsersRequest*,
                                            v1::ListUsersResponse* response) {
  return gate_.Unary(context, response,
                     [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListUsersResponse> {
                       v1::ListUsersResponse answer;
                       NX_ASSIGN_OR_RETURN(const auto users, stores_.users().ListUsers());
                       for (const metadata::User& user : users) {
                         if (caller.is_admin() || user.name == caller.user())
                           *answer.add_users() = ToProto(user);
                       }
                       return answer;
                     });
}

grpc::Status IdentityServiceImpl::UpdateUser(grpc::ServerContext* context,
                                             const v1::UpdateUserRequest* request, v1::User* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::User> {
    NX_ASSIGN_OR_RETURN(metadata::User user, Find(caller, request->name()));
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    if (request->display_name().size() > limits::kDisplayNameMaxBytes)
      return InvalidField("display_name", "too long");
    if (request->has_display_name()) user.display_name = request->display_name();
    if (request->has_site_admin()) user.site_admin = request->site_admin();
    if (request->has_all_data_read()) user.all_data_read = request->all_data_read();
    if (request->has_all_data_admin()) user.all_data_admin = request->all_data_admin();
    if (request->has_disabled()) user.disabled = request->disabled();
    NX_ASSIGN_OR_RETURN(const auto updated,
                        stores_.users().Update(user, {caller.user(), "", request->request_id()}));
    authenticator_.Forget();
    return ToProto(updated);
  });
}

grpc::Status IdentityServiceImpl::CreateToken(grpc::ServerContext* context,
                                              const v1::CreateTokenRequest* request,
                                              v1::CreateTokenResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::CreateTokenResponse> {
        NX_RETURN_IF_ERROR(caller.RequireUser());
        metadata::Token token;
        token.user = request->user().empty() ? caller.user() : request->user();
        if (token.user != caller.user()) NX_RETURN_IF_ERROR(caller.RequireAdmin());
        if (request->description().size() > limits::kDisplayNameMaxBytes)
          return InvalidField("description", "too long");
        token.description = request->description();
        if (request->has_expires_in()) {
          if (request->expires_in().seconds() < 1 ||
              request->expires_in().seconds() > limits::kTokenSecondsMax) {
            return InvalidField("expires_in", "1 second to 100 years");
          }
          token.expire_time = clock_.Now() + absl::Seconds(request->expires_in().seconds());
        }
        v1::CreateTokenResponse answer;
        answer.set_secret(auth::Authenticator::NewToken());
        const std::string hash = auth::Authenticator::Hash(answer.secret());
        NX_ASSIGN_OR_RETURN(const auto made, stores_.tokens().Create(token, hash, {caller.user(), "", ""}));
        authenticator_.MakeKnown(hash);
        *answer.mutable_token() = ToProto(made);
        return answer;
      });
}

grpc::Status IdentityServiceImpl::ListTokens(grpc::ServerContext* context,
                                             const v1::ListTokensRequest* request,
                                             v1::ListTokensResponse* response) {
  return gate_.Unary(context, response,
                     [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListTokensResponse> {
                       std::string user = request->user().empty() ? caller.user() : request->user();
                       if (user != caller.user()) NX_RETURN_IF_ERROR(caller.RequireAdmin());
                       if (user == "-") user.clear();
                       NX_ASSIGN_OR_RETURN(const auto tokens, stores_.tokens().ListTokens(user));
                       v1::ListTokensResponse answer;
                       for (const metadata::Token& token : tokens) *answer.add_tokens() = ToProto(token);
                       return answer;
                     });
}

grpc::Status IdentityServiceImpl::RevokeToken(grpc::ServerContext* context,
                                              const v1::RevokeTokenRequest* request,
                                              google::protobuf::Empty* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->name(), "tokens", "name"));
        if (!caller.is_admin()) {
          NX_ASSIGN_OR_RETURN(const auto own, stores_.tokens().ListTokens(caller.user()));
          if (std::none_of(own.begin(), own.end(), [&](const auto& token) { return token.id == id; })) {
            return NotFound("TOKEN_NOT_FOUND",
                            absl::StrCat("there is no token ", id, "; `narthex token list` lists them"),
                            {{"token", id}});
          }
        }
        NX_RETURN_IF_ERROR(stores_.tokens().Revoke(id, {caller.user(), "", ""}));
        authenticator_.Forget();
        return google::protobuf::Empty();
      });
}

}  // namespace narthex::rpc
