#include "clients/cli/live_table.h"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <sys/ioctl.h>

#include "clients/cli/calls.h"
#include "clients/cli/console.h"

namespace narthex::cli {
namespace {

// Left out in this order where there is no room.
constexpr const char* kLeftOut[] = {"DATE", "SIZE", "SUBJECT", "MODALITY", "SCANS", "RECEIVED", "OBJECTS"};

std::string Counted(const std::vector<v1::PrearchiveSession>& sessions) {
  std::map<std::string, int> by_state;
  for (const v1::PrearchiveSession& session : sessions)
    ++by_state[Lower(v1::PrearchiveSession::State_Name(session.state()))];
  const std::string text = absl::StrCat(sessions.size(), sessions.size() == 1 ? " session" : " sessions");
  if (by_state.empty()) return text;
  return absl::StrCat(
      text, ": ",
      absl::StrJoin(by_state, ", ", [](std::string* out, const std::pair<std::string, int>& state) {
        absl::StrAppend(out, state.second, " ", state.first);
      }));
}

// The time of today, the date of other days.
std::string When(const google::protobuf::Timestamp& timestamp) {
  const absl::Time time = absl::FromUnixSeconds(timestamp.seconds());
  const absl::TimeZone zone = absl::LocalTimeZone();
  const bool today = absl::ToCivilDay(time, zone) == absl::ToCivilDay(absl::Now(), zone);
  return absl::FormatTime(today ? "%H:%M:%S" : "%Y-%m-%d", time, zone);
}

Table TableOf(const std::vector<v1::PrearchiveSession>& sessions, size_t most) {
  Table table({"ID", "STATE", "PROJECT", "SUBJECT", "LABEL", "MODALITY", "DATE", ">SCANS", ">OBJECTS",
               ">SIZE", "RECEIVED"});
  for (const v1::PrearchiveSession& s : sessions) {
    if (most-- == 0) break;
    table.Add({ShortName(s.name()), Lower(v1::PrearchiveSession::State_Name(s.state())),
               s.project().empty() ? "(unassigned)" : s.project(), s.subject(), s.label(), s.modality(),
               s.session_date(), absl::StrCat(s.scan_count()), absl::StrCat(s.object_count()),
               HumanSize(s.size_bytes()), When(s.last_received_time())});
  }
  return table;
}

}  // namespace

TerminalSize StandardOutputSize() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

std::vector<std::string> LiveTable(const std::vector<v1::PrearchiveSession>& sessions,
                                   absl::string_view remark, TerminalSize size) {
  // A character in the last column would be erased by what clears the rest of the line.
  const size_t width = std::max<size_t>(size.columns, 2) - 1;
  // Besides sessions: the counts, the headings, what was left out, and the line of the cursor.
  const size_t room = size.rows > 4 ? size.rows - 4 : 1;
  const bool all = sessions.size() <= room + 1;
  Table table = TableOf(sessions, all ? sessions.size() : room);
  for (const char* heading : kLeftOut) {
    if (table.Width() > width) table.LeaveOut(heading);
  }
  std::vector<std::string> lines = {remark.empty() ? Counted(sessions)
                                                   : absl::StrCat(Counted(sessions), "; ", remark)};
  if (!sessions.empty()) {
    for (std::string& line : table.Lines()) lines.push_back(std::move(line));
  }
  if (!all) lines.push_back(absl::StrCat("... and ", sessions.size() - room, " older ones"));
  for (std::string& line : lines) line = Clipped(line, width);
  return lines;
}

std::string DrawOver(const std::vector<std::string>& lines) {
  constexpr char kHome[] = "\x1b[H";
  constexpr char kClearLine[] = "\x1b[K\n";
  constexpr char kClearBelow[] = "\x1b[J";
  return absl::StrCat(kHome, absl::StrJoin(lines, kClearLine), kClearLine, kClearBelow);
}

}  // namespace narthex::cli
