// Routing rules, and comments as senders fill them in: whatever they hold, routing ends with a label.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/identify/labels.h"
#include "imaging/identify/router.h"

namespace {

class AnyProject : public narthex::identify::ProjectDirectory {
 public:
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    if (candidate.size() > 4) return std::nullopt;
    return std::string(candidate);
  }
};

}  // namespace

// The first line is rules, the second a value, the rest comments.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t first = input.find('\n');
  const absl::string_view rules = input.substr(0, first);
  const absl::string_view rest =
      first == absl::string_view::npos ? absl::string_view() : input.substr(first + 1);
  const size_t second = rest.find('\n');
  const auto router = narthex::identify::Router::Create(
      {.project_rules = std::string(rules), .session_rules = std::string(rules)});
  if (!router.ok()) return 0;
  namespace tags = narthex::dicom::tags;
  const narthex::dicom::HeaderFacts facts = narthex::dicom::HeaderFactsBuilder()
                                                .Add(tags::kPatientID, rest.substr(0, second))
                                                .Add(tags::kPatientName, rest.substr(0, second))
                                                .Add(tags::kPatientComments, rest)
                                                .Build();
  const auto to = router->Route(facts, {.trace = narthex::identify::Trace::kWithValues}, AnyProject());
  if (!to.ok() || !narthex::identify::IsLabel(to->label)) std::abort();
  if (!to->subject.empty() && !narthex::identify::IsLabel(to->subject)) std::abort();
  return 0;
}
