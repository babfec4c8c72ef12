#include "imaging/anonymize/profile.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "imaging/anonymize/profile_tables.h"

namespace narthex::anonymize {
namespace {

// The column "Basic Profile".
enum BasicAction : uint8_t { kX, kZ, kD, kU, kXZ, kXD, kXZD, kZD, kXZU };

// The option columns.
enum Flag : uint16_t {
  kUids = 1,
  kDevice = 2,
  kDeviceClean = 4,
  kInstitution = 8,
  kPatient = 16,
  kPatientClean = 32,
  kFullDates = 64,
  kModifiedDates = 128,
  kDescriptors = 256,
  kStructure = 512,
  kGraphics = 1024,
};

struct TableRow {
  uint32_t tag;
  BasicAction basic;
  uint16_t flags;
};

constexpr TableRow kTable[] = {
#include "imaging/anonymize/profile_table.inc"
};

// Without knowing the IOD, the choice that no IOD forbids: an empty value where X/Z, a dummy where D is among
// them.
ProfileAction Basic(BasicAction basic) {
  switch (basic) {
    case kX:
      return ProfileAction::kRemove;
    case kZ:
    case kXZ:
      return ProfileAction::kEmpty;
    case kD:
    case kXD:
    case kXZD:
    case kZD:
      return ProfileAction::kDummy;
    case kU:
      return ProfileAction::kMapUid;
    case kXZU:
      return ProfileAction::kKeep;  // a sequence of references: the UIDs inside have rows of their own
  }
  return ProfileAction::kRemove;
}

ProfileAction ActionFor(const TableRow& row, const ProfileOptions& options) {
  const auto has = [&row](Flag flag, bool option) { return option && (row.flags & flag) != 0; };
  if (has(kUids, options.retain_uids) || has(kDevice, options.retain_device_identity) ||
      has(kInstitution, options.retain_institution_identity) ||
      has(kPatient, options.retain_patient_characteristics) ||
      has(kFullDates, options.retain_longitudinal_full_dates)) {
    return ProfileAction::kKeep;
  }
  if (has(kModifiedDates, options.retain_longitudinal_modified_dates)) return ProfileAction::kShiftDate;
  if (has(kStructure, options.clean_structured_content) || has(kGraphics, options.clean_graphics)) {
    return ProfileAction::kCleanSequence;
  }
  if (has(kDescriptors, options.clean_descriptors) || has(kDeviceClean, options.retain_device_identity) ||
      has(kPatientClean, options.retain_patient_characteristics)) {
    return ProfileAction::kCleanText;
  }
  return Basic(row.basic);
}

struct OptionWord {
  absl::string_view word;
  bool ProfileOptions::*member;
  absl::string_view code;  // CID 7050
  absl::string_view meaning;
};

constexpr OptionWord kOptionWords[] = {
    {"clean-pixel-data", &ProfileOptions::clean_pixel_data, "113101", "Clean Pixel Data Option"},
    {"clean-visual-features", &ProfileOptions::clean_recognizable_visual_features, "113102",
     "Clean Recognizable Visual Features Option"},
    {"clean-graphics", &ProfileOptions::clean_graphics, "113103", "Clean Graphics Option"},
    {"clean-structured-content", &ProfileOptions::clean_structured_content, "113104",
     "Clean Structured Content Option"},
    {"clean-descriptors", &ProfileOptions::clean_descriptors, "113105", "Clean Descriptors Option"},
    {"retain-full-dates", &ProfileOptions::retain_longitudinal_full_dates, "113106",
     "Retain Longitudinal Temporal Information Full Dates Option"},
    {"retain-modified-dates", &ProfileOptions::retain_longitudinal_modified_dates, "113107",
     "Retain Longitudinal Temporal Information Modified Dates Option"},
    {"retain-patient-characteristics", &ProfileOptions::retain_patient_characteristics, "113108",
     "Retain Patient Characteristics Option"},
    {"retain-device-identity", &ProfileOptions::retain_device_identity, "113109",
     "Retain Device Identity Option"},
    {"retain-uids", &ProfileOptions::retain_uids, "113110", "Retain UIDs Option"},
    {"retain-safe-private", &ProfileOptions::retain_safe_private, "113111", "Retain Safe Private Option"},
    {"retain-institution-identity", &ProfileOptions::retain_institution_identity, "113112",
     "Retain Institution Identity Option"},
};

}  // namespace

absl::StatusOr<ProfileOptions> ProfileOptions::Parse(absl::string_view text) {
  ProfileOptions options;
  bool basic = false;
  for (absl::string_view word : absl::StrSplit(text, ',')) {
    word = absl::StripAsciiWhitespace(word);
    if (word == "basic") {
      basic = true;
      continue;
    }
    const auto known = std::find_if(std::begin(kOptionWords), std::end(kOptionWords),
                                    [word](const OptionWord& option) { return option.word == word; });
    if (known == std::end(kOptionWords)) {
      const std::string words =
          absl::StrJoin(kOptionWords, ", ", [](std::string* out, const OptionWord& option) {
            out->append(option.word.data(), option.word.size());
          });
      return InvalidArgument("INVALID_SCRIPT",
                             absl::StrCat("\"", word, "\" is no option of the profile; options are ", words),
                             {{"option", std::string(word)}});
    }
    options.*known->member = true;
  }
  if (!basic)
    return InvalidArgument("INVALID_SCRIPT", "a profile begins with the word basic: basic[,OPTION...]");
  if (options.retain_longitudinal_full_dates && options.retain_longitudinal_modified_dates) {
    return InvalidArgument("INVALID_SCRIPT",
                           "retain-full-dates and retain-modified-dates exclude each other");
  }
  return options;
}

std::string ProfileOptions::ToString() const {
  std::string text = "basic";
  for (const OptionWord& option : kOptionWords) {
    if (this->*option.member) absl::StrAppend(&text, ",", option.word);
  }
  return text;
}

Profile::Profile(const ProfileOptions& options) : options_(options) {
  auto tables = std::make_unique<Tables>();
  tables->rows.reserve(std::size(kTable));
  for (const TableRow& row : kTable) tables->rows.push_back({dicom::Tag(row.tag), ActionFor(row, options)});
  tables_ = std::move(tables);
}

Profile::~Profile() = default;

std::vector<MethodCode> Profile::Codes() const {
  std::vector<MethodCode> codes = {{"113100", "DCM", "", "Basic Application Confidentiality Profile"}};
  for (const OptionWord& option : kOptionWords) {
    // Pixels are cleaned, and their codes written, by who decodes them.
    if (option.code == "113101" || option.code == "113102") continue;
    if (options_.*option.member)
      codes.push_back({std::string(option.code), "DCM", "", std::string(option.meaning)});
  }
  return codes;
}

}  // namespace narthex::anonymize
