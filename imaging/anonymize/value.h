// A value while a script runs: nothing, text, or a list. Thread-compatible.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace narthex::anonymize {

struct Value {
  std::optional<std::string> text;  // nullopt: the attribute is absent (or it is a list)
  std::vector<std::string> list;
  bool is_list = false;

  Value() = default;
  explicit Value(std::string text) : text(std::move(text)) {}
  static Value Bool(bool truth) { return Value(std::string(truth ? "true" : "false")); }
  static Value List(std::vector<std::string> values) {
    Value value;
    value.list = std::move(values);
    value.is_list = true;
    return value;
  }
  bool null() const { return !is_list && !text.has_value(); }
};

}  // namespace narthex::anonymize
