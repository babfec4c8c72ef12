#include "clients/cli/change_lines.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "clients/cli/console.h"

namespace narthex::cli {
namespace {

constexpr char kRed[] = "\033[31m", kGreen[] = "\033[32m", kYellow[] = "\033[33m", kPlain[] = "\033[0m";

std::string Quoted(const std::string& value) { return absl::StrCat("\"", Printable(value), "\""); }

}  // namespace

void PrintChange(std::ostream& out, const v1::AttributeChange& change, int object_count, bool colour) {
  const bool removed = change.action() == "removed";
  const bool added = change.action() == "added";
  if (colour) out << (removed ? kRed : added ? kGreen : kYellow);
  out << (removed ? "- " : added ? "+ " : "~ ") << change.path();
  if (!change.keyword().empty()) out << " " << Printable(change.keyword());
  if (!change.creator().empty()) out << " {" << Printable(change.creator()) << "}";
  if (!added) out << " " << Quoted(change.before());
  if (!removed) out << (added ? " " : " -> ") << Quoted(change.after());
  if (change.varying()) out << ", and others";
  if (change.object_count() < object_count)
    out << " (" << change.object_count() << " of " << object_count << ")";
  if (colour) out << kPlain;
  out << "\n";
}

}  // namespace narthex::cli
