// The profile, the leftover check and the preview, over all real images.
#include "imaging/anonymize/profile.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/diff.h"
#include "imaging/anonymize/leftover.h"
#include "imaging/anonymize/testing.h"
#include "re2/re2.h"

namespace narthex::anonymize {
namespace {

using dicom::DataSet;
using dicom::Encoding;
using dicom::Item;
using dicom::Tag;
namespace tags = dicom::tags;

constexpr char kSecret[] = "a secret of sixteen bytes or more";

ProfileOptions Options(const char* text) {
  const auto options = ProfileOptions::Parse(text);
  EXPECT_TRUE(options.ok()) << options.status();
  return *options;
}

AnonymizationPlan BasicPlan(const char* options = "basic") {
  AnonymizationPlan plan;
  plan.profile = std::make_shared<Profile>(Options(options));
  plan.secret = kSecret;
  return plan;
}

absl::StatusOr<std::string> Anonymize(const AnonymizationPlan& plan, absl::string_view bytes,
                                      AnonymizationOutcome* outcome = nullptr,
                                      const Variables& variables = {}) {
  ApplyContext context;
  Anonymizer anonymizer(plan, variables, context);
  absl::StatusOr<std::string> out = dicom::RewriteObject(bytes, anonymizer);
  if (outcome != nullptr) *outcome = anonymizer.outcome();
  return out;
}

// Names of a class, coding scheme, context group or software, not of an instance.
bool NamesNoInstance(Tag tag) {
  constexpr Tag kNames[] = {Tag(0x0008, 0x0014), Tag(0x0008, 0x0016), Tag(0x0008, 0x010c),
                            Tag(0x0008, 0x0118), Tag(0x0008, 0x1150), Tag(0x0008, 0x1151),
                            Tag(0x0008, 0x9123)};
  return std::find(std::begin(kNames), std::end(kNames), tag) != std::end(kNames);
}

// All values of VR UI on all levels, but for classes and the like.
void InstanceUids(const Item& item, std::set<std::string>* uids) {
  for (const dicom::Element& element : item.elements()) {
    if (element.sequence() != nullptr) {
      for (size_t i = 0; i < element.sequence()->size(); ++i) InstanceUids(element.sequence()->item(i), uids);
    } else if (element.vr() == dicom::Vr::kUI && !NamesNoInstance(element.tag())) {
      const std::string uid = item.TextOf(element).value_or("");
      if (!absl::StartsWith(uid, "1.2.840.10008.") && uid.size() > 4) uids->insert(uid);
    }
  }
}

TEST(ProfileTest, ReadsItsOptions) {
  EXPECT_EQ(Options("basic, retain-uids,clean-descriptors").ToString(),
            "basic,clean-descriptors,retain-uids");
  EXPECT_EQ(ErrorReason(ProfileOptions::Parse("basic,everything").status()), "INVALID_SCRIPT");
  EXPECT_EQ(ErrorReason(ProfileOptions::Parse("basic,retain-full-dates,retain-modified-dates").status()),
            "INVALID_SCRIPT");
  EXPECT_EQ(ErrorReason(ProfileOptions::Parse("retain-uids").status()), "INVALID_SCRIPT");
}

TEST(ProfileTest, RemovesEmptiesReplacesAndMaps) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  for (const auto& [tag, value] : std::map<uint32_t, std::string>{{0x00080018, "1.2.3.4.5.6"},
                                                                  {0x00080020, "20200115"},
                                                                  {0x0008002a, "20200115101112"},
                                                                  {0x00080050, "ACC-12345"},
                                                                  {0x00080060, "MR"},
                                                                  {0x00081030, "Brain of Doe"},
                                                                  {0x00100010, "Doe^John"},
                                                                  {0x00100020, "PID-007"},
                                                                  {0x00100040, "M"},
                                                                  {0x00101010, "050Y"},
                                                                  {0x0020000d, "1.2.3.4"}}) {
    ASSERT_TRUE(data->SetText(Tag(tag), value).ok());
  }
  ASSERT_TRUE(data->SetText(*data->ReservePrivateTag(0x0019, "SIEMENS MR HEADER", 0x0c), "1000").ok());
  Item& item = data->EnsureSequence(Tag(0x00081140)).Append();
  ASSERT_TRUE(item.SetText(tags::kReferencedSOPInstanceUID, "1.2.3.4.5.6").ok());
  auto same = data->Clone();
  ASSERT_TRUE(same.ok());

