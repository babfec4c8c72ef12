#include "imaging/identify/router.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_routing.h"
#include "base/status.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/identify/header_value.h"
#include "imaging/identify/labels.h"

namespace narthex::identify {
namespace {

namespace tags = dicom::tags;

constexpr dicom::Tag kCommentTags[] = {tags::kPatientComments, tags::kStudyComments,
                                       tags::kAdditionalPatientHistory};

re2::StringPiece Piece(absl::string_view text) { return re2::StringPiece(text.data(), text.size()); }

// Finds `Project:x` and its like with the expression of XNAT's ContainedAssignmentExtractor: an assignment at
// the very beginning wins (its alternative comes first), else the last one (the text before it is matched
// greedily). Words are separated by blanks, commas and semicolons.
class Assignment {
 public:
  explicit Assignment(absl::string_view word)
      : regex_(absl::StrCat("(?i)(?:\\A|(?:", kLine, "[\\s\\x0b,;]))", std::string(word),
                            "[\\s\\x0b]*:[\\s\\x0b]*([\\w\\-]*)(?:(?:[\\s\\x0b,;]", kLine, ")|\\z)"),
               RE2::Quiet) {}

  // The assigned word, part of `comment`; "" if there is none.
  absl::string_view Find(absl::string_view comment) const {
    // Most comments assign nothing; looking for the colon is far cheaper than the expression.
    if (!absl::StrContains(comment, ':')) return {};
    re2::StringPiece groups[2];
    if (!regex_.Match(Piece(comment), 0, comment.size(), RE2::ANCHOR_BOTH, groups, 2)) return {};
    return absl::string_view(groups[1].data(), groups[1].size());
  }

 private:
  static constexpr const char* kLine = "[^\\n\\r\\x{85}\\x{2028}\\x{2029}]*";  // what Java's .* is
  RE2 regex_;
};

std::optional<AutoArchive> ParseAutoArchive(absl::string_view text) {
  if (absl::EqualsIgnoreCase(text, "t") || absl::EqualsIgnoreCase(text, "true")) return AutoArchive::kYes;
  if (absl::EqualsIgnoreCase(text, "f") || absl::EqualsIgnoreCase(text, "false")) return AutoArchive::kNo;
  return std::nullopt;
}

// One link of a chain: where a candidate may come from.
struct Link {
  Stage stage;
  const Rule* rule = nullptr;              // for rules
  const Assignment* assignment = nullptr;  // for comments
  ValueSource source{};                    // for comments and whole attributes
  std::string fixed;                       // for what the receiver fixes
  bool configured = true;                  // false: only mentioned in traces
  int slot = -1;                           // where a walk keeps the attribute's value; -1: nowhere

  const ValueSource& value_source() const { return rule != nullptr ? rule->source : source; }
};

struct Chain {
  Target target;
  std::vector<Link> links;
};

ValueSource SourceOf(dicom::Tag tag) {
  absl::StatusOr<ValueSource> source = ValueSource::Parse(tag.ToString());
  return source.ok() ? *std::move(source) : ValueSource();
}

void AddRules(Stage stage, const RuleSet& rules, Chain& chain) {
  for (const Rule& rule : rules.rules()) chain.links.push_back({.stage = stage, .rule = &rule});
  if (rules.empty()) chain.links.push_back({.stage = stage, .configured = false});
}

void AddComments(const Assignment& assignment, Chain& chain) {
  for (dicom::Tag tag : kCommentTags) {
    chain.links.push_back({.stage = Stage::kComment, .assignment = &assignment, .source = SourceOf(tag)});
  }
}

void AddAttribute(dicom::Tag tag, Chain& chain) {
  chain.links.push_back({.stage = Stage::kAttribute, .source = SourceOf(tag)});
}

void AddFixed(const std::string& fixed, Chain& chain) {
  if (!fixed.empty()) chain.links.push_back({.stage = Stage::kReceiverFixed, .fixed = fixed});
}

}  // namespace

struct Router::Rep {
  RuleSet receiver_project, receiver_subject, receiver_session;
  RuleSet project_rules, subject_rules, session_rules, auto_archive_rules, legacy_project_rules;
  Assignment project{"Project"}, subject{"Subject"}, session{"Session"}, auto_archive{"AA"};
  Chain project_chain{Target::kProject, {}}, subject_chain{Target::kSubject, {}},
      session_chain{Target::kSession, {}}, auto_archive_chain{Target::kAutoArchive, {}};
  std::vector<dicom::Tag> wanted;

