#include "server/app/authentication.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/clock.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "server/auth/jwks_source.h"
#include "server/auth/oidc.h"

namespace narthex::app {

void CheckIssuer(const Config& config, std::map<std::string, std::string>& wrong) {
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(config.oidc_leeway_seconds, &seconds) || seconds < 0 ||
      seconds > limits::kJwtLeewaySecondsMax) {
    wrong["oidc-leeway-seconds"] = absl::StrCat("expected 0 to ", limits::kJwtLeewaySecondsMax.get());
  }
  if (config.oidc_user_claim.empty()) wrong["oidc-user-claim"] = "expected the name of a claim";
  const bool any = !config.oidc_issuer.empty() || !config.oidc_audience.empty() || !config.oidc_jwks.empty();
  if (config.oidc_create_users && !any) wrong["oidc-create-users"] = "it needs --oidc-issuer";
  if (!any) return;
  if (config.oidc_issuer.empty()) wrong["oidc-issuer"] = "--oidc-audience and --oidc-jwks need it";
  if (config.oidc_audience.empty()) wrong["oidc-audience"] = "--oidc-issuer needs it";
  if (config.oidc_jwks.empty()) wrong["oidc-jwks"] = "--oidc-issuer needs it";
  if (absl::StrContains(config.oidc_jwks, "://") && !auth::IsJwksUrl(config.oidc_jwks))
    wrong["oidc-jwks"] = "expected a file, an https:// address, or http:// of this machine";
}

std::unique_ptr<auth::Authenticator> MakeAuthenticator(const Config& config, metadata::AdminStores& stores) {
  auto authenticator = std::make_unique<auth::Authenticator>(stores, Clock::Real());
  if (config.oidc_issuer.empty()) return authenticator;
  auth::Oidc::Options options;
  options.rules.issuer = config.oidc_issuer;
  options.rules.audience = config.oidc_audience;
  options.rules.user_claim = config.oidc_user_claim;
  int64_t leeway = 0;
  if (absl::SimpleAtoi(config.oidc_leeway_seconds, &leeway)) options.rules.leeway = absl::Seconds(leeway);
  options.create_users = config.oidc_create_users;
  auto issuer =
      std::make_unique<auth::Oidc>(std::move(options), auth::NewJwksSource(config.oidc_jwks), Clock::Real());
  if (issuer->Load().ok()) Log(LogLevel::kInfo, "token issuer", {{"issuer", config.oidc_issuer}});
  authenticator->Accept(std::move(issuer));
  return authenticator;
}

}  // namespace narthex::app
