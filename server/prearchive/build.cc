#include "server/prearchive/build.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/tag.h"

namespace narthex::prearchive {
namespace {

ScanRow ToRow(const session::ScanModel& scan, const std::vector<BuiltObject>& objects) {
  ScanRow row;
  row.set_id(scan.id);
  row.set_type(scan.type);
  row.set_scan_type(scan.xsi_type);
  row.set_series_instance_uid(scan.series_instance_uid);
  row.set_series_description(scan.series_description);
  row.set_modality(scan.modality);
  row.set_frames(static_cast<int32_t>(scan.frames));
  row.set_quality(scan.quality);
  row.set_note(scan.note);
  for (const session::Parameter& parameter : scan.parameters) {
    (*row.mutable_parameters())[parameter.name] = parameter.value;
  }
  row.set_file_count(static_cast<int32_t>(scan.objects.size()));
  uint64_t size = 0;
  for (const session::ScanObject& object : scan.objects) size += objects[object.index].bytes.size_bytes;
  row.set_size_bytes(static_cast<int64_t>(size));
  return row;
}

// What a person said of the scan holds over what the headers say.
void ApplyEdit(const ScanEditRow& edit, session::ScanModel& scan) {
  if (edit.has_type()) scan.type = edit.type();
  if (edit.has_quality()) scan.quality = edit.quality();
  if (edit.has_note()) scan.note = edit.note();
}

// By the series as it is staged: a project's script may give it another UID on its way into the archive.
const ScanEditRow* EditOf(const SessionRow& row, const session::ScanModel& scan, const BuiltSession& built) {
  const std::string& series = scan.objects.empty()
                                  ? scan.series_instance_uid
                                  : built.objects[scan.objects.front().index].staged_series_uid;
  const auto it = row.edits().scans().find(series.empty() ? absl::StrCat("#", scan.id) : series);
  return it == row.edits().scans().end() ? nullptr : &it->second;
}

bool IsExcluded(const SessionRow& row, const session::ScanModel& scan, const BuiltSession& built) {
  const ScanEditRow* edit = EditOf(row, scan, built);
  return edit != nullptr && edit->excluded();
}

// Takes the scans that a person left out out of the model, and whatever only they said of the session.
absl::Status LeaveOut(const session::TypeRegistry& types, const session::BuildOptions& options,
                      const SessionRow& row, const std::vector<dicom::HeaderFacts>& facts,
                      BuiltSession& built) {
  session::SessionModel& all = built.model;
  std::vector<bool> out(built.objects.size());
  size_t out_count = 0;
  for (const session::ScanModel& scan : all.scans) {
    if (!IsExcluded(row, scan, built)) continue;
    for (const session::ScanObject& object : scan.objects) out[object.index] = true;
    out_count += scan.objects.size();
  }
  const auto excluded = std::stable_partition(
      all.scans.begin(), all.scans.end(), [&](const auto& scan) { return !IsExcluded(row, scan, built); });
  built.excluded.assign(std::make_move_iterator(excluded), std::make_move_iterator(all.scans.end()));
  all.scans.erase(excluded, all.scans.end());
  if (out_count == 0 || out_count == out.size()) return absl::OkStatus();
  session::SessionBuilder builder(types, options);
  for (size_t i = 0; i < facts.size(); ++i) {
    if (!out[i]) NX_RETURN_IF_ERROR(builder.Add(facts[i], i));
  }
  NX_ASSIGN_OR_RETURN(session::SessionModel kept, builder.Finish());
  // Ids stay as they were with all scans: people have seen them.
  kept.scans = std::move(all.scans);
  all = std::move(kept);
  return absl::OkStatus();
}

}  // namespace

std::vector<bool> BuiltSession::LeftOut() const {
  std::vector<bool> out(objects.size());
  for (const session::ScanModel& scan : excluded) {
    for (const session::ScanObject& object : scan.objects) out[object.index] = true;
  }
  return out;
}

absl::StatusOr<BuiltSession> BuildPart(Prearchive& prearchive, const session::TypeRegistry& types,
                                       const SessionRow& row,
                                       const std::function<bool(const ObjectRow&)>& belongs,
                                       ScanTypes scan_type, const FiledFacts& filed) {
  BuiltSession built;
  session::BuildOptions options = prearchive.BuildOptionsOf(row.key().project());
  if (scan_type) options.scan_type = std::move(scan_type);
  // The PET part of a split has MR scans for attenuation correction and is a PET session all the same.
  if (row.split_part() != 0) options.pet_mr = session::PetMr::kPet;
  options.pet_half = row.split_part() == kPetPart;
  const bool may_exclude = std::any_of(row.edits().scans().begin(), row.edits().scans().end(),
                                       [](const auto& edit) { return edit.second.excluded(); });
  std::vector<dicom::HeaderFacts> kept_facts;
  session::SessionBuilder builder(types, options);
  NX_RETURN_IF_ERROR(prearchive.ForEachObject(row.id(), [&](const ObjectRow& object_row) -> absl::Status {
    if (belongs && !belongs(object_row)) return absl::OkStatus();
    NX_ASSIGN_OR_RETURN(dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object_row.facts()));
    BuiltObject object;
    object.staged_series_uid = std::string(facts.series_instance_uid());
    object.staged_sop_instance_uid = std::string(facts.sop_instance_uid());
    object.received_identity = object_row.instance_identity();
    if (filed) {
      NX_ASSIGN_OR_RETURN(std::optional<dicom::HeaderFacts> changed, filed(object_row));
      if (!changed) return absl::OkStatus();
      facts = *std::move(changed);
    }
    NX_RETURN_IF_ERROR(builder.Add(facts, built.objects.size()));
    object.number = object_row.number();
    object.sop_instance_uid = std::string(facts.sop_instance_uid());
    object.sop_class_uid = std::string(facts.sop_class_uid());
    object.series_number = std::string(facts.Get(dicom::tags::kSeriesNumber));
    object.instance_number = std::string(facts.Get(dicom::tags::kInstanceNumber));
    object.received_xxh3 = object_row.received_xxh3();
    object.bytes = Prearchive::StoredObjectOf(object_row);
    object.exported.assign(object_row.exported().begin(), object_row.exported().end());
    built.objects.push_back(std::move(object));
    if (may_exclude) kept_facts.push_back(std::move(facts));
    return absl::OkStatus();
  }));
  NX_ASSIGN_OR_RETURN(built.model, builder.Finish());
  for (session::ScanModel& scan : built.model.scans) {
    if (const ScanEditRow* edit = EditOf(row, scan, built)) ApplyEdit(*edit, scan);
  }
  if (may_exclude) NX_RETURN_IF_ERROR(LeaveOut(types, options, row, kept_facts, built));
  if (row.edits().has_session_date()) built.model.date = row.edits().session_date();
  const std::vector<bool> out = built.LeftOut();
  for (size_t i = 0; i < built.objects.size(); ++i) {
    if (out[i]) continue;
    for (const ExportedRow& exported : built.objects[i].exported) built.exported.Add(exported);
  }
  return built;
}

