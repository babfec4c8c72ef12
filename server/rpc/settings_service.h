// SettingsService.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "narthex/v1/settings_service.grpc.pb.h"
#include "server/rpc/status.h"
#include "storage/metadata/database.h"

namespace narthex::rpc {

// A setting that can be changed while the server runs.
struct SettingSpec {
  std::string key;
  std::string description;
  std::string default_value;
  // INVALID_ARGUMENT if `value` is not one; else takes effect at once.
  std::function<absl::Status(const std::string& value)> apply;
  // Asked first of a value that somebody sets: what is stored is applied though limits were lowered since.
  // Null: nothing.
  std::function<absl::Status(const std::string& value)> check = nullptr;
};

class SettingsServiceImpl final : public v1::SettingsService::Service {
 public:
  struct Dependencies {
    const Gate& gate;
    metadata::Database& database;
    std::vector<SettingSpec> settings;  // by key
    // Fills in what only the application knows, as far as the caller may know it.
    std::function<void(const auth::Caller&, v1::ServerInfo*)> describe;
    std::function<absl::StatusOr<v1::Backup>(const std::string& id)> back_up;
  };
  explicit SettingsServiceImpl(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Applies what was set earlier; values that are no longer valid are left out with a warning. At start.
  absl::Status ApplyStored();

  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::ServerInfo* response) override;
  grpc::Status ListSettings(grpc::ServerContext* context, const v1::ListSettingsRequest* request,
                            v1::ListSettingsResponse* response) override;
  grpc::Status CreateBackup(grpc::ServerContext* context, const v1::CreateBackupRequest* request,
                            v1::Backup* response) override;
  grpc::Status UpdateSetting(grpc::ServerContext* context, const v1::UpdateSettingRequest* request,
                             v1::Setting* response) override;

 private:
  absl::StatusOr<v1::Setting> Show(const SettingSpec& spec) const;

  const Dependencies with_;
};

}  // namespace narthex::rpc
