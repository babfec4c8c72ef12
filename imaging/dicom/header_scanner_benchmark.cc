// What the hot path costs: one header of the size that CT and MR scanners send (performance.md section 0).
#include <string>

#include "benchmark/benchmark.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/phantom/phantom.h"

namespace narthex::dicom {
namespace {

std::string Sample(phantom::Modality modality) {
  phantom::Options options;
  options.modality = modality;
  options.rows = options.columns = 64;
  return phantom::Study(options).Instance(0, 0);
}

void ScanHeader(benchmark::State& state) {
  const std::string object = Sample(static_cast<phantom::Modality>(state.range(0)));
  HeaderScanner scanner;
  for (auto _ : state) {
    scanner.Reset(object.size());
    benchmark::DoNotOptimize(scanner.Feed(object).ok());
    benchmark::DoNotOptimize(scanner.Finish()->sop_instance_uid());
  }
  const auto facts = ScanWhole(object);
  state.counters["elements"] = facts->element_count();
  state.counters["facts_bytes"] = static_cast<double>(facts->Encode().size());
  state.counters["header_bytes"] = static_cast<double>(facts->header_bytes());
}
BENCHMARK(ScanHeader)
    ->Arg(static_cast<int>(phantom::Modality::kMr))
    ->Arg(static_cast<int>(phantom::Modality::kCt))
    ->Arg(static_cast<int>(phantom::Modality::kPt));

void DecodeFacts(benchmark::State& state) {
  const std::string encoded = ScanWhole(Sample(phantom::Modality::kMr))->Encode();
  for (auto _ : state) benchmark::DoNotOptimize(HeaderFacts::Decode(encoded)->study_instance_uid());
}
BENCHMARK(DecodeFacts);

void GetFact(benchmark::State& state) {
  const auto facts = ScanWhole(Sample(phantom::Modality::kMr));
  for (auto _ : state) benchmark::DoNotOptimize(facts->Get(tags::kRows));
}
BENCHMARK(GetFact);

}  // namespace
}  // namespace narthex::dicom
