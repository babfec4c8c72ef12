// ArchiveService: what changes a session.
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_server.h"
#include "base/status.h"
#include "imaging/identify/labels.h"
#include "server/rpc/archive_service.h"
#include "server/rpc/convert.h"
#include "server/rpc/field_definitions.h"
#include "storage/metadata/access.h"

namespace narthex::rpc {
namespace {

using metadata::SessionStatus;

// How often a change of status begins anew because somebody else changed the session.
constexpr int kAttempts = 8;

absl::Status CheckLabel(absl::string_view field, const std::string& value) {
  if (identify::IsLabel(value)) return absl::OkStatus();
  return InvalidField(field, "1 to 64 letters, digits, '_' and '-'");
}

absl::Status CheckNote(const std::string& note) {
  return note.size() <= limits::kNoteMaxBytes ? absl::OkStatus()
                                              : InvalidField("note", "longer than 2,500 bytes");
}

absl::Status NotActive(const metadata::Session& session) {
  return FailedPrecondition(
      "SESSION_NOT_ACTIVE",
      absl::StrCat("the status of session ", session.accession_id, " does not allow this"),
      {{"session", session.accession_id}});
}

template <typename Request>
metadata::Change ToChange(const auth::Caller& caller, const Request& request) {
  return {caller.user(), request.comment(), request.request_id()};
}

void Note(metadata::SessionUpdate& update, const std::string& field, const std::string& before,
          const std::string& after) {
  if (before == after) return;
  update.before[field] = before;
  update.after[field] = after;
}

using Definitions = std::vector<archiving::FieldDefinition>;

absl::Status FillUpdate(const v1::UpdateSessionRequest& request, const Definitions& definitions,
                        const archiving::SessionContents& now, metadata::SessionUpdate& update) {
  if (request.has_label()) update.label = request.label();
  if (request.has_subject()) update.subject = request.subject();
  if (request.has_note()) update.note = request.note();
  if (request.has_session_date()) update.session_date = request.session_date();
  if (request.has_project() && request.project() != now.session.project) {
    update.project = request.project();
    update.action = "MOVE";
  }
  if (request.set_fields().empty() && request.remove_fields().empty()) return absl::OkStatus();
  update.fields = now.session.fields;
  for (const std::string& name : request.remove_fields()) update.fields->erase(name);
  for (const auto& [name, value] : request.set_fields()) (*update.fields)[name] = value;
  return archiving::CheckFields(*update.fields, definitions);
}

}  // namespace

grpc::Status ArchiveServiceImpl::UpdateSession(grpc::ServerContext* context,
                                               const v1::UpdateSessionRequest* request,
                                               v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Session> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kEdit));
    if (request->has_project() && request->project() != session.project) {
      NX_RETURN_IF_ERROR(caller.RequireOwn(session.project));
      NX_RETURN_IF_ERROR(caller.RequireEdit(request->project()));
    }
    if (request->has_label()) NX_RETURN_IF_ERROR(CheckLabel("label", request->label()));
    if (request->has_subject()) NX_RETURN_IF_ERROR(CheckLabel("subject", request->subject()));
    if (request->has_note()) NX_RETURN_IF_ERROR(CheckNote(request->note()));
    NX_ASSIGN_OR_RETURN(const auto definitions,
                        LoadFieldDefinitions(database_.settings(),
                                             request->has_project() ? request->project() : session.project));
    NX_ASSIGN_OR_RETURN(
        const auto updated,
        with_.changes.Rename(
            session.accession_id, {request->etag(), request->accept_leftovers()}, ToChange(caller, *request),
            [&](const archiving::SessionContents& now, metadata::SessionUpdate& update) {
              return FillUpdate(*request, FromProto(definitions, v1::FieldDefinition::SESSION), now, update);
            }));
    return View(caller, updated);
  });
}

absl::StatusOr<v1::Session> ArchiveServiceImpl::SetStatus(const auth::Caller& caller, absl::string_view name,
                                                          SessionStatus from, SessionStatus to,
                                                          const metadata::Change& change) const {
  for (int attempt = 1;; ++attempt) {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, name, Right::kOwn));
    if (session.status == to) return View(caller, session);
    if (session.status != from) return NotActive(session);
    const auto changed = database_.sessions().SetStatus(session.accession_id, to, session.etag, change);
    if (changed.ok()) return View(caller, *changed);
    if (ErrorReason(changed.status()) != "ETAG_MISMATCH" || attempt == kAttempts) return changed.status();
  }
}

