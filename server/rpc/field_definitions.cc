#include "server/rpc/field_definitions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include <google/protobuf/util/json_util.h>

#include "base/error.h"
#include "base/status.h"
#include "server/rpc/convert.h"
#include "server/rpc/project_service.h"

namespace narthex::rpc {
namespace {

archiving::FieldType ToType(v1::FieldDefinition::Type type) {
  switch (type) {
    case v1::FieldDefinition::INTEGER:
      return archiving::FieldType::kInteger;
    case v1::FieldDefinition::FLOAT:
      return archiving::FieldType::kFloat;
    case v1::FieldDefinition::BOOLEAN:
      return archiving::FieldType::kBoolean;
    case v1::FieldDefinition::DATE:
      return archiving::FieldType::kDate;
    default:
      return archiving::FieldType::kString;
  }
}

v1::FieldDefinition::Holder HolderOf(const v1::FieldDefinition& definition) {
  const bool unset = definition.holder() == v1::FieldDefinition::HOLDER_UNSPECIFIED;
  return unset ? v1::FieldDefinition::SESSION : definition.holder();
}

absl::Status CheckAll(const v1::ListFieldDefinitionsResponse& definitions) {
  for (const v1::FieldDefinition& definition : definitions.definitions()) {
    if (!v1::FieldDefinition::Holder_IsValid(definition.holder())) {
      return InvalidField("definitions.holder", "expected SESSION, SUBJECT or PROJECT");
    }
  }
  for (const auto holder :
       {v1::FieldDefinition::SESSION, v1::FieldDefinition::SUBJECT, v1::FieldDefinition::PROJECT}) {
    NX_RETURN_IF_ERROR(archiving::CheckDefinitions(FromProto(definitions, holder)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::ListFieldDefinitionsResponse> LoadFieldDefinitions(metadata::SettingsStore& settings,
                                                                      const std::string& project) {
  v1::ListFieldDefinitionsResponse definitions;
  NX_ASSIGN_OR_RETURN(const auto setting, settings.Get(project, kFieldDefinitionsKey));
  if (!setting) return definitions;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(setting->value_json, &definitions, options).ok()) {
    return Internal("INTERNAL", absl::StrCat("the custom fields of project ", project, " cannot be read"));
  }
  return definitions;
}

absl::Status SaveFieldDefinitions(metadata::SettingsStore& settings, const std::string& project,
                                  const v1::ListFieldDefinitionsResponse& definitions,
                                  const metadata::Change& change) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(definitions, &json).ok()) {
    return InvalidField("definitions", "not UTF-8");
  }
  return settings.Set(project, kFieldDefinitionsKey, json, change).status();
}

std::vector<archiving::FieldDefinition> FromProto(const v1::ListFieldDefinitionsResponse& definitions,
                                                  v1::FieldDefinition::Holder holder) {
  std::vector<archiving::FieldDefinition> list;
  for (const v1::FieldDefinition& from : definitions.definitions()) {
    if (HolderOf(from) != holder) continue;
    archiving::FieldDefinition definition;
    definition.name = from.name();
    definition.type = ToType(from.type());
    definition.required = from.required();
    definition.possible_values.assign(from.possible_values().begin(), from.possible_values().end());
    definition.description = from.description();
    list.push_back(std::move(definition));
  }
  return list;
}

archiving::FieldDefinitionSource FieldDefinitionsOf(metadata::SettingsStore& settings) {
  return [&settings](const std::string& project) -> absl::StatusOr<std::vector<archiving::FieldDefinition>> {
    NX_ASSIGN_OR_RETURN(const auto definitions, LoadFieldDefinitions(settings, project));
    return FromProto(definitions, v1::FieldDefinition::SESSION);
  };
}

absl::Status ChangeCustomFields(metadata::SettingsStore& settings, const std::string& project,
                                v1::FieldDefinition::Holder holder,
                                const google::protobuf::Map<std::string, std::string>& set,
                                const google::protobuf::RepeatedPtrField<std::string>& remove,
                                archiving::Fields& fields) {
  if (set.empty() && remove.empty()) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(const auto definitions, LoadFieldDefinitions(settings, project));
  for (const std::string& name : remove) fields.erase(name);
  for (const auto& [name, value] : set) fields[name] = value;
  return archiving::CheckFields(fields, FromProto(definitions, holder));
}

grpc::Status ProjectServiceImpl::ListFieldDefinitions(grpc::ServerContext* context,
                                                      const v1::ListFieldDefinitionsRequest* request,
                                                      v1::ListFieldDefinitionsResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListFieldDefinitionsResponse> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireRead(id));
        return LoadFieldDefinitions(database_.settings(), id);
      });
}

grpc::Status ProjectServiceImpl::SetFieldDefinitions(grpc::ServerContext* context,
                                                     const v1::SetFieldDefinitionsRequest* request,
                                                     v1::ListFieldDefinitionsResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListFieldDefinitionsResponse> {
        NX_ASSIGN_OR_RETURN(const std::string id, IdOf(request->project(), "projects", "project"));
        NX_RETURN_IF_ERROR(caller.RequireOwn(id));
        v1::ListFieldDefinitionsResponse definitions;
        *definitions.mutable_definitions() = request->definitions();
        NX_RETURN_IF_ERROR(CheckAll(definitions));
        NX_RETURN_IF_ERROR(SaveFieldDefinitions(database_.settings(), id, definitions,
                                                {caller.user(), "", request->request_id()}));
        return definitions;
      });
}

}  // namespace narthex::rpc
