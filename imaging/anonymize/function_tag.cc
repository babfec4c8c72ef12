#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/limits_scripts.h"
#include "base/status.h"
#include "imaging/anonymize/function_bodies.h"
#include "imaging/anonymize/record.h"

namespace narthex::anonymize {

bool ParseParameters(absl::string_view text, absl::string_view keys, int64_t* values) {
  std::set<char> seen;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    part = absl::StripAsciiWhitespace(part);
    const size_t equals = part.find('=');
    const absl::string_view key = absl::StripAsciiWhitespace(part.substr(0, equals));
    const size_t index = key.size() == 1 ? keys.find(key[0]) : absl::string_view::npos;
    if (equals == absl::string_view::npos || index == absl::string_view::npos) return false;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(part.substr(equals + 1)), &values[index])) return false;
    seen.insert(key[0]);
  }
  return seen.size() == keys.size();
}

namespace functions {
namespace {

using dicom::Element;
using dicom::Item;
using dicom::Tag;

using Attribute = std::pair<const Item*, Tag>;

// The sequence that holds `item`, as an attribute of the item around it.
Attribute ContainerOf(const Item& item) {
  for (const Element& element : item.parent()->elements()) {
    if (element.sequence() == nullptr) continue;
    for (size_t i = 0; i < element.sequence()->size(); ++i) {
      if (&element.sequence()->item(i) == &item) return {item.parent(), element.tag()};
    }
  }
  return {nullptr, Tag()};
}

// What retainPrivateTags keeps: `kept` with all that is in it, `ways` as the way to something kept.
struct Retained {
  std::set<Attribute> kept;
  std::set<Attribute> ways;
};

// Removes creators whose block holds nothing any more.
void RemoveIdleCreators(Item& item) {
  std::set<Tag> used;
  for (const Element& element : item.elements()) {
    if (element.tag().is_private() && element.tag().element() >= 0x1000)
      used.insert(element.tag().private_creator());
  }
  item.RemoveIf([&](const Element& element) {
    return element.tag().is_private_creator() && used.count(element.tag()) == 0;
  });
}

// Recursion is bounded by the nesting of the data set.
void RemovePrivateExcept(Item& item, const Retained& retained) {
  item.RemoveIf([&](const Element& element) {
    const Attribute attribute{&item, element.tag()};
    return element.tag().is_private() && !element.tag().is_private_creator() &&
           retained.kept.count(attribute) == 0 && retained.ways.count(attribute) == 0;
  });
  RemoveIdleCreators(item);
  for (Element& element : item.elements()) {
    if (element.sequence() == nullptr || retained.kept.count({&item, element.tag()}) != 0) continue;
    for (size_t i = 0; i < element.sequence()->size(); ++i)
      RemovePrivateExcept(element.sequence()->item(i), retained);
  }
}

}  // namespace

Return DeletePath(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(std::vector<PathMatch> found, evaluator.MatchArguments(call, 0));
  RemoveMatches(std::move(found));
  return Value();
}

Return RemoveTags(Evaluator& evaluator, const Expression& call) { return DeletePath(evaluator, call); }

Return SetPath(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathPattern> paths, evaluator.Paths(call.arguments[0]));
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, 1));
  if (!text.has_value()) return Value();
  for (const PathPattern& path : paths) NX_RETURN_IF_ERROR(evaluator.Assign(call.position, path, *text));
  return Value();
}

Return RetainPrivateTags(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(call, 0));
  Retained retained;
  for (const PathMatch& match : found) {
    retained.kept.insert({match.item, match.tag});
    for (const Item* item = match.item; item->parent() != nullptr; item = item->parent()) {
      NX_RETURN_IF_ERROR(evaluator.budget().Spend(1));
      retained.ways.insert(ContainerOf(*item));
    }
  }
  NX_RETURN_IF_ERROR(evaluator.budget().Spend(static_cast<int64_t>(evaluator.data().element_count())));
  RemovePrivateExcept(evaluator.data(), retained);
  return Value();
}

