// What an archive operation did, as text: for the operation's row and for the session's history.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "server/archive/archiver.h"

namespace narthex::archiving {
namespace {

// A note names so many scans at most.
constexpr size_t kNotedMax = 50;  // fixed: what one note tells
constexpr absl::string_view kLeftOut = "out:";

}  // namespace

std::vector<LeftOutScan> LeftOutOf(const prearchive::SessionRow& row) {
  std::vector<LeftOutScan> left_out;
  for (const prearchive::ScanRow& scan : row.scans()) {
    if (scan.excluded()) left_out.push_back({scan.id(), scan.file_count()});
  }
  return left_out;
}

std::string LeftOutNote(const std::vector<LeftOutScan>& left_out) {
  std::string note;
  for (size_t i = 0; i < std::min(left_out.size(), kNotedMax); ++i) {
    const LeftOutScan& scan = left_out[i];
    absl::StrAppend(&note, i == 0 ? "left out by review: " : ", ", "scan ", scan.scan, " (",
                    scan.object_count, scan.object_count == 1 ? " object)" : " objects)");
  }
  if (left_out.size() > kNotedMax)
    absl::StrAppend(&note, " and ", left_out.size() - kNotedMax, " scans more");
  return note;
}

std::string ArchiveResult::ToText() const {
  std::string text = accession_id;
  if (merged) absl::StrAppend(&text, " ", counts.added, " ", counts.replaced, " ", counts.kept);
  for (const LeftOutScan& scan : left_out)
    absl::StrAppend(&text, " ", kLeftOut, scan.scan, ":", scan.object_count);
  return text;
}

ArchiveResult ArchiveResult::FromText(absl::string_view text) {
  std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  ArchiveResult result;
  while (words.size() > 1 && absl::ConsumePrefix(&words.back(), kLeftOut)) {
    // No scan id has a blank; the last colon is ours.
    const size_t colon = words.back().rfind(':');
    LeftOutScan scan;
    scan.scan = std::string(words.back().substr(0, colon));
    if (colon != absl::string_view::npos &&
        absl::SimpleAtoi(words.back().substr(colon + 1), &scan.object_count))
      result.left_out.insert(result.left_out.begin(), std::move(scan));
    words.pop_back();
  }
  result.accession_id = std::string(words[0]);
  result.merged = words.size() == 4 && absl::SimpleAtoi(words[1], &result.counts.added) &&
                  absl::SimpleAtoi(words[2], &result.counts.replaced) &&
                  absl::SimpleAtoi(words[3], &result.counts.kept);
  return result;
}

}  // namespace narthex::archiving
