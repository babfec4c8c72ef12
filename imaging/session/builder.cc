#include "imaging/session/builder.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

#include "base/error.h"
#include "base/limits_sessions.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/session/collector.h"
#include "imaging/session/conversion.h"
#include "imaging/session/scan_builder.h"

namespace narthex::session {
namespace {}  // namespace

absl::string_view ParameterValue(const Parameters& parameters, absl::string_view name) {
  for (const Parameter& parameter : parameters) {
    if (parameter.name == name) return parameter.value;
  }
  return {};
}

size_t ScanModel::primary_count() const {
  return static_cast<size_t>(
      std::count_if(objects.begin(), objects.end(), [](const ScanObject& object) { return object.primary; }));
}

absl::string_view PetMrName(PetMr pet_mr) {
  return pet_mr == PetMr::kPetMr ? "petmr" : pet_mr == PetMr::kPet ? "pet" : "separate";
}

absl::StatusOr<PetMr> ParsePetMr(absl::string_view name) {
  for (PetMr pet_mr : {PetMr::kPetMr, PetMr::kPet, PetMr::kSeparate}) {
    if (absl::EqualsIgnoreCase(name, PetMrName(pet_mr))) return pet_mr;
  }
  return InvalidArgument("INVALID_FIELD", "the setting for PET-MR sessions is petmr, pet or separate",
                         {{"field", "petmr"}});
}

std::string ScanTypeKey(absl::string_view series_description) {
  absl::ConsumePrefix(&series_description, "INVALID: ");
  return absl::StrReplaceAll(absl::AsciiStrToUpper(series_description),
                             {{" ", ""}, {"_", ""}, {"-", ""}, {"*", ""}});
}

bool IsPetPart(absl::string_view modality, absl::string_view series_description) {
  return modality == "PT" ||
         (modality == "MR" && absl::StrContains(absl::AsciiStrToUpper(series_description), "MRAC"));
}

SplitLabels SplitPetMrLabel(absl::string_view label) {
  const size_t at = absl::AsciiStrToUpper(label).find("PETMR");
  if (at == std::string::npos) return {absl::StrCat(label, "_PET"), absl::StrCat(label, "_MR")};
  const auto with = [&](absl::string_view word) {
    return absl::StrCat(label.substr(0, at), word, label.substr(at + 5));
  };
  return {with("PET"), with("MR")};
}

struct SessionBuilder::Rep {
  Rep(const TypeRegistry& registry, BuildOptions build_options)
      : types(registry), options(std::move(build_options)), index(registry), paths(index), values(index) {}

  void AddToSession(const ScanType& type);
  const SessionType& LeadType() const;
  void FinishSession(SessionModel& session);
  void Warn(SessionModel& session) const;

  const TypeRegistry& types;
  BuildOptions options;
  PathIndex index;
  BuiltInValues paths;
  ObjectValues values;

