#include "server/rpc/receiver_records.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <google/protobuf/util/json_util.h>

#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/identify/labels.h"
#include "imaging/identify/router.h"
#include "server/rpc/convert.h"

namespace narthex::rpc {
namespace {

std::string ToJsonText(const google::protobuf::Message& message) {
  std::string json;
  // Our own messages can always be written.
  if (!google::protobuf::util::MessageToJsonString(message, &json).ok()) return "{}";
  return json;
}

void FromJsonText(const std::string& json, const std::string& what, google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (google::protobuf::util::JsonStringToMessage(json, message, options).ok()) return;
  message->Clear();
  Log(LogLevel::kWarning, "stored settings cannot be read", {{"of", what}});
}

}  // namespace

metadata::Receiver ToRecord(const v1::Receiver& receiver) {
  metadata::Receiver record;
  record.ae_title = receiver.ae_title();
  record.port = receiver.port();
  record.project = receiver.project();
  record.enabled = receiver.enabled();
  v1::Receiver rest = receiver;
  rest.clear_name();
  rest.clear_ae_title();
  rest.clear_port();
  rest.clear_project();
  rest.clear_enabled();
  rest.clear_refuses_filtered();
  rest.clear_listen_error();
  record.settings_json = ToJsonText(rest);
  return record;
}

v1::Receiver FromRecord(const metadata::Receiver& record) {
  v1::Receiver receiver;
  FromJsonText(record.settings_json, record.ae_title, &receiver);
  receiver.set_name(absl::StrCat("receivers/", record.ae_title));
  receiver.set_ae_title(record.ae_title);
  receiver.set_port(record.port);
  receiver.set_project(record.project);
  receiver.set_enabled(record.enabled);
  FillDefaults(&receiver);
  return receiver;
}

void FillDefaults(v1::Receiver* receiver) {
  receiver->set_name(absl::StrCat("receivers/", receiver->ae_title()));
  if (!receiver->has_enabled()) receiver->set_enabled(true);
  if (!receiver->has_anonymize()) receiver->set_anonymize(true);
}

absl::Status CheckReceiverFields(const v1::Receiver& receiver) {
  if (receiver.port() < 0 || receiver.port() > 65535) return InvalidField("receiver.port", "0 to 65535");
  if (!receiver.subject().empty() && !identify::IsLabel(receiver.subject())) {
    return InvalidField("receiver.subject", absl::StrCat("a label is 1 to ", limits::kLabelMaxBytes,
                                                         " letters, digits, '_' and '-'"));
  }
  if (receiver.idle_build_seconds() < 0 || receiver.idle_build_seconds() > limits::kIdleBuildSecondsMax) {
    return InvalidField("receiver.idle_build_seconds",
                        absl::StrCat("0 to ", limits::kIdleBuildSecondsMax.get()));
  }
  if (receiver.allowed_callers_size() > limits::kAllowedCallersMax) {
    return InvalidField("receiver.allowed_callers",
                        absl::StrCat("at most ", limits::kAllowedCallersMax.get()));
  }
  if (receiver.description().size() > limits::kReceiverTextMaxBytes) {
    return InvalidField("receiver.description", "too long");
  }
  // Those that are stored are applied though limits were lowered since.
  identify::RoutingConfig routing;
  routing.receiver_project = receiver.project_rules();
  routing.receiver_subject = receiver.subject_rules();
  routing.receiver_session = receiver.session_rules();
  NX_RETURN_IF_ERROR(identify::Router::Create(routing).status());
  for (const auto& [ae_title, address] : receiver.commitment_addresses()) {
    int port = 0;
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
        port < 1 || port > 65535) {
      return InvalidField("receiver.commitment_addresses", "an address is HOST:PORT");
    }
  }
  if (receiver.commitment_addresses_size() > limits::kAllowedCallersMax) {
    return InvalidField("receiver.commitment_addresses",
                        absl::StrCat("at most ", limits::kAllowedCallersMax.get()));
  }
  if (receiver.tls_client_certificate() && !receiver.tls()) {
    return InvalidField("receiver.tls_client_certificate", "it needs tls");
  }
  if (!v1::AutoArchive::Mode_IsValid(receiver.auto_archive())) {
    return InvalidField("receiver.auto_archive", "no such mode");
  }
  return absl::OkStatus();
}

metadata::Script ToRecord(const v1::SeriesFilter& filter) {
  v1::SeriesFilter kept;
  kept.set_mode(filter.mode() == v1::SeriesFilter::MODE_UNSPECIFIED ? v1::SeriesFilter::DENY : filter.mode());
  kept.set_text(filter.text());
  metadata::Script record;
  record.kind = kFilterKind;
  record.project = filter.project();
  record.text = ToJsonText(kept);
  record.enabled = filter.enabled();
  return record;
}

v1::SeriesFilter FromRecord(const metadata::Script& record) {
  v1::SeriesFilter filter;
  FromJsonText(record.text, absl::StrCat(kFilterKind, " ", record.project), &filter);
  filter.set_project(record.project);
  filter.set_enabled(record.enabled);
  filter.set_version(record.version);
  filter.set_user(record.user);
  SetTime(record.create_time, filter.mutable_create_time());
  return filter;
}

identify::FilterMode ModeOf(const v1::SeriesFilter& filter) {
  switch (filter.mode()) {
    case v1::SeriesFilter::ALLOW:
      return identify::FilterMode::kAllowList;
    case v1::SeriesFilter::MODALITY_MAP:
      return identify::FilterMode::kModalityMap;
    default:
      return identify::FilterMode::kDenyList;
  }
}

}  // namespace narthex::rpc
