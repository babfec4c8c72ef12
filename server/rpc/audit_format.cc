#include "server/rpc/audit_format.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "storage/metadata/json.h"

namespace narthex::rpc {
namespace {

struct Kind {
  absl::string_view code;  // PS3.16 CID 400
  absl::string_view meaning;
  absl::string_view type_code;  // PS3.16 CID 401; "": none
  absl::string_view type_meaning;
  bool of_session = false;  // in the archive
};

Kind KindOf(absl::string_view action) {
  if (absl::StartsWith(action, "SESSION_PURGE")) return {"110105", "DICOM Study Deleted", "", "", true};
  if (action == "PREARCHIVE_DELETE") return {"110105", "DICOM Study Deleted", "", ""};
  if (absl::StartsWith(action, "PREARCHIVE_")) return {"110103", "DICOM Instances Accessed", "", ""};
  if (absl::StartsWith(action, "BACKUP_")) return {"110106", "Export", "", ""};
  if (action == "AUDIT_EXPORT") return {"110101", "Audit Log Used", "", ""};
  if (absl::StartsWith(action, "SESSION_")) return {"110103", "DICOM Instances Accessed", "", "", true};
  if (absl::StartsWith(action, "USER_") || absl::StartsWith(action, "TOKEN_") ||
      absl::StartsWith(action, "MEMBER_")) {
    return {"110113", "Security Alert", "110137", "User Security Attributes Changed"};
  }
  return {"110113", "Security Alert", "110129", "Security Configuration"};
}

// Create, read, update, delete or execute; of reading we record that of the trail itself.
char ActionCode(absl::string_view action) {
  if (absl::EndsWith(action, "_CREATE")) return 'C';
  if (absl::EndsWith(action, "_DELETE") || absl::EndsWith(action, "_REMOVE") ||
      absl::EndsWith(action, "_PURGE") || absl::EndsWith(action, "_REVOKE")) {
    return 'D';
  }
  if (action == "AUDIT_EXPORT") return 'R';
  if (action == "PREARCHIVE_BUILD" || action == "PREARCHIVE_ARCHIVE") return 'E';
  return 'U';
}

// Success, or minor failure: what was noted did not happen.
absl::string_view Outcome(const metadata::AuditEvent& event) {
  return metadata::ParseJsonObject(event.details_json).contains("failed") ? "4" : "0";
}

std::string When(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

// For an attribute's value: what XML 1.0 cannot hold becomes '?'.
std::string Xml(absl::string_view text) {
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
  return absl::StrReplaceAll(clean, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Json(absl::string_view text) {
  google::protobuf::Value value;
  value.set_string_value(std::string(text));
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(value, &json).ok()) return "\"\"";
  return json;
}

std::string Coded(absl::string_view element, absl::string_view code, absl::string_view system,
                  absl::string_view text) {
  return absl::StrCat("<", element, " csd-code=\"", Xml(code), "\" codeSystemName=\"", system,
                      "\" originalText=\"", Xml(text), "\"/>");
}

std::vector<std::pair<std::string, std::string>> Details(const metadata::AuditEvent& event) {
  return {{"project", event.project},
          {"sequence", absl::StrCat(event.sequence)},
          {"details", event.details_json},
          {"hash", absl::BytesToHexString(event.hash)}};
}

}  // namespace

std::string ToAtna(const metadata::AuditEvent& event, absl::string_view site) {
  const Kind kind = KindOf(event.action);
  std::string xml = absl::StrCat("<AuditMessage><EventIdentification EventActionCode=\"",
                                 std::string(1, ActionCode(event.action)), "\" EventDateTime=\"",
                                 When(event.time), "\" EventOutcomeIndicator=\"", Outcome(event), "\">",
                                 Coded("EventID", kind.code, "DCM", kind.meaning));
  if (!kind.type_code.empty())
    absl::StrAppend(&xml, Coded("EventTypeCode", kind.type_code, "DCM", kind.type_meaning));
  absl::StrAppend(
      &xml, Coded("EventTypeCode", event.action, "99NARTHEX", event.action),
      "</EventIdentification><ActiveParticipant UserID=\"", Xml(event.user.empty() ? "system" : event.user),
      "\" UserIsRequestor=\"true\"/><AuditSourceIdentification AuditSourceID=\"", Xml(site),
      "\"/><ParticipantObjectIdentification ParticipantObjectID=\"", Xml(event.object),
      "\" ParticipantObjectTypeCode=\"2\" ParticipantObjectTypeCodeRole=\"", kind.of_session ? "3" : "13",
      "\">",
      kind.of_session ? Coded("ParticipantObjectIDTypeCode", "accession-id", "99NARTHEX", "Accession id")
                      : Coded("ParticipantObjectIDTypeCode", "name", "99NARTHEX", "Name"),
      "<ParticipantObjectName>", Xml(event.object), "</ParticipantObjectName>");
  for (const auto& [type, value] : Details(event)) {
    absl::StrAppend(&xml, "<ParticipantObjectDetail type=\"", type, "\" value=\"", absl::Base64Escape(value),
                    "\"/>");
  }
  absl::StrAppend(&xml, "</ParticipantObjectIdentification></AuditMessage>");
  return xml;
}

std::string ToFhir(const metadata::AuditEvent& event, absl::string_view site) {
  const Kind kind = KindOf(event.action);
  constexpr absl::string_view kDcm = "http://dicom.nema.org/resources/ontology/DCM";
  std::string subtypes;
  if (!kind.type_code.empty()) {
    subtypes = absl::StrCat("{\"system\":", Json(kDcm), ",\"code\":", Json(kind.type_code),
                            ",\"display\":", Json(kind.type_meaning), "},");
  }
  std::string details;
  for (const auto& [type, value] : Details(event)) {
    if (value.empty()) continue;  // FHIR has no empty strings
    absl::StrAppend(&details, details.empty() ? "" : ",", "{\"type\":", Json(type),
                    ",\"valueString\":", Json(value), "}");
  }
  return absl::StrCat(
      "{\"resourceType\":\"AuditEvent\",\"type\":{\"system\":", Json(kDcm), ",\"code\":", Json(kind.code),
      ",\"display\":", Json(kind.meaning), "},\"subtype\":[", subtypes,
      "{\"system\":\"urn:narthex:audit-action\",\"code\":", Json(event.action), "}],\"action\":\"",
      std::string(1, ActionCode(event.action)), "\",\"recorded\":\"", When(event.time), "\",\"outcome\":\"",
      Outcome(event),
      "\",\"agent\":[{\"who\":{\"identifier\":{\"value\":", Json(event.user.empty() ? "system" : event.user),
      "}},\"requestor\":true}],\"source\":{\"observer\":{\"display\":", Json(site),
      "}},\"entity\":[{\"what\":{\"identifier\":{\"value\":", Json(event.object.empty() ? "-" : event.object),
      "}},\"detail\":[", details, "]}]}");
}

}  // namespace narthex::rpc
