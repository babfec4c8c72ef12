#include "server/archive/checker.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/status.h"
#include "server/archive/project_script.h"

namespace narthex::archiving {
namespace {

using prearchive::BuiltSession;
using prearchive::ConflictRow;
using prearchive::SessionRow;
using prearchive::State;

// Files of an existing session that are looked at in one query.
constexpr int kFilesPage = 100'000;

// "3 objects", "1 object".
std::string Some(size_t count, absl::string_view thing) {
  return absl::StrCat(count, " ", thing, count == 1 ? "" : "s");
}

}  // namespace

// One check of one session.
class Checker::Run {
 public:
  Run(const Dependencies& with, const SessionRow& row, bool archiving)
      : with_(with), row_(row), key_(row.key()), archiving_(archiving) {}

  absl::StatusOr<std::vector<ConflictRow>> All() {
    LookAtState();
    LookAtNames();
    NX_RETURN_IF_ERROR(LookAtContents());
    if (!key_.project().empty()) {
      NX_ASSIGN_OR_RETURN(const bool known, LookAtProject());
      if (known) {
        NX_RETURN_IF_ERROR(LookAtOthers());
        NX_RETURN_IF_ERROR(LookAtArchive());
        NX_RETURN_IF_ERROR(LookAtFilter());
      }
    }
    std::stable_sort(found_.begin(), found_.end(), [](const ConflictRow& a, const ConflictRow& b) {
      return std::make_pair(a.type(), a.code()) < std::make_pair(b.type(), b.code());
    });
    return std::move(found_);
  }

 private:
  void Add(ConflictCode code, ConflictType type, std::string message, std::string remedy) {
    ConflictRow conflict;
    conflict.set_code(static_cast<int>(code));
    conflict.set_type(static_cast<int>(type));
    conflict.set_message(std::move(message));
    conflict.set_remedy(std::move(remedy));
    found_.push_back(std::move(conflict));
  }

  std::string Command(absl::string_view verb, absl::string_view flags) const {
    return absl::StrCat("narthex prearchive ", verb, " ", row_.id(), flags.empty() ? "" : " ", flags);
  }

  void LookAtState() {
    const State state = static_cast<State>(row_.state());
    switch (archiving_ ? State::kReady : state) {
      case State::kReady:
      case State::kConflict:
      case State::kError:
        if (!row_.built()) {
          Add(ConflictCode::kNotBuilt, ConflictType::kWarn, "the session was never built to the end",
              absl::StrCat("see what it will become: ", Command("build", "")));
        }
        return;
      case State::kReceiving:
        Add(ConflictCode::kNotBuilt, ConflictType::kFail,
            "objects are still arriving; the session is not built",
            absl::StrCat("wait, or build it now: ", Command("build", "")));
        return;
      default:
        Add(ConflictCode::kBusy, ConflictType::kConflict,
            absl::StrCat("the session is ", prearchive::StateName(state)),
            row_.operation().empty() ? "wait until that is done"
                                     : absl::StrCat("wait: narthex operation wait ", row_.operation()));
    }
  }

  void LookAtNames() {
    if (key_.project().empty()) {
      Add(ConflictCode::kNoProject, ConflictType::kFail, "the session belongs to no project",
          absl::StrCat("assign one: ", Command("update", "--project P")));
    }
    if (key_.label().empty()) {
      Add(ConflictCode::kNoLabel, ConflictType::kFail, "the session has no label",
          absl::StrCat("give one: ", Command("update", "--label L")));
    }
    if (key_.subject().empty()) {
      Add(ConflictCode::kNoSubject, ConflictType::kFail, "the session has no subject",
          absl::StrCat("give one: ", Command("update", "--subject S")));
    }
  }

  // What the session is made of, and what of it would not be archived.
  absl::Status LookAtContents() {
    NX_ASSIGN_OR_RETURN(const auto script,
                        ProjectScript::Open(with_.plans, with_.prearchive, with_.types, row_));
    auto built = script->BuildModel(session::BuildOptions());
    if (built.ok()) {
      built_ = *std::move(built);
      study_ = built_.model.study_instance_uid;
    } else if (absl::IsDataLoss(built.status())) {
      Add(ConflictCode::kDamaged, ConflictType::kFail, "what is staged of the session cannot be read",
          "tell the administrator: narthex-verify says what is damaged");
    } else if (absl::IsFailedPrecondition(built.status())) {
      Add(ConflictCode::kNoDocument, ConflictType::kFail,
          absl::StrCat("no session document can be made: ", built.status().message()),
          "correct or delete the session");
    } else {
      return built.status();
    }
    LookAtVersions();
    const auto count = [&](prearchive::Outcome outcome) -> size_t {
      const auto it = row_.outcome_counts().find(static_cast<int>(outcome));
      return it == row_.outcome_counts().end() ? 0 : it->second;
    };
    // Those that were kept beside others are told of above, or were decided.
    const size_t conflicts =
        row_.replaced_count() + row_.contested_count() > 0 ? 0 : count(prearchive::Outcome::kConflict);
    if (conflicts > 0) {
      Add(ConflictCode::kLeftOut, ConflictType::kWarn,
          absl::StrCat(Some(conflicts, "object"),
                       " with other content under a SOP Instance UID that is here ", "already ",
                       conflicts == 1 ? "was" : "were", " not kept"),
          absl::StrCat("see which: ", Command("outcomes", "")));
    }
    return absl::OkStatus();
  }

