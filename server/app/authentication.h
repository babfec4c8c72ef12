// Who is let in: our own tokens, and those of the issuer that the configuration names.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "server/app/config.h"
#include "server/auth/authenticator.h"
#include "storage/metadata/database.h"

namespace narthex::app {

// Adds what is wrong with the settings of the issuer, by key.
void CheckIssuer(const Config& config, std::map<std::string, std::string>& wrong);

// `stores` is borrowed. Reads the issuer's keys if there is an issuer; that they cannot be read is logged and
// no error: the issuer may come later, and the server's own tokens are good meanwhile.
std::unique_ptr<auth::Authenticator> MakeAuthenticator(const Config& config, metadata::AdminStores& stores);

}  // namespace narthex::app
