// How fast a session's files get into the archive, durably: 2,000 x 525 kB and 10,000 x 38 kB.
#include <stdlib.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "benchmark/benchmark.h"
#include "storage/archive/session_writer.h"

namespace narthex::archive {
namespace {

void BM_WriteSession(benchmark::State& state) {
  const int count = static_cast<int>(state.range(0));
  const std::string bytes(static_cast<size_t>(state.range(1)), 'x');
  for (auto _ : state) {
    state.PauseTiming();
    std::string root = "/tmp/narthex-bench-XXXXXX";
    if (mkdtemp(root.data()) == nullptr) abort();
    std::vector<FileSource> sources;
    for (int i = 0; i < count; ++i) {
      sources.push_back({absl::StrCat("SCANS/1/DICOM/", i, ".dcm"),
                         [&bytes](const ByteSink& sink) { return sink(bytes); }});
    }
    state.ResumeTiming();
    auto writer = SessionWriter::Open({.archive_root = root, .folder = "P/arc001/S", .operation_id = "op"},
                                      fs::Posix());
    if (!writer.ok() || !(*writer)->WriteFiles(sources).ok() || !(*writer)->Publish().ok()) abort();
    state.PauseTiming();
    (void)fs::Posix().RemoveTree(root);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(BM_WriteSession)
    ->Args({2000, 525000})
    ->Args({10000, 38000})
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3)
    ->UseRealTime();

}  // namespace
}  // namespace narthex::archive
