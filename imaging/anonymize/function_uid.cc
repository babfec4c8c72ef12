#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/limits.h"
#include "base/status.h"
#include "imaging/anonymize/function_bodies.h"
#include "imaging/anonymize/uids.h"

namespace narthex::anonymize::functions {
namespace {

constexpr size_t kMappedDigitsMin = 20;  // fewer would collide

// Changes each UID of each match; attributes that hold no UIDs stay.
template <typename Change>
absl::Status ChangeUids(Evaluator& evaluator, const Expression& call, size_t first, Change change) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(call, first));
  for (const PathMatch& match : found) {
    const dicom::Element* element = match.item->Find(match.tag);
    if (element == nullptr || (element->vr() != dicom::Vr::kUI && element->vr() != dicom::Vr::kUN)) continue;
    const std::optional<std::string> text = match.item->TextOf(*element);
    if (!text.has_value() || text->empty()) continue;
    std::vector<std::string> changed;
    for (absl::string_view uid : absl::StrSplit(*text, '\\'))
      changed.push_back(uid.empty() ? "" : change(uid));
    NX_RETURN_IF_ERROR(
        evaluator.SetText(call.position, *match.item, match.tag, absl::StrJoin(changed, "\\")));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Prefix(Evaluator& evaluator, const Expression& call, size_t argument) {
  NX_ASSIGN_OR_RETURN(const std::string prefix, evaluator.RequiredText(call, argument));
  const bool digits = prefix.find_first_not_of("0123456789.") == std::string::npos;
  if (digits && !prefix.empty() && prefix.size() + 1 + kMappedDigitsMin <= limits::kUidMaxBytes)
    return prefix;
  return evaluator.Fail(call.position,
                        absl::StrCat(call.text, ": the prefix must be a UID of at most ",
                                     limits::kUidMaxBytes - 1 - kMappedDigitsMin, " characters"));
}

}  // namespace

Return HashUidFunction(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> uid, evaluator.Text(call, 0));
  return uid.has_value() ? Value(HashUid(*uid)) : Value();
}

Return HashUidList(Evaluator& evaluator, const Expression& call) {
  NX_RETURN_IF_ERROR(ChangeUids(evaluator, call, 0, [](absl::string_view uid) { return HashUid(uid); }));
  return Value();
}

Return MapUidFunction(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> uid, evaluator.Text(call, 0));
  NX_ASSIGN_OR_RETURN(const std::string prefix, Prefix(evaluator, call, 1));
  return uid.has_value() ? Value(MapUidWithPrefix(evaluator.Key(), prefix, *uid)) : Value();
}

Return MapReferencedUids(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string prefix, Prefix(evaluator, call, 0));
  const std::string& key = evaluator.Key();
  NX_RETURN_IF_ERROR(ChangeUids(evaluator, call, 1,
                                [&](absl::string_view uid) { return MapUidWithPrefix(key, prefix, uid); }));
  return Value();
}

// XNAT ignores the prefix.
Return NewUid(Evaluator& evaluator, const Expression&) {
  ApplyContext& context = evaluator.context();
  if (context.seed.empty()) return Value(RandomUid());
  return Value(SeededUid(evaluator.Key(), absl::StrCat(context.seed, "/", context.new_uid_count++)));
}

}  // namespace narthex::anonymize::functions