  absl::Status ParseRules(const RoutingConfig& config, Origin origin);
  void BuildChains(const RoutingConfig& config);
  void CollectWanted();
};

absl::Status Router::Rep::ParseRules(const RoutingConfig& config, Origin origin) {
  NX_ASSIGN_OR_RETURN(receiver_project,
                      RuleSet::Parse(config.receiver_project, "receiver's project expressions", origin));
  NX_ASSIGN_OR_RETURN(receiver_subject,
                      RuleSet::Parse(config.receiver_subject, "receiver's subject expressions", origin));
  NX_ASSIGN_OR_RETURN(receiver_session,
                      RuleSet::Parse(config.receiver_session, "receiver's session expressions", origin));
  NX_ASSIGN_OR_RETURN(project_rules, RuleSet::Parse(config.project_rules, "site project rules", origin));
  NX_ASSIGN_OR_RETURN(subject_rules, RuleSet::Parse(config.subject_rules, "site subject rules", origin));
  NX_ASSIGN_OR_RETURN(session_rules, RuleSet::Parse(config.session_rules, "site session rules", origin));
  NX_ASSIGN_OR_RETURN(auto_archive_rules,
                      RuleSet::Parse(config.auto_archive_rules, "site auto-archive rules", origin));
  NX_ASSIGN_OR_RETURN(legacy_project_rules,
                      RuleSet::Parse(config.legacy_project_rules, "legacy project rules", origin));
  return absl::OkStatus();
}

// The order of docs/routing.md, which is XNAT's.
void Router::Rep::BuildChains(const RoutingConfig& config) {
  AddFixed(config.fixed_project, project_chain);
  AddRules(Stage::kReceiverExpression, receiver_project, project_chain);
  AddRules(Stage::kSiteRule, project_rules, project_chain);
  project_chain.links.push_back({.stage = Stage::kStudyTable});
  AddComments(project, project_chain);
  AddAttribute(tags::kStudyDescription, project_chain);
  AddAttribute(tags::kAccessionNumber, project_chain);
  AddRules(Stage::kLegacyRule, legacy_project_rules, project_chain);

  AddFixed(config.fixed_subject, subject_chain);
  AddRules(Stage::kReceiverExpression, receiver_subject, subject_chain);
  AddRules(Stage::kSiteRule, subject_rules, subject_chain);
  subject_chain.links.push_back({.stage = Stage::kStudyTable});
  AddComments(subject, subject_chain);
  AddAttribute(tags::kPatientName, subject_chain);

  AddRules(Stage::kReceiverExpression, receiver_session, session_chain);
  AddRules(Stage::kSiteRule, session_rules, session_chain);
  session_chain.links.push_back({.stage = Stage::kStudyTable});
  AddComments(session, session_chain);
  AddAttribute(tags::kPatientID, session_chain);

  AddRules(Stage::kSiteRule, auto_archive_rules, auto_archive_chain);
  AddComments(auto_archive, auto_archive_chain);
}

void Router::Rep::CollectWanted() {
  const auto is_attribute = [](const Link& link) {
    const ValueSource& source = link.value_source();
    return source.kind() == ValueSource::Kind::kAttribute && source.tag() != dicom::Tag();
  };
  Chain* const chains[] = {&project_chain, &subject_chain, &session_chain, &auto_archive_chain};
  for (const Chain* chain : chains) {
    for (const Link& link : chain->links) {
      if (is_attribute(link)) wanted.push_back(link.value_source().tag());
    }
  }
  wanted.push_back(tags::kStudyInstanceUID);
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (Chain* chain : chains) {
    for (Link& link : chain->links) {
      const auto found = std::lower_bound(wanted.begin(), wanted.end(), link.value_source().tag());
      if (is_attribute(link)) link.slot = static_cast<int>(found - wanted.begin());
    }
  }
}

namespace {

// One object on its way through the chains.
class Walk {
 public:
  Walk(const dicom::HeaderFacts& facts, const ArrivalContext& arrival, const ProjectDirectory& projects)
      : facts_(facts), arrival_(arrival), projects_(projects) {
    if (arrival.studies != nullptr) route_ = arrival.studies->Find(facts.study_instance_uid());
  }

