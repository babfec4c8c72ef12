// Words for people: names of stages and results, and the lines of a trace.
#include <string>

#include "absl/strings/str_cat.h"

#include "imaging/identify/router.h"

namespace narthex::identify {

absl::string_view TargetName(Target target) {
  switch (target) {
    case Target::kProject:
      return "project";
    case Target::kSubject:
      return "subject";
    case Target::kSession:
      return "session";
    case Target::kAutoArchive:
      return "auto-archive";
  }
  return "";
}

absl::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kExplicit:
      return "explicit destination";
    case Stage::kReceiverFixed:
      return "fixed by the receiver";
    case Stage::kReceiverExpression:
      return "receiver expression";
    case Stage::kSiteRule:
      return "site rule";
    case Stage::kStudyTable:
      return "study routing table";
    case Stage::kComment:
      return "comment";
    case Stage::kAttribute:
      return "attribute";
    case Stage::kLegacyRule:
      return "legacy rule";
    case Stage::kFallback:
      return "fallback";
  }
  return "";
}

absl::string_view StepResultName(StepResult result) {
  switch (result) {
    case StepResult::kTaken:
      return "taken";
    case StepResult::kAbsent:
      return "absent or empty";
    case StepResult::kNoMatch:
      return "no match";
    case StepResult::kNotAProject:
      return "no such project, or not for this sender";
    case StepResult::kNotABoolean:
      return "neither true nor false";
    case StepResult::kNotConfigured:
      return "not configured";
  }
  return "";
}

std::string Step::ToString() const {
  std::string text = absl::StrCat(TargetName(target), ": ", StageName(stage));
  if (line > 0) absl::StrAppend(&text, ", line ", line);
  if (!attribute.empty()) absl::StrAppend(&text, ", ", attribute);
  if (!candidate.empty()) absl::StrAppend(&text, ", \"", candidate, "\"");
  absl::StrAppend(&text, ": ", StepResultName(result));
  return text;
}

}  // namespace narthex::identify
