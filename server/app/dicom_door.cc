#include "server/app/dicom_door.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/log.h"
#include "base/status.h"
#include "server/gateway/receiver_feed.h"
#include "server/rpc/convert.h"
#include "server/rpc/receiver_records.h"
#include "storage/metadata/access.h"

namespace narthex::app {
namespace {

ReceiverRules RulesOf(const v1::Receiver& receiver) {
  ReceiverRules rules;
  rules.ae_title = receiver.ae_title();
  rules.routing.fixed_project = receiver.project();
  rules.routing.fixed_subject = receiver.subject();
  rules.routing.receiver_project = receiver.project_rules();
  rules.routing.receiver_subject = receiver.subject_rules();
  rules.routing.receiver_session = receiver.session_rules();
  rules.policy.anonymize = receiver.anonymize();
  rules.policy.auto_archive = receiver.auto_archive();
  rules.policy.idle_build_seconds = receiver.idle_build_seconds();
  rules.policy.direct_archive = receiver.direct_archive();
  return rules;
}

}  // namespace

DicomDoor::DicomDoor(const session::TypeRegistry& types, metadata::Database& database)
    : database_(database), routes_(database.study_routes()), policy_(types, &routes_) {}

void DicomDoor::MakeServices(Parts parts) {
  receivers_ = std::make_unique<rpc::ReceiverServiceImpl>(rpc::ReceiverServiceImpl::Dependencies{
      parts.gate, database_, parts.projects,
      [this](const std::vector<v1::Receiver>& receivers) { return Apply(receivers); },
      [this] { return refuses_filtered_.load(); }});
  routing_ = std::make_unique<rpc::RoutingServiceImpl>(rpc::RoutingServiceImpl::Dependencies{
      parts.gate, database_, policy_, routes_, [this](const v1::SeriesFilter& filter) {
        return policy_.SetFilter(filter.project(), rpc::ModeOf(filter),
                                 filter.enabled() ? filter.text() : "");
      }});
  const auto archived = [this](const std::vector<std::string>& uids,
                               const std::vector<std::string>& identities)
      -> absl::StatusOr<std::vector<ingest::Commitments::ArchivedInstance>> {
    const metadata::SystemScope scope;  // only whether they are there is told
    NX_ASSIGN_OR_RETURN(const auto found, database_.session_reader().FindInstances(uids, identities));
    std::vector<ingest::Commitments::ArchivedInstance> instances;
    for (const auto& instance : found) {
      instances.push_back({instance.instance_uid, instance.sop_class_uid, instance.received_identity});
    }
    return instances;
  };
  commitments_ = std::make_unique<ingest::Commitments>(ingest::Commitments::Dependencies{
      parts.prearchive, parts.index, Clock::Real(), archived, std::move(parts.fingerprint)});
  commitment_service_ = std::make_unique<rpc::CommitmentServiceImpl>(rpc::CommitmentServiceImpl::Dependencies{
      parts.gate, *commitments_, std::move(parts.build),
      [this](const std::string& called, const std::string& calling) { return TargetOf(called, calling); }});
}

rpc::CommitmentTarget DicomDoor::TargetOf(const std::string& called, const std::string& calling) const {
  for (const v1::Receiver& receiver : receivers_->Receivers()) {
    if (receiver.ae_title() != called) continue;
    const auto found = receiver.commitment_addresses().find(calling);
    if (found != receiver.commitment_addresses().end()) return {found->second, receiver.tls()};
  }
  return {};
}

std::vector<rpc::SettingSpec> DicomDoor::Settings() {
  std::vector<rpc::SettingSpec> settings;
  settings.push_back({"filters.filtered_status",
                      "what the sender of an object that a series import filter excludes is told, unless its "
                      "receiver says otherwise: success or refusal",
                      "success", [this](const std::string& value) -> absl::Status {
                        if (value != "success" && value != "refusal") {
                          return rpc::InvalidField("value", "expected success or refusal");
                        }
                        refuses_filtered_ = value == "refusal";
                        receivers_->Reapply();
                        return absl::OkStatus();
                      }});
  settings.push_back(
      {"prearchive.preambles",
       "what becomes of the 128 bytes before the header of an uploaded DICOM file, with which it may be a "
       "program, too: keep, or clear to zeros",
       "keep", [this](const std::string& value) -> absl::Status {
         if (value != "keep" && value != "clear") return rpc::InvalidField("value", "expected keep or clear");
         return policy_.SetClearsPreambles(value == "clear");
       }});
  const auto rule = [this](std::string key, std::string what, std::string identify::RoutingConfig::*field) {
    return rpc::SettingSpec{
        std::move(key),
        absl::StrCat(
            "rules that find the ", what,
            " in an object's header, one a line: (gggg,eeee):regex[:group][ t:target r:replacement]"),
        "",
        [this, field](const std::string& value) {
          identify::RoutingConfig changed = policy_.routing();
          changed.*field = value;
          return policy_.SetRouting(changed);
        },
        [field](const std::string& value) {
          identify::RoutingConfig alone;
          alone.*field = value;
          return identify::Router::Create(alone).status();
        }};
  };
  using Config = identify::RoutingConfig;
  settings.push_back(rule("routing.auto_archive_rules", "auto-archive flag", &Config::auto_archive_rules));
  settings.push_back(rule("routing.legacy_project_rules",
                          "project, after all else failed (an old dicom-project.rules),",
                          &Config::legacy_project_rules));
  settings.push_back(rule("routing.project_rules", "project", &Config::project_rules));
  settings.push_back(rule("routing.session_rules", "session label", &Config::session_rules));
  settings.push_back(rule("routing.subject_rules", "subject", &Config::subject_rules));
  return settings;
}

absl::Status DicomDoor::Load(const std::string& default_ae_title) {
  NX_RETURN_IF_ERROR(routes_.Load());
  NX_RETURN_IF_ERROR(routing_->Load());
  NX_RETURN_IF_ERROR(commitments_->ReleaseClaims());
  return receivers_->Load(default_ae_title);
}

absl::StatusOr<std::map<std::string, absl::Status>> DicomDoor::Apply(
    const std::vector<v1::Receiver>& receivers) {
  std::map<std::string, absl::Status> errors;
  const std::vector<gateway::ReceiverConfig> configs = gateway::ConfigsOf(receivers);
  NX_RETURN_IF_ERROR(gateway::CheckReceivers(configs));
  std::vector<ReceiverRules> rules;
  for (const v1::Receiver& receiver : receivers) rules.push_back(RulesOf(receiver));
  // The policy first: nothing may come through a door whose rules are not in force.
  NX_RETURN_IF_ERROR(policy_.SetReceivers(std::move(rules)));
  if (gateway_) NX_RETURN_IF_ERROR(gateway_->SetReceivers(configs, &errors));
  return errors;
}

absl::Status DicomDoor::Serve(gateway::GatewayOptions options, gateway::SinkFactory sinks,
                              std::shared_ptr<client::Connection> connection) {
  options.receivers.clear();
  options.keep_default_port = true;
  options.commitments = gateway::ServerCommitments(std::move(connection));
  NX_ASSIGN_OR_RETURN(gateway_, gateway::Gateway::StartWithSinks(std::move(options), std::move(sinks)));
  receivers_->Reapply();
  return absl::OkStatus();
}

void DicomDoor::ForgetRoute(const std::string& accession_id) {
  const metadata::SystemScope scope;
  const auto session = database_.session_reader().Get(accession_id, metadata::Visibility::All(true));
  const absl::Status forgotten = session.ok()
                                     ? routes_.Forget(session->study_instance_uid, {"system", "archived", ""})
                                     : session.status();
  if (!forgotten.ok()) {
    Log(LogLevel::kWarning, "study route not forgotten", {{"session", accession_id}, {"error", forgotten}});
  }
}

std::string DicomDoor::address() const { return gateway_ ? gateway_->address() : "off"; }

void DicomDoor::Stop() {
  if (gateway_) gateway_->Stop();
  if (receivers_) receivers_->Close();
}

}  // namespace narthex::app
