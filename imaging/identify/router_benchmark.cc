#include <optional>
#include <string>

#include "benchmark/benchmark.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/identify/router.h"

namespace narthex::identify {
namespace {

namespace tags = dicom::tags;

class OneProject : public ProjectDirectory {
 public:
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    if (candidate != "P1") return std::nullopt;
    return "P1";
  }
};

// As many attributes as a scanner keeps of an MR image.
dicom::HeaderFacts TypicalFacts() {
  dicom::HeaderFactsBuilder builder;
  builder.Add(tags::kStudyInstanceUID, "1.2.840.113654.2.45.2.124897")
      .Add(tags::kAccessionNumber, "A0815")
      .Add(tags::kStudyDescription, "P1")
      .Add(tags::kPatientName, "Doe^John")
      .Add(tags::kPatientID, "PID_0042")
      .Add(tags::kPatientComments, "nothing special");
  for (uint16_t i = 0; i < 80; ++i) builder.Add(dicom::Tag(0x0018, 0x1000 + i), "1.25");
  return builder.Build();
}

void BM_Route(benchmark::State& state) {
  RoutingConfig config;
  if (state.range(0) != 0) config = {.project_rules = "(0018,1030):(\\w+)_.*\n(0010,0020):^([^_]+)_.*$:1"};
  const auto router = Router::Create(config);
  const dicom::HeaderFacts facts = TypicalFacts();
  const OneProject projects;
  for (auto _ : state) benchmark::DoNotOptimize(router->Route(facts, {.called_ae = "NARTHEX"}, projects));
}
BENCHMARK(BM_Route)->Arg(0)->Arg(1)->ArgName("rules");

}  // namespace
}  // namespace narthex::identify
