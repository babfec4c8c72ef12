// What checksums and digests of an object cost: CRC-32C and XXH3 on the way in, SHA-256 and MD5 on the way
// into the archive.
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/digest.h"
#include "base/md5_lanes.h"
#include "benchmark/benchmark.h"

namespace narthex {
namespace {

std::string Object(benchmark::State& state) {
  std::string bytes(static_cast<size_t>(state.range(0)), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
  return bytes;
}

void Count(benchmark::State& state, int objects = 1) {
  state.SetBytesProcessed(state.iterations() * state.range(0) * objects);
  state.SetItemsProcessed(state.iterations() * objects);
}

void BM_Crc32c(benchmark::State& state) {
  const std::string bytes = Object(state);
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(bytes));
  Count(state);
}

void BM_Xxh3(benchmark::State& state) {
  const std::string bytes = Object(state);
  for (auto _ : state) benchmark::DoNotOptimize(Xxh3(bytes));
  Count(state);
}

void BM_Sha256(benchmark::State& state) {
  const std::string bytes = Object(state);
  for (auto _ : state) benchmark::DoNotOptimize(Sha256(bytes));
  Count(state);
}

void BM_Md5(benchmark::State& state) {
  const std::string bytes = Object(state);
  for (auto _ : state) benchmark::DoNotOptimize(Md5(bytes));
  Count(state);
}

// Sixteen objects, with vectors of no more than the second argument's lanes.
void BM_Md5Each(benchmark::State& state) {
  const std::vector<std::string> objects(16, Object(state));
  const std::vector<absl::string_view> messages(objects.begin(), objects.end());
  for (auto _ : state) benchmark::DoNotOptimize(Md5Each(messages, static_cast<size_t>(state.range(1))));
  Count(state, 16);
}

constexpr int64_t kMr = 38'770;
constexpr int64_t kCt = 527'492;
BENCHMARK(BM_Crc32c)->Arg(kMr)->Arg(kCt);
BENCHMARK(BM_Xxh3)->Arg(kMr)->Arg(kCt);
BENCHMARK(BM_Sha256)->Arg(kMr)->Arg(kCt);
BENCHMARK(BM_Md5)->Arg(kMr)->Arg(kCt);
BENCHMARK(BM_Md5Each)->Args({kMr, 8})->Args({kCt, 8})->Args({kMr, 16})->Args({kCt, 16});

}  // namespace
}  // namespace narthex
