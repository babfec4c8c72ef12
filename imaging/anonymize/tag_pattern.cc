#include "imaging/anonymize/tag_pattern.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_scripts.h"
#include "base/status.h"

namespace narthex::anonymize {

using dicom::Element;
using dicom::Item;
using dicom::Sequence;
using dicom::Tag;

namespace {

// Reads one path; at_ is where it stands.
class PathReader {
 public:
  PathReader(absl::string_view text, bool odd_without_creator)
      : text_(text), odd_allowed_(odd_without_creator) {}

  absl::StatusOr<PathPattern> Read();
  size_t at() const { return at_; }

 private:
  absl::Status ReadStep(PathStep* step);
  absl::Status ReadTag(TagPattern* tag);
  absl::Status ReadDigits(int count, uint32_t* mask, uint32_t* value);
  absl::Status ReadItemNumber(PathStep* step);
  absl::Status Fail(absl::string_view what) const { return absl::InvalidArgumentError(std::string(what)); }
  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool Take(char c) {
    SkipBlanks();
    if (Peek() != c) return false;
    ++at_;
    return true;
  }

  absl::string_view text_;
  bool odd_allowed_;
  size_t at_ = 0;
};

absl::Status PathReader::ReadDigits(int count, uint32_t* mask, uint32_t* value) {
  for (int i = 0; i < count; ++i, ++at_) {
    const char c = Peek();
    *mask <<= 4;
    *value <<= 4;
    if (c == 'X' || c == 'x') continue;
    if (c == '@' || c == '#') {
      *mask |= 1;
      *value |= c == '#' ? 1 : 0;
    } else if (absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      *mask |= 0xf;
      *value |=
          absl::ascii_isdigit(static_cast<unsigned char>(c)) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
    } else {
      return Fail(
          absl::StrCat("a tag needs ", count, " digits here: 0-9, A-F, X (any), @ (even) or # (odd)"));
    }
  }
  return absl::OkStatus();
}

absl::Status PathReader::ReadTag(TagPattern* tag) {
  if (!Take('(')) return Fail("a tag, such as (0010,0010), is expected");
  SkipBlanks();
  NX_RETURN_IF_ERROR(ReadDigits(4, &tag->mask, &tag->value));
  const bool odd = (tag->mask & 1) != 0 && (tag->value & 1) != 0;
  if (!Take(',')) return Fail("a comma is expected in the tag");
  SkipBlanks();
  if (!Take('{')) {
    if (odd && !odd_allowed_) {
      return Fail(
          "a private tag needs its creator: (0019,{SIEMENS MR HEADER}08); removeAllPrivateTags removes all");
    }
    NX_RETURN_IF_ERROR(ReadDigits(4, &tag->mask, &tag->value));
  } else {
    if ((tag->mask & 1) != 0 && (tag->value & 1) == 0) return Fail("a private creator needs an odd group");
    const size_t end = text_.find('}', at_);
    if (end == absl::string_view::npos ||
        text_.substr(at_, end - at_).find('\n') != absl::string_view::npos) {
      return Fail("the private creator has no closing brace");
    }
    tag->has_creator = true;
    tag->creator = std::string(absl::StripAsciiWhitespace(text_.substr(at_, end - at_)));
    if (tag->creator.empty() || tag->creator.size() > 64)
      return Fail("a private creator has 1 to 64 letters");
    at_ = end + 1;
    SkipBlanks();
    tag->mask <<= 8;
    tag->value <<= 8;
    NX_RETURN_IF_ERROR(ReadDigits(2, &tag->mask, &tag->value));
  }
  if (!Take(')')) return Fail("a closing parenthesis is expected behind the tag");
  return absl::OkStatus();
}

absl::Status PathReader::ReadItemNumber(PathStep* step) {
  SkipBlanks();
  if (Take('%')) {
    step->items = PathStep::Items::kAll;
  } else {
    const size_t begin = at_;
    uint64_t index = 0;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek())) && index < 1'000'000)
      index = index * 10 + (text_[at_++] - '0');
    if (at_ == begin || index >= 1'000'000) return Fail("an item number (from 0) or % is expected");
    step->items = PathStep::Items::kIndex;
    step->index = static_cast<uint32_t>(index);
  }
  return Take(']') ? absl::OkStatus() : Fail("a closing bracket is expected behind the item number");
}

