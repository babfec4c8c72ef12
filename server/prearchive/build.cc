#include "server/prearchive/build.h"

#include <utility>

#include "absl/strings/str_cat.h"

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
  for (const session::Parameter& parameter : scan.parameters) {
    (*row.mutable_parameters())[parameter.name] = parameter.value;
  }
  row.set_file_count(static_cast<int32_t>(scan.objects.size()));
  uint64_t size = 0;
  for (const session::ScanObject& object : scan.objects) size += objects[object.index].bytes.size_bytes;
  row.set_size_bytes(static_cast<int64_t>(size));
  return row;
}

}  // namespace

absl::StatusOr<BuiltSession> BuildModel(Prearchive& prearchive, const session::TypeRegistry& types,
                                        absl::string_view id, session::BuildOptions options,
                                        const FiledFacts& filed) {
  BuiltSession built;
  session::SessionBuilder builder(types, std::move(options));
  NX_RETURN_IF_ERROR(prearchive.ForEachObject(id, [&](const ObjectRow& row) -> absl::Status {
    std::optional<dicom::HeaderFacts> seen;
    if (filed) {
      NX_ASSIGN_OR_RETURN(seen, filed(row));
      if (!seen) return absl::OkStatus();
    } else {
      NX_ASSIGN_OR_RETURN(seen, dicom::HeaderFacts::Decode(row.facts()));
    }
    const dicom::HeaderFacts& facts = *seen;
    NX_RETURN_IF_ERROR(builder.Add(facts, built.objects.size()));
    BuiltObject object;
    object.number = row.number();
    object.sop_instance_uid = std::string(facts.sop_instance_uid());
    object.sop_class_uid = std::string(facts.sop_class_uid());
    object.series_number = std::string(facts.Get(dicom::tags::kSeriesNumber));
    object.instance_number = std::string(facts.Get(dicom::tags::kInstanceNumber));
    object.received_xxh3 = row.received_xxh3();
    object.bytes = Prearchive::StoredObjectOf(row);
    built.objects.push_back(std::move(object));
    return absl::OkStatus();
  }));
  NX_ASSIGN_OR_RETURN(built.model, builder.Finish());
  return built;
}

absl::StatusOr<SessionRow> Build(Prearchive& prearchive, const session::TypeRegistry& types,
                                 absl::string_view id, session::BuildOptions options) {
  auto built = BuildModel(prearchive, types, id, std::move(options));
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
  return prearchive.FinishBuild(id, [&](SessionRow& row) {
    row.set_built(true);
    row.clear_error();
    row.clear_conflicts();
    row.set_modality(model.modality);
    row.set_session_type(model.xsi_type);
    row.set_session_date(model.date);
    row.clear_scans();
    for (const session::ScanModel& scan : model.scans) *row.add_scans() = ToRow(scan, built->objects);
  });
}

}  // namespace narthex::prearchive
