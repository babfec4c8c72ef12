#include "imaging/anonymize/evaluator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits_scripts.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "imaging/anonymize/export_target.h"
#include "imaging/anonymize/functions.h"
#include "imaging/anonymize/regex.h"
#include "imaging/anonymize/uids.h"
#include "imaging/dicom/charset.h"

namespace narthex::anonymize {

using dicom::Item;
using dicom::Sequence;
using dicom::Tag;

namespace {

// Items that one assignment may add before the one that it names.

// What lives outside of the data set that scripts work on: file meta and the pixels themselves.
bool OutOfReach(Tag tag) { return tag.group() == 0x0002 || tag == dicom::tags::kPixelData; }

}  // namespace

absl::Status Evaluator::Fail(const Position& position, absl::string_view what) const {
  return InvalidArgument("ANONYMIZATION_FAILED",
                         absl::StrCat("the anonymization script failed in line ", position.line, ", column ",
                                      position.column, ": ", what),
                         {{"line", absl::StrCat(position.line)}, {"column", absl::StrCat(position.column)}});
}

const std::string& Evaluator::Key() {
  if (context_.key.empty()) context_.key = RandomBytes(32);
  return context_.key;
}

absl::Status Evaluator::Run(const Block& block) {
  for (const Statement& statement : block) {
    if (stopped_) break;
    NX_RETURN_IF_ERROR(budget_.Spend(1));
    NX_RETURN_IF_ERROR(RunStatement(statement));
  }
  return absl::OkStatus();
}

bool Evaluator::IsMadeOfVariables(const Expression& expression) const {
  using Kind = Expression::Kind;
  if (expression.kind == Kind::kPath || expression.kind == Kind::kNewUid) return false;
  if (expression.kind == Kind::kVariable) return from_object_.count(expression.text) == 0;
  if (expression.kind == Kind::kCall) {
    const FunctionSpec& function = *expression.function;
    if (function.name == "newUID") return false;
    for (const ArgumentKind kind : function.kinds) {
      if (kind != ArgumentKind::kValue && kind != ArgumentKind::kRegex) return false;
    }
  }
  return std::all_of(expression.arguments.begin(), expression.arguments.end(),
                     [this](const Expression& argument) { return IsMadeOfVariables(argument); });
}

bool Evaluator::IsLeftOut(const Statement& statement) const {
  using Kind = Statement::Kind;
  switch (statement.kind) {
    case Kind::kAssign:
    case Kind::kAssignIfPresent:
      return !IsMadeOfVariables(statement.value);
    case Kind::kDelete:
    case Kind::kCall:
    case Kind::kRemoveAllPrivate:
      return true;
    default:
      return false;
  }
}

absl::Status Evaluator::RunStatement(const Statement& statement) {
  using Kind = Statement::Kind;
  if (context_.repeats && IsLeftOut(statement)) return absl::OkStatus();
  switch (statement.kind) {
    case Kind::kAssign:
    case Kind::kAssignIfPresent: {
      NX_ASSIGN_OR_RETURN(const Value value, Evaluate(statement.value));
      if (value.null()) return absl::OkStatus();
      const std::string text = value.is_list ? absl::StrJoin(value.list, "\\") : *value.text;
      return statement.kind == Kind::kAssign ? Assign(statement.position, statement.target, text)
                                             : AssignIfPresent(statement.position, statement.target, text);
    }
    case Kind::kDelete:
      return Delete(statement.target);
    case Kind::kSetVariable:
      return RunSetVariable(statement);
    case Kind::kCall:
      return Evaluate(statement.value).status();
    case Kind::kEcho: {
      Value value(std::string{});
      if (statement.has_value) {
        NX_ASSIGN_OR_RETURN(value, Evaluate(statement.value));
      }
      if (result_.echoes.size() < limits::kScriptEchoesMax)
        result_.echoes.emplace_back(value.text.value_or(""));
      return absl::OkStatus();
    }
    case Kind::kBranches:
      return RunBranches(statement);
    case Kind::kRemoveAllPrivate: {
      NX_ASSIGN_OR_RETURN(std::vector<PathMatch> found,
                          FindElements(data_, budget_, [](const Item&, const dicom::Element& element) {
                            return element.tag().is_private();
                          }));
      RemoveMatches(std::move(found));
      return absl::OkStatus();
    }
    case Kind::kExport:
      return RunExport(statement);
    case Kind::kDescribe:
    case Kind::kVersion:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Evaluator::RunSetVariable(const Statement& statement) {
  if (context_.repeats && !IsMadeOfVariables(statement.value)) {
    from_object_.insert(statement.name);
    values_[statement.name] = Value();
    return absl::OkStatus();
  }
  NX_ASSIGN_OR_RETURN(Value value, Evaluate(statement.value));
  output_bytes_ += value.text.has_value() ? value.text->size() : 0;
  for (const std::string& item : value.list) output_bytes_ += item.size();
  if (output_bytes_ > context_.max_output_bytes) {
    return ResourceExhausted("ANONYMIZATION_FAILED", "the script makes too many bytes of values");
  }
  values_[statement.name] = std::move(value);
  return absl::OkStatus();
}

absl::Status Evaluator::RunExport(const Statement& statement) {
  const std::optional<std::string> target = ExportTargetOf(statement.text);
  if (!target.has_value()) return absl::OkStatus();
  std::optional<std::string> text;
  if (const auto value = values_.find(statement.name); value != values_.end()) {
    text = value->second.is_list ? absl::StrJoin(value->second.list, "\\") : value->second.text;
  } else if (const auto given = variables_.find(statement.name); given != variables_.end()) {
    text = given->second;
  }
  // The value of an attribute that is absent: this object says nothing of the field.
  if (!text.has_value()) return absl::OkStatus();
  text = dicom::ToUtf8(*text, "ISO_IR 192", dicom::TextKind::kText);
  // One that is too long is told from one that fits by its length, and refused where it would be kept.
  if (text->size() > limits::kCustomFieldMaxBytes) text->resize(limits::kCustomFieldMaxBytes + 1);
  if (result_.exports.size() >= limits::kCustomFieldsMax && result_.exports.count(*target) == 0)
    return Fail(statement.position, "the script exports too many values");
  output_bytes_ += text->size();
  if (output_bytes_ > context_.max_output_bytes) {
    return ResourceExhausted("ANONYMIZATION_FAILED", "the script makes too many bytes of values");
  }
  result_.exports[*target] = Phi<std::string>(*std::move(text));
  return absl::OkStatus();
}

absl::Status Evaluator::RunBranches(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    bool holds = true;
    if (branch.has_condition) {
      NX_ASSIGN_OR_RETURN(holds, Holds(branch.condition));
    }
    if (holds) return Run(branch.block);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Evaluator::Matches(const Condition& condition, const std::string& text,
                                        const std::string& pattern) {
  NX_RETURN_IF_ERROR(budget_.Spend(static_cast<int64_t>(text.size() / 64)));
  if (condition.right.regex != nullptr) return RE2::FullMatch(text, *condition.right.regex);
  const absl::StatusOr<std::shared_ptr<const RE2>> regex = CompileRegex(pattern);
  if (!regex.ok()) return Fail(condition.right.position, "the value on the right is no usable pattern");
  return RE2::FullMatch(text, **regex);
}

absl::StatusOr<bool> Evaluator::Holds(const Condition& condition) {
  using Operator = Condition::Operator;
  NX_RETURN_IF_ERROR(budget_.Spend(1));
  NX_ASSIGN_OR_RETURN(const Value left, Evaluate(condition.left));
  if (condition.op == Operator::kTrue) return left.text.has_value() && *left.text == "true";
  NX_ASSIGN_OR_RETURN(const Value right, Evaluate(condition.right));
  const bool negated = condition.op == Operator::kDiffers || condition.op == Operator::kMatchesNot;
  if (!left.text.has_value() || !right.text.has_value())
    return negated;  // absent: equals and matches nothing
  bool same = *left.text == *right.text;
  if (condition.op == Operator::kMatches || condition.op == Operator::kMatchesNot) {
    NX_ASSIGN_OR_RETURN(same, Matches(condition, *left.text, *right.text));
  }
  return same != negated;
}

absl::StatusOr<Value> Evaluator::Evaluate(const Expression& expression) {
  NX_RETURN_IF_ERROR(budget_.Spend(1));
  using Kind = Expression::Kind;
  switch (expression.kind) {
    case Kind::kString:
    case Kind::kNumber:
      return Value(expression.text);
    case Kind::kNewUid:
      return Value(RandomUid());
    case Kind::kPath:
      return ReadPath(expression.path);
    case Kind::kCall:
      return expression.function->call(*this, expression);
    case Kind::kVariable: {
      const auto value = values_.find(expression.text);
      if (value != values_.end()) return value->second;
      const auto given = variables_.find(expression.text);
      if (given != variables_.end()) return Value(given->second);
      return Fail(expression.position, absl::StrCat("the variable ", expression.text, " has no value"));
    }
    case Kind::kList: {
      std::vector<std::string> list;
      for (const Expression& argument : expression.arguments) {
        NX_ASSIGN_OR_RETURN(const Value value, Evaluate(argument));
        if (value.text.has_value()) list.push_back(*value.text);
        list.insert(list.end(), value.list.begin(), value.list.end());
      }
      return Value::List(std::move(list));
    }
  }
  return Value();
}

absl::StatusOr<std::optional<std::string>> Evaluator::Text(const Expression& call, size_t argument) {
  NX_ASSIGN_OR_RETURN(Value value, Evaluate(call.arguments[argument]));
  if (value.is_list) {
    return Fail(call.arguments[argument].position,
                absl::StrCat(call.text, " wants a single value, not a list"));
  }
  return std::move(value.text);
}

absl::StatusOr<std::string> Evaluator::RequiredText(const Expression& call, size_t argument) {
  NX_ASSIGN_OR_RETURN(std::optional<std::string> text, Text(call, argument));
  if (text.has_value()) return *std::move(text);
  return Fail(call.arguments[argument].position,
              absl::StrCat(call.text, ": argument ", argument + 1, " has no value, its attribute is absent"));
}

absl::StatusOr<int64_t> Evaluator::Integer(const Expression& call, size_t argument) {
  NX_ASSIGN_OR_RETURN(const std::string text, RequiredText(call, argument));
  int64_t number;
  if (absl::SimpleAtoi(text, &number)) return number;
  return Fail(call.arguments[argument].position,
              absl::StrCat(call.text, ": argument ", argument + 1, " is no whole number"));
}

absl::StatusOr<std::vector<PathPattern>> Evaluator::Paths(const Expression& argument) {
  std::vector<PathPattern> paths;
  if (!argument.path.empty()) {  // a tag path, or a string that the checker read as one
    paths.push_back(argument.path);
    return paths;
  }
  if (argument.kind == Expression::Kind::kList) {
    for (const Expression& inner : argument.arguments) {
      NX_ASSIGN_OR_RETURN(std::vector<PathPattern> more, Paths(inner));
      paths.insert(paths.end(), more.begin(), more.end());
    }
    return paths;
  }
  NX_ASSIGN_OR_RETURN(const Value value, Evaluate(argument));
  std::vector<std::string> texts = value.list;
  if (value.text.has_value()) texts.push_back(*value.text);
  for (const std::string& text : texts) {
    size_t consumed = 0;
    absl::StatusOr<PathPattern> path = ParsePath(text, odd_without_creator_, &consumed, nullptr);
    if (!path.ok() || consumed != text.size()) return Fail(argument.position, "the value is no tag path");
    paths.push_back(*std::move(path));
  }
  return paths;
}

absl::StatusOr<std::vector<PathMatch>> Evaluator::MatchArguments(const Expression& call, size_t first) {
  std::vector<PathMatch> all;
  for (size_t i = first; i < call.arguments.size(); ++i) {
    NX_ASSIGN_OR_RETURN(const std::vector<PathPattern> paths, Paths(call.arguments[i]));
    for (const PathPattern& path : paths) {
      NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, FindMatches(data_, path, budget_));
      all.insert(all.end(), found.begin(), found.end());
    }
  }
  std::set<std::pair<Item*, Tag>> seen;
  std::erase_if(all, [&](const PathMatch& match) { return !seen.insert({match.item, match.tag}).second; });
  return all;
}

absl::StatusOr<Value> Evaluator::ReadPath(const PathPattern& path) {
  NX_ASSIGN_OR_RETURN(std::vector<PathMatch> found, FindMatches(data_, path, budget_));
  if (found.empty() && header_ != nullptr) {
    // Only read, whatever the type of the match says.
    NX_ASSIGN_OR_RETURN(found, FindMatches(const_cast<dicom::DataSet&>(*header_), path, budget_));
  }
  if (found.empty()) return Value();
  std::optional<std::string> text = found[0].item->GetText(found[0].tag);
  Value value;
  value.text = std::move(text);
  return value;
}

absl::Status Evaluator::SetText(const Position& position, Item& item, Tag tag, absl::string_view text) {
  output_bytes_ += text.size();
  if (output_bytes_ > context_.max_output_bytes) {
    return ResourceExhausted(
        "ANONYMIZATION_FAILED",
        absl::StrCat("the script writes more than ", context_.max_output_bytes, " bytes of values"));
  }
  const absl::Status status = item.SetText(tag, text);
  return status.ok() ? status : Fail(position, status.message());
}

absl::StatusOr<Tag> Evaluator::ResolveTag(const Position& position, Item& item, const TagPattern& pattern) {
  if (!pattern.has_creator) return pattern.tag();
  const absl::StatusOr<Tag> tag =
      item.ReservePrivateTag(static_cast<uint16_t>(pattern.value >> 16), pattern.creator,
                             static_cast<uint8_t>(pattern.value & 0xff));
  return tag.ok() ? tag : Fail(position, tag.status().message());
}

absl::Status Evaluator::Assign(const Position& position, const PathPattern& path, absl::string_view text) {
  if (!path.singular()) {
    return Fail(position, absl::StrCat(path.text,
                                       " may match several attributes; := sets one, ?= sets all that exist"));
  }
  if (header_ != nullptr) return AssignIfPresent(position, path, text);
  Item* item = &data_;
  for (size_t i = 0; i + 1 < path.steps.size(); ++i) {
    const PathStep& step = path.steps[i];
    NX_ASSIGN_OR_RETURN(const Tag tag, ResolveTag(position, *item, step.tag));
    Sequence& sequence = item->EnsureSequence(tag);
    if (step.index >= sequence.size() + limits::kScriptNewItemsMax)
      return Fail(position, "the item number is far beyond the last item");
    while (sequence.size() <= step.index) {
      NX_RETURN_IF_ERROR(budget_.Spend(1));
      sequence.Append();
    }
    item = &sequence.item(step.index);
  }
  NX_ASSIGN_OR_RETURN(const Tag tag, ResolveTag(position, *item, path.steps.back().tag));
  if (OutOfReach(tag)) return absl::OkStatus();
  return SetText(position, *item, tag, text);
}

absl::Status Evaluator::AssignIfPresent(const Position& position, const PathPattern& path,
                                        absl::string_view text) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, FindMatches(data_, path, budget_));
  for (const PathMatch& match : found) NX_RETURN_IF_ERROR(SetText(position, *match.item, match.tag, text));
  return absl::OkStatus();
}

absl::Status Evaluator::Delete(const PathPattern& path) {
  if (path.steps.size() == 1 && path.steps[0].tag.exact() && !path.steps[0].tag.has_creator) {
    data_.Remove(path.steps[0].tag.tag());  // by far the most frequent
    return absl::OkStatus();
  }
  NX_ASSIGN_OR_RETURN(std::vector<PathMatch> found, FindMatches(data_, path, budget_));
  RemoveMatches(std::move(found));
  return absl::OkStatus();
}

}  // namespace narthex::anonymize
