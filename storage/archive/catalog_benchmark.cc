// Writing and reading the catalog of a scan, by the number of its objects.
#include <string>

#include "absl/strings/str_cat.h"

#include "benchmark/benchmark.h"
#include "storage/archive/catalog.h"

namespace narthex::archive {
namespace {

Catalog CatalogOf(int objects) {
  Catalog catalog;
  catalog.uid = "2.25.123456789012345678901234567890";
  for (int i = 0; i < objects; ++i) {
    CatalogEntry entry;
    entry.uri = absl::StrCat(catalog.uid, "-1-", i, "-1x2y3z.dcm");
    entry.id = entry.uri;
    entry.name = entry.uri;
    entry.uid = absl::StrCat(catalog.uid, ".", i);
    entry.instance_number = i;
    entry.format = "DICOM";
    entry.created_by = "admin";
    entry.created_time = "2026-11-26T18:05:57.343";
    entry.created_event_id = "14";
    entry.md5 = std::string(32, 'a');
    entry.size_bytes = 526'000;
    catalog.entries.push_back(entry);
  }
  return catalog;
}

void BM_WriteCatalog(benchmark::State& state) {
  const Catalog catalog = CatalogOf(static_cast<int>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(WriteCatalog(catalog));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_WriteCatalog)->Arg(100)->Arg(2000)->Unit(benchmark::kMicrosecond);

void BM_ReadCatalog(benchmark::State& state) {
  const std::string text = WriteCatalog(CatalogOf(static_cast<int>(state.range(0))));
  for (auto _ : state) {
    if (!ReadCatalog(text).ok()) abort();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_ReadCatalog)->Arg(100)->Arg(2000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace narthex::archive
