// What a connection to PostgreSQL asks for besides what it is told. Thread-safe (pure function).
#pragma once

#include <string>

namespace narthex::metadata {

// The sslmode that `conninfo` (key=value pairs or a postgresql:// URL) is to have: "require" where it leads
// to another machine and says none, for which libpq would also take plain text. "": as it is. The environment
// of libpq (PGHOST, PGHOSTADDR, PGSSLMODE) counts; what a service file says is not looked at.
std::string SslModeOf(const std::string& conninfo);

}  // namespace narthex::metadata
