#include "clients/cli/change_lines.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

#include "clients/cli/console.h"

namespace narthex::cli {
namespace {

constexpr char kRed[] = "\033[31m", kGreen[] = "\033[32m", kYellow[] = "\033[33m", kPlain[] = "\033[0m";
constexpr size_t kNameMaxColumns = 36;  // fixed: what fits a line
constexpr size_t kValueMinColumns = 12;

struct Section {
  const char* action;
  char sign;
  const char* colour;
};
constexpr Section kSections[] = {{"changed", '~', kYellow}, {"added", '+', kGreen}, {"removed", '-', kRed}};

size_t Columns(absl::string_view utf8) {
  return static_cast<size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Padded(std::string text, size_t columns) {
  const size_t has = Columns(text);
  if (has < columns) text.append(columns - has, ' ');
  return text;
}

// In quotes; with at most `columns` of them, or all if that is 0.
std::string Quoted(absl::string_view value, size_t columns) {
  std::string text = Printable(value);
  if (columns == 0 || Columns(text) + 2 <= columns) return absl::StrCat("\"", text, "\"");
  size_t end = 0;
  for (size_t left = columns > 3 ? columns - 3 : 0; left > 0 && end < text.size(); --left) {
    ++end;
    while (end < text.size() && (text[end] & 0xc0) == 0x80) ++end;
  }
  return absl::StrCat("\"", text.substr(0, end), "…\"");
}

// Values that begin alike are shown from shortly before they differ: cut at the end, they would look the
// same.
void SkipWhatIsAlike(std::string* before, std::string* after) {
  constexpr size_t kAlikeMaxBytes = 12, kShownBytes = 6;  // fixed: what fits a line
  const auto differs = std::mismatch(before->begin(), before->end(), after->begin(), after->end());
  auto alike = static_cast<size_t>(differs.first - before->begin());
  if (alike <= kAlikeMaxBytes) return;
  alike -= kShownBytes;
  while (alike > 0 && ((*before)[alike] & 0xc0) == 0x80) --alike;
  for (std::string* value : {before, after}) value->replace(0, alike, "…");
}

std::string NameOf(const v1::AttributeChange& change) {
  std::string name = change.path();
  if (!change.keyword().empty()) absl::StrAppend(&name, " ", Printable(change.keyword()));
  if (!change.creator().empty()) absl::StrAppend(&name, " {", Printable(change.creator()), "}");
  return name;
}

std::string CountOf(int count, const ChangeStyle& style) {
  return count < style.object_count ? absl::StrCat(" (", count, " of ", style.object_count, ")") : "";
}

std::string LineOf(const v1::AttributeChange& change, char sign, size_t name_columns,
                   const ChangeStyle& style) {
  const std::string front =
      absl::StrCat(std::string(1, sign), " ", Padded(NameOf(change), name_columns), "  ");
  const std::string back =
      absl::StrCat(change.varying() ? ", and others" : "", CountOf(change.object_count(), style));
  const bool both = sign == '~';
  size_t columns = 0;
  if (style.width > 0) {
    const size_t used = Columns(front) + back.size() + (both ? 4 : 0);
    columns = std::max(kValueMinColumns, (style.width > used ? style.width - used : 0) / (both ? 2 : 1));
  }
  if (!both)
    return absl::StrCat(front, Quoted(sign == '+' ? change.after() : change.before(), columns), back);
  std::string before = change.before(), after = change.after();
  if (columns > 0 && std::max(Columns(before), Columns(after)) + 2 > columns)
    SkipWhatIsAlike(&before, &after);
  // What one value does not need, the other may have.
  const size_t spare = columns - std::min(columns, Columns(before) + 2);
  after = Quoted(after, columns == 0 ? 0 : columns + spare);
  const size_t rest = columns - std::min(columns, Columns(after));
  return absl::StrCat(front, Quoted(before, columns == 0 ? 0 : columns + rest), " -> ", after, back);
}

// The path up to the group of its first private tag, such as "(0008,1140)[0]/(0019"; "" if it has none.
std::string PrivateGroupOf(const v1::AttributeChange& change) {
  const std::string& path = change.path();
  for (size_t open = path.find('('); open != std::string::npos && open + 5 < path.size();
       open = path.find('(', open + 1)) {
    const char last = absl::ascii_tolower(static_cast<unsigned char>(path[open + 4]));
    if (absl::string_view("13579bdf").find(last) != absl::string_view::npos) return path.substr(0, open + 5);
  }
  return "";
}

// One line for all that a creator has in a group.
std::vector<std::string> SummedUp(const std::vector<const v1::AttributeChange*>& changes,
                                  const ChangeStyle& style) {
  struct Sum {
    int attributes = 0;
    int objects = 0;
  };
  std::map<std::pair<std::string, std::string>, Sum> sums;  // by group and creator
  std::string former;  // creator; the sequence comes before what is in it
  for (const v1::AttributeChange* change : changes) {
    const std::string group = PrivateGroupOf(*change);
    // Within a private sequence its creator counts; the element that reserves a block names it in its value.
    std::string creator = change->creator();
    if (change->path().find('/', group.size()) != std::string::npos) {
      creator = former;
    } else if (creator.empty()) {
      creator = change->before();
    }
    former = creator;
    Sum& sum = sums[{group, creator}];
    ++sum.attributes;
    sum.objects = std::max(sum.objects, change->object_count());
  }
  std::vector<std::string> lines;
  for (const auto& [key, sum] : sums) {
    lines.push_back(absl::StrCat("- ", key.first, ",xxxx) {", Printable(key.second), "}  ", sum.attributes,
                                 sum.attributes == 1 ? " attribute" : " attributes",
                                 CountOf(sum.objects, style)));
  }
  return lines;
}

void PrintSection(std::ostream& out, absl::string_view title, size_t count,
                  const std::vector<std::string>& lines, const char* colour, bool with_colour) {
  if (lines.empty()) return;
  out << title << ": " << count << (count == 1 ? " attribute" : " attributes") << "\n";
  for (const std::string& line : lines)
    out << (with_colour ? colour : "") << line << (with_colour ? kPlain : "") << "\n";
}

}  // namespace

void PrintChanges(std::ostream& out, const google::protobuf::RepeatedPtrField<v1::AttributeChange>& changes,
                  const ChangeStyle& style) {
  for (const Section& section : kSections) {
    std::vector<const v1::AttributeChange*> shown, summed;
    size_t name_columns = 0;
    for (const v1::AttributeChange& change : changes) {
      if (change.action() != section.action) continue;
      if (style.sum_up_private && section.sign == '-' && !PrivateGroupOf(change).empty()) {
        summed.push_back(&change);
        continue;
      }
      shown.push_back(&change);
      name_columns = std::max(name_columns, std::min(kNameMaxColumns, Columns(NameOf(change))));
    }
    std::vector<std::string> lines;
    for (const v1::AttributeChange* change : shown)
      lines.push_back(LineOf(*change, section.sign, name_columns, style));
    PrintSection(out, section.action, shown.size(), lines, section.colour, style.colour);
    PrintSection(out, "removed, private", summed.size(), SummedUp(summed, style), section.colour,
                 style.colour);
  }
}

}  // namespace narthex::cli
