// The actions of the profile, carried out.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/dates.h"
#include "imaging/anonymize/leftover.h"
#include "imaging/anonymize/profile_tables.h"
#include "imaging/anonymize/safe_private.h"
#include "imaging/anonymize/uids.h"

namespace narthex::anonymize {
namespace {

using dicom::DataSet;
using dicom::Element;
using dicom::Item;
using dicom::Tag;
using dicom::Vr;
namespace tags = dicom::tags;

constexpr size_t kSecretMinBytes = 16;
constexpr Tag kDirectoryRecordType(0x0004, 0x1430);
constexpr absl::string_view kDummyText = "ANONYMIZED";

// What elements that no row names are subject to, inside of sequences that a row treats.
enum class Mode { kPlain, kDummy, kClean };

absl::string_view DummyFor(Vr vr) {
  switch (vr) {
    case Vr::kDA:
      return "19000101";
    case Vr::kDT:
      return "19000101000000";
    case Vr::kTM:
      return "000000";
    case Vr::kAS:
      return "000Y";
    case Vr::kIS:
    case Vr::kDS:
      return "0";
    case Vr::kUR:
      return "urn:anonymized";
    default:
      return kDummyText;
  }
}

bool IsDefinedTerm(absl::string_view text) {
  constexpr size_t kCodeStringMax = 16;  // fixed: VR CS
  if (text.size() > kCodeStringMax) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isupper(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '_' || c == ' ';
  });
}

class ProfilePass {
 public:
  ProfilePass(const Profile& profile, const std::vector<Profile::Tables::Row>& rows, const ProfileKey& key,
              bool trailing)
      : options_(profile.options()), rows_(rows), key_(key), trailing_(trailing) {}

  absl::Status Run(DataSet& data) {
    if (options_.clean_descriptors || options_.clean_structured_content || options_.clean_graphics ||
        options_.retain_device_identity || options_.retain_patient_characteristics) {
      identifiers_ = Identifiers::Collect(data);
    }
    shift_days_ = DateShiftDays(key_.secret,
                                key_.dates_of.empty() ? data.TextOrEmpty(tags::kPatientID) : key_.dates_of);
    return Treat(data, Mode::kPlain);
  }

 private:
  absl::Status Treat(Item& item, Mode mode);
  ProfileAction ActionOf(const Item& item, Tag tag, size_t* row, Mode mode) const;
  ProfileAction PrivateAction(const Item& item, Tag tag) const;
  absl::Status TreatElement(Item& item, Tag tag, ProfileAction action, Mode mode);
  absl::Status TreatItems(Item& item, Tag tag, Mode mode);
  absl::Status Empty(Item& item, Element& element);
  absl::Status Dummy(Item& item, Tag tag);
  absl::Status Unlisted(Item& item, Element& element, Mode mode);
  absl::Status MapUids(Item& item, Element& element);
  std::optional<std::string> Shifted(Vr vr, const std::string& text) const;
  absl::Status ShiftDates(Item& item, Element& element);
  absl::Status Clean(Item& item, Element& element);
  // Its VR, or the dictionary's if the stream does not tell.
  static Vr VrOf(const Element& element) {
    return element.vr() == Vr::kUN ? dicom::DictionaryVr(element.tag()) : element.vr();
  }

