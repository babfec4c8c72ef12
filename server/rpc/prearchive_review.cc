// What people do about a session before it is archived: change it, compare its objects, claim it.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/anonymize/diff.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/identify/labels.h"
#include "server/ingest/difference.h"
#include "server/ingest/pixel_comparison.h"
#include "server/rpc/convert.h"
#include "server/rpc/prearchive_service.h"

namespace narthex::rpc {
namespace {

using prearchive::ObjectRow;
using prearchive::SessionRow;

// A date as XNAT writes it, or "".
absl::Status CheckDate(const std::string& date) {
  absl::CivilDay day;
  if (date.empty() || (date.size() == 10 && absl::ParseCivilTime(date, &day))) return absl::OkStatus();
  return InvalidField("session_date", "expected YYYY-MM-DD, or nothing for the date of the headers");
}

absl::StatusOr<prearchive::ScanUpdate> ToUpdate(const v1::ScanEdit& edit) {
  if (edit.scan().empty()) return InvalidField("scans.scan", "must not be empty");
  if (edit.type().size() > limits::kScanTextMaxBytes || edit.quality().size() > limits::kScanTextMaxBytes) {
    return InvalidField("scans",
                        absl::StrCat("type and quality have at most ", limits::kScanTextMaxBytes, " bytes"));
  }
  if (edit.note().size() > limits::kNoteMaxBytes) {
    return InvalidField("scans.note", absl::StrCat("at most ", limits::kNoteMaxBytes, " bytes"));
  }
  prearchive::ScanUpdate update;
  update.scan = edit.scan();
  if (edit.has_type()) update.type = edit.type();
  if (edit.has_quality()) update.quality = edit.quality();
  if (edit.has_note()) update.note = edit.note();
  if (edit.has_exclude()) update.exclude = edit.exclude();
  return update;
}

v1::AttributeChange ToProto(anonymize::AttributeChange&& from) {
  v1::AttributeChange change;
  change.set_path(std::move(from.path));
  change.set_keyword(std::move(from.keyword));
  change.set_action(from.action == anonymize::AttributeChange::Action::kRemoved ? "removed"
                    : from.action == anonymize::AttributeChange::Action::kAdded ? "added"
                                                                                : "changed");
  change.set_before(std::move(from.before));
  change.set_after(std::move(from.after));
  return change;
}

// Names of what is changed, for the audit trail.
std::string FieldsOf(const prearchive::SessionUpdate& update) {
  std::vector<std::string> fields;
  if (update.project) fields.push_back("project");
  if (update.subject) fields.push_back("subject");
  if (update.label) fields.push_back("label");
  if (update.auto_archive) fields.push_back("auto_archive");
  if (update.leftovers_accepted) fields.push_back("leftovers_accepted");
  if (update.session_date) fields.push_back("session_date");
  if (update.contested != prearchive::ContestedChoice::kUndecided) fields.push_back("contested");
  for (const prearchive::ScanUpdate& scan : update.scans) {
    if (scan.type) fields.push_back("scan.type");
    if (scan.quality) fields.push_back("scan.quality");
    if (scan.note) fields.push_back("scan.note");
    if (scan.exclude) fields.push_back("scan.exclude");
  }
  std::sort(fields.begin(), fields.end());
  fields.erase(std::unique(fields.begin(), fields.end()), fields.end());
  return absl::StrJoin(fields, " ");
}

v1::DiffInstanceResponse::Pixels ToProto(ingest::PixelVerdict::Kind kind) {
  switch (kind) {
    case ingest::PixelVerdict::Kind::kUnknown:
      return v1::DiffInstanceResponse::PIXELS_UNSPECIFIED;
    case ingest::PixelVerdict::Kind::kSame:
      return v1::DiffInstanceResponse::SAME;
    case ingest::PixelVerdict::Kind::kDifferent:
      return v1::DiffInstanceResponse::DIFFERENT;
    case ingest::PixelVerdict::Kind::kNone:
      return v1::DiffInstanceResponse::NONE;
  }
  return v1::DiffInstanceResponse::PIXELS_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<v1::PrearchiveSession> PrearchiveServiceImpl::Change(const auth::Caller& caller,
                                                                    const SessionRow& row,
                                                                    const prearchive::SessionUpdate& update,
                                                                    absl::string_view action) const {
  Deed deed{std::string(action), {{"fields", FieldsOf(update)}}, update.project.value_or("")};
  NX_ASSIGN_OR_RETURN(SessionRow changed, audit_.Run(caller, row, std::move(deed), [&] {
    return with_.prearchive.Update(row.id(), update);
  }));
  if (update.session_date || !update.scans.empty() ||
      update.contested != prearchive::ContestedChoice::kUndecided) {
    NX_ASSIGN_OR_RETURN(changed, with_.show_edits(changed));
  }
  return Show(changed, true);
}

grpc::Status PrearchiveServiceImpl::UpdatePrearchiveSession(grpc::ServerContext* context,
                                                            const v1::UpdatePrearchiveSessionRequest* request,
                                                            v1::PrearchiveSession* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::PrearchiveSession> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kEdit));
        prearchive::SessionUpdate update;
        update.etag = request->etag();
        if (request->has_project()) {
          const auto project = caller.Resolve(request->project());
          if (!project) {
            NX_RETURN_IF_ERROR(caller.RequireEdit(request->project()));
            return NotFound("PROJECT_NOT_FOUND", absl::StrCat("there is no project ", request->project()),
                            {{"project", request->project()}});
          }
          // The right to change it here (Find) and to put something there.
          NX_RETURN_IF_ERROR(caller.RequireEdit(*project));
          update.project = *project;
        }
        if (request->has_subject()) update.subject = identify::CleanLabel(request->subject());
        if (request->has_label()) update.label = identify::CleanLabel(request->label());
        if (request->has_leftovers_accepted()) update.leftovers_accepted = request->leftovers_accepted();
        if (request->has_auto_archive()) update.auto_archive = request->auto_archive();
        if (update.subject && update.subject->empty()) return InvalidField("subject", "must not be empty");
        if (update.label && update.label->empty()) return InvalidField("label", "must not be empty");
        if (request->has_session_date()) {
          NX_RETURN_IF_ERROR(CheckDate(request->session_date()));
          update.session_date = request->session_date();
        }
        for (const v1::ScanEdit& edit : request->scans()) {
          NX_ASSIGN_OR_RETURN(prearchive::ScanUpdate scan, ToUpdate(edit));
          update.scans.push_back(std::move(scan));
        }
        update.contested = static_cast<prearchive::ContestedChoice>(request->contested());
        const bool moves = update.project && *update.project != row.key().project();
        return Change(caller, row, update, moves ? "PREARCHIVE_MOVE" : "PREARCHIVE_UPDATE");
      });
}

