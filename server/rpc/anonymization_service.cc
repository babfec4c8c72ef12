#include "server/rpc/anonymization_service.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/limits_server.h"
#include "base/status.h"
#include "server/prearchive/exported.h"
#include "server/rpc/convert.h"
#include "storage/metadata/names.h"

namespace narthex::rpc {
namespace {

// Of a file whose header is looked at; leaves room in a message for the rest.
// Enough behind the header that the element which holds the bulk data is seen for what it is.
constexpr uint64_t kBulkHeadBytes = 64 << 10;
constexpr int kSecretBytes = 32;

v1::ScriptDiagnostic ToProto(const anonymize::Diagnostic& from) {
  v1::ScriptDiagnostic to;
  to.set_severity(from.severity == anonymize::Severity::kError ? "error" : "warning");
  to.set_line(from.line);
  to.set_column(from.column);
  to.set_code(from.code);
  to.set_message(from.message);
  return to;
}

const char* NameOf(anonymize::AttributeChange::Action action) {
  switch (action) {
    case anonymize::AttributeChange::Action::kRemoved:
      return "removed";
    case anonymize::AttributeChange::Action::kAdded:
      return "added";
    case anonymize::AttributeChange::Action::kChanged:
      return "changed";
  }
  return "";
}

absl::StatusOr<std::string> HeadOf(staging::SessionLog& log, const prearchive::ObjectRow& object,
                                   const dicom::HeaderFacts& facts) {
  // A deflated header ends where the object does.
  const uint64_t wanted = facts.is_deflated() ? object.size_bytes() : facts.header_bytes() + kBulkHeadBytes;
  std::string bytes;
  NX_RETURN_IF_ERROR(log.ReadRange(prearchive::Prearchive::StoredObjectOf(object), 0,
                                   std::min<uint64_t>(wanted, limits::kHeaderMaxBytes.most()),
                                   [&](absl::string_view piece) {
                                     bytes.append(piece.data(), piece.size());
                                     return absl::OkStatus();
                                   }));
  return bytes;
}

}  // namespace

v1::AttributeChange ToProto(const anonymize::AttributeChange& change) {
  v1::AttributeChange to;
  to.set_path(change.path);
  to.set_keyword(change.keyword);
  to.set_creator(change.creator);
  to.set_vr(change.vr);
  to.set_action(NameOf(change.action));
  to.set_before(change.before);
  to.set_after(change.after);
  to.set_object_count(1);
  return to;
}

absl::StatusOr<std::string> ReadHead(prearchive::Prearchive& prearchive, const std::string& session,
                                     const prearchive::ObjectRow& object) {
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
  NX_ASSIGN_OR_RETURN(const auto log, prearchive.OpenLog(session));
  return HeadOf(*log, object, facts);
}

absl::StatusOr<std::string> AnonymizationServiceImpl::Resolve(const auth::Caller& caller,
                                                              const std::string& project) const {
  if (project.empty()) return project;
  const auto id = projects_.Resolve(project);
  // In the words that were asked in: an alias must not tell what it stands for.
  if (!id || !caller.MayKnow(*id)) return metadata::ProjectNotFound(project);
  NX_RETURN_IF_ERROR(caller.RequireRead(*id));
  return *id;
}

v1::AnonymizationScript AnonymizationServiceImpl::Show(const metadata::Script& script,
                                                       const auth::Caller& caller) const {
  v1::AnonymizationScript to;
  to.set_project(script.project);
  to.set_text(script.text);
  to.set_enabled(script.enabled);
  to.set_profile(script.profile);
  to.set_leftovers(script.leftovers.empty() ? "off" : script.leftovers);
  to.set_version(script.version);
  if (!script.text.empty()) {
    to.set_digest(absl::BytesToHexString(Sha256(script.text)));
    for (const anonymize::Diagnostic& diagnostic : plans_.Check(script.text))
      *to.add_diagnostics() = ToProto(diagnostic);
  }
  to.set_user(script.user);
  if (script.version > 0) SetTime(script.create_time, to.mutable_create_time());
  to.set_trusted(plans_.IsTrusted(caller.user()));
  // It may name patients.
  const bool may_set = script.project.empty() ? caller.is_admin() : caller.MayOwn(script.project);
  if (may_set) to.set_lookup_table(script.lookup_table.Reveal());
  return to;
}

grpc::Status AnonymizationServiceImpl::GetScript(grpc::ServerContext* context,
                                                 const v1::GetScriptRequest* request,
                                                 v1::AnonymizationScript* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::AnonymizationScript> {
        NX_ASSIGN_OR_RETURN(const std::string project, Resolve(caller, request->project()));
        NX_ASSIGN_OR_RETURN(const metadata::Script script, plans_.Get(project));
        v1::AnonymizationScript answer = Show(script, caller);
        if (!request->with_secret()) return answer;
        if (!answer.trusted()) {
          return Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       "only users whom the setting anonymize.trusted_uploaders names get the secret");
        }
        if (!project.empty()) NX_RETURN_IF_ERROR(caller.RequireEdit(project));
        NX_ASSIGN_OR_RETURN(*answer.mutable_secret(), plans_.Secret(project));
        answer.set_lookup_table(script.lookup_table.Reveal());
        return answer;
      });
}

