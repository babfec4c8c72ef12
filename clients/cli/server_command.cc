// narthex server info and narthex server settings get|set
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"

namespace narthex::cli {
namespace {

using Stub = v1::SettingsService::StubInterface;

struct SettingFlags {
  std::string key;
  std::string value;
};

absl::StatusOr<ExitCode> Info(Program& program) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::ServerInfo info, connection->Call(connection->settings(), &Stub::GetServerInfo,
                                                            v1::GetServerInfoRequest()));
  return program.Print(info, [&](std::ostream& out) {
    PrintFields(out, {{"version", info.version()},
                      {"site", info.site_id()},
                      {"user", info.user()},
                      {"DICOM address", info.dicom_address()},
                      {"AE title", info.ae_title()},
                      {"chunk at most", HumanSize(info.chunk_max_bytes())},
                      {"object at most", HumanSize(info.object_max_bytes())},
                      {"in prearchive", absl::StrCat(info.prearchive_session_count(), " sessions")},
                      {"in archive", absl::StrCat(info.session_count(), " sessions")},
                      {"staging free", HumanSize(info.staging_free_bytes())}});
  });
}

void PrintSetting(std::ostream& out, const v1::Setting& setting) {
  PrintFields(out, {{"key", setting.key()},
                    {"value", setting.value()},
                    {"default", setting.default_value()},
                    {"what it does", setting.description()}});
}

absl::StatusOr<ExitCode> Get(Program& program, const SettingFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(
      v1::ListSettingsResponse response,
      connection->Call(connection->settings(), &Stub::ListSettings, v1::ListSettingsRequest()));
  if (flags.key.empty()) {
    return program.Print(response, [&](std::ostream& out) {
      Table table({"KEY", "VALUE", "DEFAULT", "WHAT IT DOES"});
      for (const v1::Setting& s : response.settings()) {
        table.Add({s.key(), s.value(), s.default_value(), s.description()});
      }
      table.Print(out);
    });
  }
  for (const v1::Setting& setting : response.settings()) {
    if (setting.key() != flags.key) continue;
    return program.Print(setting, [&](std::ostream& out) { PrintSetting(out, setting); });
  }
  return NotFound(
      "NOT_FOUND",
      absl::StrCat("there is no setting ", flags.key, "; `narthex server settings get` lists them"),
      {{"key", flags.key}});
}

absl::StatusOr<ExitCode> Set(Program& program, const SettingFlags& flags) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::UpdateSettingRequest request;
  request.set_key(flags.key);
  request.set_value(flags.value);
  NX_ASSIGN_OR_RETURN(v1::Setting setting,
                      connection->Call(connection->settings(), &Stub::UpdateSetting, request));
  return program.Print(setting, [&](std::ostream& out) { PrintSetting(out, setting); });
}

void AddSettings(CLI::App* parent, Program& program) {
  auto flags = std::make_shared<SettingFlags>();
  CLI::App* settings = parent->add_subcommand("settings", "the server's settings; for administrators");
  settings->require_subcommand(1);
  CLI::App* get = settings->add_subcommand("get", "shows one setting or all");
  get->add_option("KEY", flags->key, "the setting; without it all are listed");
  program.OnChosen(get, [&program, flags] { return Get(program, *flags); });
  CLI::App* set = settings->add_subcommand("set", "changes a setting; takes effect at once");
  set->add_option("KEY", flags->key, "the setting")->required();
  set->add_option("VALUE", flags->value, "its value; \"\" for the default")->required();
  program.OnChosen(set, [&program, flags] { return Set(program, *flags); });
}

// The server answers when all is copied.
constexpr absl::Duration kBackupTimeout = absl::Hours(12);  // fixed: who waits can stop

absl::StatusOr<ExitCode> Backup(Program& program, const std::string& id) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  v1::CreateBackupRequest request;
  request.set_backup_id(id);
  NX_ASSIGN_OR_RETURN(v1::Backup backup,
                      connection->Call(connection->settings(), &Stub::CreateBackup, request, kBackupTimeout));
  return program.Print(backup,
                       [&](std::ostream& out) { out << "on the server, in " << backup.path() << "\n"; });
}

}  // namespace

void AddServerCommands(CLI::App& app, Program& program) {
  CLI::App* group = app.add_subcommand("server", "the server's state and settings");
  group->require_subcommand(1);
  CLI::App* info = group->add_subcommand("info", "shows version, addresses and counts");
  program.OnChosen(info, [&program] { return Info(program); });
  auto backup_id = std::make_shared<std::string>();
  CLI::App* backup = group->add_subcommand("backup", "copies everything into a folder of the server");
  backup->add_option("NAME", *backup_id, "a new name for it")->required();
  program.OnChosen(backup, [&program, backup_id] { return Backup(program, *backup_id); });
  AddAuditCommands(group, program);
  AddSettings(group, program);
  AddSettings(&app, program);
}

}  // namespace narthex::cli
