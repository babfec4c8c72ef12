#include "server/rpc/settings_service.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/identify/labels.h"
#include "server/rpc/convert.h"
#include "storage/metadata/json.h"

namespace narthex::rpc {
namespace {

// Settings are stored as JSON strings.
std::string ToJson(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  std::string json;
  google::protobuf::util::MessageToJsonString(value, &json).ok();
  return json;
}

std::string FromJson(const std::string& json) {
  google::protobuf::Value value;
  if (!google::protobuf::util::JsonStringToMessage(json, &value).ok()) return "";
  return value.string_value();
}

}  // namespace

absl::Status SettingsServiceImpl::ApplyStored() {
  for (const SettingSpec& spec : with_.settings) {
    NX_ASSIGN_OR_RETURN(const auto stored, with_.database.settings().Get("", spec.key));
    if (!stored) continue;
    if (const absl::Status applied = spec.apply(FromJson(stored->value_json)); !applied.ok()) {
      Log(LogLevel::kWarning, "stored setting not applied", {{"key", spec.key}, {"error", applied}});
    }
  }
  return absl::OkStatus();
}

grpc::Status SettingsServiceImpl::GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest*,
                                                v1::ServerInfo* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ServerInfo> {
        v1::ServerInfo info;
        info.set_chunk_max_bytes(limits::kChunkMaxBytes);
        info.set_object_max_bytes(static_cast<int64_t>(limits::kObjectMaxBytes));
        info.set_user(caller.user());
        metadata::SearchRequest all;
        all.page.size = 1;
        all.count_total = true;
        NX_ASSIGN_OR_RETURN(const auto found, with_.database.session_reader().Search(all, caller.Visible()));
        info.set_session_count(found.total_count.value_or(0));
        with_.describe(caller, &info);
        return info;
      });
}

absl::StatusOr<v1::Setting> SettingsServiceImpl::Show(const SettingSpec& spec) const {
  NX_ASSIGN_OR_RETURN(const auto stored, with_.database.settings().Get("", spec.key));
  v1::Setting setting;
  setting.set_key(spec.key);
  setting.set_description(spec.description);
  setting.set_default_value(spec.default_value);
  setting.set_value(stored ? FromJson(stored->value_json) : spec.default_value);
  return setting;
}

grpc::Status SettingsServiceImpl::ListSettings(grpc::ServerContext* context, const v1::ListSettingsRequest*,
                                               v1::ListSettingsResponse* response) {
  return with_.gate.Unary(context, response,
                          [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListSettingsResponse> {
                            NX_RETURN_IF_ERROR(caller.RequireAdmin());
                            v1::ListSettingsResponse answer;
                            for (const SettingSpec& spec : with_.settings) {
                              NX_ASSIGN_OR_RETURN(*answer.add_settings(), Show(spec));
                            }
                            return answer;
                          });
}

grpc::Status SettingsServiceImpl::UpdateSetting(grpc::ServerContext* context,
                                                const v1::UpdateSettingRequest* request,
                                                v1::Setting* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Setting> {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    const auto spec = std::find_if(with_.settings.begin(), with_.settings.end(),
                                   [&](const SettingSpec& known) { return known.key == request->key(); });
    if (spec == with_.settings.end()) {
      return NotFound("NOT_FOUND", absl::StrCat("there is no setting ", request->key(),
                                                "; `narthex settings get` lists them"));
    }
    const metadata::Change change{caller.user(), "", ""};
    if (request->value().empty()) {
      NX_RETURN_IF_ERROR(with_.database.settings().Remove("", spec->key, change));
      NX_RETURN_IF_ERROR(spec->apply(spec->default_value));
    } else {
      if (spec->check != nullptr) NX_RETURN_IF_ERROR(spec->check(request->value()));
      NX_RETURN_IF_ERROR(spec->apply(request->value()));
      NX_RETURN_IF_ERROR(
          with_.database.settings().Set("", spec->key, ToJson(request->value()), change).status());
    }
    return Show(*spec);
  });
}

grpc::Status SettingsServiceImpl::CreateBackup(grpc::ServerContext* context,
                                               const v1::CreateBackupRequest* request, v1::Backup* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Backup> {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    if (!identify::IsLabel(request->backup_id())) {
      return InvalidField("backup_id", "expected 1 to 64 letters, digits, '_' and '-'");
    }
    metadata::AuditEvent event;
    event.user = caller.user();
    event.action = "BACKUP_CREATE";
    event.object = request->backup_id();
    event.details_json = "{}";
    // Before it is made, so that it is in the backup itself, too.
    NX_RETURN_IF_ERROR(with_.database.audit().Append(event).status());
    auto made = with_.back_up(request->backup_id());
    if (made.ok()) return made;
    event.details_json = metadata::JsonObject({{"failed", ErrorReason(made.status())}});
    with_.database.audit().Append(event).IgnoreError();
    return made;
  });
}

}  // namespace narthex::rpc