Return IsPresent(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(call, 0));
  if (!found.empty() || evaluator.header() == nullptr) return Value::Bool(!found.empty());
  NX_ASSIGN_OR_RETURN(const std::vector<PathPattern> paths, evaluator.Paths(call.arguments[0]));
  for (const PathPattern& path : paths) {
    NX_ASSIGN_OR_RETURN(const Value value, evaluator.ReadPath(path));
    if (!value.null()) return Value::Bool(true);
  }
  return Value::Bool(false);
}

Return ValueAt(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathPattern> paths, evaluator.Paths(call.arguments[0]));
  if (paths.size() != 1) return evaluator.Fail(call.position, "valueAt wants one tag path");
  return evaluator.ReadPath(paths[0]);
}

Return CollectValues(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(call, 0));
  std::vector<std::string> values;
  for (const PathMatch& match : found) {
    std::optional<std::string> text = match.item->GetText(match.tag);
    if (text.has_value() && !text->empty()) values.push_back(*std::move(text));
  }
  return Value::List(std::move(values));
}

Return BlankValues(Evaluator& evaluator, const Expression& call) {
  std::set<std::string> wanted;
  for (const Expression& argument : call.arguments) {
    NX_ASSIGN_OR_RETURN(const Value value, evaluator.Evaluate(argument));
    if (value.text.has_value()) wanted.insert(*value.text);
    wanted.insert(value.list.begin(), value.list.end());
  }
  wanted.erase("");
  NX_ASSIGN_OR_RETURN(
      const std::vector<PathMatch> found,
      FindElements(evaluator.data(), evaluator.budget(), [&](const Item& item, const Element& element) {
        const std::optional<std::string> text = item.TextOf(element);
        return text.has_value() && wanted.count(*text) != 0;
      }));
  for (const PathMatch& match : found) {
    if (Element* element = match.item->Find(match.tag)) match.item->SetEmpty(*element);
  }
  return Value();
}

Return Reject(Evaluator& evaluator, const Expression& call) {
  evaluator.result().outcome = Result::Outcome::kRejected;
  evaluator.result().reject_reason =
      absl::StrCat("the script rejects this object in line ", call.position.line);
  evaluator.Stop();
  return Value();
}

Return AlterPixels(Evaluator& evaluator, const Expression& call) {
  std::string arguments[4];
  for (size_t i = 0; i < 4; ++i) {
    NX_ASSIGN_OR_RETURN(arguments[i], evaluator.RequiredText(call, i));
  }
  int64_t corners[4], fill;
  if (arguments[0] != "rectangle" || arguments[2] != "solid" ||
      !ParseParameters(arguments[1], "ltrb", corners) || !ParseParameters(arguments[3], "v", &fill)) {
    return evaluator.Fail(call.position,
                          "alterPixels wants \"rectangle\", \"l=,t=,r=,b=\", \"solid\", \"v=\" with numbers");
  }
  PixelEdit edit;
  edit.left = std::max<int64_t>(corners[0], 0);
  edit.top = std::max<int64_t>(corners[1], 0);
  // The right and the lower edge belong to the rectangle: rather one line too much than a rest of a name.
  constexpr int64_t kEdgeMax = int64_t{1} << 31;  // fixed: no overflow behind it
  edit.right = std::min(corners[2], kEdgeMax) + 1;
  edit.bottom = std::min(corners[3], kEdgeMax) + 1;
  edit.fill = fill;
  edit.line = call.position.line;
  if (edit.right <= edit.left || edit.bottom <= edit.top)
    return evaluator.Fail(call.position, "alterPixels: the rectangle is empty");
  if (evaluator.result().pixel_edits.size() >= limits::kScriptPixelEditsMax)
    return evaluator.Fail(call.position, "alterPixels: too many rectangles");
  evaluator.result().pixel_edits.push_back(edit);
  if (evaluator.header() == nullptr) {
    NX_RETURN_IF_ERROR(evaluator.data().SetText(dicom::tags::kBurnedInAnnotation, "NO"));
    NX_RETURN_IF_ERROR(
        AppendMethodCodes(evaluator.data(), {{"113101", "DCM", "", "Clean Pixel Data Option"}}));
  }
  return Value();
}

}  // namespace functions
}  // namespace narthex::anonymize
