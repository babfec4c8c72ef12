// IdentityService.
#pragma once

#include "narthex/v1/identity_service.grpc.pb.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

class IdentityServiceImpl final : public v1::IdentityService::Service {
 public:
  IdentityServiceImpl(const Gate& gate, metadata::AdminStores& stores, auth::Authenticator& authenticator,
                      const Clock& clock)
      : gate_(gate), stores_(stores), authenticator_(authenticator), clock_(clock) {}

  grpc::Status CreateUser(grpc::ServerContext* context, const v1::CreateUserRequest* request,
                          v1::User* response) override;
  grpc::Status GetUser(grpc::ServerContext* context, const v1::GetUserRequest* request,
                       v1::User* response) override;
  grpc::Status ListUsers(grpc::ServerContext* context, const v1::ListUsersRequest* request,
                         v1::ListUsersResponse* response) override;
  grpc::Status UpdateUser(grpc::ServerContext* context, const v1::UpdateUserRequest* request,
                          v1::User* response) override;
  grpc::Status CreateToken(grpc::ServerContext* context, const v1::CreateTokenRequest* request,
                           v1::CreateTokenResponse* response) override;
  grpc::Status ListTokens(grpc::ServerContext* context, const v1::ListTokensRequest* request,
                          v1::ListTokensResponse* response) override;
  grpc::Status RevokeToken(grpc::ServerContext* context, const v1::RevokeTokenRequest* request,
                           google::protobuf::Empty* response) override;

 private:
  // The user that `name` (users/<name>) means, if the caller may know of them.
  absl::StatusOr<metadata::User> Find(const auth::Caller& caller, absl::string_view name) const;

  const Gate& gate_;
  metadata::AdminStores& stores_;
  auth::Authenticator& authenticator_;
  const Clock& clock_;
};

}  // namespace narthex::rpc
