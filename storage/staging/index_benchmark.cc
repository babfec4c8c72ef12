// Writing what one received object adds to the index: six rows of six tables, together about 2 kB.
//   staging_benchmark --benchmark_filter=WriteIndex
// The directory is $NARTHEX_BENCHMARK_DIR or the working directory.
#include <stdlib.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <benchmark/benchmark.h>

#include "storage/fs/file_system.h"
#include "storage/staging/index.h"

namespace narthex::staging {
namespace {

std::string Directory() {
  const char* const directory = ::getenv("NARTHEX_BENCHMARK_DIR");
  return fs::JoinPath(directory != nullptr ? directory : ".", "narthex_index_benchmark");
}

IndexBatch RowsOfObject(int64_t number) {
  const std::string key = absl::StrFormat("session0/%012d", number);
  IndexBatch batch;
  batch.Put(Table::kObjects, key, std::string(900, 'o'));
  batch.Put(Table::kInstances, absl::StrCat("session0/2.25.1234567890.", number), key);
  batch.Put(Table::kDigests, absl::StrCat("project0/", key), key);
  batch.Put(Table::kOutcomes, key, std::string(200, 'r'));
  batch.Put(Table::kUploadObjects, absl::StrCat("upload0/", key), std::string(200, 'r'));
  batch.Put(Table::kSessions, "session0", std::string(500, 's'));
  return batch;
}

void WriteIndex(benchmark::State& state, Durability durability) {
  fs::Posix().RemoveTree(Directory()).IgnoreError();
  {
    const std::unique_ptr<Index> index = Index::OpenRocksDb(Directory()).value();
    int64_t number = 0;
    for (auto _ : state) {
      if (!index->Write(RowsOfObject(++number), durability).ok() || !index->Settle().ok()) abort();
    }
  }
  fs::Posix().RemoveTree(Directory()).IgnoreError();
}
BENCHMARK_CAPTURE(WriteIndex, behind, Durability::kBehind)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK_CAPTURE(WriteIndex, synced, Durability::kPowerLoss)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace narthex::staging
