#include "imaging/session/scan_builder.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "imaging/session/built_in_paths.h"
#include "imaging/session/conversion.h"

namespace narthex::session {
namespace {

namespace tags = dicom::tags;

constexpr int64_t kFramesMax = int64_t{1} << 40;  // fixed: no overflow behind it; a sum of what headers claim

std::string First(const DistinctValues& values) { return values.values().empty() ? "" : values.values()[0]; }

// What one series would be called if it were alone.
std::string BaseId(const ScanModel& scan) {
  std::string id;
  for (char c : scan.series_number) id += c == '+' ? '_' : c;
  const auto fits = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  };
  // ".." and hidden names are no folders of ours.
  if (!id.empty() && id[0] != '.' && id.size() <= limits::kLabelMaxBytes / 2 &&
      std::all_of(id.begin(), id.end(), fits)) {
    return id;
  }
  id.clear();
  for (char c : scan.series_instance_uid.substr(0, limits::kLabelMaxBytes))
    id += fits(c) && c != '.' ? c : '_';
  return id.empty() ? "NA" : id;
}

std::string IdModality(const ScanModel& scan) {
  std::string modality;
  for (char c : scan.modality.substr(0, 8)) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) modality += c;
  }
  return modality.empty() ? "OT" : modality;
}

}  // namespace

absl::Span<const dicom::TagPath> BuiltInPaths() {
  static const std::vector<dicom::TagPath>* const kPaths =
      new std::vector<dicom::TagPath>{tags::kModality,
                                      tags::kSeriesNumber,
                                      tags::kSeriesDescription,
                                      tags::kSeriesDate,
                                      tags::kSeriesTime,
                                      tags::kAcquisitionDate,
                                      tags::kAcquisitionTime,
                                      tags::kProtocolName,
                                      tags::kBodyPartExamined,
                                      tags::kRequestedProcedureDescription,
                                      tags::kStationName,
                                      tags::kManufacturer,
                                      tags::kManufacturerModelName,
                                      tags::kSoftwareVersions,
                                      tags::kOperatorsName,
                                      tags::kStudyDate,
                                      tags::kStudyTime,
                                      tags::kInstitutionName,
                                      tags::kStudyDescription,
                                      tags::kStudyID,
                                      tags::kStudyComments,
                                      tags::kAccessionNumber,
                                      tags::kPatientID,
                                      tags::kPatientName,
                                      tags::kPatientBirthDate,
                                      tags::kPatientWeight,
                                      tags::kPerformedProcedureStepDescription,
                                      tags::kSOPClassUID,
                                      tags::kSOPInstanceUID,
                                      tags::kStudyInstanceUID,
                                      tags::kSeriesInstanceUID,
                                      tags::kNumberOfFrames,
                                      tags::kImageType};
  return *kPaths;
}

BuiltInValues::BuiltInValues(const PathIndex& index) {
  const auto of = [&](dicom::Tag tag) { return index.Find(tag); };
  modality = of(tags::kModality);
  series_number = of(tags::kSeriesNumber);
  series_description = of(tags::kSeriesDescription);
  series_date = of(tags::kSeriesDate);
  series_time = of(tags::kSeriesTime);
  acquisition_date = of(tags::kAcquisitionDate);
  acquisition_time = of(tags::kAcquisitionTime);
  protocol_name = of(tags::kProtocolName);
  body_part = of(tags::kBodyPartExamined);
  requested_procedure = of(tags::kRequestedProcedureDescription);
  station = of(tags::kStationName);
  manufacturer = of(tags::kManufacturer);
  model = of(tags::kManufacturerModelName);
  software = of(tags::kSoftwareVersions);
  operators = of(tags::kOperatorsName);
  study_date = of(tags::kStudyDate);
  study_time = of(tags::kStudyTime);
  institution = of(tags::kInstitutionName);
  study_description = of(tags::kStudyDescription);
  study_id = of(tags::kStudyID);
  study_comments = of(tags::kStudyComments);
  accession = of(tags::kAccessionNumber);
  patient_id = of(tags::kPatientID);
  patient_name = of(tags::kPatientName);
  birth_date = of(tags::kPatientBirthDate);
  weight = of(tags::kPatientWeight);
  procedure_step_description = of(tags::kPerformedProcedureStepDescription);
}

void ScanBuilder::Add(const ScanType& type, const PathIndex& index, const BuiltInValues& paths,
                      const ObjectValues& values, uint64_t object, int64_t frames) {
  OfType& of_type = by_type_[&type];
  if (of_type.parameters == nullptr) {
    of_type.parameters = std::make_unique<ParameterCollector>(type.attributes, index);
    type_order_.push_back(&type);
  }
  of_type.parameters->Add(values);
  ++of_type.objects;
  const std::pair<DistinctValues*, int> kTexts[] = {{&modality_, paths.modality},
                                                    {&number_, paths.series_number},
                                                    {&description_, paths.series_description},
                                                    {&protocol_, paths.protocol_name},
                                                    {&body_part_, paths.body_part},
                                                    {&procedure_, paths.requested_procedure},
                                                    {&station_, paths.station},
                                                    {&manufacturer_, paths.manufacturer},
                                                    {&model_, paths.model},
                                                    {&software_, paths.software},
                                                    {&operators_, paths.operators}};
  for (const auto& [distinct, path] : kTexts) distinct->Add(values.Get(path));
  std::string date = DateOf(values.Get(paths.series_date)), time = TimeOf(values.Get(paths.series_time));
  if (date.empty()) date = DateOf(values.Get(paths.acquisition_date));
  if (time.empty()) time = TimeOf(values.Get(paths.acquisition_time));
  std::string start = absl::StrCat(date.empty() ? "9999" : date, " ", time.empty() ? "99" : time);
  if (earliest_.empty() || start < earliest_) earliest_ = std::move(start);
  frames = std::clamp<int64_t>(frames, 1, kFramesMax);
  all_frames_ = std::min(all_frames_ + frames, kFramesMax);
  if (type.primary) primary_frames_ = std::min(primary_frames_ + frames, kFramesMax);
  objects_.push_back({object, type.primary, static_cast<int>(std::min<int64_t>(frames, 1 << 30))});
}

