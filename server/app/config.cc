#include "server/app/config.h"

#include <cstdio>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include <CLI/CLI.hpp>
#include <toml++/toml.h>

#include "base/limit_table.h"
#include "server/app/authentication.h"

namespace narthex::app {
namespace {

constexpr int kExitUsage = 64;
constexpr int kExitConfig = 78;

// Option name, its place in Config, and what it means.
struct Key {
  const char* name;
  std::string Config::*field;
  const char* help;
};

struct Switch {
  const char* name;
  bool Config::*field;
  const char* help;
};

constexpr Switch kSwitches[] = {
    {"allow-plaintext", &Config::allow_plaintext,
     "serve other machines without TLS; tokens and images can then be read on the network"},
    {"oidc-create-users", &Config::oidc_create_users,
     "a user whom a good token of the issuer names, and who is not known here, is made (without any role)"},
};

constexpr Key kKeys[] = {
    {"data-dir", &Config::data_dir, "where everything is kept; created if missing"},
    {"grpc-listen", &Config::grpc_listen, "ADDR:PORT or unix:PATH; port 0 picks a free one"},
    {"dicom-listen", &Config::dicom_listen, "ADDR:PORT of the DICOM receiver (AE title NARTHEX), or off"},
    {"metrics-listen", &Config::metrics_listen, "ADDR:PORT for /metrics, /healthz and /readyz, or off"},
    {"postgres", &Config::postgres, "managed, or a connection string of an existing PostgreSQL"},
    {"archive-dir", &Config::archive_dir, "default: archive below the data directory"},
    {"inbox-dir", &Config::inbox_dir, "default: inbox below the data directory"},
    {"types-dir", &Config::types_dir, "more session types (*.toml); default: types below the data directory"},
    {"backup-dir", &Config::backup_dir,
     "where backups are made, on the data directory's file system; default: backup below it"},
    {"restore-from", &Config::restore_from, "a backup to fill an empty data directory from, before serving"},
    {"site-id", &Config::site_id, "prefix of accession ids"},
    {"ready-file", &Config::ready_file, "written (by rename) once the server serves"},
    {"tls-cert", &Config::tls_cert,
     "PEM file of the server's certificate; it may be replaced while the server runs"},
    {"tls-key", &Config::tls_key, "PEM file of the certificate's private key"},
    {"tls-client-ca", &Config::tls_client_ca,
     "PEM file of the authorities of which every client must have a certificate"},
    {"dicom-tls-cert", &Config::dicom_tls_cert,
     "PEM file of the certificate that DICOM callers are shown; receivers with TLS need it"},
    {"dicom-tls-key", &Config::dicom_tls_key, "PEM file of that certificate's private key"},
    {"dicom-tls-client-ca", &Config::dicom_tls_client_ca,
     "PEM file of the authorities of DICOM callers' certificates"},
    {"tls-client-user", &Config::tls_client_user,
     "cn: a token is good only with the certificate whose common name is its user; any: with each"},
    {"oidc-issuer", &Config::oidc_issuer,
     "also take tokens (JWT) of this issuer: their claim iss, letter by letter"},
    {"oidc-audience", &Config::oidc_audience, "what the claim aud of such a token must hold"},
    {"oidc-jwks", &Config::oidc_jwks, "the issuer's keys: a file, or an https:// address"},
    {"oidc-user-claim", &Config::oidc_user_claim, "the claim that is the name of the user here"},
    {"oidc-leeway-seconds", &Config::oidc_leeway_seconds, "how much the clocks may differ"},
    {"log-level", &Config::log_level, "debug, info, warning or error"},
};

bool IsAddress(const std::string& text, bool may_be_off) {
  if (text == "off") return may_be_off;
  if (text.rfind("unix:", 0) == 0) return !may_be_off && text.size() > 5;
  const size_t colon = text.rfind(':');
  uint32_t port = 0;
  return colon != std::string::npos && colon > 0 && absl::SimpleAtoi(text.substr(colon + 1), &port) &&
         port <= 65535;
}

// What is wrong with `config`, by key.
std::map<std::string, std::string> Check(const Config& config) {
  std::map<std::string, std::string> wrong;
  if (config.data_dir.empty()) wrong["data-dir"] = "it is required";
  if (!IsAddress(config.grpc_listen, false)) wrong["grpc-listen"] = "expected ADDR:PORT or unix:PATH";
  if (!IsAddress(config.dicom_listen, true)) wrong["dicom-listen"] = "expected ADDR:PORT or off";
  if (!IsAddress(config.metrics_listen, true)) wrong["metrics-listen"] = "expected ADDR:PORT or off";
  const bool word =
      !config.site_id.empty() && config.site_id.size() <= 32 &&
      config.site_id.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == std::string::npos;
  if (!word) wrong["site-id"] = "expected 1 to 32 capital letters, digits and '_'";
  if (config.tls_cert.empty() != config.tls_key.empty())
    wrong["tls-key"] = "--tls-cert and --tls-key belong together";
  if (config.dicom_tls_cert.empty() != config.dicom_tls_key.empty())
    wrong["dicom-tls-key"] = "--dicom-tls-cert and --dicom-tls-key belong together";
  if (!config.dicom_tls_client_ca.empty() && config.dicom_tls_cert.empty())
    wrong["dicom-tls-client-ca"] = "it needs --dicom-tls-cert";
  if (!config.tls_client_ca.empty() && config.tls_cert.empty())
    wrong["tls-client-ca"] = "it needs --tls-cert";
  if (config.tls_client_user != "cn" && config.tls_client_user != "any")
    wrong["tls-client-user"] = "expected cn or any";
  CheckIssuer(config, wrong);
  static const std::set<std::string> kLevels = {"debug", "info", "warning", "error"};
  if (kLevels.count(config.log_level) == 0) wrong["log-level"] = "expected debug, info, warning or error";
  return wrong;
}

// Sets the limits of the table [limits] of the file `path`. Prints errors with their lines; false if any.
bool SetLimits(const std::string& path, const toml::node& limits) {
  const auto fail = [&path](const toml::node& node, absl::string_view what) {
    std::fprintf(stderr, "narthexd: %s:%d: %s\n", path.c_str(), static_cast<int>(node.source().begin.line),
                 std::string(what).c_str());
    return false;
  };
  if (!limits.is_table()) return fail(limits, "\"limits\" must be a table: [limits]");
  bool good = true;
  for (auto&& [key, node] : *limits.as_table()) {
    const auto number = node.value_exact<int64_t>();
    const auto text = node.value_exact<std::string>();
    const std::string name =
        absl::StrReplaceAll(absl::string_view(key.str().data(), key.str().size()), {{"-", "_"}});
    const absl::Status set = SetLimit(name, number ? absl::StrCat(*number) : text.value_or("neither"));
    if (!set.ok()) good = fail(node, set.message());
  }
  return good;
}

// Reads `path` into `config` where the command line said nothing. Prints errors with their lines; false if
// any.
bool ReadFile(const std::string& path, const std::set<std::string>& given, Config& config,
              std::map<std::string, int>& lines) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    std::ostringstream text;
    text << error.description();
    std::fprintf(stderr, "narthexd: %s:%u: %s\n", path.c_str(), error.source().begin.line,
                 text.str().c_str());
    return false;
  }
  bool good = true;
  for (auto&& [key, node] : table) {
    if (key.str() == "limits") {
      good = SetLimits(path, node) && good;
      continue;
    }
    const std::string name =
        absl::StrReplaceAll(absl::string_view(key.str().data(), key.str().size()), {{"_", "-"}});
    const int line = static_cast<int>(node.source().begin.line);
    const Switch* toggle = nullptr;
    for (const Switch& candidate : kSwitches) {
      if (name == candidate.name) toggle = &candidate;
    }
    if (const auto on = node.value<bool>(); toggle != nullptr && on) {
      if (given.count(name) == 0) config.*toggle->field = *on;
      continue;
    }
    const Key* known = nullptr;
    for (const Key& candidate : kKeys) {
      if (name == candidate.name) known = &candidate;
    }
    const auto value = node.value<std::string>();
    if (known == nullptr || !value) {
      std::fprintf(stderr, "narthexd: %s:%d: %s\n", path.c_str(), line,
                   toggle != nullptr ? absl::StrCat("\"", name, "\" must be true or false").c_str()
                   : known == nullptr
                       ? absl::StrCat("there is no key \"", name, "\"; see narthexd --help").c_str()
                       : absl::StrCat("\"", name, "\" must be a text in quotes").c_str());
      good = false;
      continue;
    }
    lines[name] = line;
    if (given.count(name) == 0) config.*known->field = *value;
  }
  return good;
}

}  // namespace

