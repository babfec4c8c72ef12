#include "clients/cli/calls.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace narthex::cli {
namespace {

std::string WithPrefix(absl::string_view prefix, absl::string_view id) {
  return absl::StartsWith(id, prefix) ? std::string(id) : absl::StrCat(prefix, id);
}

}  // namespace

std::string SessionName(absl::string_view ref) {
  if (absl::StartsWith(ref, "sessions/")) return std::string(ref);
  if (absl::StartsWith(ref, "projects/") && absl::StrContains(ref, "/sessions/")) return std::string(ref);
  if (!absl::StrContains(ref, '/')) return absl::StrCat("sessions/", ref);
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(ref, absl::MaxSplits('/', 1));
  return absl::StrCat("projects/", parts.first, "/sessions/", parts.second);
}

std::string PrearchiveName(absl::string_view id) { return WithPrefix("prearchiveSessions/", id); }
std::string ProjectName(absl::string_view id) { return WithPrefix("projects/", id); }
std::string OperationName(absl::string_view id) { return WithPrefix("operations/", id); }

std::string SubjectName(absl::string_view ref) {
  const size_t slash = ref.find('/');
  if (slash == absl::string_view::npos || absl::StartsWith(ref, "projects/")) return std::string(ref);
  return absl::StrCat("projects/", ref.substr(0, slash), "/subjects/", ref.substr(slash + 1));
}

absl::Status SetFields(const std::vector<std::string>& words,
                       google::protobuf::Map<std::string, std::string>& fields) {
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("expected NAME=VALUE, not ", word));
    }
    fields[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return absl::OkStatus();
}

std::string ShortName(absl::string_view name) {
  const size_t slash = name.rfind('/');
  return std::string(slash == absl::string_view::npos ? name : name.substr(slash + 1));
}

}  // namespace narthex::cli