  // The first usable candidate of `chain`, made a project id or label; "" if none is. Fills `by`.
  std::string Follow(const Chain& chain, Decision& by);

  std::vector<Step> TakeTrace() { return std::move(trace_); }
  // For decisions that no chain makes.
  void Record(Target target, Stage stage, absl::string_view attribute, StepResult result,
              absl::string_view candidate, int line = 0) {
    if (arrival_.trace == Trace::kNone) return;
    trace_.push_back({target, stage, line, std::string(attribute), result,
                      arrival_.trace == Trace::kWithValues ? std::string(candidate) : ""});
  }

 private:
  // The value that `link` looks at. The four chains share attributes, and looking one up costs more than a
  // rule.
  absl::string_view ValueOf(const Link& link);
  // What `link` offers: candidate_ and result kTaken, or why it offers nothing.
  StepResult Ask(const Link& link, Target target);
  // Makes candidate_ what it stands for, or says why it stands for nothing.
  StepResult Accept(Target target);

  const dicom::HeaderFacts& facts_;
  const ArrivalContext& arrival_;
  const ProjectDirectory& projects_;
  std::optional<StudyRoute> route_;
  std::string candidate_, scratch_;
  std::array<absl::string_view, 32> values_;             // by Link::slot
  uint32_t known_ = 0;                                   // bit n: values_[n] was looked up
  std::vector<std::unique_ptr<std::string>> converted_;  // what values_ point to, if not the facts
  std::vector<Step> trace_;
};

absl::string_view Walk::ValueOf(const Link& link) {
  const AeTitles ae{arrival_.called_ae, arrival_.calling_ae};
  const auto slot = static_cast<size_t>(link.slot);
  if (link.slot < 0 || slot >= values_.size()) return link.value_source().Value(facts_, ae, scratch_);
  if ((known_ >> slot & 1) != 0) return values_[slot];
  scratch_.clear();
  absl::string_view value = link.value_source().Value(facts_, ae, scratch_);
  if (!scratch_.empty()) value = *converted_.emplace_back(std::make_unique<std::string>(value));
  known_ |= uint32_t{1} << slot;
  return values_[slot] = value;
}

StepResult Walk::Ask(const Link& link, Target target) {
  if (!link.configured) return StepResult::kNotConfigured;
  if (link.stage == Stage::kReceiverFixed) {
    candidate_ = link.fixed;
    return StepResult::kTaken;
  }
  if (link.stage == Stage::kStudyTable) {
    if (!route_.has_value()) return StepResult::kNotConfigured;
    candidate_ = target == Target::kProject   ? route_->project
                 : target == Target::kSubject ? route_->subject
                                              : route_->label;
    return candidate_.empty() ? StepResult::kAbsent : StepResult::kTaken;
  }
  absl::string_view value = ValueOf(link);
  if (value.empty()) return StepResult::kAbsent;
  if (link.rule != nullptr) {
    std::optional<std::string> result = link.rule->Apply(value);
    if (!result.has_value()) return StepResult::kNoMatch;
    candidate_ = *std::move(result);
    return StepResult::kTaken;
  }
  if (link.assignment != nullptr) value = link.assignment->Find(value);
  if (value.empty()) return StepResult::kNoMatch;
  candidate_.assign(value.data(), std::min(value.size(), limits::kProjectCandidateMaxBytes.get() + 1));
  return StepResult::kTaken;
}

StepResult Walk::Accept(Target target) {
  switch (target) {
    case Target::kProject: {
      if (candidate_.size() > limits::kProjectCandidateMaxBytes) return StepResult::kNotAProject;
      std::optional<std::string> project = projects_.Resolve(candidate_);
      if (!project.has_value() || project->empty()) return StepResult::kNotAProject;
      candidate_ = *std::move(project);
      return StepResult::kTaken;
    }
    case Target::kAutoArchive:
      return ParseAutoArchive(candidate_).has_value() ? StepResult::kTaken : StepResult::kNotABoolean;
    default:
      candidate_ = CleanLabel(candidate_);
      return candidate_.empty() ? StepResult::kAbsent : StepResult::kTaken;
  }
}

std::string Walk::Follow(const Chain& chain, Decision& by) {
  for (const Link& link : chain.links) {
    if (!link.configured && arrival_.trace == Trace::kNone) continue;
    candidate_.clear();
    StepResult result = Ask(link, chain.target);
    const int line = link.rule != nullptr ? link.rule->line : 0;
    const std::string& attribute = link.value_source().name();
    if (result == StepResult::kTaken) result = Accept(chain.target);
    Record(chain.target, link.stage, attribute, result, candidate_, line);
    if (result == StepResult::kTaken) {
      by = {link.stage, line, attribute};
      return std::move(candidate_);
    }
    // A receiver that is bound to one project must never file into another.
    if (link.stage == Stage::kReceiverFixed) break;
  }
  return {};
}

}  // namespace

std::string LabelFromAttribute(const dicom::HeaderFacts& facts, dicom::Tag tag) {
  std::string scratch;
  return CleanLabel(SourceOf(tag).Value(facts, {}, scratch));
}

namespace {

absl::Status CheckExplicitLabel(absl::string_view label, absl::string_view what) {
  if (label.empty() || IsLabel(label)) return absl::OkStatus();
  return InvalidArgument("INVALID_FIELD",
                         absl::StrCat("the ", what, " of the destination is no label: use 1 to ",
                                      limits::kLabelMaxBytes, " letters, digits, '_' and '-'"),
                         {{"field", std::string(what)}});
}

}  // namespace

Router::Router(std::unique_ptr<const Rep> rep) : rep_(std::move(rep)) {}
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;
Router::~Router() = default;

absl::StatusOr<Router> Router::Create(const RoutingConfig& config, Origin origin) {
  auto rep = std::make_unique<Rep>();
  NX_RETURN_IF_ERROR(rep->ParseRules(config, origin));
  rep->BuildChains(config);
  rep->CollectWanted();
  return Router(std::move(rep));
}

const std::vector<dicom::Tag>& Router::wanted() const { return rep_->wanted; }

absl::StatusOr<Destination> Router::Route(const dicom::HeaderFacts& facts, const ArrivalContext& arrival,
                                          const ProjectDirectory& projects) const {
  NX_RETURN_IF_ERROR(CheckExplicitLabel(arrival.subject, "subject"));
  NX_RETURN_IF_ERROR(CheckExplicitLabel(arrival.label, "session label"));
  Walk walk(facts, arrival, projects);
  Destination to;
  if (!arrival.project.empty()) {
    std::optional<std::string> project = projects.Resolve(arrival.project);
    if (!project.has_value()) {
      return NotFound("PROJECT_NOT_FOUND",
                      absl::StrCat("there is no project '", arrival.project, "' that you may upload to"),
                      {{"project", std::string(arrival.project)}});
    }
    to.project = *std::move(project);
    to.project_by.stage = Stage::kExplicit;
    walk.Record(Target::kProject, Stage::kExplicit, "", StepResult::kTaken, to.project);
  } else {
    to.project = walk.Follow(rep_->project_chain, to.project_by);
    if (to.project.empty())
      walk.Record(Target::kProject, Stage::kFallback, "", StepResult::kTaken, "Unassigned");
  }
  const auto label = [&](const Chain& chain, absl::string_view given, absl::string_view fallback,
                         Decision& by) {
    std::string text(given);
    if (!given.empty()) {
      by.stage = Stage::kExplicit;
      walk.Record(chain.target, Stage::kExplicit, "", StepResult::kTaken, given);
      return text;
    }
    text = walk.Follow(chain, by);
    if (!text.empty()) return text;
    walk.Record(chain.target, Stage::kFallback, "", StepResult::kTaken, fallback);
    return std::string(fallback);
  };
  to.subject = label(rep_->subject_chain, arrival.subject, "", to.subject_by);
  to.label = label(rep_->session_chain, arrival.label, kFallbackLabel, to.label_by);
  Decision ignored;
  to.auto_archive = ParseAutoArchive(walk.Follow(rep_->auto_archive_chain, ignored));
  to.trace = walk.TakeTrace();
  return to;
}

}  // namespace narthex::identify