absl::StatusOr<BuiltSession> BuildModel(Prearchive& prearchive, const session::TypeRegistry& types,
                                        absl::string_view id, session::BuildOptions options,
                                        const FiledFacts& filed) {
  NX_ASSIGN_OR_RETURN(const SessionRow row, prearchive.Get(id));
  return BuildPart(prearchive, types, row, nullptr, std::move(options.scan_type), filed);
}

void ShowModel(const BuiltSession& built, SessionRow& row) {
  const session::SessionModel& model = built.model;
  row.set_built(true);
  row.clear_error();
  row.clear_conflicts();
  row.set_modality(model.modality);
  row.set_session_type(model.xsi_type);
  row.set_session_date(model.date);
  row.clear_exported();
  for (const auto& [target, exported] : built.exported.rows()) *row.add_exported() = exported;
  row.clear_scans();
  for (const session::ScanModel& scan : model.scans) *row.add_scans() = ToRow(scan, built.objects);
  for (const session::ScanModel& scan : built.excluded) {
    *row.add_scans() = ToRow(scan, built.objects);
    row.mutable_scans(row.scans_size() - 1)->set_excluded(true);
  }
}

absl::StatusOr<SessionRow> ShowEdits(Prearchive& prearchive, const session::TypeRegistry& types,
                                     const SessionRow& edited) {
  const auto state = static_cast<State>(edited.state());
  if (!edited.built() || (state != State::kReady && state != State::kConflict)) return edited;
  NX_ASSIGN_OR_RETURN(const BuiltSession built, BuildPart(prearchive, types, edited, nullptr));
  auto shown = prearchive.Apply(edited.id(), Event::kUpdate, [&](SessionRow& row) {
    if (row.version() == edited.version()) ShowModel(built, row);
  });
  // Objects came meanwhile, or somebody archives it: then a build shows it.
  if (ErrorReason(shown.status()) == "ILLEGAL_STATE") return edited;
  return shown;
}

