// Series import filters in all three modes: what parses can be evaluated, and gives a reason when it says no.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/identify/series_filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto mode = static_cast<narthex::identify::FilterMode>(data[0] % 3);
  const auto filter = narthex::identify::SeriesFilter::Parse(mode, text);
  if (!filter.ok()) return 0;
  namespace tags = narthex::dicom::tags;
  const narthex::dicom::HeaderFacts facts = narthex::dicom::HeaderFactsBuilder()
                                                .Add(tags::kModality, "MR")
                                                .Add(tags::kSeriesDescription, text.substr(0, 100))
                                                .Build();
  const narthex::identify::FilterVerdict verdict = filter->Evaluate(facts);
  if (verdict.allowed != verdict.reason.empty()) std::abort();
  return 0;
}