// Primary before secondary, then the order of modalities, then the type of the most objects, then who came
// first.
const ScanType* ScanBuilder::LeadType(const TypeRegistry& types) const {
  const auto better = [&](const ScanType* a, const ScanType* b) {
    if (a->primary != b->primary) return a->primary;
    const int rank_a = types.ModalityRank(a->modality), rank_b = types.ModalityRank(b->modality);
    if (rank_a != rank_b) return rank_a < rank_b;
    return by_type_.at(a).objects > by_type_.at(b).objects;
  };
  return *std::min_element(type_order_.begin(), type_order_.end(), better);
}

ScanModel ScanBuilder::Finish(const TypeRegistry& types, const BuildOptions& options) {
  const ScanType& type = *LeadType(types);
  ScanModel scan;
  scan.series_instance_uid = series_instance_uid_;
  scan.series_number = First(number_);
  scan.type_name = type.name;
  scan.xsi_type = type.xsi_type;
  scan.multi_value = type.multi_value;
  scan.modality = type.modality;
  const std::vector<std::string>& modalities = modality_.values();
  if (!modalities.empty()) {
    scan.modality = *std::min_element(
        modalities.begin(), modalities.end(),
        [&](const auto& a, const auto& b) { return types.ModalityRank(a) < types.ModalityRank(b); });
  }
  scan.series_description = First(description_);
  scan.start_date = absl::StartsWith(earliest_, "9999 ") ? "" : earliest_.substr(0, earliest_.find(' '));
  scan.start_time = absl::EndsWith(earliest_, " 99") ? "" : earliest_.substr(earliest_.find(' ') + 1);
  scan.protocol_name = First(protocol_);
  scan.body_part_examined = body_part_.Joined();
  scan.requested_procedure_description = First(procedure_);
  scan.scanner = {station_.Joined(), manufacturer_.Joined(), model_.Joined(), software_.Joined()};
  scan.operator_name = operators_.Joined();
  scan.frames = primary_frames_ > 0 ? primary_frames_ : all_frames_;
  scan.parameters = by_type_.at(&type).parameters->Finish();
  scan.objects = std::move(objects_);
  scan.type = scan.series_description.empty() ? "unknown" : scan.series_description;
  if (options.scan_type) {
    scan.type = options.scan_type(ScanTypeKey(scan.series_description), scan.modality, scan.frames)
                    .value_or(scan.type);
  }
  scan.pet_part = IsPetPart(scan.modality, scan.series_description);
  return scan;
}

void AssignScanIds(std::vector<ScanModel>& scans) {
  std::map<std::string, std::vector<ScanModel*>> by_base;
  for (ScanModel& scan : scans) by_base[BaseId(scan)].push_back(&scan);
  std::set<std::string> taken;
  for (auto& [base, same] : by_base) {
    if (same.size() == 1) {
      same[0]->id = base;
      taken.insert(base);
    }
  }
  for (auto& [base, same] : by_base) {
    if (same.size() == 1) continue;
    std::sort(same.begin(), same.end(), [](const ScanModel* a, const ScanModel* b) {
      return std::tie(a->start_date, a->start_time, a->series_instance_uid) <
             std::tie(b->start_date, b->start_time, b->series_instance_uid);
    });
    std::map<std::string, int> counts;
    for (ScanModel* scan : same) {
      const std::string modality = IdModality(*scan);
      do {
        scan->id =
            absl::StrCat(base.substr(0, limits::kLabelMaxBytes - 16), "-", modality, ++counts[modality]);
      } while (!taken.insert(scan->id).second);
    }
  }
}

std::string FreeScanId(const ScanModel& scan, const std::set<std::string>& taken) {
  if (taken.count(scan.id) == 0) return scan.id;
  const std::string stem =
      absl::StrCat(BaseId(scan).substr(0, limits::kLabelMaxBytes - 16), "-", IdModality(scan));
  for (int k = 1;; ++k) {
    std::string id = absl::StrCat(stem, k);
    if (taken.count(id) == 0) return id;
  }
}

void SortScans(std::vector<ScanModel>& scans) {
  const auto number = [](const ScanModel& scan) {
    int64_t value = 0;
    const absl::string_view text = scan.series_number.empty()
                                       ? absl::string_view(scan.id).substr(0, scan.id.find('-'))
                                       : scan.series_number;
    return absl::SimpleAtoi(text, &value) ? value : INT64_MAX;
  };
  std::sort(scans.begin(), scans.end(), [&](const ScanModel& a, const ScanModel& b) {
    return std::make_pair(number(a), a.id) < std::make_pair(number(b), b.id);
  });
}

}  // namespace narthex::session
