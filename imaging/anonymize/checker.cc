#include "imaging/anonymize/checker.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "imaging/anonymize/export_target.h"
#include "imaging/anonymize/function_bodies.h"
#include "imaging/anonymize/functions.h"
#include "imaging/anonymize/regex.h"
#include "imaging/anonymize/url_hosts.h"
#include "imaging/dicom/dictionary.h"

namespace narthex::anonymize {
namespace {

constexpr absl::string_view kVersions[] = {"6.0", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6"};

// Functions that only give a value: called as a statement, they do nothing.
bool GivesValueOnly(absl::string_view name) {
  static const auto& names = *new std::set<std::string, std::less<>>(
      absl::StrSplit("and collectValues concatenate equals false format getURL hashUID isPresent ismatch "
                     "lookup lowercase mapUID match newUID normalizeString or replace shiftDateByIncrement "
                     "shiftDateTimeByIncrement substring true uppercase urlEncode valueAt",
                     ' '));
  return names.count(name) != 0;
}

bool GivesTruth(absl::string_view name) {
  return name == "and" || name == "or" || name == "true" || name == "false" || name == "equals" ||
         name == "ismatch" || name == "isPresent";
}

// The expression written out, to compare two of them.
std::string Written(const Expression& expression) {
  std::string text =
      absl::StrCat(static_cast<int>(expression.kind), ":", expression.text, expression.path.text, "[");
  for (const Expression& argument : expression.arguments) absl::StrAppend(&text, Written(argument), ",");
  return text + "]";
}

std::string Written(const Condition& condition) {
  return absl::StrCat(Written(condition.left), static_cast<int>(condition.op), Written(condition.right));
}

// One attribute of the data set itself, as "(0010,0010)"; "" for other paths.
std::string RootTag(const PathPattern& path) {
  if (path.steps.size() != 1 || !path.singular() || path.steps[0].tag.has_creator) return "";
  return path.steps[0].tag.tag().ToString();
}

class Checker {
 public:
  Checker(Dialect dialect, const CompileOptions& options, Diagnostics* diagnostics)
      : dialect_(dialect),
        options_(options),
        diagnostics_(diagnostics),
        variables_(options.known_variables) {}

  // Whether the script ends with reject[] on every way through the block.
  bool CheckBlock(Block& block, int depth);

 private:
  bool CheckStatement(Statement& statement, int depth);
  void CheckTarget(const Statement& statement, int depth);
  void CheckVersion(const Statement& statement);
  bool CheckBranches(Statement& statement, int depth);
  void JoinVariables(const std::vector<std::set<std::string>>& ways, const Position& position);
  void CheckCondition(Condition& condition);
  void CheckExpression(Expression& expression);
  void CheckCall(Expression& call);
  void CheckArgument(const FunctionSpec& function, Expression& argument, ArgumentKind kind);
  void CheckPathArgument(const FunctionSpec& function, Expression& argument, bool quoted);
  void CheckLiterals(const Expression& call);
  void CheckPath(const PathPattern& path, const Position& position);
  void CheckRegex(Expression& expression);
  void CheckVariable(const std::string& name, const Position& position);
  void CheckRead(const PathPattern& path, const Position& position, absl::string_view consequence);
  void NeedsVersion6(absl::string_view what, const Position& position);
  // 1: always true, 0: never, -1: it depends.
  static int Constant(const Condition& condition);

  void Add(Severity severity, const Position& at, absl::string_view code, absl::string_view message) {
    diagnostics_->push_back({severity, at.line, at.column, std::string(code), std::string(message)});
  }
  void Error(const Position& at, absl::string_view code, absl::string_view message) {
    Add(Severity::kError, at, code, message);
  }
  void Warn(const Position& at, absl::string_view code, absl::string_view message) {
    Add(Severity::kWarning, at, code, message);
  }

  const Dialect dialect_;
  const CompileOptions& options_;
  Diagnostics* diagnostics_;
  std::set<std::string> variables_;     // that are set here in every case
  std::map<std::string, int> maybe_;    // variable -> line that describes it, or sets it under conditions
  std::map<std::string, int> removed_;  // attribute -> line that removes it in every case
  int private_removed_ = 0;             // line that removes all private attributes; 0: none
};

void Checker::NeedsVersion6(absl::string_view what, const Position& position) {
  if (dialect_ == Dialect::kDicomEdit6) return;
  Warn(position, "NEEDS_VERSION",
       absl::StrCat(what,
                    " is not in DicomEdit 4, which XNAT runs scripts without version with; begin the script "
                    "with version \"6.6\""));
}

void Checker::CheckPath(const PathPattern& path, const Position& position) {
  for (const PathStep& step : path.steps) {
    if (step.kind != PathStep::Kind::kElement) {
      NeedsVersion6("a wildcard for levels", position);
      continue;
    }
    if (step.tag.has_creator) NeedsVersion6("a private creator", position);
    if (step.tag.has_creator || !step.tag.exact()) continue;
    const dicom::Tag tag = step.tag.tag();
    if (!tag.is_private() && !tag.is_group_length() && dicom::FindEntry(tag) == nullptr) {
      Warn(position, "UNKNOWN_TAG", absl::StrCat(tag.ToString(), " is not in the DICOM dictionary"));
    }
  }
  for (size_t i = 0; i + 1 < path.steps.size(); ++i) {
    const PathStep& step = path.steps[i];
    if (step.kind != PathStep::Kind::kElement || step.tag.has_creator || !step.tag.exact()) continue;
    const dicom::DictionaryEntry* entry = dicom::FindEntry(step.tag.tag());
    if (entry != nullptr && entry->vr != dicom::Vr::kSQ) {
      Error(position, "NO_SEQUENCE",
            absl::StrCat(step.tag.tag().ToString(), " is ", entry->keyword,
                         ", which is no sequence, so nothing can be in it"));
    }
  }
}

void Checker::CheckRead(const PathPattern& path, const Position& position, absl::string_view consequence) {
  const bool is_private = path.steps.size() == 1 && path.steps[0].tag.has_creator;
  if (is_private && private_removed_ > 0) {
    return Warn(
        position, "UNREACHABLE",
        absl::StrCat("private attributes were removed in line ", private_removed_, ", so ", consequence));
  }
  const auto removed = removed_.find(RootTag(path));
  if (removed == removed_.end()) return;
  Warn(position, "UNREACHABLE",
       absl::StrCat(removed->first, " was removed in line ", removed->second, ", so ", consequence));
}

void Checker::CheckVariable(const std::string& name, const Position& position) {
  if (variables_.count(name) != 0) return;
  if (const auto maybe = maybe_.find(name); maybe != maybe_.end()) {
    return Warn(position, "UNSET_VARIABLE",
                absl::StrCat("the variable ", name, " may have no value here: see line ", maybe->second,
                             ", which describes it or sets it under conditions; then the object is refused"));
  }
  Add(options_.lenient_variables ? Severity::kWarning : Severity::kError, position, "UNSET_VARIABLE",
      absl::StrCat("the variable ", name, " is never set; known are ", absl::StrJoin(variables_, ", ")));
}

void Checker::CheckRegex(Expression& expression) {
  if (expression.kind != Expression::Kind::kString) return;
  absl::StatusOr<std::shared_ptr<const RE2>> regex = CompileRegex(expression.text);
  if (regex.ok()) {
    expression.regex = *std::move(regex);
  } else {
    Error(expression.position, "REGEX", regex.status().message());
  }
}

void Checker::CheckExpression(Expression& expression) {
  switch (expression.kind) {
    case Expression::Kind::kVariable:
      return CheckVariable(expression.text, expression.position);
    case Expression::Kind::kPath:
      CheckRead(expression.path, expression.position, "there is no value here");
      return CheckPath(expression.path, expression.position);
    case Expression::Kind::kCall:
      return CheckCall(expression);
    case Expression::Kind::kList:
      NeedsVersion6("a list", expression.position);
      for (Expression& argument : expression.arguments) CheckExpression(argument);
      return;
    default:
      return;
  }
}

void Checker::CheckPathArgument(const FunctionSpec& function, Expression& argument, bool quoted) {
  switch (argument.kind) {
    case Expression::Kind::kPath:
      if (quoted) {
        Error(argument.position, "UNQUOTED_PATH",
              absl::StrCat(function.name, " takes its path as a string: write \"", argument.path.text,
                           "\"; without quotes XNAT does nothing here"));
      }
      return CheckPath(argument.path, argument.position);
    case Expression::Kind::kString: {
      size_t consumed = 0;
      absl::StatusOr<PathPattern> path =
          ParsePath(argument.text, dialect_ == Dialect::kDicomEdit4, &consumed, nullptr);
      if (!path.ok() || consumed != argument.text.size()) {
        return Error(argument.position, "BAD_PATH",
                     absl::StrCat(function.name, ": this is no tag path", path.ok() ? "" : ": ",
                                  path.ok() ? "" : path.status().message()));
      }
      argument.path = *std::move(path);
      return CheckPath(argument.path, argument.position);
    }
    case Expression::Kind::kList:
      for (Expression& inner : argument.arguments) CheckPathArgument(function, inner, quoted);
      return;
    case Expression::Kind::kNumber:
      return Error(argument.position, "BAD_PATH", absl::StrCat(function.name, " wants a tag path here"));
    default:
      return CheckExpression(argument);
  }
}

void Checker::CheckArgument(const FunctionSpec& function, Expression& argument, ArgumentKind kind) {
  if (kind == ArgumentKind::kPath || kind == ArgumentKind::kQuotedPath) {
    return CheckPathArgument(function, argument, kind == ArgumentKind::kQuotedPath);
  }
  if (kind == ArgumentKind::kRegex) CheckRegex(argument);
  if (kind == ArgumentKind::kValue && argument.kind == Expression::Kind::kList) {
    Error(argument.position, "LIST", absl::StrCat(function.name, " wants a single value here, not a list"));
  }
  CheckExpression(argument);
}

// What can be seen from arguments that are written out.
void Checker::CheckLiterals(const Expression& call) {
  const auto literal = [&](size_t i) {
    return i < call.arguments.size() && call.arguments[i].kind == Expression::Kind::kString;
  };
  if (call.text == "alterPixels") {
    int64_t numbers[4];
    if (literal(0) && call.arguments[0].text != "rectangle")
      Error(call.arguments[0].position, "ALTER_PIXELS", "only \"rectangle\" is known");
    if (literal(1) && !ParseParameters(call.arguments[1].text, "ltrb", numbers))
      Error(call.arguments[1].position, "ALTER_PIXELS", "\"l=,t=,r=,b=\" with whole numbers is wanted");
    if (literal(2) && call.arguments[2].text != "solid")
      Error(call.arguments[2].position, "ALTER_PIXELS", "only \"solid\" is known");
    if (literal(3) && !ParseParameters(call.arguments[3].text, "v", numbers))
      Error(call.arguments[3].position, "ALTER_PIXELS", "\"v=\" with a whole number is wanted");
  } else if (call.text == "getURL") {
    const bool known = !literal(0) || IsAllowedUrl(call.arguments[0].text, options_.url_hosts);
    if (options_.url_hosts.empty() || !known) {
      Error(call.position, "URL_NOT_ALLOWED",
            "getURL is off here: the administrator has to allow the host first");
    }
  } else if (call.text == "equals") {
    for (const Expression& argument : call.arguments) {
      if (argument.kind == Expression::Kind::kPath)
        Warn(argument.position, "EQUALS_PATH",
             "equals compares the tag as it is written, not the attribute's value; use = instead");
    }
  } else if (call.text == "set" && !call.arguments.empty() && !call.arguments[0].path.empty() &&
             !call.arguments[0].path.singular()) {
    Error(call.arguments[0].position, "AMBIGUOUS_TARGET",
          "the path may match several attributes; set sets one, ?= sets all that exist");
  }
}

void Checker::CheckCall(Expression& call) {
  call.function = FindFunction(call.text);
  if (call.function == nullptr || (call.function->only_dicomedit4 && dialect_ == Dialect::kDicomEdit6)) {
    const absl::string_view similar = SimilarFunction(call.text);
    const std::string hint = call.function != nullptr ? "; it exists in DicomEdit 4 only"
                             : similar.empty()        ? ""
                                                      : absl::StrCat("; do you mean ", similar, "?");
    Error(call.position, "UNKNOWN_FUNCTION", absl::StrCat("there is no function ", call.text, hint));
    call.function = nullptr;
    for (Expression& argument : call.arguments) CheckExpression(argument);
    return;
  }
  const FunctionSpec& function = *call.function;
  if (!function.dicomedit4) NeedsVersion6(absl::StrCat("the function ", function.name), call.position);
  const auto count = static_cast<int>(call.arguments.size());
  if (count < function.min_arguments || (function.max_arguments >= 0 && count > function.max_arguments)) {
    Error(call.position, "ARITY",
          absl::StrCat(call.text, " cannot take ", count, " arguments: ", function.usage));
  }
  for (size_t i = 0; i < call.arguments.size(); ++i)
    CheckArgument(function, call.arguments[i], function.KindOf(i));
  CheckLiterals(call);
}

void Checker::CheckCondition(Condition& condition) {
  using Operator = Condition::Operator;
  CheckExpression(condition.left);
  if (condition.op == Operator::kTrue) {
    if (condition.left.function != nullptr && !GivesTruth(condition.left.text)) {
      Warn(condition.left.position, "NO_CONDITION",
           absl::StrCat(condition.left.text, " does not give true or false, so this may never hold"));
    }
    return;
  }
  CheckExpression(condition.right);
  if (condition.op == Operator::kMatches || condition.op == Operator::kMatchesNot)
    CheckRegex(condition.right);
  if (condition.op == Operator::kDiffers || condition.op == Operator::kMatchesNot)
    NeedsVersion6("!= or !~", condition.left.position);
}

int Checker::Constant(const Condition& condition) {
  using Operator = Condition::Operator;
  if (condition.op == Operator::kTrue)
    return condition.left.text == "true" ? 1 : condition.left.text == "false" ? 0 : -1;
  const auto literal = [](const Expression& expression) {
    return expression.kind == Expression::Kind::kString || expression.kind == Expression::Kind::kNumber;
  };
  if (!literal(condition.left) || !literal(condition.right)) return -1;
  if (condition.op == Operator::kMatches || condition.op == Operator::kMatchesNot) {
    if (condition.right.regex == nullptr) return -1;
    return RE2::FullMatch(condition.left.text, *condition.right.regex) == (condition.op == Operator::kMatches)
               ? 1
               : 0;
  }
  return (condition.left.text == condition.right.text) == (condition.op == Operator::kEquals) ? 1 : 0;
}

// Of variables that the branches of the statement set, those count that are set on each of the `ways` on.
void Checker::JoinVariables(const std::vector<std::set<std::string>>& ways, const Position& position) {
  std::map<std::string, size_t> counts;
  for (const std::set<std::string>& way : ways) {
    for (const std::string& name : way) ++counts[name];
  }
  for (const auto& [name, count] : counts) {
    if (count == ways.size()) {
      variables_.insert(name);
    } else {
      maybe_.emplace(name, position.line);
    }
  }
}

bool Checker::CheckBranches(Statement& statement, int depth) {
  std::set<std::string> conditions;
  bool always = false;
  const std::set<std::string> before = variables_;
  std::vector<std::set<std::string>> ways;  // the variables that are set behind each branch that is left
  for (Branch& branch : statement.branches) {
    const Position position = branch.has_condition ? branch.condition.left.position : statement.position;
    const bool was_always = always;
    bool never = false;
    if (always) Warn(position, "UNREACHABLE", "a condition before this one always holds");
    if (branch.has_condition) {
      CheckCondition(branch.condition);
      const int constant = Constant(branch.condition);
      never = constant == 0;
      if (never) Warn(position, "UNREACHABLE", "this condition never holds");
      if (!conditions.insert(Written(branch.condition)).second)
        Warn(position, "UNREACHABLE", "the same condition was tried before");
      always = always || constant == 1;
    }
    const bool ends = CheckBlock(branch.block, depth + 1);
    if (!was_always && !never && !ends) ways.push_back(variables_);
    variables_ = before;
    always = always || !branch.has_condition;
  }
  if (!always) ways.push_back(before);
  JoinVariables(ways, statement.position);
  return ways.empty();
}

void Checker::CheckVersion(const Statement& statement) {
  if (absl::StartsWith(statement.text, "4")) return;
  if (std::find(std::begin(kVersions), std::end(kVersions), statement.text) != std::end(kVersions)) return;
  Error(statement.position, "UNSUPPORTED_VERSION",
        absl::StrCat("version ", statement.text, " is not supported; versions are ",
                     absl::StrJoin(kVersions, ", ")));
}

void Checker::CheckTarget(const Statement& statement, int depth) {
  using Kind = Statement::Kind;
  const PathPattern& path = statement.target;
  CheckPath(path, statement.position);
  const std::string tag = RootTag(path);
  if (statement.kind == Kind::kAssign) {
    if (!path.singular()) {
      Error(statement.position, "AMBIGUOUS_TARGET",
            "the path may match several attributes: give item numbers, or use ?= to set all that exist");
    }
    removed_.erase(tag);
    if (path.steps.size() == 1 && path.steps[0].tag.has_creator) private_removed_ = 0;
  } else if (statement.kind == Kind::kAssignIfPresent) {
    CheckRead(path, statement.position, "this sets nothing");
  } else {
    CheckRead(path, statement.position, "this removes nothing");
  }
  if (statement.kind == Kind::kDelete && !tag.empty() && depth == 0) {
    removed_.emplace(tag, statement.position.line);
  }
  if (path.steps.size() != 1 || !path.steps[0].tag.exact() || path.steps[0].tag.has_creator) return;
  const dicom::Tag target = path.steps[0].tag.tag();
  if (target == dicom::tags::kPixelData) {
    Error(statement.position, "PIXEL_DATA",
          "PixelData cannot be removed or set by a script; alterPixels changes pixels, reject[] refuses "
          "objects");
  } else if (target.group() == 0x0002) {
    Warn(statement.position, "FILE_META",
         "the file meta group is out of reach of scripts: it is made to fit the data set by itself");
  }
}

// Whether the script ends here.
bool Checker::CheckStatement(Statement& statement, int depth) {
  using Kind = Statement::Kind;
  switch (statement.kind) {
    case Kind::kAssign:
    case Kind::kAssignIfPresent:
      if (statement.kind == Kind::kAssignIfPresent) NeedsVersion6("?=", statement.position);
      CheckExpression(statement.value);
      CheckTarget(statement, depth);
      return false;
    case Kind::kDelete:
      CheckTarget(statement, depth);
      return false;
    case Kind::kSetVariable:
      CheckExpression(statement.value);
      variables_.insert(statement.name);
      return false;
    case Kind::kCall:
      CheckExpression(statement.value);
      if (GivesValueOnly(statement.value.text)) {
        Warn(statement.position, "RESULT_UNUSED",
             absl::StrCat(statement.value.text, " only gives a value; as a statement it does nothing"));
      }
      if (statement.value.text == "set" && !statement.value.arguments.empty())
        removed_.erase(RootTag(statement.value.arguments[0].path));
      return statement.value.text == "reject";
    case Kind::kEcho:
      if (statement.has_value) CheckExpression(statement.value);
      return false;
    case Kind::kBranches:
      return CheckBranches(statement, depth);
    case Kind::kRemoveAllPrivate:
      NeedsVersion6("removeAllPrivateTags", statement.position);
      if (depth == 0) private_removed_ = statement.position.line;
      return false;
    case Kind::kDescribe:
      maybe_.emplace(statement.name, statement.position.line);
      return false;
    case Kind::kExport:
      if (!ExportTargetOf(statement.text)) {
        Warn(
            statement.position, "EXPORT",
            "nothing is written: headers and routing say this of a session, no export; change the attribute, "
            "or name a custom field: \"fields/NAME\"");
      }
      CheckVariable(statement.name, statement.position);
      return false;
    case Kind::kVersion:
      CheckVersion(statement);
      return false;
  }
  return false;
}

bool Checker::CheckBlock(Block& block, int depth) {
  bool ended = false, told = false;
  for (Statement& statement : block) {
    if (ended && !told) {
      Warn(statement.position, "UNREACHABLE", "reject[] before this ends the script");
      told = true;
    }
    ended = CheckStatement(statement, depth) || ended;
  }
  return ended;
}

}  // namespace

void CheckParsed(ParsedScript& script, const CompileOptions& options, Diagnostics* diagnostics) {
  Checker(script.dialect, options, diagnostics).CheckBlock(script.statements, 0);
  std::stable_sort(diagnostics->begin(), diagnostics->end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
}

}  // namespace narthex::anonymize
