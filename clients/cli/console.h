// What the program shows: JSON or tables on standard output, progress and errors on standard error.
// Single-threaded, except where said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace narthex::cli {

// `message` in proto3 JSON with all its fields; on one line, or over several for people.
std::string ToJson(const google::protobuf::Message& message, bool one_line);
// `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
std::string JsonString(absl::string_view text);
// {"error": {"code": ..., "reason": ..., "message": ..., "metadata": {...}}}
std::string ErrorJson(const absl::Status& status);

// "1.4 GiB", "312 B".
std::string HumanSize(int64_t bytes);
// Local time, such as 2024-05-17 14:03:09+02:00; "" if unset.
std::string HumanTime(const google::protobuf::Timestamp& time);
// "1:02:03", "4:05".
std::string HumanDuration(absl::Duration duration);
// The text without control characters, which could command the terminal.
std::string Printable(absl::string_view text);
// The text if it takes at most `columns` of a terminal, else its beginning and an ellipsis.
std::string Clipped(absl::string_view text, size_t columns);
// How many columns the terminal of standard output has; 100 if it does not say.
size_t TerminalColumns();
// An enum value's name for people: "READY" to "ready", "STATE_UNSPECIFIED" to "".
std::string Lower(absl::string_view name);

// Rows under headings, aligned. A heading that starts with '>' aligns its column to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) : headings_(std::move(headings)) {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Shows the column no more. `heading` without '>'.
  void LeaveOut(absl::string_view heading);
  // Columns of the terminal that the longest line takes.
  size_t Width() const;
  // The headings, then the rows, without control characters.
  std::vector<std::string> Lines() const;
  void Print(std::ostream& out) const;

 private:
  // Of each column.
  std::vector<size_t> Widths() const;

  std::vector<std::string> headings_;
  std::vector<std::vector<std::string>> rows_;
};

// Names and values below each other; empty values are left out.
void PrintFields(std::ostream& out, const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace narthex::cli