grpc::Status AnonymizationServiceImpl::SetScript(grpc::ServerContext* context,
                                                 const v1::SetScriptRequest* request,
                                                 v1::AnonymizationScript* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::AnonymizationScript> {
        NX_ASSIGN_OR_RETURN(const std::string project, Resolve(caller, request->project()));
        NX_RETURN_IF_ERROR(project.empty() ? caller.RequireAdmin() : caller.RequireOwn(project));
        NX_ASSIGN_OR_RETURN(metadata::Script script, plans_.Get(project));
        if (request->has_text()) script.text = request->text();
        if (request->has_enabled()) script.enabled = request->enabled();
        if (request->has_profile()) script.profile = request->profile();
        if (request->has_lookup_table()) script.lookup_table = Phi<std::string>(request->lookup_table());
        if (request->has_leftovers()) script.leftovers = request->leftovers();
        NX_ASSIGN_OR_RETURN(const metadata::Script set,
                            plans_.Set(std::move(script), {caller.user(), "", request->request_id()}));
        return Show(set, caller);
      });
}

grpc::Status AnonymizationServiceImpl::CheckScript(grpc::ServerContext* context,
                                                   const v1::CheckScriptRequest* request,
                                                   v1::CheckScriptResponse* response) {
  return gate_.Unary(context, response, [&](const auth::Caller&) -> absl::StatusOr<v1::CheckScriptResponse> {
    const anonymize::Diagnostics found = plans_.Check(request->text());
    v1::CheckScriptResponse answer;
    for (const anonymize::Diagnostic& diagnostic : found) *answer.add_diagnostics() = ToProto(diagnostic);
    answer.set_usable(!anonymize::HasErrors(found));
    return answer;
  });
}

// Collects what a plan makes of one object after another.
class AnonymizationServiceImpl::Preview {
 public:
  Preview(std::shared_ptr<const deidentify::Plan> plan, anonymize::Variables variables)
      : plan_(std::move(plan)), variables_(std::move(variables)) {}

  // The status of the object, which Answer tells as well.
  absl::Status Add(absl::string_view head, const std::string& seed, const std::string& transfer_syntax_uid,
                   bool honour_record, const deidentify::ObjectRest* rest = nullptr) {
    deidentify::PlanEditor::Options options;
    options.variables = variables_;
    options.seed = seed;
    options.honour_record = honour_record;
    options.keep_data_sets = true;
    options.check_leftovers = true;
    options.pass_pixels = rest != nullptr;
    deidentify::PlanEditor editor(plan_, std::move(options));
    dicom::ScanOptions scan;
    scan.origin = rest != nullptr ? Origin::kStored : Origin::kArriving;
    scan.transfer_syntax_uid = transfer_syntax_uid;
    ++objects_;
    const absl::Status edited = deidentify::EditHead(editor, head, scan, rest).status();
    if (!edited.ok()) {
      ++refusals_[{ErrorReason(edited), std::string(edited.message())}];
      return edited;
    }
    bool truncated = false;
    groups_.Add(anonymize::DiffDataSets(*editor.before(), *editor.after(), &truncated));
    truncated_ = truncated_ || truncated;
    pixel_edits_ += static_cast<int32_t>(editor.outcome().pixel_edits.size());
    for (const auto& [target, value] : editor.outcome().exports) exported_.Add(target, value.Reveal());
    for (const anonymize::Leftover& leftover : editor.outcome().leftovers.found) {
      v1::Leftover& to = leftovers_[{leftover.path, leftover.source}];
      to.set_path(leftover.path);
      to.set_keyword(leftover.name);
      to.set_source(leftover.source);
      to.set_count(to.count() + leftover.count);
    }
    return absl::OkStatus();
  }

  v1::PreviewScriptResponse Answer() const {
    v1::PreviewScriptResponse answer;
    size_t bytes = 0;
    answer.set_truncated(truncated_);
    for (const anonymize::GroupedChange& group : groups_.Groups()) {
      v1::AttributeChange change = ToProto(group.change);
      change.set_object_count(static_cast<int32_t>(group.object_count));
      change.set_varying(group.varying);
      bytes += change.ByteSizeLong();
      if (bytes > limits::kPreviewHeadMaxBytes) {
        answer.set_truncated(true);
        break;
      }
      *answer.add_changes() = std::move(change);
    }
    for (const auto& [target, row] : exported_.rows()) *answer.add_exported() = ToProto(row);
    answer.set_object_count(objects_);
    answer.set_pixel_edit_count(pixel_edits_);
    for (const auto& [why, count] : refusals_) {
      v1::PreviewRefusal& refusal = *answer.add_refusals();
      refusal.set_reason(WireReason(why.first));
      refusal.set_detail(why.second);
      refusal.set_object_count(count);
    }
    for (const auto& [key, leftover] : leftovers_) *answer.add_leftovers() = leftover;
    return answer;
  }

