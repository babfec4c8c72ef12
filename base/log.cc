#include "base/log.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace narthex {
namespace {

spdlog::logger& Logger() {
  static spdlog::logger* logger = [] {
    auto* made = new spdlog::logger("narthex", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %L %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::warn);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum Translate(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  if (!Logger().should_log(Translate(level))) return;
  std::string line = absl::Utf8SafeCHexEscape(event);
  for (const LogField& field : fields) {
    const std::string escaped = absl::Utf8SafeCHexEscape(field.value);
    const bool quote = escaped.empty() || escaped.find(' ') != std::string::npos;
    absl::StrAppend(&line, " ", field.key, "=", quote ? "\"" : "", escaped, quote ? "\"" : "");
  }
  Logger().log(Translate(level), "{}", line);
}

void SetLogLevel(LogLevel level) { Logger().set_level(Translate(level)); }
void FlushLog() { Logger().flush(); }

}  // namespace narthex