  ASSERT_TRUE(Profile(Options("basic")).Apply(*data, {kSecret, "S1", ""}).ok());
  ASSERT_TRUE(Profile(Options("basic,retain-modified-dates,retain-patient-characteristics,retain-safe-"
                              "private,clean-descriptors"))
                  .Apply(**same, {kSecret, "", ""})
                  .ok());

  EXPECT_EQ(data->GetText(tags::kSOPInstanceUID), MapUid(kSecret, "1.2.3.4.5.6"));
  EXPECT_EQ(data->Find(Tag(0x00081140))->sequence()->item(0).GetText(tags::kReferencedSOPInstanceUID),
            MapUid(kSecret, "1.2.3.4.5.6"));
  EXPECT_EQ(data->GetText(tags::kStudyDate), "");
  EXPECT_EQ(data->GetText(tags::kAcquisitionDateTime), "19000101000000");
  EXPECT_EQ(data->GetText(tags::kAccessionNumber), "");
  EXPECT_EQ(data->GetText(tags::kModality), "MR");
  EXPECT_FALSE(data->Has(tags::kStudyDescription));
  EXPECT_EQ(data->GetText(tags::kPatientName), "");
  EXPECT_EQ(data->GetText(tags::kPatientID), "S1");
  EXPECT_FALSE(data->Has(tags::kPatientAge));
  EXPECT_FALSE(data->Has(Tag(0x0019, 0x100c)));
  EXPECT_EQ(data->GetText(tags::kLongitudinalTemporalInformationModified), "REMOVED");
  EXPECT_EQ(data->GetText(tags::kPatientIdentityRemoved), "YES");