absl::StatusOr<dicom::ObjectHeader> PrearchiveServiceImpl::ReadHeader(const SessionRow& row,
                                                                      const ObjectRow& object) const {
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
  // A deflated header ends where the object does.
  const uint64_t wanted =
      facts.is_deflated() ? object.size_bytes() : facts.header_bytes() + ingest::kBulkHeadBytes;
  std::string bytes;
  NX_ASSIGN_OR_RETURN(const auto log, with_.prearchive.OpenLog(row.id()));
  NX_RETURN_IF_ERROR(log->ReadRange(prearchive::Prearchive::StoredObjectOf(object), 0,
                                    std::min<uint64_t>(wanted, limits::kHeaderMaxBytes.most()),
                                    [&](absl::string_view piece) {
                                      bytes.append(piece.data(), piece.size());
                                      return absl::OkStatus();
                                    }));
  dicom::RewriteOptions bare;
  bare.origin = Origin::kStored;
  bare.transfer_syntax_uid = std::string(facts.transfer_syntax_uid());
  return dicom::ParseObjectHeader(bytes, nullptr, bare);
}

grpc::Status PrearchiveServiceImpl::DiffInstance(grpc::ServerContext* context,
                                                 const v1::DiffInstanceRequest* request,
                                                 v1::DiffInstanceResponse* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::DiffInstanceResponse> {
        NX_ASSIGN_OR_RETURN(const SessionRow row, Find(caller, request->name(), Right::kRead));
        NX_ASSIGN_OR_RETURN(const std::vector<ObjectRow> versions,
                            with_.prearchive.FindVersions(row.id(), request->instance_uid()));
        if (versions.size() < 2) {
          return FailedPrecondition(
              "NO_OTHER_VERSION",
              absl::StrCat("one version of the instance is kept; `narthex prearchive outcomes ", row.id(),
                           "` names what differed in others"),
              {{"session", row.id()}, {"instance", request->instance_uid()}});
        }
        v1::DiffInstanceResponse answer;
        std::vector<std::string> syntaxes;
        for (const ObjectRow& object : versions) {
          NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
          v1::InstanceVersion& version = *answer.add_versions();
          SetTime(absl::FromUnixMicros(object.receive_time_us()), version.mutable_receive_time());
          version.set_outcome(static_cast<v1::ObjectOutcome::Outcome>(object.outcome()));
          version.set_digest(absl::BytesToHexString(object.received_digest()));
          version.set_size_bytes(static_cast<int64_t>(object.size_bytes()));
          version.set_transfer_syntax_uid(std::string(facts.transfer_syntax_uid()));
          version.set_current(object.superseded_by() == 0 && !object.contested());
          syntaxes.push_back(version.transfer_syntax_uid());
        }
        const ObjectRow& before = versions[versions.size() - 2];
        const ObjectRow& after = versions.back();
        NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader old_header, ReadHeader(row, before));
        NX_ASSIGN_OR_RETURN(const dicom::ObjectHeader new_header, ReadHeader(row, after));
        for (anonymize::AttributeChange& change :
             anonymize::DiffDataSets(*old_header.data, *new_header.data)) {
          if (change.keyword != "PixelData") *answer.add_changes() = ToProto(std::move(change));
        }
        answer.set_transfer_syntax_differs(syntaxes[syntaxes.size() - 2] != syntaxes.back());
        NX_ASSIGN_OR_RETURN(const ingest::PixelVerdict pixels,
                            ingest::ComparePixels(with_.prearchive, row.id(), before, after,
                                                  [context] { return context->IsCancelled(); }));
        answer.set_pixels(ToProto(pixels.kind));
        answer.set_pixels_detail(pixels.why);
        answer.set_only_transfer_syntax_differs(answer.transfer_syntax_differs() &&
                                                answer.changes_size() == 0 &&
                                                (pixels.kind == ingest::PixelVerdict::Kind::kSame ||
                                                 pixels.kind == ingest::PixelVerdict::Kind::kNone));
        return answer;
      });
}