ParsedConfig ParseConfig(int argc, char** argv) {
  ParsedConfig parsed;
  Config& config = parsed.config;
  CLI::App app(
      "narthexd: takes imaging sessions in, holds them where they can be checked, and files them for good",
      "narthexd");
  std::string file;
  app.add_option("--config", file, "TOML file with the same keys as these flags ('-' or '_')");
  std::map<std::string, CLI::Option*> options;
  for (const Key& key : kKeys) {
    options[key.name] = app.add_option(absl::StrCat("--", key.name), config.*key.field, key.help);
    if (!(config.*key.field).empty()) options[key.name]->capture_default_str();
  }
  for (const Switch& toggle : kSwitches) {
    options[toggle.name] = app.add_flag(absl::StrCat("--", toggle.name), config.*toggle.field, toggle.help);
  }
  std::vector<std::string> limits;
  app.add_option(
         "--limit", limits,
         "NAME=VALUE: another value of one limit than its default (docs/operations.md has them); may be "
         "repeated; in the file a table [limits]")
      ->allow_extra_args(false);
  app.add_flag("--check-config", config.check_config, "say what is wrong with the configuration, and stop");
  app.set_version_flag("--version", "narthexd 0.1.0");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error) == 0 ? 0 : kExitUsage;
    return parsed;
  }
  std::set<std::string> given;
  for (const auto& [name, option] : options) {
    if (option->count() > 0) given.insert(name);
  }
  std::map<std::string, int> lines;
  bool good = file.empty() || ReadFile(file, given, config, lines);
  bool usage = false;
  for (const std::string& limit : limits) {
    const absl::Status set = SetLimit(limit);
    if (set.ok()) continue;
    good = false;
    usage = true;
    std::fprintf(stderr, "narthexd: --limit: %s\n", std::string(set.message()).c_str());
  }
  for (const auto& [key, what] : Check(config)) {
    good = false;
    const bool in_file = lines.count(key) > 0 && given.count(key) == 0;
    usage = usage || !in_file;
    std::fprintf(
        stderr, "narthexd: %s: %s\n",
        in_file ? absl::StrCat(file, ":", lines[key], ": ", key).c_str() : absl::StrCat("--", key).c_str(),
        what.c_str());
  }
  if (!good) {
    parsed.exit_code = file.empty() && usage ? kExitUsage : kExitConfig;
  } else if (config.check_config) {
    std::printf("the configuration is good\n");
    parsed.exit_code = 0;
  }
  if (config.archive_dir.empty()) config.archive_dir = config.data_dir + "/archive";
  if (config.backup_dir.empty()) config.backup_dir = config.data_dir + "/backup";
  if (config.inbox_dir.empty()) config.inbox_dir = config.data_dir + "/inbox";
  if (config.types_dir.empty()) config.types_dir = config.data_dir + "/types";
  return parsed;
}

}  // namespace narthex::app
