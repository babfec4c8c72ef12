#include <string>

#include "benchmark/benchmark.h"
#include "imaging/phantom/phantom.h"

namespace narthex::phantom {
namespace {

// Bytes a second of objects made in memory; the goal is 500 MB/s.
void MakeInstance(benchmark::State& state) {
  Options options;
  options.modality = static_cast<Modality>(state.range(0));
  options.rows = options.columns = static_cast<int>(state.range(1));
  options.slices = 100;
  const Study study(options);
  std::string object;
  int slice = 0;
  size_t bytes = 0;
  for (auto _ : state) {
    study.Instance(0, slice++ % options.slices, &object);
    bytes += object.size();
    benchmark::DoNotOptimize(object.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}
BENCHMARK(MakeInstance)
    ->Args({static_cast<int>(Modality::kCt), 512})
    ->Args({static_cast<int>(Modality::kMr), 128})
    ->Args({static_cast<int>(Modality::kPt), 168});

}  // namespace
}  // namespace narthex::phantom