  EXPECT_EQ((*same)->GetText(tags::kPatientAge), "050Y");
  EXPECT_EQ((*same)->GetText(tags::kStudyDescription), "Brain of ***");
  EXPECT_TRUE((*same)->Has(Tag(0x0019, 0x100c)));
  EXPECT_NE((*same)->GetText(tags::kStudyDate), "20200115");
  EXPECT_EQ((*same)->TextOrEmpty(tags::kStudyDate).size(), 8u);
  EXPECT_EQ((*same)->TextOrEmpty(tags::kAcquisitionDateTime).substr(0, 8),
            (*same)->TextOrEmpty(tags::kStudyDate));
  std::set<std::string> codes;
  const dicom::Sequence& sequence = *(*same)->Find(tags::kDeidentificationMethodCodeSequence)->sequence();
  for (size_t i = 0; i < sequence.size(); ++i) codes.insert(sequence.item(i).TextOrEmpty(tags::kCodeValue));
  EXPECT_THAT(codes, testing::ElementsAre("113100", "113105", "113107", "113108", "113111"));
}

// What each row of the table does, against three independent transcriptions of it (all agree where they have
// the row).
TEST(ProfileTest, DoesWhatEveryRowOfTheTableSays) {
  NX_NEED_SHARED();
  const std::string rows =
      ReadFile(SharedFolder() + "/data/facts-ps3.15-innolitics/basic_profile_crosscheck.json");
  const Profile profile(Options("basic"));
  re2::StringPiece rest(rows);
  std::string hex, action;
  int checked = 0;

  while (RE2::FindAndConsume(&rest, R"re("tag": "([0-9a-f]{8})",[^{}]*?"innolitics_2025": "([^"]+)")re", &hex,
                             &action)) {
    const Tag tag(static_cast<uint32_t>(std::stoul(hex, nullptr, 16)));
    const dicom::DictionaryEntry* entry = dicom::FindEntry(tag);
    if (entry == nullptr || !dicom::IsText(entry->vr) || tag.group() == 0x0002) continue;
    auto data = DataSet::Empty(Encoding::ExplicitLittle());
    const std::string original = entry->vr == dicom::Vr::kUI ? "1.2.3.4.5" : "20200115";
    ASSERT_TRUE(data->SetText(tag, original).ok()) << hex;

    ASSERT_TRUE(profile.Apply(*data, {kSecret, "", ""}).ok()) << hex;

    const std::optional<std::string> left = data->GetText(tag);
    ++checked;
    if (action == "X") {
      EXPECT_EQ(left, std::nullopt) << hex;
    } else if (action == "Z" || action == "X/Z" || tag == tags::kPatientID) {
      EXPECT_EQ(left, "") << hex;
    } else if (entry->vr == dicom::Vr::kUI) {
      EXPECT_EQ(left, MapUid(kSecret, original)) << hex;
    } else {
      EXPECT_NE(left.value_or(""), "") << hex;  // D among the choices: a dummy
      EXPECT_NE(left, original) << hex;
    }
  }

  EXPECT_GT(checked, 350);
}

// Goal: no object of any maker is damaged, its pixels stay, and nothing that identified the patient is left.
// Method: the basic profile over every object; what is behind the header must be the same bytes.
TEST(ProfileTest, LeavesPixelsAndNothingElseOfEveryRealObject) {
  NX_NEED_SHARED();
  const AnonymizationPlan plan = [] {
    AnonymizationPlan made = BasicPlan();
    made.check_leftovers = true;
    return made;
  }();
  int objects = 0, with_leftovers = 0;
  std::map<std::string, int> refused;

  for (const auto& path : SharedFiles(8 << 20)) {
    const std::string bytes = ReadFile(path);
    size_t bulk_before = 0, bulk_after = 0;
    const auto before = dicom::ParseObjectHeader(bytes, &bulk_before);
    if (!before.ok()) continue;
    AnonymizationOutcome outcome;
    const auto out = Anonymize(plan, bytes, &outcome);
    if (!out.ok()) {
      ++refused[ErrorReason(out.status())];
      continue;
    }
    const auto after = dicom::ParseObjectHeader(*out, &bulk_after);
    ASSERT_TRUE(after.ok()) << path << after.status();
    ++objects;
    // Many ACR-NEMA images in one file: names stand between the pixels, and go.
    const bool several = path.filename() == "pet_ac_acr.ima";
    if (!before->syntax.deflated && !several && bulk_before < bytes.size()) {
      // Trailing elements may go; what is left must begin the same.
      const absl::string_view tail_after = absl::string_view(*out).substr(bulk_after);
      EXPECT_TRUE(absl::StartsWith(absl::string_view(bytes).substr(bulk_before), tail_after)) << path;
      EXPECT_GE(tail_after.size() + 4096, bytes.size() - bulk_before) << path;
    }
    std::set<std::string> old_uids, new_uids;
    InstanceUids(*before->data, &old_uids);
    InstanceUids(*after->data, &new_uids);
    for (const std::string& uid : new_uids) EXPECT_EQ(old_uids.count(uid), 0u) << path << " " << uid;
    if (outcome.leftovers.clean()) continue;
    ++with_leftovers;
    // What is left are words that name a maker as well as an institution, numbers that are a series as well
    // as a patient, and file names of a DICOMDIR.
    for (const Leftover& left : outcome.leftovers.found) {
      EXPECT_NE(left.source, "PatientName") << path << " " << left.path;
      EXPECT_NE(left.source, "PatientBirthDate") << path << " " << left.path;
    }
  }

  for (const auto& [reason, count] : refused) std::cout << "refused " << reason << ": " << count << "\n";
  std::cout << objects << " objects, " << with_leftovers << " with leftovers\n";
  EXPECT_GT(objects, 500);
  EXPECT_LE(with_leftovers, 20);
}

TEST(ProfileTest, KeepsTheReferencesOfAStudyTogether) {
  NX_NEED_SHARED();
  const AnonymizationPlan plan = BasicPlan("basic,retain-modified-dates");
  std::map<std::string, std::string> mapped;  // original UID -> new UID, over all objects
  std::set<std::string> targets;
  int references = 0;

  for (const auto& path : SharedFiles(8 << 20)) {
    if (!absl::StrContains(path.string(), "dicom-seg-sr-pm-dcmqi") &&
        !absl::StrContains(path.string(), "dicom-rt-dicompyler"))
      continue;
    const std::string bytes = ReadFile(path);
    const auto before = dicom::ParseObjectHeader(bytes);
    if (!before.ok()) continue;
    const auto out = Anonymize(plan, bytes);
    ASSERT_TRUE(out.ok()) << path << out.status();
    const auto after = dicom::ParseObjectHeader(*out);
    ASSERT_TRUE(after.ok());
    std::set<std::string> old_uids, new_uids;
    InstanceUids(*before->data, &old_uids);
    InstanceUids(*after->data, &new_uids);
    for (const std::string& uid : new_uids) {
      ++references;
      targets.insert(uid);
    }
    for (const std::string& uid : old_uids) mapped[uid] = MapUid(kSecret, uid);
    EXPECT_EQ(after->data->TextOrEmpty(tags::kSOPInstanceUID),
              MapUid(kSecret, before->data->TextOrEmpty(tags::kSOPInstanceUID)));
    EXPECT_EQ(after->meta == nullptr ? "" : after->meta->TextOrEmpty(tags::kMediaStorageSOPInstanceUID),
              before->meta == nullptr ? "" : after->data->TextOrEmpty(tags::kSOPInstanceUID));
  }

  // Every UID in a result is the image of one of the originals: no reference leads nowhere.
  std::set<std::string> images;
  for (const auto& [from, to] : mapped) images.insert(to);
  for (const std::string& uid : targets) EXPECT_EQ(images.count(uid), 1u) << uid;
  EXPECT_GT(references, 100);
}

// 121071 looks like a long number to the cleaner of texts; a report without its codes is worth nothing.
TEST(ProfileTest, KeepsCodesOfReportsThatAreCleaned) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  auto& item = data->EnsureSequence(Tag(0x0040, 0xa730)).Append();
  ASSERT_TRUE(item.SetText(Tag(0x0040, 0xa160), "call 0123 4567890").ok());
  auto& code = item.EnsureSequence(Tag(0x0040, 0xa043)).Append();
  ASSERT_TRUE(code.SetText(tags::kCodeValue, "121071123").ok());
  ASSERT_TRUE(code.SetText(tags::kCodingSchemeDesignator, "DCM").ok());
  ASSERT_TRUE(code.SetText(tags::kCodeMeaning, "Finding").ok());

  const Profile profile(*ProfileOptions::Parse("basic,clean-structured-content"));
  ASSERT_TRUE(profile.Apply(*data, {kSecret, "", ""}).ok());

  const auto& kept = data->Find(Tag(0x0040, 0xa730))->sequence()->item(0);
  EXPECT_EQ(kept.Find(Tag(0x0040, 0xa043))->sequence()->item(0).TextOrEmpty(tags::kCodeValue), "121071123");
  EXPECT_EQ(kept.TextOrEmpty(Tag(0x0040, 0xa160)).find("4567890"), std::string::npos);
}

TEST(LeftoverTest, FindsPlantedStringsInAllForms) {
  auto original = DataSet::Empty(Encoding::ExplicitLittle());
  ASSERT_TRUE(original->SetText(tags::kPatientName, "Müller^Jörg").ok());
  ASSERT_TRUE(original->SetText(tags::kPatientID, "MRN-0098231").ok());
  const Identifiers identifiers = Identifiers::Collect(*original);

  auto result = DataSet::Empty(Encoding::ExplicitLittle());
  ASSERT_TRUE(result->SetText(tags::kStudyDescription, "seen by MÜLLER").ok());
  result->SetBytes(Tag(0x0019, 0x1001), dicom::Vr::kUN, absl::string_view("\0\0mrn-0098231\0\xff", 15));
  result->SetBytes(Tag(0x0019, 0x1002), dicom::Vr::kOB, "xx M\xdcLLER xx");
  Item& item = result->EnsureSequence(Tag(0x0040a730)).Append();
  ASSERT_TRUE(item.SetText(Tag(0x0040a160), "Herr Jörg Müller was well").ok());
  const LeftoverReport report = FindLeftovers(*result, identifiers);

  std::set<std::string> paths;
  for (const Leftover& left : report.found) paths.insert(left.path);
  EXPECT_THAT(paths,
              testing::ElementsAre("(0008,1030)", "(0019,1001)", "(0019,1002)", "(0040,A730)/(0040,A160)"));
  EXPECT_EQ(CleanText("Jörg was here on 15.1.2020, call 0221 555 12 34", identifiers),
            "*** was here on ***, call ***");
}

TEST(LeftoverTest, ReportsWhatTheDefaultScriptLeaves) {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  ASSERT_TRUE(data->SetText(tags::kSOPInstanceUID, "1.2.3").ok());
  ASSERT_TRUE(data->SetText(tags::kPatientName, "Winterbottom^Olga").ok());
  ASSERT_TRUE(data->SetText(Tag(0x00104000), "Mrs Winterbottom is nervous").ok());
  AnonymizationPlan plan;
  plan.script = std::make_shared<Script>(*Script::Compile(DefaultSiteScript()));
  plan.secret = kSecret;
  plan.check_leftovers = true;
  AnonymizationOutcome outcome;

  const auto out =
      Anonymize(plan, data->Write(), &outcome, {{"project", "P"}, {"subject", "Olga"}, {"session", "E"}});

  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(outcome.leftovers.found.size(), 1u);  // "Olga" is the subject's label, so it is meant to be there
  EXPECT_EQ(outcome.leftovers.found[0].path, "(0010,4000)");
  EXPECT_EQ(outcome.leftovers.found[0].source, "PatientName");
}

TEST(AnonymizerTest, RejectsAndSkips) {
  const std::string bytes = [] {
    auto data = DataSet::Empty(Encoding::ExplicitLittle());
    EXPECT_TRUE(data->SetText(tags::kModality, "SR").ok());
    EXPECT_TRUE(data->SetText(tags::kPatientName, "Doe").ok());
    return data->Write();
  }();
  AnonymizationPlan plan;
  plan.script =
      std::make_shared<Script>(*Script::Compile("version \"6.6\"\n(0008,0060) = \"SR\" ? reject[]\n"));
  plan.secret = kSecret;
  EXPECT_EQ(ErrorReason(Anonymize(plan, bytes).status()), "REJECTED_BY_SCRIPT");

  plan.script = std::make_shared<Script>(
      *Script::Compile("version \"6.6\"\n(0010,0010) := concatenate[(0010,0010), \"x\"]\n"));
  plan.skip_if_already_applied = true;
  const auto once = Anonymize(plan, bytes);
  ASSERT_TRUE(once.ok());
  AnonymizationOutcome outcome;
  const auto twice = Anonymize(plan, *once, &outcome);
  ASSERT_TRUE(twice.ok());
  EXPECT_TRUE(outcome.skipped);
  EXPECT_EQ(*once, *twice);
}

TEST(DiffTest, ShowsWhatWasRemovedAddedAndChanged) {
  auto before = DataSet::Empty(Encoding::ExplicitLittle());
  ASSERT_TRUE(before->SetText(tags::kPatientName, "Doe").ok());
  ASSERT_TRUE(before->SetText(tags::kPatientID, "1").ok());
  ASSERT_TRUE(
      before->EnsureSequence(Tag(0x00081140)).Append().SetText(tags::kReferencedSOPInstanceUID, "1.2").ok());
  auto after = before->Clone();
  ASSERT_TRUE(after.ok());
  (*after)->Remove(tags::kPatientID);
  ASSERT_TRUE((*after)->SetText(tags::kPatientName, "S1").ok());
  ASSERT_TRUE((*after)->SetText(tags::kPatientIdentityRemoved, "YES").ok());
  ASSERT_TRUE((*after)
                  ->Find(Tag(0x00081140))
                  ->sequence()
                  ->item(0)
                  .SetText(tags::kReferencedSOPInstanceUID, "1.3")
                  .ok());

  const std::vector<AttributeChange> changes = DiffDataSets(*before, **after);
  DiffGroups groups;
  for (int i = 0; i < 3; ++i) groups.Add(changes);

  using Action = AttributeChange::Action;
  ASSERT_EQ(changes.size(), 4u);
  EXPECT_EQ(changes[0], (AttributeChange{"(0008,1140)[0]/(0008,1155)", "ReferencedSOPInstanceUID", "", "UI",
                                         Action::kChanged, "1.2", "1.3"}));
  EXPECT_EQ(changes[1],
            (AttributeChange{"(0010,0010)", "PatientName", "", "PN", Action::kChanged, "Doe", "S1"}));
  EXPECT_EQ(changes[2], (AttributeChange{"(0010,0020)", "PatientID", "", "LO", Action::kRemoved, "1", ""}));
  EXPECT_EQ(changes[3],
            (AttributeChange{"(0012,0062)", "PatientIdentityRemoved", "", "CS", Action::kAdded, "", "YES"}));
  ASSERT_EQ(groups.Groups().size(), 4u);
  EXPECT_EQ(groups.Groups()[0].object_count, 3);
  EXPECT_FALSE(groups.Groups()[0].varying);
}

}  // namespace
}  // namespace narthex::anonymize
