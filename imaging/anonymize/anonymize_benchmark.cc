// What de-identification costs beyond reading and writing: CPU per object. The objects are images of the
// shared folder, so nothing runs without it.
#include <string>

#include "benchmark/benchmark.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/testing.h"

namespace narthex::anonymize {
namespace {

constexpr char kSecret[] = "a secret of sixteen bytes or more";

// A CT object: its header with many attributes, and 512 x 512 pixels.
const std::string& CtObject() {
  static const std::string& bytes = *new std::string([] {
    std::string found;
    if (SharedFolder().empty()) return found;
    for (const auto& path : SharedFiles(1 << 20)) {
      if (path.string().find("dicom-ct-ge-hispeed") == std::string::npos) continue;
      std::string candidate = ReadFile(path);
      if (dicom::ParseObjectHeader(candidate).ok() && candidate.size() > found.size())
        found = std::move(candidate);
    }
    return found;
  }());
  return bytes;
}

void ReportObject(benchmark::State& state, const std::string& bytes) {
  const auto header = dicom::ParseObjectHeader(bytes);
  state.counters["object_bytes"] = static_cast<double>(bytes.size());
  state.counters["header_bytes"] = static_cast<double>(header->data->Write().size());
  state.counters["elements"] = static_cast<double>(header->data->element_count());
}

void Rewrite(benchmark::State& state, const AnonymizationPlan& plan) {
  const std::string& bytes = CtObject();
  if (bytes.empty()) return state.SkipWithError("no shared folder");
  ApplyContext context;
  for (auto unused : state) {
    Anonymizer anonymizer(plan, {{"project", "P"}, {"subject", "S"}, {"session", "E"}}, context);
    size_t out = 0;
    dicom::HeaderRewriter rewriter(anonymizer, [&](absl::string_view piece) {
      out += piece.size();
      return absl::OkStatus();
    });
    if (!rewriter.Add(bytes).ok() || !rewriter.Finish().ok()) return state.SkipWithError("not rewritten");
    benchmark::DoNotOptimize(out);
  }
  ReportObject(state, bytes);
}

void BM_PassThrough(benchmark::State& state) { Rewrite(state, {}); }
BENCHMARK(BM_PassThrough);

void BM_BasicProfile(benchmark::State& state) {
  AnonymizationPlan plan;
  plan.profile = std::make_shared<Profile>(*ProfileOptions::Parse("basic"));
  plan.secret = kSecret;
  Rewrite(state, plan);
}
BENCHMARK(BM_BasicProfile);

void BM_DefaultSiteScript(benchmark::State& state) {
  AnonymizationPlan plan;
  plan.script = std::make_shared<Script>(*Script::Compile(DefaultSiteScript()));
  plan.secret = kSecret;
  Rewrite(state, plan);
}
BENCHMARK(BM_DefaultSiteScript);

void BM_BasicProfileWithLeftoverCheck(benchmark::State& state) {
  AnonymizationPlan plan;
  plan.profile = std::make_shared<Profile>(*ProfileOptions::Parse("basic"));
  plan.secret = kSecret;
  plan.check_leftovers = true;
  Rewrite(state, plan);
}
BENCHMARK(BM_BasicProfileWithLeftoverCheck);

void BM_MapUid(benchmark::State& state) {
  for (auto unused : state)
    benchmark::DoNotOptimize(MapUid(kSecret, "1.2.840.113619.2.5.1762583153.215519.978957063.78"));
}
BENCHMARK(BM_MapUid);

}  // namespace
}  // namespace narthex::anonymize
