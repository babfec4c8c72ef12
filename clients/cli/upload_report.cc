#include "clients/cli/upload_report.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "clients/cli/resource_tables.h"

namespace narthex::cli {
namespace {

using v1::ObjectOutcome;

constexpr size_t kListedMax = 20;  // fixed: what people read

bool IsRefused(const ObjectOutcome& outcome) {
  return outcome.outcome() == ObjectOutcome::REJECTED || outcome.outcome() == ObjectOutcome::CONFLICT;
}

bool IsUnanswered(const ObjectOutcome& outcome) {
  return outcome.outcome() == ObjectOutcome::OUTCOME_UNSPECIFIED;
}

bool IsKept(const ObjectOutcome& outcome) {
  return outcome.outcome() == ObjectOutcome::STORED || outcome.outcome() == ObjectOutcome::DUPLICATE;
}

template <typename Items>
std::string JsonList(const Items& items) {
  return absl::StrCat(
      "[",
      absl::StrJoin(items, ",\n  ",
                    [](std::string* out, const auto& item) { absl::StrAppend(out, ToJson(item, true)); }),
      "]");
}

std::string OutcomesJson(const std::vector<client::FileOutcome>& outcomes) {
  return absl::StrCat("[",
                      absl::StrJoin(outcomes, ",\n  ",
                                    [](std::string* out, const client::FileOutcome& file) {
                                      const std::string json = ToJson(file.outcome, true);
                                      absl::StrAppend(out, "{\"path\":", JsonString(file.path), ",",
                                                      absl::string_view(json).substr(1));
                                    }),
                      "]");
}

// As people read it.
std::string Shown(ObjectOutcome::Outcome outcome) {
  return outcome == ObjectOutcome::OUTCOME_UNSPECIFIED ? "unanswered"
                                                       : Lower(ObjectOutcome::Outcome_Name(outcome));
}

std::map<ObjectOutcome::Outcome, int64_t> Counts(const TransferReport& report) {
  std::map<ObjectOutcome::Outcome, int64_t> counts;
  for (const auto& file : report.outcomes) ++counts[file.outcome.outcome()];
  return counts;
}

std::string FailuresJson(const TransferReport& report) {
  return absl::StrCat("[",
                      absl::StrJoin(report.failures, ",\n  ",
                                    [](std::string* out, const auto& failure) {
                                      absl::StrAppend(
                                          out, "{\"name\": ", JsonString(failure.first),
                                          ", \"reason\": ", JsonString(ErrorReason(failure.second)),
                                          ", \"message\": ", JsonString(failure.second.message()), "}");
                                    }),
                      "]");
}

std::string LocalJson(const LocalSummary& local) {
  const auto names = [](std::string* out, const std::string& step) {
    absl::StrAppend(out, JsonString(step));
  };
  const auto counts = [](std::string* out, const auto& count) {
    absl::StrAppend(out, JsonString(count.first), ": ", count.second);
  };
  return absl::StrCat(",\n \"localAnonymization\": {\"steps\": [", absl::StrJoin(local.steps, ", ", names),
                      "], \"fileCount\": ", local.files, ", \"reusedCount\": ", local.reused,
                      ", \"refusedCount\": ", local.refused,
                      ", \"trusted\": ", local.trusted ? "true" : "false", ", \"changedFiles\": {",
                      absl::StrJoin(local.changed, ", ", counts), "}}");
}

void PrintLocal(std::ostream& out, const LocalSummary& local) {
  out << "anonymized on this machine: " << local.files << " files";
  if (local.reused > 0) out << ", " << local.reused << " of them in a former run";
  if (local.refused > 0) out << "; " << local.refused << " were refused and not sent";
  out << "\n";
  for (const std::string& step : local.steps) out << "  " << Printable(step) << "\n";
  out << (local.trusted ? "the server looks whether these are recorded in each object\n"
                        : "you are no trusted uploader of this server: it applies its scripts again\n");
  if (!local.changed.empty()) out << "\n";
  Table table({"ATTRIBUTE CHANGED", ">FILES"});
  for (const auto& [keyword, count] : local.changed)
    table.Add({keyword == "private" ? "private attributes" : keyword, absl::StrCat(count)});
  if (!local.changed.empty()) table.Print(out);
  out << "\n";
}

void PrintReportJson(Program& program, const TransferReport& report) {
  const std::string broken = report.broken_off.ok() ? "" : ErrorJson(report.broken_off);
  const std::string counts = absl::StrJoin(Counts(report), ", ", [](std::string* out, const auto& count) {
    absl::StrAppend(out, JsonString(ObjectOutcome::Outcome_Name(count.first)), ": ", count.second);
  });
  program.PrintJson(absl::StrCat(
      "{\"upload\": ", report.uploads.empty() ? "null" : ToJson(report.uploads.front(), true),
      ",\n \"uploads\": ", JsonList(report.uploads), ",\n \"outcomeCounts\": {", counts,
      "},\n \"outcomes\": ", OutcomesJson(report.outcomes), ",\n \"prearchiveSessions\": ",
      JsonList(report.prearchive_sessions), ",\n \"sessions\": ", JsonList(report.sessions),
      ",\n \"failures\": ", FailuresJson(report), report.local ? LocalJson(*report.local) : "",
      broken.empty() ? "" : absl::StrCat(",\n ", absl::string_view(broken).substr(1, broken.size() - 2)),
      "}"));
}

void PrintProblems(std::ostream& out, const TransferReport& report) {
  Table table({"OUTCOME", "REASON", "FILE", "DETAIL"});
  size_t count = 0;
  for (const auto& [path, outcome] : report.outcomes) {
    if (IsKept(outcome) || IsUnanswered(outcome) || ++count > kListedMax) continue;
    table.Add({Shown(outcome.outcome()), outcome.reason(), path, outcome.detail()});
  }
  if (count == 0) return;
  out << "\n";
  table.Print(out);
  if (count > kListedMax) out << "and " << count - kListedMax << " more; --output json lists all\n";
}

void PrintReportTable(Program& program, const TransferReport& report) {
  std::ostream& out = program.out();
  if (report.local) PrintLocal(out, *report.local);
  Table counts({"OUTCOME", ">OBJECTS", ">SIZE"});
  std::map<ObjectOutcome::Outcome, int64_t> sizes;
  for (const auto& file : report.outcomes) sizes[file.outcome.outcome()] += file.outcome.size_bytes();
  for (const auto& [outcome, count] : Counts(report)) {
    counts.Add({Shown(outcome), absl::StrCat(count), HumanSize(sizes[outcome])});
  }
  counts.Print(out);
  if (report.resumed_count > 0) out << report.resumed_count << " were acknowledged in a former run\n";
  PrintProblems(out, report);
  if (!report.broken_off.ok()) {
    out << "\nthe upload broke off; objects without an answer may have been kept or not. The "
           "same command again is safe: what is there is not stored twice (--resume FILE sends only the "
           "rest)\n";
  }
  if (!report.prearchive_sessions.empty()) {
    out << "\nin the prearchive:\n";
    PrearchiveTable(report.prearchive_sessions).Print(out);
  }
  if (!report.sessions.empty()) {
    out << "\nin the archive:\n";
    SessionTable(report.sessions).Print(out);
  }
  for (const auto& [name, status] : report.failures) {
    out << Printable(absl::StrCat(name, ": ", status.message(), " (", ErrorReason(status), ")")) << "\n";
  }
  out.flush();
}

}  // namespace

ExitCode PrintReport(Program& program, const TransferReport& report) {
  if (program.json()) {
    PrintReportJson(program, report);
  } else {
    PrintReportTable(program, report);
  }
  const bool refused = std::any_of(report.outcomes.begin(), report.outcomes.end(),
                                   [](const client::FileOutcome& file) { return IsRefused(file.outcome); });
  return refused || !report.failures.empty() ? ExitCode::kRefused : ExitCode::kDone;
}

}  // namespace narthex::cli