absl::Status PathReader::ReadStep(PathStep* step) {
  SkipBlanks();
  switch (Peek()) {
    case '*':
      step->kind = PathStep::Kind::kAnyDepth;
      break;
    case '+':
      step->kind = PathStep::Kind::kOneOrMore;
      break;
    case '.':
      step->kind = PathStep::Kind::kOneLevel;
      break;
    default: {
      NX_RETURN_IF_ERROR(ReadTag(&step->tag));
      const size_t behind = at_;
      if (Take('[')) return ReadItemNumber(step);
      at_ = behind;
      return absl::OkStatus();
    }
  }
  ++at_;
  return absl::OkStatus();
}

absl::StatusOr<PathPattern> PathReader::Read() {
  PathPattern path;
  SkipBlanks();
  const size_t begin = at_;
  while (true) {
    PathStep step;
    NX_RETURN_IF_ERROR(ReadStep(&step));
    const bool again = step.kind == PathStep::Kind::kAnyDepth && !path.steps.empty() &&
                       path.steps.back().kind == PathStep::Kind::kAnyDepth;
    if (!again) path.steps.push_back(std::move(step));
    if (path.steps.size() > limits::kTagPathMaxSteps) return Fail("the path is too long");
    const size_t behind = at_;
    if (!Take('/') || Peek() == '/') {
      at_ = behind;
      break;
    }
  }
  if (path.steps.back().kind != PathStep::Kind::kElement)
    return Fail("a wildcard level needs a tag behind it: */(0010,0010)");
  path.text = std::string(absl::StripAsciiWhitespace(text_.substr(begin, at_ - begin)));
  return path;
}

// Collects matches. Recursion is bounded by the nesting of the data set.
class Matcher {
 public:
  Matcher(const PathPattern& path, WorkBudget& budget) : steps_(path.steps), budget_(budget) {}

  absl::Status Walk(Item& item, size_t index);
  std::vector<PathMatch> matches;

 private:
  absl::Status Descend(Item& item, size_t index);
  absl::Status MatchElements(Item& item, size_t index);
  absl::Status EnterSequence(Sequence& sequence, const PathStep& step, size_t index);

  const std::vector<PathStep>& steps_;
  WorkBudget& budget_;
};

// The path from `index` on, in each item of each sequence of `item`.
absl::Status Matcher::Descend(Item& item, size_t index) {
  for (Element& element : item.elements()) {
    NX_RETURN_IF_ERROR(budget_.Spend(1));
    if (element.sequence() == nullptr) continue;
    for (size_t i = 0; i < element.sequence()->size(); ++i)
      NX_RETURN_IF_ERROR(Walk(element.sequence()->item(i), index));
  }
  return absl::OkStatus();
}

absl::Status Matcher::Walk(Item& item, size_t index) {
  switch (steps_[index].kind) {
    case PathStep::Kind::kElement:
      return MatchElements(item, index);
    case PathStep::Kind::kOneLevel:
      return Descend(item, index + 1);
    case PathStep::Kind::kAnyDepth:
      NX_RETURN_IF_ERROR(Walk(item, index + 1));
      return Descend(item, index);
    case PathStep::Kind::kOneOrMore:
      // One level, and then as many as there are.
      for (Element& element : item.elements()) {
        NX_RETURN_IF_ERROR(budget_.Spend(1));
        if (element.sequence() == nullptr) continue;
        for (size_t i = 0; i < element.sequence()->size(); ++i) {
          Item& inner = element.sequence()->item(i);
          NX_RETURN_IF_ERROR(Walk(inner, index + 1));
          NX_RETURN_IF_ERROR(Walk(inner, index));
        }
      }
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Matcher::EnterSequence(Sequence& sequence, const PathStep& step, size_t index) {
  if (step.items == PathStep::Items::kIndex) {
    return step.index < sequence.size() ? Walk(sequence.item(step.index), index + 1) : absl::OkStatus();
  }
  for (size_t i = 0; i < sequence.size(); ++i) NX_RETURN_IF_ERROR(Walk(sequence.item(i), index + 1));
  return absl::OkStatus();
}

absl::Status Matcher::MatchElements(Item& item, size_t index) {
  const PathStep& step = steps_[index];
  const bool last = index + 1 == steps_.size();
  const auto take = [&](Element& element) -> absl::Status {
    if (last) {
      matches.push_back({&item, element.tag()});
      return absl::OkStatus();
    }
    return element.sequence() == nullptr ? absl::OkStatus() : EnterSequence(*element.sequence(), step, index);
  };
  NX_RETURN_IF_ERROR(budget_.Spend(1));
  if (step.tag.exact() && !step.tag.has_creator) {
    Element* element = item.Find(step.tag.tag());
    return element == nullptr ? absl::OkStatus() : take(*element);
  }
  NX_RETURN_IF_ERROR(budget_.Spend(static_cast<int64_t>(item.elements().size())));
  for (Element& element : item.elements()) {
    if (step.tag.Matches(item, element.tag())) NX_RETURN_IF_ERROR(take(element));
  }
  return absl::OkStatus();
}

}  // namespace

bool TagPattern::Matches(const Item& item, Tag tag) const {
  const uint32_t effective = has_creator ? mask & 0xffff00ff : mask;
  if ((tag.value() & effective) != (value & effective)) return false;
  if (!has_creator) return true;
  return tag.is_private() && tag.element() >= 0x1000 && item.PrivateCreatorOf(tag) == creator;
}

bool PathPattern::singular() const {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].kind != PathStep::Kind::kElement || !steps[i].tag.exact()) return false;
    if (i + 1 < steps.size() && steps[i].items != PathStep::Items::kIndex) return false;
  }
  return true;
}