grpc::Status ArchiveServiceImpl::DeleteSession(grpc::ServerContext* context,
                                               const v1::DeleteSessionRequest* request,
                                               google::protobuf::Empty* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kOwn));
        if (session.status == SessionStatus::kLocked) return NotActive(session);
        NX_RETURN_IF_ERROR(
            database_.sessions()
                .SetStatus(session.accession_id, SessionStatus::kDeleted, "", ToChange(caller, *request))
                .status());
        return google::protobuf::Empty();
      });
}

grpc::Status ArchiveServiceImpl::RestoreSession(grpc::ServerContext* context,
                                                const v1::RestoreSessionRequest* request,
                                                v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Session> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kOwn, true));
    if (!request->label().empty()) NX_RETURN_IF_ERROR(CheckLabel("label", request->label()));
    const auto restored =
        with_.changes.Restore(session.accession_id, request->label(), ToChange(caller, *request));
    if (ErrorReason(restored.status()) == "SESSION_EXISTS") {
      ErrorMetadata metadata = ErrorMetadataOf(restored.status());
      return Error(absl::StatusCode::kAlreadyExists, "SESSION_EXISTS",
                   absl::StrCat("the label of session ", session.accession_id, " was taken by ",
                                metadata["session"], " meanwhile; restore it under another one (--label)"),
                   metadata);
    }
    NX_RETURN_IF_ERROR(restored.status());
    return View(caller, *restored);
  });
}

grpc::Status ArchiveServiceImpl::PurgeSession(grpc::ServerContext* context,
                                              const v1::PurgeSessionRequest* request,
                                              v1::PurgeSessionResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::PurgeSessionResponse> {
        NX_RETURN_IF_ERROR(caller.RequireAdmin());
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kOwn, true));
        if (request->confirm() != session.accession_id) {
          return InvalidArgument(
              "CONFIRMATION_MISMATCH",
              absl::StrCat("to purge this session, confirm with its accession id ", session.accession_id),
              {{"session", session.accession_id}});
        }
        NX_ASSIGN_OR_RETURN(const auto record,
                            with_.changes.Purge(session.accession_id, ToChange(caller, *request)));
        v1::PurgeSessionResponse answer;
        answer.set_file_count(static_cast<int32_t>(record.file_count));
        answer.set_size_bytes(record.size_bytes);
        answer.set_manifest_sha256(record.manifest_sha256);
        return answer;
      });
}

grpc::Status ArchiveServiceImpl::QuarantineSession(grpc::ServerContext* context,
                                                   const v1::QuarantineSessionRequest* request,
                                                   v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) {
    return SetStatus(caller, request->name(), SessionStatus::kActive, SessionStatus::kQuarantine,
                     ToChange(caller, *request));
  });
}

grpc::Status ArchiveServiceImpl::ActivateSession(grpc::ServerContext* context,
                                                 const v1::ActivateSessionRequest* request,
                                                 v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) {
    return SetStatus(caller, request->name(), SessionStatus::kQuarantine, SessionStatus::kActive,
                     ToChange(caller, *request));
  });
}

grpc::Status ArchiveServiceImpl::LockSession(grpc::ServerContext* context,
                                             const v1::LockSessionRequest* request, v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) {
    return SetStatus(caller, request->name(), SessionStatus::kActive, SessionStatus::kLocked,
                     ToChange(caller, *request));
  });
}

grpc::Status ArchiveServiceImpl::UnlockSession(grpc::ServerContext* context,
                                               const v1::UnlockSessionRequest* request,
                                               v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) {
    return SetStatus(caller, request->name(), SessionStatus::kLocked, SessionStatus::kActive,
                     ToChange(caller, *request));
  });
}

