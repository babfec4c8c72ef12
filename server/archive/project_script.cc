#include "server/archive/project_script.h"

#include <algorithm>
#include <set>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "server/archive/checker.h"
#include "server/deidentify/plan_editor.h"

namespace narthex::archiving {
namespace {

using deidentify::Leftovers;
using deidentify::PlanEditor;
using prearchive::ObjectRow;

// Enough behind the header that the element which holds the bulk data is seen for what it is.
constexpr uint64_t kBulkHeadBytes = 64 << 10;
// `status` with the number of the object that it is about.
absl::Status Of(uint64_t number, const absl::Status& status) {
  return status.ok() ? status : Annotate(status, absl::StrCat("object ", number));
}

}  // namespace

ProjectScript::ProjectScript(prearchive::Prearchive& prearchive, const session::TypeRegistry& types,
                             const prearchive::SessionRow& row)
    : prearchive_(prearchive),
      types_(types),
      session_(row.id()),
      accepted_(row.leftovers_accepted()),
      variables_(deidentify::VariablesOf(row.key().project(), row.key().subject(), row.key().label())) {}

absl::StatusOr<std::unique_ptr<ProjectScript>> ProjectScript::Open(const deidentify::PlanSource* plans,
                                                                   prearchive::Prearchive& prearchive,
                                                                   const session::TypeRegistry& types,
                                                                   const prearchive::SessionRow& row) {
  auto script = absl::WrapUnique(new ProjectScript(prearchive, types, row));
  if (plans == nullptr) return script;
  script->plans_ = plans;
  const auto site = plans->Site();
  if (site.ok() && *site != nullptr) script->leftovers_mode_ = (*site)->leftovers;
  if (row.key().project().empty()) return script;
  NX_ASSIGN_OR_RETURN(script->plan_, plans->Project(row.key().project()));
  if (script->plan_ == nullptr) return script;
  script->leftovers_mode_ = std::max(script->leftovers_mode_, script->plan_->leftovers);
  std::vector<dicom::TagPath> more(types.wanted().begin(), types.wanted().end());
  script->attributes_ = dicom::AttributeSet::Default().With(more);
  NX_ASSIGN_OR_RETURN(script->log_, prearchive.OpenLog(row.id()));
  return script;
}

absl::StatusOr<prearchive::BuiltSession> ProjectScript::BuildModel(session::BuildOptions options) {
  NX_ASSIGN_OR_RETURN(auto built,
                      prearchive::BuildModel(prearchive_, types_, session_, std::move(options),
                                             [this](const ObjectRow& object) { return FactsOf(object); }));
  for (prearchive::BuiltObject& object : built.objects) {
    if (object.received_identity.empty() && object.sop_instance_uid != object.staged_sop_instance_uid)
      object.received_identity = plans_->Fingerprint(object.staged_sop_instance_uid);
  }
  prearchive::ExportedValues exported;
  const std::vector<bool> out = built.LeftOut();
  for (size_t i = 0; i < built.objects.size(); ++i) {
    const auto staged = staged_.find(built.objects[i].number);
    if (out[i] || staged == staged_.end()) continue;
    for (const auto& [target, value] : staged->second.exports) exported.Add(target, value.Reveal());
  }
  built.exported.Override(exported);
  return built;
}

absl::StatusOr<std::optional<dicom::HeaderFacts>> ProjectScript::FactsOf(const ObjectRow& object) {
  for (const std::string& step : object.applied()) ++applied_[step];
  NX_ASSIGN_OR_RETURN(dicom::HeaderFacts stored, dicom::HeaderFacts::Decode(object.facts()));
  if (plan_ == nullptr) {
    leftovers_.Add(object.leftovers(), {});
    return stored;
  }
  Staged staged{deidentify::UntoldSyntax(stored), object.locally_anonymized(), {}};
  // A deflated header ends where the object does.
  const uint64_t wanted = stored.is_deflated() ? object.size_bytes() : stored.header_bytes() + kBulkHeadBytes;
  std::string head;
  NX_RETURN_IF_ERROR(log_->ReadRange(prearchive::Prearchive::StoredObjectOf(object), 0,
                                     std::min<uint64_t>(wanted, limits::kHeaderMaxBytes.most()),
                                     [&](absl::string_view piece) {
                                       head.append(piece.data(), piece.size());
                                       return absl::OkStatus();
                                     }));
  PlanEditor::Options options;
  options.variables = variables_;
  options.seed = absl::StrCat(session_, "/", object.number());
  options.honour_record = staged.honour_record;
  options.check_leftovers = true;
  options.pass_pixels = true;  // Write blanks them
  PlanEditor editor(plan_, std::move(options));
  const auto read_rest = [&](uint64_t offset, const std::function<absl::Status(absl::string_view)>& sink) {
    return log_->ReadRange(prearchive::Prearchive::StoredObjectOf(object), offset,
                           object.size_bytes() - offset, sink);
  };
  const deidentify::ObjectRest rest{stored, object.size_bytes(), read_rest};
  dicom::ScanOptions scan;
  scan.attributes = &*attributes_;
  scan.origin = Origin::kStored;
  scan.transfer_syntax_uid = staged.transfer_syntax_uid;
  auto facts = deidentify::EditHead(editor, head, scan, &rest);
  if (editor.outcome().rejected) {
    ++rejected_[*editor.outcome().rejected];
    return std::nullopt;
  }
  if (!facts.ok()) return Of(object.number(), facts.status());
  leftovers_.Add(object.leftovers(), editor.outcome().leftovers);
  staged.exports = editor.outcome().exports;
  staged_[object.number()] = std::move(staged);
  return *std::move(facts);
}

absl::Status ProjectScript::Write(staging::SessionLog& log, const prearchive::BuiltObject& object,
                                  const archive::ByteSink& sink) const {
  if (plan_ == nullptr) return log.Read(object.bytes, sink);
  const auto staged = staged_.find(object.number);
  if (staged == staged_.end())
    return Internal("INTERNAL", "an object is filed whose header was not looked at");
  PlanEditor::Options options;
  options.variables = variables_;
  options.seed = absl::StrCat(session_, "/", object.number);
  options.honour_record = staged->second.honour_record;
  PlanEditor editor(plan_, std::move(options));
  dicom::HeaderRewriter rewriter(editor, sink, {staged->second.transfer_syntax_uid, Origin::kStored});
  absl::Status written = log.Read(object.bytes, [&](absl::string_view piece) { return rewriter.Add(piece); });
  if (written.ok()) written = rewriter.Finish();
  NX_RETURN_IF_ERROR(Of(object.number, written));
  if (rewriter.header().data->TextOrEmpty(dicom::tags::kSOPInstanceUID) == object.sop_instance_uid)
    return absl::OkStatus();
  return Internal("INTERNAL",
                  absl::StrCat("object ", object.number,
                               ": the project's script gives another SOP Instance UID at its second run"));
}

std::optional<prearchive::ConflictRow> ProjectScript::Held() const {
  if (leftovers_mode_ != Leftovers::kHold || leftovers_.empty() || accepted_) return std::nullopt;
  prearchive::ConflictRow conflict;
  conflict.set_code(kLeftoversCode);
  conflict.set_type(static_cast<int>(ConflictType::kConflict));
  conflict.set_message(leftovers_.Summary());
  conflict.set_remedy(absl::StrCat("see which: narthex prearchive show ", session_,
                                   "; change the script; or let them pass: narthex prearchive update ",
                                   session_, " --accept-leftovers, and archive it again"));
  return conflict;
}

std::string ProjectScript::Note() const {
  std::vector<std::string> parts;
  for (const auto& [step, count] : applied_) parts.push_back(step);
  if (plan_ != nullptr) parts.insert(parts.end(), plan_->summary.begin(), plan_->summary.end());
  for (const auto& [why, count] : rejected_)
    parts.push_back(
        absl::StrCat(count, count == 1 ? " object" : " objects", " left out by the script: ", why));
  leftovers_.AddRemarks(parts);
  return absl::StrJoin(parts, "; ");
}

}  // namespace narthex::archiving
