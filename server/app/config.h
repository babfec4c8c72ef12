// The server's flags and configuration file. Every flag is also a key of the file (TOML), with '-' as '_';
// what --limit sets are the keys of its table [limits].
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace narthex::app {

struct Config {
  std::string data_dir;
  std::string grpc_listen = "127.0.0.1:8443";
  std::string dicom_listen = "127.0.0.1:8104";  // "off": none
  std::string metrics_listen = "off";
  std::string postgres = "managed";
  std::string archive_dir;  // "": <data_dir>/archive
  std::string inbox_dir;    // "": <data_dir>/inbox
  std::string types_dir;    // "": <data_dir>/types
  std::string site_id = "NARTHEX";
  std::string backup_dir;  // "": <data_dir>/backup
  std::string restore_from;
  std::string ready_file;
  std::string log_level = "info";
  std::string tls_cert;  // "": plain text
  std::string tls_key;
  std::string tls_client_ca;  // "": clients need no certificate
  std::string tls_client_user = "cn";
  std::string dicom_tls_cert;  // "": receivers cannot use TLS
  std::string dicom_tls_key;
  std::string dicom_tls_client_ca;
  std::string oidc_issuer;  // "": only our own tokens
  std::string oidc_audience;
  std::string oidc_jwks;  // file or URL
  std::string oidc_user_claim = "sub";
  std::string oidc_leeway_seconds = "60";
  bool oidc_create_users = false;
  bool allow_plaintext = false;
  bool check_config = false;
};

// What to do after parsing: run, or stop with this exit code (help was printed, or an error).
struct ParsedConfig {
  Config config;
  int exit_code = -1;  // -1: run
};

// Reads the command line and the file it names; the command line wins. Prints help and errors itself. Sets
// the limits (base/limit_table.h) at once: before the program has threads.
ParsedConfig ParseConfig(int argc, char** argv);

}  // namespace narthex::app
