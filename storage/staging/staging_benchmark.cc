// Appending and syncing objects of about a CT slice's size (525 kB) and an MR slice's (38 kB): durable before
// the next batch begins. Compare with reference measurements of the same disk by bytes_per_second and cpu.
//   staging_benchmark --benchmark_filter=Append
// The directory is $NARTHEX_BENCHMARK_DIR or the working directory; it must be on the disk to be measured.
#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <benchmark/benchmark.h>

#include "storage/fs/file_system.h"
#include "storage/staging/staging.h"

namespace narthex::staging {
namespace {

std::string Root() {
  const char* const directory = ::getenv("NARTHEX_BENCHMARK_DIR");
  return fs::JoinPath(directory != nullptr ? directory : ".", "narthex_staging_benchmark");
}

// One store for all threads of a benchmark; a session a thread.
class StoreForBenchmark {
 public:
  StoreForBenchmark() {
    fs::Posix().RemoveTree(Root()).IgnoreError();
    store_ = StagingStore::Open({.directory = Root(), .free_space_min_bytes = 0}, fs::Posix()).value();
  }
  ~StoreForBenchmark() {
    store_.reset();
    fs::Posix().RemoveTree(Root()).IgnoreError();
  }
  StagingStore& store() { return *store_; }

 private:
  std::unique_ptr<StagingStore> store_;
};

std::unique_ptr<StoreForBenchmark> shared_store;

void Append(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const auto batch = static_cast<int>(state.range(1));
  if (state.thread_index() == 0) shared_store = std::make_unique<StoreForBenchmark>();
  const std::string bytes(size, 'x');
  std::shared_ptr<SessionLog> log;
  uint64_t written = 0;
  int session = 0;
  for (auto _ : state) {
    if (log == nullptr || written > (1ull << 30)) {
      // A new session each GiB, the old one removed, so that the disk does not fill.
      state.PauseTiming();
      log.reset();
      const std::string old = absl::StrCat("t", state.thread_index(), "s", session);
      shared_store->store().Remove(old).IgnoreError();
      log =
          shared_store->store().OpenSession(absl::StrCat("t", state.thread_index(), "s", ++session)).value();
      written = 0;
      state.ResumeTiming();
    }
    Position end;
    for (int i = 0; i < batch; ++i) {
      auto writer = log->StartObject().value();
      for (size_t at = 0; at < size; at += 256 << 10) {
        if (!writer->Append(absl::string_view(bytes).substr(at, 256 << 10)).ok())
          state.SkipWithError("append");
      }
      auto stored = writer->Finish("about 500 bytes of facts about the object");
      if (!stored.ok()) state.SkipWithError("finish");
      end = stored->position;
    }
    if (!log->Sync(end).ok()) state.SkipWithError("sync");
    written += size * batch;
  }
  log.reset();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size * batch));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * batch));
  if (state.thread_index() == 0) shared_store.reset();
}

// What the disk gives at best: the same bytes copied into one aligned buffer, one O_DIRECT write of at most 8
// MiB at a time, one fdatasync a batch. No records, no checksums.
void RawAppend(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  const auto batch = static_cast<size_t>(state.range(1));
  constexpr size_t kBuffer = 8 << 20;
  const std::unique_ptr<char, decltype(&::free)> buffer(static_cast<char*>(::aligned_alloc(4096, kBuffer)),
                                                        &::free);
  std::fill(buffer.get(), buffer.get() + kBuffer, 'y');
  const std::string bytes(size, 'x');
  const std::string path = Root() + ".raw";
  std::unique_ptr<fs::File> file;
  uint64_t offset = 0;
  for (auto _ : state) {
    if (file == nullptr || offset > (1ull << 30)) {
      state.PauseTiming();
      file.reset();
      fs::Posix().Remove(path).IgnoreError();
      file = fs::Posix().Open(path, {.mode = fs::OpenMode::kCreateNew, .direct = true}).value();
      offset = 0;
      state.ResumeTiming();
    }
    size_t used = 0;
    const auto write = [&] {
      if (!file->WriteAt(offset, absl::string_view(buffer.get(), used)).ok()) state.SkipWithError("write");
      offset += used;
      used = 0;
    };
    for (size_t i = 0; i < batch; ++i) {
      if (used + size > kBuffer) write();
      std::memcpy(buffer.get() + used, bytes.data(), size);
      used += size;
    }
    write();
    if (!file->Sync().ok()) state.SkipWithError("sync");
  }
  fs::Posix().Remove(path).IgnoreError();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size * batch));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * batch));
}

// Reading the heads of a session of 10,000 objects, as recovery does for what the index may not know.
void Scan(benchmark::State& state) {
  StoreForBenchmark benchmarked;
  constexpr int kObjects = 10'000;
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  {
    auto log = benchmarked.store().OpenSession("s").value();
    Position end;
    for (int i = 0; i < kObjects; ++i) {
      auto writer = log->StartObject().value();
      if (!writer->Append(bytes).ok()) state.SkipWithError("append");
      end = writer->Finish("meta")->position;
    }
    if (!log->Sync(end).ok()) state.SkipWithError("sync");
  }
  for (auto _ : state) {
    int found = 0;
    const auto count = [&](const FoundObject&) {
      ++found;
      return absl::OkStatus();
    };
    if (!benchmarked.store().Scan("s", {}, count).ok() || found != kObjects) state.SkipWithError("scan");
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kObjects);
}
BENCHMARK(Scan)->Arg(36 << 10)->Unit(benchmark::kMillisecond);

constexpr int64_t kCt = 516 << 10;  // multiples of 4 KiB, so that the raw write is aligned
constexpr int64_t kMr = 36 << 10;

BENCHMARK(Append)
    ->ArgNames({"size", "batch"})
    ->Args({kCt, 1})
    ->Args({kCt, 8})
    ->Args({kCt, 32})
    ->Args({kMr, 1})
    ->Args({kMr, 8})
    ->Args({kMr, 128})
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(RawAppend)
    ->ArgNames({"size", "batch"})
    ->Args({kCt, 1})
    ->Args({kCt, 32})
    ->Args({kMr, 1})
    ->Args({kMr, 128})
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK(Append)
    ->ArgNames({"size", "batch"})
    ->Args({kCt, 32})
    ->Args({kMr, 128})
    ->Threads(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
}  // namespace narthex::staging
