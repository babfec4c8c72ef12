// Where an object belongs: project, subject and session label, by XNAT's chain of identifiers.
//
//   NX_ASSIGN_OR_RETURN(Router router, Router::Create(config));          // once; again when the settings
//   change NX_ASSIGN_OR_RETURN(Destination to, router.Route(facts, arrival, projects)); if
//   (to.project.empty()) ...                                           // Unassigned
//
// Order (docs/routing.md): explicit destination, what the receiver fixes, the receiver's expressions, the
// site's rules, the study routing table, `Project:` and its like in the comments, StudyDescription and
// AccessionNumber (project), PatientName (subject), PatientID (session label), legacy rules (project).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/tag.h"
#include "imaging/identify/rules.h"

namespace narthex::identify {

// Session label of an object that says nothing (XNAT's importer).
inline constexpr absl::string_view kFallbackLabel = "dicom_upload";

enum class Target { kProject, kSubject, kSession, kAutoArchive };
absl::string_view TargetName(Target target);  // "project", "subject", "session", "auto-archive"

// What the `AA:` comment or an auto-archive rule says.
enum class AutoArchive { kNo, kYes };

// Which link of the chain spoke.
enum class Stage {
  kExplicit,            // the upload or the receiver's caller named it
  kReceiverFixed,       // the receiver is bound to a project or subject
  kReceiverExpression,  // the receiver's own rules
  kSiteRule,
  kStudyTable,  // study routing table
  kComment,     // `Project:x` in PatientComments, StudyComments, AdditionalPatientHistory
  kAttribute,   // the whole StudyDescription, AccessionNumber, PatientName or PatientID
  kLegacyRule,  // the text of an old dicom-project.rules
  kFallback,    // nothing did: Unassigned, no subject, or kFallbackLabel
};
absl::string_view StageName(Stage stage);  // "explicit destination", "receiver expression", ...

enum class StepResult {
  kTaken,          // this is the answer
  kAbsent,         // the attribute is absent or empty
  kNoMatch,        // the rule does not match the value, or there is no such word in the comment
  kNotAProject,    // no project has this id or alias, or the sender may not use it
  kNotABoolean,    // an auto-archive value that is neither true nor false
  kNotConfigured,  // the stage has no entry (no rule, study not in the table)
};
absl::string_view StepResultName(StepResult result);  // "taken", "absent", ...

// One question that was asked, for `routing test`.
struct Step {
  Target target = Target::kProject;
  Stage stage = Stage::kFallback;
  int line = 0;           // of the rule; 0 where there is none
  std::string attribute;  // keyword or "(gggg,eeee)"; "" where there is none
  StepResult result = StepResult::kNotConfigured;
  std::string candidate;  // what the step made of the value; only with Trace::kWithValues. A PATIENT VALUE.

  // "site rule, line 3, StudyDescription: no match". Has the candidate only if that was asked for.
  std::string ToString() const;
};

// Which step decided, cheap to keep with every object and free of patient values.
struct Decision {
  Stage stage = Stage::kFallback;
  int line = 0;
  std::string attribute;  // short: never allocates for known keywords of up to 15 letters
};

struct Destination {
  std::string project;  // an existing project's id; "" is Unassigned
  std::string subject;  // cleaned label; "" if nothing names one
  std::string label;    // cleaned session label, never ""
  std::optional<AutoArchive> auto_archive;

  Decision project_by, subject_by, label_by;
  std::vector<Step> trace;  // empty unless asked for
};

// The projects that may be meant. Implementations are thread-safe and do not block (the server keeps a
// cache).
class ProjectDirectory {
 public:
  virtual ~ProjectDirectory() = default;
  // The id of the project whose id or alias equals `candidate` (as XNAT: ids exactly, aliases without regard
  // to case is the directory's choice) and that the sender may upload to; nullopt else. `candidate` is
  // untrusted.
  virtual std::optional<std::string> Resolve(absl::string_view candidate) const = 0;
};

// XNAT's study routing service: fixed in advance where a study goes.
struct StudyRoute {
  std::string project, subject, label;  // "" where the route says nothing
};
class StudyRoutingTable {
 public:
  virtual ~StudyRoutingTable() = default;
  // Thread-safe; does not block.
  virtual std::optional<StudyRoute> Find(absl::string_view study_instance_uid) const = 0;
};

// What the last link of the chains makes of PatientName (a subject) or PatientID (a session label): "" if
// there is none. `facts` may be those after anonymization.
std::string LabelFromAttribute(const dicom::HeaderFacts& facts, dicom::Tag tag);

enum class Trace { kNone, kWithoutValues, kWithValues };

// What is known about an arrival besides its header. Views must live until Route returns.
struct ArrivalContext {
  absl::string_view called_ae;  // "" if it did not come over DICOM
  absl::string_view calling_ae;
  absl::string_view project, subject, label;   // explicit destination; "" where none is given
  const StudyRoutingTable* studies = nullptr;  // may be null
  Trace trace = Trace::kNone;
};

// The texts that a Router is made of; all may be empty.
struct RoutingConfig {
  // Of the receiver (AE title). A fixed project that cannot be resolved means Unassigned, never another
  // project.
  std::string fixed_project, fixed_subject;
  std::string receiver_project, receiver_subject, receiver_session;
  // Of the site.
  std::string project_rules, subject_rules, session_rules, auto_archive_rules;
  std::string legacy_project_rules;
};

// Compiled rules and the chain. Immutable; thread-safe; cheap to move. Typically below 2 microseconds an
// object.
class Router {
 public:
  // INVALID_ARGUMENT (INVALID_SCRIPT): as RuleSet::Parse.
  static absl::StatusOr<Router> Create(const RoutingConfig& config, Origin origin = Origin::kArriving);

  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;
  ~Router();

  // `facts` are those of the raw header, before any anonymization.
  // NOT_FOUND (PROJECT_NOT_FOUND): the *explicit* project does not exist or may not be used; XNAT would fall
  // back to the header there. INVALID_ARGUMENT (INVALID_FIELD): an explicit subject or label is no label.
  absl::StatusOr<Destination> Route(const dicom::HeaderFacts& facts, const ArrivalContext& arrival,
                                    const ProjectDirectory& projects) const;

  // The attributes that Route may ask for: the header scanner must keep them.
  const std::vector<dicom::Tag>& wanted() const;

 private:
  struct Rep;
  explicit Router(std::unique_ptr<const Rep> rep);
  std::unique_ptr<const Rep> rep_;
};

}  // namespace narthex::identify
