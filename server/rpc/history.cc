// What a history entry tells: the changed fields by name, from what to what.
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

using Fields = std::map<std::string, std::string>;

// Columns that change with every change, ids that people do not read, and what only the store needs.
bool IsNoise(const std::string& name) {
  static constexpr const char* kNoise[] = {"version", "update_time", "subject_id", "restore_status"};
  for (const char* noise : kNoise) {
    if (name == noise) return true;
  }
  return false;
}

std::string Text(const google::protobuf::Value& value) {
  if (value.kind_case() == google::protobuf::Value::kStringValue) return value.string_value();
  if (value.kind_case() == google::protobuf::Value::kNullValue) return "";
  std::string text;
  google::protobuf::util::MessageToJsonString(value, &text).ok();
  return text;
}

// The members of a row as texts; custom fields each by itself, as fields.NAME.
Fields Flatten(const std::string& json) {
  Fields flat;
  google::protobuf::Struct row;
  if (!google::protobuf::util::JsonStringToMessage(json, &row).ok()) return flat;
  for (const auto& [name, value] : row.fields()) {
    if (IsNoise(name)) continue;
    if (name == "fields" && value.has_struct_value()) {
      for (const auto& [field, text] : value.struct_value().fields()) {
        flat[absl::StrCat("fields.", field)] = Text(text);
      }
    } else {
      flat[name] = Text(value);
    }
  }
  return flat;
}

}  // namespace

v1::HistoryEntry ToProto(const metadata::HistoryEntry& from) {
  v1::HistoryEntry entry;
  SetTime(from.time, entry.mutable_time());
  entry.set_user(from.user);
  entry.set_action(from.action);
  entry.set_comment(from.note);
  entry.set_number(from.number);
  if (from.old_json.empty()) return entry;
  const Fields before = Flatten(from.old_json), after = Flatten(from.new_json);
  Fields all = before;
  all.insert(after.begin(), after.end());
  for (const auto& [name, unused] : all) {
    const auto was = before.find(name), is = after.find(name);
    if (was != before.end() && is != after.end() && was->second == is->second) continue;
    (*entry.mutable_before())[name] = was == before.end() ? "" : was->second;
    (*entry.mutable_after())[name] = is == after.end() ? "" : is->second;
  }
  return entry;
}

}  // namespace narthex::rpc