absl::StatusOr<PathPattern> ParsePath(absl::string_view text, bool odd_without_creator, size_t* consumed,
                                      size_t* error_at) {
  PathReader reader(text, odd_without_creator);
  absl::StatusOr<PathPattern> path = reader.Read();
  if (consumed != nullptr) *consumed = reader.at();
  if (error_at != nullptr) *error_at = reader.at();
  return path;
}

absl::Status WorkBudget::Spend(int64_t amount) {
  steps += amount;
  if (steps <= max_steps) return absl::OkStatus();
  return ResourceExhausted("ANONYMIZATION_FAILED",
                           absl::StrCat("the script needs more than ", max_steps,
                                        " steps on this object; simplify its wildcards"));
}

absl::StatusOr<std::vector<PathMatch>> FindMatches(Item& root, const PathPattern& path, WorkBudget& budget) {
  Matcher matcher(path, budget);
  NX_RETURN_IF_ERROR(matcher.Walk(root, 0));
  return std::move(matcher.matches);
}

namespace {

// Recursion is bounded by the nesting of the data set.
absl::Status Collect(Item& item, WorkBudget& budget,
                     absl::FunctionRef<bool(const Item&, const Element&)> wanted,
                     std::vector<PathMatch>* found) {
  NX_RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(item.elements().size())));
  for (Element& element : item.elements()) {
    if (wanted(item, element)) found->push_back({&item, element.tag()});
    if (element.sequence() == nullptr) continue;
    for (size_t i = 0; i < element.sequence()->size(); ++i) {
      NX_RETURN_IF_ERROR(Collect(element.sequence()->item(i), budget, wanted, found));
    }
  }
  return absl::OkStatus();
}

int DepthOf(const Item* item) {
  int depth = 0;
  for (; item != nullptr; item = item->parent()) ++depth;
  return depth;
}

}  // namespace

absl::StatusOr<std::vector<PathMatch>> FindElements(
    Item& root, WorkBudget& budget, absl::FunctionRef<bool(const Item&, const Element&)> wanted) {
  std::vector<PathMatch> found;
  NX_RETURN_IF_ERROR(Collect(root, budget, wanted, &found));
  return found;
}

void RemoveMatches(std::vector<PathMatch> matches) {
  // Removing a sequence ends the life of the items in it, so these go first.
  std::vector<std::pair<int, PathMatch>> ordered;
  ordered.reserve(matches.size());
  for (const PathMatch& match : matches) ordered.push_back({DepthOf(match.item), match});
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    return a.second.item != b.second.item ? a.second.item < b.second.item : a.second.tag < b.second.tag;
  });
  for (size_t i = 0; i < ordered.size();) {
    // All of one item in one go: taking them out one by one would be quadratic.
    Item* item = ordered[i].second.item;
    std::vector<Tag> gone;
    for (; i < ordered.size() && ordered[i].second.item == item; ++i) gone.push_back(ordered[i].second.tag);
    item->RemoveIf(
        [&](const Element& element) { return std::binary_search(gone.begin(), gone.end(), element.tag()); });
  }
}

}  // namespace narthex::anonymize