bool MixesPetAndMr(const SessionRow& row) {
  const auto has = [&](absl::string_view modality) {
    return std::any_of(row.scans().begin(), row.scans().end(), [&](const ScanRow& scan) {
      return scan.modality() == modality && !scan.series_instance_uid().empty();
    });
  };
  return row.split_part() == 0 && has("PT") && has("MR");
}

absl::StatusOr<SplitParts> SplitPetMr(Prearchive& prearchive, const session::TypeRegistry& types,
                                      absl::string_view id, const std::function<bool()>& stopping) {
  NX_ASSIGN_OR_RETURN(const SessionRow row, prearchive.Get(id));
  NX_ASSIGN_OR_RETURN(const BuiltSession all, BuildPart(prearchive, types, row, nullptr));
  SplitRequest request;
  size_t scans = all.model.scans.size() + all.excluded.size();
  for (const auto* part : {&all.model.scans, &all.excluded}) {
    for (const session::ScanModel& scan : *part) {
      if (scan.series_instance_uid.empty()) continue;
      (scan.pet_part ? request.series : request.remaining_series).push_back(scan.series_instance_uid);
    }
  }
  if (request.series.empty() || request.series.size() == scans) {
    return FailedPrecondition("NOTHING_TO_SPLIT", "the session does not hold both PET and MR",
                              {{"session", row.id()}});
  }
  const session::SplitLabels labels = session::SplitPetMrLabel(row.key().label());
  request.label = labels.pet;
  request.remaining_label = labels.mr;
  SessionRow part = row;
  part.set_split_part(request.part);
  const auto moves = [&](const ObjectRow& object) { return request.moves(object.series_instance_uid()); };
  NX_ASSIGN_OR_RETURN(const BuiltSession pet, BuildPart(prearchive, types, part, moves));
  part.set_split_part(request.remaining_part);
  NX_ASSIGN_OR_RETURN(
      const BuiltSession rest,
      BuildPart(prearchive, types, part, [&](const ObjectRow& object) { return !moves(object); }));
  request.show = [&](SessionRow& remaining, SessionRow& made) {
    ShowModel(rest, remaining);
    ShowModel(pet, made);
  };
  request.stopping = stopping;
  return prearchive.SplitOff(id, request);
}

absl::StatusOr<SessionRow> Build(Prearchive& prearchive, const session::TypeRegistry& types,
                                 absl::string_view id) {
  auto built = BuildModel(prearchive, types, id);
  if (!built.ok()) {
    const auto failed = prearchive.Apply(id, Event::kBuildFailed, [&](SessionRow& row) {
      row.set_error(std::string(built.status().message()));
    });
    if (!failed.ok()) return failed.status();
    return built.status();
  }
  const session::SessionModel& model = built->model;
  for (const std::string& warning : model.warnings) {
    Log(LogLevel::kDebug, "build warning", {{"session", id}, {"warning", warning}});
  }
  return prearchive.FinishBuild(id, [&](SessionRow& row) { ShowModel(*built, row); });
}

}  // namespace narthex::prearchive