grpc::Status ArchiveServiceImpl::UpdateScan(grpc::ServerContext* context,
                                            const v1::UpdateScanRequest* request, v1::Scan* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Scan> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kEdit));
    if (request->has_note()) NX_RETURN_IF_ERROR(CheckNote(request->note()));
    for (const auto& [name, value] :
         {std::pair("type", &request->type()), {"quality", &request->quality()}}) {
      if (value->size() > limits::kSessionWordMaxBytes) return InvalidField(name, "longer than 255 bytes");
    }
    if (request->has_quality() && request->quality().empty()) return InvalidField("quality", "empty");
    metadata::Scan changed;
    const auto edit = [&](const archiving::SessionContents& now, metadata::SessionUpdate& update) {
      for (const metadata::Scan& scan : now.scans) {
        if (scan.id != request->scan()) continue;
        changed = scan;
        if (request->has_type()) changed.type = request->type();
        if (request->has_quality()) changed.quality = request->quality();
        if (request->has_note()) changed.note = request->note();
        const std::string prefix = absl::StrCat("scans.", scan.id, ".");
        Note(update, prefix + "type", scan.type, changed.type);
        Note(update, prefix + "quality", scan.quality, changed.quality);
        Note(update, prefix + "note", scan.note, changed.note);
        update.scans = {changed};
        return absl::OkStatus();
      }
      return archiving::ScanNotFound(now.session, request->scan());
    };
    NX_RETURN_IF_ERROR(
        with_.changes.Update(session.accession_id, request->etag(), ToChange(caller, *request), edit)
            .status());
    return ToProto(changed);
  });
}

absl::StatusOr<archiving::SessionContents> ArchiveServiceImpl::Contents(
    const auth::Caller& caller, const metadata::Session& session) const {
  NX_ASSIGN_OR_RETURN(archiving::SessionContents contents,
                      archiving::ReadContents(database_.session_reader(), session.accession_id));
  const metadata::Session seen = AsSeen(caller, contents.session);
  if (seen.shares == contents.session.shares && seen.project == contents.session.project) return contents;
  contents.session = seen;
  NX_ASSIGN_OR_RETURN(contents.document, archiving::UpdatedDocument(contents, with_.types));
  return contents;
}

grpc::Status ArchiveServiceImpl::GetScanDocument(grpc::ServerContext* context,
                                                 const v1::GetScanDocumentRequest* request,
                                                 v1::GetScanDocumentResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::GetScanDocumentResponse> {
        NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->session(), Right::kRead));
        NX_ASSIGN_OR_RETURN(const auto contents, Contents(caller, session));
        NX_ASSIGN_OR_RETURN(const auto document,
                            archiving::ScanDocument(contents, request->scan(), with_.types));
        v1::GetScanDocumentResponse answer;
        answer.set_xml(document.Reveal());
        return answer;
      });
}

grpc::Status ArchiveServiceImpl::ShareSession(grpc::ServerContext* context,
                                              const v1::ShareSessionRequest* request, v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Session> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kOwn));
    NX_RETURN_IF_ERROR(caller.RequireEdit(request->project()));
    if (request->project() == session.project || request->project().empty()) {
      return InvalidField("project", "a session is shared with another project than its own");
    }
    const metadata::Share share{request->project(),
                                request->label().empty() ? session.label : request->label()};
    NX_RETURN_IF_ERROR(CheckLabel("label", share.label));
    const auto edit = [&](const archiving::SessionContents&, metadata::SessionUpdate& update) {
      update.share = share;
      update.action = "SHARE";
      update.before[absl::StrCat("shares.", share.project)] = "";
      update.after[absl::StrCat("shares.", share.project)] = share.label;
      return absl::OkStatus();
    };
    NX_ASSIGN_OR_RETURN(const auto shared,
                        with_.changes.Update(session.accession_id, "", ToChange(caller, *request), edit));
    return View(caller, shared);
  });
}

grpc::Status ArchiveServiceImpl::UnshareSession(grpc::ServerContext* context,
                                                const v1::UnshareSessionRequest* request,
                                                v1::Session* response) {
  return gate_.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Session> {
    NX_ASSIGN_OR_RETURN(const auto session, Find(caller, request->name(), Right::kRead));
    // Either side may end it.
    if (!caller.MayOwn(session.project)) NX_RETURN_IF_ERROR(caller.RequireOwn(request->project()));
    std::string label;
    for (const metadata::Share& share : session.shares) {
      if (share.project == request->project()) label = share.label;
    }
    if (label.empty()) return View(caller, session);
    const auto edit = [&](const archiving::SessionContents&, metadata::SessionUpdate& update) {
      update.unshare = request->project();
      update.action = "UNSHARE";
      update.before[absl::StrCat("shares.", request->project())] = label;
      update.after[absl::StrCat("shares.", request->project())] = "";
      return absl::OkStatus();
    };
    // The other project's owner has no right to the session's own rows.
    const metadata::SystemScope allowed;
    NX_ASSIGN_OR_RETURN(const auto unshared,
                        with_.changes.Update(session.accession_id, "", ToChange(caller, *request), edit));
    return View(caller, unshared);
  });
}

}  // namespace narthex::rpc