grpc::Status PrearchiveServiceImpl::ClaimPrearchiveSession(grpc::ServerContext* context,
                                                           const v1::ClaimPrearchiveSessionRequest* request,
                                                           v1::PrearchiveSession* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::PrearchiveSession> {
        const auto project = caller.Resolve(request->project());
        if (!project) {
          NX_RETURN_IF_ERROR(caller.RequireEdit(request->project()));
          return NotFound("PROJECT_NOT_FOUND", absl::StrCat("there is no project ", request->project()),
                          {{"project", request->project()}});
        }
        NX_RETURN_IF_ERROR(caller.RequireEdit(*project));
        if (!caller.MayEdit("") && !with_.may_claim()) {
          return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       "claiming unassigned sessions is switched off on this server; ask an administrator");
        }
        // Guessing one word must not be enough to get at somebody's study.
        if (request->study_instance_uid().empty() &&
            (request->label().empty() || request->session_date().empty())) {
          return InvalidField("study_instance_uid", "say it, or both label and session date");
        }
        prearchive::ListQuery query;
        query.project = "";
        query.limit = 1 << 30;
        NX_ASSIGN_OR_RETURN(std::vector<SessionRow> rows, with_.prearchive.List(query));
        rows.erase(
            std::remove_if(rows.begin(), rows.end(),
                           [&](const SessionRow& row) {
                             const auto differs = [](const std::string& asked, const std::string& has) {
                               return !asked.empty() && asked != has;
                             };
                             return differs(request->study_instance_uid(), row.key().study_instance_uid()) ||
                                    differs(request->label(), row.key().label()) ||
                                    differs(request->session_date(), row.session_date());
                           }),
            rows.end());
        if (rows.empty()) {
          return NotFound("PREARCHIVE_SESSION_NOT_FOUND", "no unassigned session is what was asked for");
        }
        if (rows.size() > 1) {
          return FailedPrecondition(
              "CLAIM_AMBIGUOUS",
              absl::StrCat(rows.size(), " unassigned sessions fit; say study, label and date"));
        }
        prearchive::SessionUpdate update;
        update.project = *project;
        update.etag = absl::StrCat(rows[0].version());
        NX_ASSIGN_OR_RETURN(const v1::PrearchiveSession claimed,
                            Change(caller, rows[0], update, "PREARCHIVE_CLAIM"));
        Log(LogLevel::kInfo, "unassigned session claimed",
            {{"session", rows[0].id()}, {"project", *project}, {"user", caller.user()}});
        return claimed;
      });
}

}  // namespace narthex::rpc
