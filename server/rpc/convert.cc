#include "server/rpc/convert.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "server/auth/project_rules.h"
#include "server/rpc/status.h"

namespace narthex::rpc {

void SetTime(absl::Time time, google::protobuf::Timestamp* to) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

v1::ObjectOutcome ToProto(const prearchive::OutcomeRow& row) {
  v1::ObjectOutcome outcome;
  outcome.set_sequence(row.sequence());
  outcome.set_outcome(static_cast<v1::ObjectOutcome::Outcome>(row.outcome()));
  outcome.set_reason(WireReason(row.reason()));
  outcome.set_detail(row.detail());
  outcome.set_sop_instance_uid(row.sop_instance_uid());
  outcome.set_series_instance_uid(row.series_instance_uid());
  if (!row.session().empty())
    outcome.set_prearchive_session(absl::StrCat("prearchiveSessions/", row.session()));
  outcome.set_digest(absl::BytesToHexString(row.digest()));
  outcome.set_size_bytes(static_cast<int64_t>(row.size_bytes()));
  SetTime(absl::FromUnixMicros(row.receive_time_us()), outcome.mutable_receive_time());
  return outcome;
}

v1::Conflict ToProto(const prearchive::ConflictRow& row) {
  v1::Conflict conflict;
  conflict.set_code(row.code());
  conflict.set_type(static_cast<v1::Conflict::Type>(row.type()));
  conflict.set_message(row.message());
  conflict.set_remedy(row.remedy());
  return conflict;
}

v1::Scan ToProto(const prearchive::ScanRow& row) {
  v1::Scan scan;
  scan.set_id(row.id());
  scan.set_type(row.type());
  scan.set_scan_type(row.scan_type());
  scan.set_series_instance_uid(row.series_instance_uid());
  scan.set_series_description(row.series_description());
  scan.set_modality(row.modality());
  scan.set_frames(row.frames());
  scan.set_quality(row.quality());
  *scan.mutable_parameters() = row.parameters();
  scan.set_file_count(row.file_count());
  scan.set_size_bytes(row.size_bytes());
  scan.set_note(row.note());
  scan.set_excluded(row.excluded());
  return scan;
}

v1::ExportedField ToProto(const prearchive::ExportedRow& row) {
  v1::ExportedField field;
  field.set_field(row.target());
  field.set_value(row.value());
  field.set_differing_count(static_cast<int32_t>(row.differing_count()));
  return field;
}

v1::PrearchiveSession ToProto(const prearchive::SessionRow& row, std::optional<absl::Time> build_after,
                              bool with_scans) {
  v1::PrearchiveSession session;
  session.set_name(absl::StrCat("prearchiveSessions/", row.id()));
  session.set_state(static_cast<v1::PrearchiveSession::State>(row.state()));
  session.set_project(row.key().project());
  session.set_subject(row.key().subject());
  session.set_label(row.key().label());
  session.set_study_instance_uid(row.key().study_instance_uid());
  session.set_modality(row.modality());
  session.set_session_type(row.session_type());
  session.set_session_date(row.session_date());
  session.set_scan_count(row.scans_size());
  session.set_object_count(static_cast<int32_t>(row.object_count()));
  session.set_size_bytes(static_cast<int64_t>(row.size_bytes()));
  session.set_source(row.key().source());
  session.set_auto_archive(static_cast<v1::AutoArchive::Mode>(row.key().auto_archive()));
  for (const prearchive::ConflictRow& conflict : row.conflicts())
    *session.add_conflicts() = ToProto(conflict);
  for (const auto& [outcome, count] : row.outcome_counts()) {
    (*session.mutable_outcome_counts())[v1::ObjectOutcome::Outcome_Name(outcome)] =
        static_cast<int32_t>(count);
  }
  SetTime(absl::FromUnixMicros(row.create_time_us()), session.mutable_create_time());
  SetTime(absl::FromUnixMicros(row.last_received_time_us()), session.mutable_last_received_time());
  if (build_after) SetTime(*build_after, session.mutable_build_after_time());
  if (!row.operation().empty()) session.set_operation(absl::StrCat("operations/", row.operation()));
  session.set_error(row.error());
  for (const prearchive::LeftoverRow& from : row.leftovers()) {
    v1::Leftover& leftover = *session.add_leftovers();
    leftover.set_path(from.path());
    leftover.set_keyword(from.keyword());
    leftover.set_source(from.source());
    leftover.set_count(from.count());
  }
  session.set_leftover_object_count(row.leftover_object_count());
  session.set_leftovers_accepted(row.leftovers_accepted());
  session.set_completion(row.completion());
  if (row.completion_time_us() != 0)
    SetTime(absl::FromUnixMicros(row.completion_time_us()), session.mutable_completion_time());
  if (build_after) session.set_awaited_signal("idle");
  session.set_contested_count(static_cast<int32_t>(row.contested_count()));
  session.set_replaced_count(static_cast<int32_t>(row.replaced_count()));
  session.set_etag(absl::StrCat(row.version()));
  if (with_scans) {
    for (const prearchive::ScanRow& scan : row.scans()) *session.add_scans() = ToProto(scan);
    for (const prearchive::ExportedRow& exported : row.exported())
      *session.add_exported() = ToProto(exported);
  }
  return session;
}

v1::Upload ToProto(const prearchive::UploadRow& row, const ingest::UploadProgress& progress) {
  v1::Upload upload;
  upload.set_name(absl::StrCat("uploads/", row.id()));
  upload.mutable_destination()->set_project(row.destination().project());
  upload.mutable_destination()->set_subject(row.destination().subject());
  upload.mutable_destination()->set_session(row.destination().label());
  upload.mutable_destination()->set_auto_archive(
      static_cast<v1::AutoArchive::Mode>(row.destination().auto_archive()));
  upload.set_state(static_cast<v1::Upload::State>(row.state()));
  upload.set_digest_algorithm(static_cast<v1::DigestAlgorithm>(row.digest_algorithm()));
  for (const auto& [first, last] : progress.durable) {
    v1::SequenceRange& range = *upload.add_durable();
    range.set_first(first);
    range.set_last(last);
  }
  for (const auto& [outcome, count] : progress.outcome_counts) {
    (*upload.mutable_outcome_counts())[v1::ObjectOutcome::Outcome_Name(outcome)] =
        static_cast<int32_t>(count);
  }
  for (const std::string& session : progress.sessions) {
    upload.add_prearchive_sessions(absl::StrCat("prearchiveSessions/", session));
  }
  SetTime(absl::FromUnixMicros(row.create_time_us()), upload.mutable_create_time());
  upload.mutable_source()->set_kind(row.kind());
  upload.mutable_source()->set_called_ae_title(row.called_ae_title());
  upload.mutable_source()->set_calling_ae_title(row.calling_ae_title());
  upload.mutable_source()->set_address(row.address());
  return upload;
}

v1::Session ToProto(const metadata::Session& from) {
  v1::Session session;
  session.set_name(absl::StrCat("sessions/", from.accession_id));
  session.set_accession_id(from.accession_id);
  session.set_uid(from.uid);
  session.set_project(from.project);
  session.set_subject(from.subject);
  session.set_label(from.label);
  session.set_modality(from.modality);
  session.set_session_type(from.session_type);
  session.set_study_instance_uid(from.study_instance_uid);
  session.set_session_date(from.session_date);
  session.set_scanner(from.scanner.empty() ? std::string(absl::StripAsciiWhitespace(absl::StrCat(
                                                 from.scanner_manufacturer, " ", from.scanner_model)))
                                           : from.scanner);
  session.set_scan_count(static_cast<int32_t>(from.scan_count));
  session.set_file_count(static_cast<int32_t>(from.file_count));
  session.set_size_bytes(from.size_bytes);
  switch (from.status) {
    case metadata::SessionStatus::kActive:
      session.set_status(v1::Session::ACTIVE);
      break;
    case metadata::SessionStatus::kQuarantine:
      session.set_status(v1::Session::QUARANTINE);
      break;
    case metadata::SessionStatus::kLocked:
      session.set_status(v1::Session::LOCKED);
      break;
    case metadata::SessionStatus::kDeleted:
      session.set_status(v1::Session::DELETED);
      break;
  }
  SetTime(from.create_time, session.mutable_create_time());
  SetTime(from.update_time, session.mutable_update_time());
  session.set_etag(from.etag);
  session.set_note(from.note);
  session.mutable_fields()->insert(from.fields.begin(), from.fields.end());
  for (const metadata::Share& share : from.shares) {
    v1::Share* added = session.add_shares();
    added->set_project(share.project);
    added->set_label(share.label);
  }
  session.set_purged(from.purge_state == metadata::PurgeState::kPurged);
  return session;
}

v1::Scan ToProto(const metadata::Scan& from) {
  v1::Scan scan;
  scan.set_id(from.id);
  scan.set_type(from.type);
  scan.set_scan_type(from.xsi_type);
  scan.set_series_instance_uid(from.series_instance_uid);
  scan.set_series_description(from.series_description);
  scan.set_modality(from.modality);
  scan.set_frames(static_cast<int32_t>(from.frames));
  scan.set_quality(from.quality);
  for (const auto& [name, value] : from.parameters) (*scan.mutable_parameters())[name] = value;
  scan.set_file_count(static_cast<int32_t>(from.file_count));
  scan.set_size_bytes(from.size_bytes);
  scan.set_note(from.note);
  return scan;
}

v1::Resource ToProto(const metadata::Resource& from) {
  v1::Resource resource;
  resource.set_scan(from.scan_id);
  resource.set_label(from.label);
  resource.set_format(from.format);
  resource.set_content(from.content);
  resource.set_file_count(static_cast<int32_t>(from.file_count));
  resource.set_size_bytes(from.size_bytes);
  return resource;
}

v1::File ToProto(const metadata::File& from) {
  v1::File file;
  file.set_path(from.path);
  file.set_instance_uid(from.instance_uid);
  if (from.instance_number != 0) file.set_instance_number(absl::StrCat(from.instance_number));
  file.set_size_bytes(from.size_bytes);
  file.set_md5(absl::BytesToHexString(from.md5));
  file.set_sha256(absl::BytesToHexString(from.sha256));
  file.set_format(from.format);
  file.set_scan(from.scan_id);
  file.set_resource(from.resource);
  return file;
}

v1::Project ToProto(const metadata::Project& from) {
  v1::Project project;
  project.set_name(absl::StrCat("projects/", from.id));
  project.set_id(from.id);
  project.set_title(from.name);
  project.set_description(from.description);
  for (const std::string& alias : from.aliases) project.add_aliases(alias);
  switch (from.accessibility) {
    case metadata::Accessibility::kPrivate:
      project.set_accessibility(v1::Project::PRIVATE);
      break;
    case metadata::Accessibility::kProtected:
      project.set_accessibility(v1::Project::PROTECTED);
      break;
    case metadata::Accessibility::kPublic:
      project.set_accessibility(v1::Project::PUBLIC);
      break;
  }
  switch (from.auto_archive) {
    case metadata::AutoArchive::kManual:
      project.set_auto_archive(v1::AutoArchive::MANUAL);
      break;
    case metadata::AutoArchive::kAuto:
      project.set_auto_archive(v1::AutoArchive::AUTO);
      break;
    case metadata::AutoArchive::kOverwrite:
      project.set_auto_archive(v1::AutoArchive::OVERWRITE);
      break;
  }
  project.set_quarantine(from.quarantine);
  const auth::ProjectRules rules = auth::RulesOf(from);
  project.set_duplicates(static_cast<v1::DuplicatePolicy::Mode>(rules.duplicates));
  project.set_pet_mr(static_cast<v1::PetMr::Mode>(rules.pet_mr));
  project.set_idle_build_seconds(rules.idle_build_seconds);
  project.set_scan_type_mapping(static_cast<v1::Switch::Mode>(rules.scan_type_mapping));
  project.set_modality_guard(static_cast<v1::Switch::Mode>(rules.modality_guard));
  SetTime(from.create_time, project.mutable_create_time());
  SetTime(from.update_time, project.mutable_update_time());
  project.set_etag(from.etag);
  for (const auto& [name, value] : from.fields) (*project.mutable_fields())[name] = value;
  return project;
}

absl::Status InvalidField(absl::string_view field, absl::string_view what) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat(field, ": ", what), {{"field", std::string(field)}});
}