  size_t objects = 0, objects_without_series = 0;
  std::string study_uid;
  std::vector<ScanBuilder> scans;
  absl::flat_hash_map<std::string, size_t> scan_of_series;
  // By the session type that objects suggest: the values of what such a session captures.
  std::map<const SessionType*, ParameterCollector> suggested;
  // Of objects of primary types, and of the others: what a derived object names is no scanner if there is
  // one.
  struct Machine {
    DistinctValues station, manufacturer, model, software;
  } scanner, maker;
  DistinctValues date, time, site, operators, description, study_id, comments, accession, patient_id,
      patient_name, birth_date, weight;
};

void SessionBuilder::Rep::AddToSession(const ScanType& type) {
  if (const SessionType* session_type = types.FindSessionType(type.session_type)) {
    const auto [entry, added] = suggested.try_emplace(session_type, session_type->attributes, index);
    entry->second.Add(values);
  }
  date.Add(DateOf(values.Get(paths.study_date)));
  time.Add(TimeOf(values.Get(paths.study_time)));
  Machine& machine = type.primary ? scanner : maker;
  const std::pair<DistinctValues*, int> kTexts[] = {{&site, paths.institution},
                                                    {&machine.station, paths.station},
                                                    {&machine.manufacturer, paths.manufacturer},
                                                    {&machine.model, paths.model},
                                                    {&machine.software, paths.software},
                                                    {&operators, paths.operators},
                                                    {&description, paths.study_description},
                                                    {&study_id, paths.study_id},
                                                    {&comments, paths.study_comments},
                                                    {&accession, paths.accession},
                                                    {&patient_id, paths.patient_id},
                                                    {&patient_name, paths.patient_name},
                                                    {&weight, paths.weight}};
  for (const auto& [distinct, path] : kTexts) distinct->Add(values.Get(path));
  birth_date.Add(DateOf(values.Get(paths.birth_date)));
}

SessionBuilder::SessionBuilder(const TypeRegistry& types, BuildOptions options)
    : rep_(std::make_unique<Rep>(types, std::move(options))) {}
SessionBuilder::~SessionBuilder() = default;

absl::Status SessionBuilder::Add(const dicom::HeaderFacts& facts, uint64_t index) {
  Rep& rep = *rep_;
  const absl::string_view study = facts.study_instance_uid();
  if (rep.objects > 0 && study != rep.study_uid) {
    return FailedPrecondition("SESSION_NOT_UNIQUE",
                              "the objects belong to more than one study; send each study by itself");
  }
  rep.values.Load(facts);
  const absl::string_view series = facts.series_instance_uid();
  // Without a series UID, objects of one series number belong together.
  const std::string key =
      series.empty() ? absl::StrCat("#", rep.values.Get(rep.paths.series_number)) : std::string(series);
  auto found = rep.scan_of_series.find(key);
  if (found == rep.scan_of_series.end()) {
    if (rep.scans.size() == limits::kSeriesMax) {
      return ResourceExhausted("SESSION_TOO_LARGE", absl::StrCat("the session has more than ",
                                                                 limits::kSeriesMax.get(), " series"));
    }
    found = rep.scan_of_series.emplace(key, rep.scans.size()).first;
    rep.scans.emplace_back(series);
  }
  rep.study_uid = std::string(study);
  ++rep.objects;
  if (series.empty()) ++rep.objects_without_series;
  const ScanType& type = rep.types.TypeOf(facts.sop_class_uid(), rep.values.Get(rep.paths.modality));
  rep.scans[found->second].Add(type, rep.index, rep.paths, rep.values, index, facts.number_of_frames());
  rep.AddToSession(type);
  return absl::OkStatus();
}

// A type that combines what is there wins, unless the setting says that PET leads; else the lowest rank.
const SessionType& SessionBuilder::Rep::LeadType() const {
  const auto present = [&](const std::string& name) {
    return std::any_of(suggested.begin(), suggested.end(),
                       [&](const auto& entry) { return entry.first->name == name; });
  };
  const SessionType* lead = nullptr;
  for (const auto& [type, collector] : suggested) {
    if (lead == nullptr || type->rank < lead->rank) lead = type;
  }
  if (options.pet_mr != PetMr::kPet) {
    for (const auto& type : types.session_types()) {
      if (type->combines.empty() || !std::all_of(type->combines.begin(), type->combines.end(), present))
        continue;
      if (lead == nullptr || type->rank < lead->rank) lead = type.get();
    }
  }
  if (options.pet_half && lead != nullptr && lead->name == "mr") lead = types.FindSessionType("pet");
  return lead != nullptr ? *lead : *types.FindSessionType("other");
}

void SessionBuilder::Rep::FinishSession(SessionModel& session) {
  const auto first = [](const DistinctValues& values) {
    return values.values().empty() ? "" : values.values()[0];
  };
  session.study_instance_uid = study_uid;
  session.date = first(date);
  session.time = first(time);
  session.acquisition_site = first(site);
  const bool scanned = !scanner.manufacturer.values().empty() || !scanner.model.values().empty();
  const Machine& machine = scanned ? scanner : maker;
  session.scanner = {machine.station.Joined(), machine.manufacturer.Joined(), machine.model.Joined(),
                     machine.software.Joined()};
  session.operator_name = operators.Joined();
  session.session_type = first(description);
  session.study_id = first(study_id);
  session.study_comments = first(comments);
  session.accession_number = Phi<std::string>(first(accession));
  session.patient_id = Phi<std::string>(first(patient_id));
  session.patient_name = Phi<std::string>(first(patient_name));
  session.patient_birth_date = Phi<std::string>(first(birth_date));
  session.patient_weight = first(weight);
  if (const auto kilograms = NumberOf(session.patient_weight))
    session.patient_weight = NumberText(*kilograms);

  const SessionType& type = LeadType();
  session.type_name = type.name;
  session.xsi_type = type.xsi_type;
  session.element = type.element;
  for (const auto& [suggestion, collector] : suggested) {
    const bool part = suggestion == &type || std::find(type.combines.begin(), type.combines.end(),
                                                       suggestion->name) != type.combines.end();
    if (!part) continue;
    for (Parameter& parameter : collector.Finish()) {
      if (ParameterValue(session.parameters, parameter.name).empty())
        session.parameters.push_back(std::move(parameter));
    }
  }
  std::set<std::string> modalities;
  for (const ScanModel& scan : session.scans) modalities.insert(scan.modality);
  session.mixes_pet_and_mr = modalities.count("PT") > 0 && modalities.count("MR") > 0;
  session.modality = type.modality;
  if (modalities.count(session.modality) == 0 && !modalities.empty()) {
    session.modality = *std::min_element(
        modalities.begin(), modalities.end(),
        [&](const auto& a, const auto& b) { return types.ModalityRank(a) < types.ModalityRank(b); });
  }
}

void SessionBuilder::Rep::Warn(SessionModel& session) const {
  const auto warn = [&](std::string text) {
    if (session.warnings.size() < limits::kSessionWarningsMax) session.warnings.push_back(std::move(text));
  };
  if (objects_without_series > 0)
    warn(absl::StrCat(objects_without_series, " objects without SeriesInstanceUID"));
  const std::pair<const DistinctValues*, absl::string_view> kSame[] = {
      {&date, "StudyDate"},           {&description, "StudyDescription"}, {&patient_id, "PatientID"},
      {&patient_name, "PatientName"}, {&birth_date, "PatientBirthDate"},  {&accession, "AccessionNumber"}};
  for (const auto& [values, name] : kSame) {
    if (values->values().size() > 1)
      warn(absl::StrCat("objects differ in ", name, "; the first one's is taken"));
  }
  for (const ScanModel& scan : session.scans) {
    for (const Parameter& parameter : scan.parameters) {
      // One voxel size per scan is what readers rely on; other values may well differ within a scan.
      if (parameter.differs && absl::StartsWith(parameter.name, "voxelRes")) {
        warn(absl::StrCat("scan ", scan.id, ": ", parameter.name, " differs between objects"));
      }
    }
  }
}

absl::StatusOr<SessionModel> SessionBuilder::Finish() {
  Rep& rep = *rep_;
  if (rep.objects == 0) {
    return FailedPrecondition("SESSION_EMPTY", "there are no objects to make a session of; send some first");
  }
  SessionModel session;
  for (ScanBuilder& scan : rep.scans) session.scans.push_back(scan.Finish(rep.types, rep.options));
  AssignScanIds(session.scans);
  SortScans(session.scans);
  rep.FinishSession(session);
  rep.Warn(session);
  return session;
}

}  // namespace narthex::session