  // What people left out, and instances that came with several contents.
  void LookAtVersions() {
    for (const session::ScanModel& scan : built_.excluded) {
      Add(ConflictCode::kLeftOut, ConflictType::kWarn,
          absl::StrCat("scan ", scan.id, " is left out, with ", Some(scan.objects.size(), "object")),
          absl::StrCat("nothing, if that is right; else: ", Command("update", "--scan "), scan.id,
                       " --include"));
    }
    if (!built_.excluded.empty() && built_.model.scans.empty()) {
      Add(ConflictCode::kNoDocument, ConflictType::kFail, "all scans are left out",
          "include one, or delete the session");
    }
    if (row_.contested_count() > 0) {
      Add(ConflictCode::kNotAllowed, ConflictType::kConflict,
          absl::StrCat(Some(row_.contested_count(), "object"),
                       " came with other content under a SOP Instance UID ",
                       "that is here already, and nobody has decided"),
          absl::StrCat("compare: ", Command("diff", "--instance UID"),
                       "; decide: ", Command("update", "--contested first|last")));
    }
    if (row_.replaced_count() > 0) {
      Add(ConflictCode::kNotAllowed, ConflictType::kWarn,
          absl::StrCat(Some(row_.replaced_count(), "object"),
                       " gave way to others of the same SOP Instance UID"),
          absl::StrCat("see which: ", Command("outcomes", "")));
    }
  }

  absl::StatusOr<bool> LookAtProject() {
    const auto project = with_.database.projects().Get(key_.project());
    if (project.ok()) return true;
    if (!absl::IsNotFound(project.status())) return project.status();
    Add(ConflictCode::kNoProject, ConflictType::kFail, absl::StrCat("there is no project ", key_.project()),
        absl::StrCat("create it, or assign another one: ", Command("update", "--project P")));
    return false;
  }

  // Other prearchive sessions that are being archived to the same place. Of two that are, the older one wins.
  absl::Status LookAtOthers() {
    prearchive::ListQuery query;
    query.project = key_.project();
    query.state = State::kArchiving;
    query.limit = 1 << 30;
    NX_ASSIGN_OR_RETURN(const auto rows, with_.prearchive.List(query));
    for (const SessionRow& other : rows) {
      if (other.id() == row_.id() || !absl::EqualsIgnoreCase(other.key().label(), key_.label())) continue;
      // Newer ids sort before older ones.
      if (archiving_ && other.id() < row_.id()) continue;
      Add(ConflictCode::kBusy, ConflictType::kConflict,
          absl::StrCat("session ", other.id(), " is being archived under the same label"),
          absl::StrCat("wait: narthex operation wait ", other.operation()));
    }
    return absl::OkStatus();
  }

  absl::Status LookAtArchive() {
    if (key_.label().empty()) return absl::OkStatus();
    const auto existing = with_.database.session_reader().Get(absl::StrCat(key_.project(), "/", key_.label()),
                                                              metadata::Visibility::All());
    if (existing.ok()) return CompareWith(*existing);
    if (!absl::IsNotFound(existing.status())) return existing.status();
    NX_ASSIGN_OR_RETURN(const auto same_study,
                        with_.database.session_reader().FindStudy(key_.project(), study_));
    if (!same_study.empty()) {
      Add(ConflictCode::kSameScan, ConflictType::kWarn,
          absl::StrCat("the same study is in the archive as ", same_study.front().accession_id,
                       ", under another label"),
          absl::StrCat("if it is to join that one, give it that label: ", Command("update", "--label L")));
    }
    if (!key_.subject().empty()) {
      const auto subject = with_.database.subjects().Get(key_.project(), key_.subject());
      if (absl::IsNotFound(subject.status())) {
        Add(ConflictCode::kNewSubject, ConflictType::kWarn, "the subject is new and will be created",
            "nothing, if that is right");
      } else if (!subject.ok()) {
        return subject.status();
      }
    }
    return absl::OkStatus();
  }

  absl::Status CompareWith(const metadata::Session& existing) {
    const std::string other_label =
        absl::StrCat("give this one another label: ", Command("update", "--label L"));
    Add(ConflictCode::kSessionExists, ConflictType::kConflict,
        absl::StrCat("a session of this label is in the archive as ", existing.accession_id),
        absl::StrCat(other_label, "; or merge: ", Command("archive", "--conflict append")));
    if (existing.study_instance_uid != study_) {
      Add(ConflictCode::kOtherStudy, ConflictType::kConflict,
          absl::StrCat(existing.accession_id, " has another Study Instance UID"), other_label);
    }
    if (!absl::EqualsIgnoreCase(existing.subject, key_.subject())) {
      Add(ConflictCode::kOtherSubject, ConflictType::kFail,
          absl::StrCat(existing.accession_id, " belongs to another subject"),
          absl::StrCat("correct the subject: ", Command("update", "--subject S"), "; or ", other_label));
    }
    if (built_.objects.empty()) return absl::OkStatus();
    if (session::CrossesModalities(with_.types, existing.session_type, built_.model)) {
      const bool guarded = !with_.guards_modality || with_.guards_modality(key_.project());
      Add(ConflictCode::kOtherModality, guarded ? ConflictType::kFail : ConflictType::kWarn,
          absl::StrCat(existing.accession_id, " is a ", existing.session_type, ", this one a ",
                       built_.model.xsi_type),
          guarded ? other_label : "merging puts images of both into one session");
    }
    NX_RETURN_IF_ERROR(CompareScans(existing));
    return CompareFiles(existing);
  }