 private:
  const std::shared_ptr<const deidentify::Plan> plan_;
  const anonymize::Variables variables_;
  anonymize::DiffGroups groups_;
  prearchive::ExportedValues exported_;
  std::map<std::pair<std::string, std::string>, int32_t> refusals_;
  std::map<std::pair<std::string, std::string>, v1::Leftover> leftovers_;
  int32_t objects_ = 0;
  int32_t pixel_edits_ = 0;
  bool truncated_ = false;
};

absl::StatusOr<std::shared_ptr<const deidentify::Plan>> AnonymizationServiceImpl::PlanOf(
    const v1::PreviewScriptRequest& request, const std::string& project, const auth::Caller& caller) const {
  NX_ASSIGN_OR_RETURN(metadata::Script script, plans_.Get(project));
  if (request.has_text() || request.has_profile()) {
    script.text = request.text();
    script.profile = request.profile();
  }
  if (!request.lookup_table().empty()) script.lookup_table = Phi<std::string>(request.lookup_table());
  if (script.leftovers.empty() || script.leftovers == "off") script.leftovers = "report";
  // Whoever could try it out without end could find out which original a replacement stands for.
  std::string secret = RandomBytes(kSecretBytes);
  if (project.empty() ? caller.is_admin() : caller.MayEdit(project)) {
    NX_ASSIGN_OR_RETURN(secret, plans_.Secret(project));
  } else {
    script.lookup_table = {};
  }
  return plans_.Make(script, std::move(secret), request.has_text() ? Origin::kArriving : Origin::kStored);
}

absl::Status AnonymizationServiceImpl::PreviewSession(const prearchive::SessionRow& session,
                                                      const grpc::ServerContext& context,
                                                      Preview& preview) const {
  NX_ASSIGN_OR_RETURN(const auto log, prearchive_.OpenLog(session.id()));
  return prearchive_.ForEachObject(session.id(), [&](const prearchive::ObjectRow& object) -> absl::Status {
    if (context.IsCancelled())
      return Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "the client went away");
    NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
    NX_ASSIGN_OR_RETURN(const std::string head, HeadOf(*log, object, facts));
    const auto read_rest = [&](uint64_t offset, const std::function<absl::Status(absl::string_view)>& sink) {
      return log->ReadRange(prearchive::Prearchive::StoredObjectOf(object), offset,
                            object.size_bytes() - offset, sink);
    };
    const deidentify::ObjectRest rest{facts, object.size_bytes(), read_rest};
    preview
        .Add(head, absl::StrCat(session.id(), "/", object.number()), deidentify::UntoldSyntax(facts),
             object.locally_anonymized(), &rest)
        .IgnoreError();
    return absl::OkStatus();
  });
}

grpc::Status AnonymizationServiceImpl::PreviewScript(grpc::ServerContext* context,
                                                     const v1::PreviewScriptRequest* request,
                                                     v1::PreviewScriptResponse* response) {
  return gate_.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::PreviewScriptResponse> {
        if (request->prearchive_session().empty() == request->object_head().empty())
          return InvalidField("object_head", "give an object's head or a prearchive session");
        NX_ASSIGN_OR_RETURN(std::string project, Resolve(caller, request->project()));
        if (request->prearchive_session().empty()) {
          if (request->object_head().size() > limits::kPreviewHeadMaxBytes)
            return InvalidField("object_head",
                                absl::StrCat("at most ", limits::kPreviewHeadMaxBytes, " bytes"));
          NX_ASSIGN_OR_RETURN(const auto plan, PlanOf(*request, project, caller));
          Preview preview(plan, deidentify::VariablesOf(project, request->subject(), request->session()));
          const absl::Status added =
              preview.Add(request->object_head(), "", request->transfer_syntax_uid(), false);
          // What no script can be blamed for is about the file.
          const std::string reason = ErrorReason(added);
          if (!added.ok() && reason != "ANONYMIZATION_FAILED" && reason != "REJECTED_BY_SCRIPT") return added;
          return preview.Answer();
        }
        NX_ASSIGN_OR_RETURN(const std::string id,
                            IdOf(request->prearchive_session(), "prearchiveSessions", "prearchive_session"));
        NX_ASSIGN_OR_RETURN(const prearchive::SessionRow session, prearchive_.Get(id));
        if (!caller.MaySeePrearchive(session.key().project())) return prearchive::NoSession(id);
        if (project.empty()) project = session.key().project();
        NX_ASSIGN_OR_RETURN(const auto plan, PlanOf(*request, project, caller));
        Preview preview(
            plan, deidentify::VariablesOf(
                      project, request->subject().empty() ? session.key().subject() : request->subject(),
                      request->session().empty() ? session.key().label() : request->session()));
        NX_RETURN_IF_ERROR(PreviewSession(session, *context, preview));
        return preview.Answer();
      });
}

}  // namespace narthex::rpc
