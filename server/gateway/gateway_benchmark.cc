// C-STORE through the gateway: a preloaded raw sender that waits for each answer (or runs ahead by a window),
// and behind the gateway either a sink that throws bytes away (the gateway's own cost) or an UploadService in
// the same process that does (with gRPC). Neither makes anything durable.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/limits.h"
#include "base/log.h"
#include "benchmark/benchmark.h"
#include "server/gateway/fake_upload_service.h"
#include "server/gateway/gateway.h"
#include "server/gateway/raw_sender.h"

namespace narthex::gateway {
namespace {

constexpr size_t kMrBytes = 38 << 10;
constexpr size_t kCtBytes = 525 << 10;
constexpr int kObjectsPerIteration = 64;
constexpr uint32_t kPduBytes = 128 << 10;

class DroppingSink : public ObjectSink {
 public:
  explicit DroppingSink(SinkRequest request) : request_(std::move(request)) {}
  absl::StatusOr<int64_t> Begin() override { return ++sequence_; }
  absl::Status Append(absl::string_view data) override {
    benchmark::DoNotOptimize(data);
    return absl::OkStatus();
  }
  absl::Status End() override {
    v1::ObjectOutcome outcome;
    outcome.set_sequence(sequence_);
    outcome.set_outcome(v1::ObjectOutcome::STORED);
    request_.on_outcome(outcome);
    return absl::OkStatus();
  }
  void Abandon() override {}
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  SinkRequest request_;
  int64_t sequence_ = 0;
};

// Sends the same object kObjectsPerIteration times; `window` of them ahead of the answers.
void SendObjects(RawSender& sender, const std::string& object, int window) {
  int sent = 0;
  for (int answered = 0; answered < kObjectsPerIteration; ++answered) {
    while (sent < kObjectsPerIteration && sent - answered < window) {
      if (!sender.Send(object)) std::abort();
      ++sent;
    }
    if (sender.ReceiveResponse().status != kStatusSuccess) std::abort();
  }
}

void Run(benchmark::State& state, Gateway& gateway) {
  const auto object_bytes = static_cast<size_t>(state.range(0));
  const auto associations = static_cast<size_t>(state.range(1));
  const auto window = static_cast<int>(state.range(2));
  const std::string object =
      RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", object_bytes), kPduBytes);
  Associate request = RawSender::DefaultRequest();
  if (window > 1) request.async_window = AsyncWindow{static_cast<uint16_t>(window), 1};
  std::vector<std::unique_ptr<RawSender>> senders;
  for (size_t i = 0; i < associations; ++i) {
    senders.push_back(std::make_unique<RawSender>(gateway.port()));
    if (!senders.back()->Request(request).Is(PduType::kAssociateAc)) std::abort();
  }
  for (auto _ : state) {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < senders.size(); ++i) {
      threads.emplace_back([&, i] { SendObjects(*senders[i], object, window); });
    }
    SendObjects(*senders[0], object, window);
    for (std::thread& thread : threads) thread.join();
  }
  const auto count = static_cast<int64_t>(state.iterations() * associations * kObjectsPerIteration);
  state.SetItemsProcessed(count);
  state.SetBytesProcessed(count * static_cast<int64_t>(object_bytes));
}

GatewayOptions Options() {
  SetLogLevel(LogLevel::kError);
  GatewayOptions options;
  options.listen.port = 0;
  return options;
}

void BM_StoreToNothing(benchmark::State& state) {
  auto gateway = Gateway::StartWithSinks(
      Options(), [](SinkRequest request) { return std::make_unique<DroppingSink>(std::move(request)); });
  if (!gateway.ok()) std::abort();
  Run(state, **gateway);
}

void BM_StoreToUpload(benchmark::State& state) {
  FakeUploadService service;
  service.set_keeping(false);
  auto gateway = Gateway::Start(Options(), service.Connect());
  if (!gateway.ok()) std::abort();
  Run(state, **gateway);
}

void Arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"bytes", "associations", "window"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const size_t bytes : {kMrBytes, kCtBytes}) {
    benchmark->Args({static_cast<int64_t>(bytes), 1, 1});
    benchmark->Args({static_cast<int64_t>(bytes), 4, 1});
    benchmark->Args({static_cast<int64_t>(bytes), 1, 16});
  }
}

BENCHMARK(BM_StoreToNothing)->Apply(Arguments);
BENCHMARK(BM_StoreToUpload)->Apply(Arguments);

}  // namespace
}  // namespace narthex::gateway