  absl::Status CompareScans(const metadata::Session& existing) {
    NX_ASSIGN_OR_RETURN(const auto scans, with_.database.session_reader().ListScans(existing.accession_id));
    for (const session::ScanModel& scan : built_.model.scans) {
      for (const metadata::Scan& there : scans) {
        const bool same_uid =
            !scan.series_instance_uid.empty() && there.series_instance_uid == scan.series_instance_uid;
        if (same_uid && there.id == scan.id) {
          Add(ConflictCode::kSameScan, ConflictType::kConflict,
              absl::StrCat(existing.accession_id, " has scan ", scan.id, " with the same series UID"),
              "merging adds the objects that are not there yet");
        } else if (same_uid) {
          Add(ConflictCode::kScanRenumbered, ConflictType::kConflict,
              absl::StrCat(existing.accession_id, " has the series of scan ", scan.id, " as scan ", there.id),
              absl::StrCat("merging adds to scan ", there.id));
        } else if (there.id == scan.id) {
          Add(ConflictCode::kScanRenamed, ConflictType::kConflict,
              absl::StrCat(existing.accession_id, " has another series as scan ", scan.id),
              "merging gives this scan another id");
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CompareFiles(const metadata::Session& existing) {
    absl::flat_hash_set<absl::string_view> mine, identities;
    for (const prearchive::BuiltObject& object : built_.objects) {
      mine.insert(object.sop_instance_uid);
      if (!object.received_identity.empty()) identities.insert(object.received_identity);
    }
    metadata::SessionReader::FileQuery query;
    query.page.size = kFilesPage;
    size_t matching = 0;
    do {
      NX_ASSIGN_OR_RETURN(const auto list,
                          with_.database.session_reader().ListFiles(existing.accession_id, query));
      for (const metadata::File& file : list.files) {
        if (file.instance_uid.empty()) continue;
        if (mine.contains(file.instance_uid) || identities.contains(file.received_identity)) ++matching;
      }
      query.page.token = list.next_page_token;
    } while (!query.page.token.empty());
    if (matching > 0) {
      Add(ConflictCode::kFilesExist, ConflictType::kConflict,
          absl::StrCat(Some(matching, "object"), matching == 1 ? " is" : " are", " in ",
                       existing.accession_id, " already"),
          absl::StrCat("append keeps what is there; to replace it: ",
                       Command("archive", "--conflict overwrite")));
    }
    return absl::OkStatus();
  }

  // The project's series filter may have been set after the objects came.
  absl::Status LookAtFilter() {
    if (!with_.filter) return absl::OkStatus();
    absl::flat_hash_set<uint64_t> left_out;
    for (const session::ScanModel& scan : built_.excluded) {
      for (const session::ScanObject& object : scan.objects)
        left_out.insert(built_.objects[object.index].number);
    }
    std::map<std::string, size_t> excluded;
    NX_RETURN_IF_ERROR(
        with_.prearchive.ForEachObject(row_.id(), [&](const prearchive::ObjectRow& object) -> absl::Status {
          if (left_out.contains(object.number())) return absl::OkStatus();
          NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, dicom::HeaderFacts::Decode(object.facts()));
          NX_ASSIGN_OR_RETURN(std::string rule, with_.filter(key_.project(), facts));
          if (!rule.empty()) ++excluded[std::move(rule)];
          return absl::OkStatus();
        }));
    for (const auto& [rule, count] : excluded) {
      Add(ConflictCode::kNotAllowed, ConflictType::kFail,
          absl::StrCat("the series filter of ", key_.project(), " excludes ", Some(count, "object"), ": ",
                       rule),
          absl::StrCat("leave the scan out: ", Command("update", "--scan N --exclude"),
                       "; or assign another project"));
    }
    return absl::OkStatus();
  }

  const Dependencies& with_;
  const SessionRow& row_;
  const prearchive::SessionKeyRow& key_;
  const bool archiving_;  // the session's own operation asks
  BuiltSession built_;
  std::string study_ = key_.study_instance_uid();  // as it will be filed
  std::vector<ConflictRow> found_;
};

absl::StatusOr<std::vector<ConflictRow>> Checker::Check(const SessionRow& row,
                                                        absl::string_view operation) const {
  return Run(with_, row, !operation.empty()).All();
}

}  // namespace narthex::archiving