absl::StatusOr<std::string> IdOf(absl::string_view name, absl::string_view collection,
                                 absl::string_view field) {
  const std::string prefix = absl::StrCat(collection, "/");
  if (!absl::StartsWith(name, prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 128 ||
      absl::StrContains(name.substr(prefix.size()), '/')) {
    return InvalidField(field, absl::StrCat("expected ", prefix, "ID"));
  }
  return std::string(name.substr(prefix.size()));
}

absl::StatusOr<std::string> SessionRef(absl::string_view name, absl::string_view field) {
  static constexpr absl::string_view kSessions = "/sessions/";
  if (absl::StartsWith(name, "projects/")) {
    const size_t split = name.find(kSessions);
    if (split != absl::string_view::npos && name.size() < 256) {
      const absl::string_view project = name.substr(9, split - 9);
      const absl::string_view label = name.substr(split + kSessions.size());
      if (!project.empty() && !label.empty() && !absl::StrContains(project, '/') &&
          !absl::StrContains(label, '/')) {
        return absl::StrCat(project, "/", label);
      }
    }
    return InvalidField(field, "expected projects/PROJECT/sessions/LABEL");
  }
  return IdOf(name, "sessions", field);
}

absl::StatusOr<int> PageSize(int32_t asked) {
  if (asked < 0) return InvalidField("page_size", "negative");
  if (asked == 0) return limits::kPageSizeDefault;
  return std::min(asked, limits::kPageSizeMax.get());
}

}  // namespace narthex::rpc
