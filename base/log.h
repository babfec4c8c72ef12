// Structured log lines: an event name and fields, as key=value on standard error. Ids, counts and digests
// only; a patient value never (Phi<T> does not convert to a field). Thread-safe.
//
//   Log(LogLevel::kInfo, "session built", {{"session", id}, {"scans", scans.size()}});
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narthex {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  template <std::integral T>
  LogField(absl::string_view key, T value) : key(key), value(std::to_string(value)) {}
  LogField(absl::string_view key, double value) : key(key), value(std::to_string(value)) {}
  LogField(absl::string_view key, bool value) : key(key), value(value ? "true" : "false") {}
  LogField(absl::string_view key, absl::string_view value) : key(key), value(value) {}
  LogField(absl::string_view key, const char* value) : key(key), value(value) {}
  LogField(absl::string_view key, const std::string& value) : key(key), value(value) {}
  LogField(absl::string_view key, const absl::Status& status)
      : key(key), value(status.ToString(absl::StatusToStringMode::kWithNoExtraData)) {}

  absl::string_view key;
  std::string value;
};

// Writes one line. Values are quoted when they hold blanks; control characters are escaped.
void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});

// Lines below `level` are dropped from now on (default kInfo).
void SetLogLevel(LogLevel level);

// Writes out what is buffered.
void FlushLog();

}  // namespace narthex