  const ProfileOptions& options_;
  const std::vector<Profile::Tables::Row>& rows_;
  const ProfileKey& key_;
  const bool trailing_;
  std::optional<Identifiers> identifiers_;
  int shift_days_ = 0;
};

ProfileAction ProfilePass::PrivateAction(const Item& item, Tag tag) const {
  if (!options_.retain_safe_private) return ProfileAction::kRemove;
  if (tag.is_private_creator()) {
    // Stays if something of its block stays.
    for (const Element& element : item.elements()) {
      if (element.tag().is_private() && element.tag().element() >= 0x1000 &&
          element.tag().private_creator() == tag &&
          IsSafePrivate(item.PrivateCreatorOf(element.tag()), element.tag())) {
        return ProfileAction::kKeep;
      }
    }
    return ProfileAction::kRemove;
  }
  return IsSafePrivate(item.PrivateCreatorOf(tag), tag) ? ProfileAction::kKeep : ProfileAction::kRemove;
}

// `row` runs along the table, because elements mostly come in order.
ProfileAction ProfilePass::ActionOf(const Item& item, Tag tag, size_t* row, Mode mode) const {
  if (tag.is_private()) return PrivateAction(item, tag);
  if (*row >= rows_.size() || tag < rows_[*row].tag) *row = 0;
  if (*row == 0 || rows_[*row].tag < tag) {
    const auto from = rows_.begin() + static_cast<ptrdiff_t>(*row);
    const auto at = std::lower_bound(from, rows_.end(), tag,
                                     [](const Profile::Tables::Row& a, Tag b) { return a.tag < b; });
    *row = static_cast<size_t>(at - rows_.begin());
  }
  if (*row < rows_.size() && rows_[*row].tag == tag) {
    // The record of a study in a DICOMDIR must have a description, which may be empty.
    if (tag == tags::kStudyDescription && item.Has(kDirectoryRecordType)) return ProfileAction::kEmpty;
    return rows_[*row].action;
  }
  // Curves and overlays: their data must go, and what describes them makes no sense without.
  const uint16_t group = tag.group() & 0xff00;
  if (group == 0x5000 || group == 0x6000) return ProfileAction::kRemove;
  // What the dictionary does not know may be anything.
  if (!tag.is_group_length() && tag.group() != 0xfffe && dicom::FindEntry(tag) == nullptr)
    return ProfileAction::kRemove;
  return ProfileAction::kKeep;
}

// Recursion is bounded by the nesting of the data set.
absl::Status ProfilePass::Treat(Item& item, Mode mode) {
  std::vector<std::pair<Tag, ProfileAction>> work;
  std::vector<Tag> removed;
  size_t row = 0;
  for (const Element& element : item.elements()) {
    const ProfileAction action = ActionOf(item, element.tag(), &row, mode);
    if (action == ProfileAction::kRemove) {
      removed.push_back(element.tag());
    } else if (action != ProfileAction::kKeep || element.sequence() != nullptr || mode != Mode::kPlain) {
      work.push_back({element.tag(), action});
    }
  }
  if (!removed.empty()) {
    std::sort(removed.begin(), removed.end());
    item.RemoveIf([&](const Element& element) {
      return std::binary_search(removed.begin(), removed.end(), element.tag());
    });
  }
  for (const auto& [tag, action] : work) NX_RETURN_IF_ERROR(TreatElement(item, tag, action, mode));
  return absl::OkStatus();
}

absl::Status ProfilePass::TreatItems(Item& item, Tag tag, Mode mode) {
  Element* element = item.Find(tag);
  if (element == nullptr || element->sequence() == nullptr) return absl::OkStatus();
  for (size_t i = 0; i < element->sequence()->size(); ++i)
    NX_RETURN_IF_ERROR(Treat(element->sequence()->item(i), mode));
  return absl::OkStatus();
}

absl::Status ProfilePass::TreatElement(Item& item, Tag tag, ProfileAction action, Mode mode) {
  Element* element = item.Find(tag);
  if (element == nullptr) return absl::OkStatus();
  switch (action) {
    case ProfileAction::kRemove:
      item.Remove(tag);
      return absl::OkStatus();
    case ProfileAction::kEmpty:
      return Empty(item, *element);
    case ProfileAction::kDummy:
      return Dummy(item, tag);
    case ProfileAction::kMapUid:
      return MapUids(item, *element);
    case ProfileAction::kShiftDate:
      return ShiftDates(item, *element);
    case ProfileAction::kCleanSequence:
      return TreatItems(item, tag, Mode::kClean);
    case ProfileAction::kCleanText:
      if (element->sequence() != nullptr) return TreatItems(item, tag, Mode::kClean);
      return Clean(item, *element);
    case ProfileAction::kKeep:
      if (element->sequence() != nullptr) return TreatItems(item, tag, mode);
      return Unlisted(item, *element, mode);
  }
  return absl::OkStatus();
}

absl::Status ProfilePass::Empty(Item& item, Element& element) {
  constexpr Tag kReferencedStudySequence(0x0008, 0x1110);
  // Optional but in Referenced Request Sequence, and where it is optional it must not be without items.
  if (element.tag() == kReferencedStudySequence &&
      !absl::StrContains(dicom::PathOf(item, element.tag()), "(0040,A370)")) {
    item.Remove(element.tag());
    return absl::OkStatus();
  }
  // The record of a study in a DICOMDIR must have these.
  const bool study = element.tag() == tags::kStudyID || element.tag() == tags::kStudyDate ||
                     element.tag() == tags::kStudyTime;
  if (study && item.Has(kDirectoryRecordType)) {
    return Dummy(item, element.tag());
  }
  item.SetEmpty(element);
  return absl::OkStatus();
}

absl::Status ProfilePass::Dummy(Item& item, Tag tag) {
  Element* element = item.Find(tag);
  if (element->sequence() != nullptr) return TreatItems(item, tag, Mode::kDummy);
  if (element->value().empty() && !element->is_fragments()) return absl::OkStatus();  // nothing to replace
  const Vr vr = VrOf(*element);
  if (vr == Vr::kUI) return MapUids(item, *element);
  if (vr == Vr::kSQ) {
    item.SetEmpty(*element);
    return absl::OkStatus();
  }
  if (!dicom::IsText(vr)) {
    item.SetBytes(tag, vr, std::string(std::min<size_t>(element->value().size(), 8), '\0'));
    return absl::OkStatus();
  }
  return item.SetText(tag, DummyFor(vr));
}

// An element that no row names, in a sequence whose content is to be replaced or cleaned.
absl::Status ProfilePass::Unlisted(Item& item, Element& element, Mode mode) {
  if (mode == Mode::kPlain || element.tag().is_private_creator() ||
      element.tag() == tags::kSpecificCharacterSet)
    return absl::OkStatus();
  const Vr vr = VrOf(element);
  if (vr == Vr::kUI) return absl::OkStatus();  // classes; UIDs of instances have rows
  if (vr == Vr::kCS && IsDefinedTerm(item.TextOf(element).value_or(""))) return absl::OkStatus();
  // Codes (value, scheme, meaning), numbers and geometry say nothing about a person.
  const bool code = element.tag().group() == 0x0008 && element.tag().element() >= 0x0100 &&
                    element.tag().element() <= 0x0122;
  if (mode == Mode::kClean) {
    // Meanings are texts that people write; a code such as 121071 only looks like a long number.
    if (code && element.tag() != tags::kCodeMeaning) return absl::OkStatus();
    return dicom::UsesCharacterSet(vr) || vr == Vr::kUN ? Clean(item, element) : absl::OkStatus();
  }
  if (code || !dicom::IsText(vr) || vr == Vr::kDS || vr == Vr::kIS || vr == Vr::kUI) return absl::OkStatus();
  return Dummy(item, element.tag());
}

absl::Status ProfilePass::MapUids(Item& item, Element& element) {
  const std::string text = item.TextOf(element).value_or("");
  if (text.empty()) return absl::OkStatus();
  std::vector<std::string> mapped;
  for (absl::string_view uid : absl::StrSplit(text, '\\'))
    mapped.push_back(MapUid(key_.secret, absl::StripAsciiWhitespace(uid)));
  item.SetBytes(element.tag(), Vr::kUI, absl::StrJoin(mapped, "\\"));
  return absl::OkStatus();
}

std::optional<std::string> ProfilePass::Shifted(Vr vr, const std::string& text) const {
  constexpr int64_t kSecondsPerDay = 86'400;
  if (vr == Vr::kDA) return ShiftDate(text, -shift_days_);
  return ShiftDateTime(text, -shift_days_ * kSecondsPerDay);
}

absl::Status ProfilePass::ShiftDates(Item& item, Element& element) {
  const Vr vr = VrOf(element);
  if (vr == Vr::kTM) return absl::OkStatus();  // whole days
  const std::string text = item.TextOf(element).value_or("");
  if (element.sequence() != nullptr) return TreatItems(item, element.tag(), Mode::kPlain);
  if (text.empty()) return absl::OkStatus();
  const std::optional<std::string> shifted = trailing_ ? std::nullopt : Shifted(vr, text);
  // A year or month alone would stay as it is: too coarse to shift, and it may not stay.
  if (shifted.has_value() && *shifted != text) return item.SetText(element.tag(), *shifted);
  return Dummy(item, element.tag());  // not a date, so it may be anything
}

absl::Status ProfilePass::Clean(Item& item, Element& element) {
  const std::optional<std::string> text = item.TextOf(element);
  if (!text.has_value()) {  // no text, though it should be
    item.SetEmpty(element);
    return absl::OkStatus();
  }
  const std::string cleaned = CleanText(*text, *identifiers_);
  return cleaned == *text ? absl::OkStatus() : item.SetText(element.tag(), cleaned);
}

absl::Status SetPseudonyms(DataSet& data, const ProfileKey& key) {
  if (!key.patient_id.empty()) {
    NX_RETURN_IF_ERROR(data.SetText(tags::kPatientID, key.patient_id));
  } else if (Element* element = data.Find(tags::kPatientID)) {
    data.SetEmpty(*element);
  }
  if (!key.patient_name.empty()) NX_RETURN_IF_ERROR(data.SetText(tags::kPatientName, key.patient_name));
  return absl::OkStatus();
}

absl::Status CheckKey(const ProfileKey& key) {
  if (key.secret.size() >= kSecretMinBytes) return absl::OkStatus();
  return InvalidArgument("ANONYMIZATION_FAILED", absl::StrCat("the secret of the project must have ",
                                                              kSecretMinBytes, " bytes or more"));
}

}  // namespace

absl::Status Profile::Apply(DataSet& data, const ProfileKey& key) const {
  NX_RETURN_IF_ERROR(CheckKey(key));
  NX_RETURN_IF_ERROR(ProfilePass(*this, tables_->rows, key, false).Run(data));
  NX_RETURN_IF_ERROR(SetPseudonyms(data, key));
  const char* dates = options_.retain_longitudinal_full_dates       ? "UNMODIFIED"
                      : options_.retain_longitudinal_modified_dates ? "MODIFIED"
                                                                    : "REMOVED";
  NX_RETURN_IF_ERROR(data.SetText(tags::kLongitudinalTemporalInformationModified, dates));
  return RecordDeidentification(data, "DICOM PS3.15 Basic Application Confidentiality Profile", Codes());
}

absl::Status Profile::ApplyTrailing(DataSet& trailing, const DataSet& header, const ProfileKey& key) const {
  NX_RETURN_IF_ERROR(CheckKey(key));
  return ProfilePass(*this, tables_->rows, key, true).Run(trailing);
}

}  // namespace narthex::anonymize
