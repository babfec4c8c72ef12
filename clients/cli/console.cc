#include "clients/cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"
#include <sys/ioctl.h>

#include "base/error.h"

namespace narthex::cli {
namespace {

// Length of the UTF-8 sequence that starts at text[i]; 0 if it is none.
size_t SequenceLength(absl::string_view text, size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  const size_t length = byte < 0x80         ? 1
                        : (byte >> 5) == 6  ? 2
                        : (byte >> 4) == 14 ? 3
                        : (byte >> 3) == 30 ? 4
                                            : 0;
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return 0;
  }
  if (length > 1 && byte < 0xC2) return 0;
  return length;
}

size_t Columns(absl::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.add_whitespace = !one_line;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return absl::StrCat("{\"error\": ", JsonString(status.ToString()), "}");
  return std::string(absl::StripTrailingAsciiWhitespace(json));
}

std::string JsonString(absl::string_view text) {
  std::string json = "\"";
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t length = SequenceLength(text, i);
    if (length == 0) {
      json += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<unsigned>(c));
    } else {
      absl::StrAppend(&json, text.substr(i, length));
    }
    i += std::max<size_t>(length, 1);
  }
  return json + "\"";
}

std::string ErrorJson(const absl::Status& status) {
  std::string json =
      absl::StrCat("{\"error\": {\"code\": ", JsonString(absl::StatusCodeToString(status.code())),
                   ", \"reason\": ", JsonString(ErrorReason(status)),
                   ", \"message\": ", JsonString(status.message()), ", \"metadata\": {");
  absl::string_view separator;
  for (const auto& [key, value] : ErrorMetadataOf(status)) {
    absl::StrAppend(&json, separator, JsonString(key), ": ", JsonString(value));
    separator = ", ";
  }
  return json + "}}}";
}

std::string HumanSize(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  // Two calls: the format must be a constant.
  return value < 9.95 ? absl::StrFormat("%.1f %s", value, kUnits[unit])
                      : absl::StrFormat("%.0f %s", value, kUnits[unit]);
}

std::string HumanTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0 && time.nanos() == 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S%Ez", absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

std::string HumanDuration(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

std::string Printable(absl::string_view text) {
  std::string printable;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text, i);
    const absl::string_view sequence = text.substr(i, std::max<size_t>(length, 1));
    // C0, DEL and C1 (U+0080 to U+009F, which start with 0xC2).
    const bool control =
        length == 0 || absl::ascii_iscntrl(static_cast<unsigned char>(sequence[0])) ||
        (length == 2 && sequence[0] == '\xC2' && static_cast<unsigned char>(sequence[1]) < 0xA0);
    absl::StrAppend(&printable, control ? absl::string_view("?") : sequence);
    i += sequence.size();
  }
  return printable;
}

std::string Clipped(absl::string_view text, size_t columns) {
  if (Columns(text) <= columns) return std::string(text);
  size_t end = 0;
  for (size_t column = 0; column + 1 < columns; ++column)
    end += std::max<size_t>(SequenceLength(text, end), 1);
  return absl::StrCat(text.substr(0, end), "\u2026");
}

size_t TerminalColumns() {
  winsize size{};
  constexpr size_t kUnknown = 100;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUnknown;
}

std::string Lower(absl::string_view name) {
  return absl::EndsWith(name, "_UNSPECIFIED") ? "" : absl::AsciiStrToLower(name);
}

void Table::LeaveOut(absl::string_view heading) {
  for (size_t i = 0; i < headings_.size(); ++i) {
    if (absl::StripPrefix(headings_[i], ">") != heading) continue;
    headings_.erase(headings_.begin() + static_cast<std::ptrdiff_t>(i));
    for (auto& row : rows_) row.erase(row.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
}

std::vector<size_t> Table::Widths() const {
  std::vector<size_t> widths;
  for (const std::string& heading : headings_) widths.push_back(Columns(absl::StripPrefix(heading, ">")));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(Printable(row[i])));
  }
  return widths;
}

size_t Table::Width() const {
  size_t width = 0;
  for (size_t column : Widths()) width += column + (width == 0 ? 0 : 2);
  return width;
}

std::vector<std::string> Table::Lines() const {
  const std::vector<size_t> widths = Widths();
  std::vector<std::string> lines;
  const auto add = [&](const std::function<std::string(size_t)>& cell) {
    std::string line;
    for (size_t i = 0; i < headings_.size(); ++i) {
      const std::string text = cell(i);
      const std::string padding(widths[i] - Columns(text), ' ');
      const bool right = absl::StartsWith(headings_[i], ">");
      absl::StrAppend(&line, i == 0 ? "" : "  ", right ? padding : "", text, right ? "" : padding);
    }
    lines.emplace_back(absl::StripTrailingAsciiWhitespace(line));
  };
  add([&](size_t i) { return std::string(absl::StripPrefix(headings_[i], ">")); });
  for (const auto& row : rows_) add([&](size_t i) { return Printable(row[i]); });
  return lines;
}

void Table::Print(std::ostream& out) const {
  for (const std::string& line : Lines()) out << line << "\n";
}

void PrintFields(std::ostream& out, const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) width = std::max(width, name.size());
  }
  for (const auto& [name, value] : fields) {
    if (value.empty()) continue;
    out << name << std::string(width - name.size() + 2, ' ') << Printable(value) << "\n";
  }
}

}  // namespace narthex::cli
