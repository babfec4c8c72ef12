// As much JSON as rows need: writing objects of texts, reading flat ones, checking a document. Thread-safe.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace narthex::metadata {

// `text` as a JSON string with its quotes.
std::string JsonQuote(absl::string_view text);

// {"key":"value",...}
std::string JsonObject(const std::map<std::string, std::string>& members);

// The members of an object; strings are decoded, other values are their JSON text. Empty if it is no object.
std::map<std::string, std::string> ParseJsonObject(absl::string_view json);

// As ParseJsonObject, but every value as its JSON text, strings with their quotes.
std::map<std::string, std::string> RawJsonMembers(absl::string_view json);

// Whether `json` is one JSON value (RFC 8259), at most 64 levels deep.
bool IsJson(absl::string_view json);
bool IsJsonObject(absl::string_view json);

}  // namespace narthex::metadata
