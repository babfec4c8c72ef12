#include "base/metrics.h"

#include "absl/strings/str_cat.h"
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace narthex {
namespace {

const prometheus::Histogram::BucketBoundaries& SecondsBuckets() {
  static const auto* buckets = new prometheus::Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
      0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30,    60};
  return *buckets;
}

std::string FullName(absl::string_view name) { return absl::StrCat("narthex_", name); }

}  // namespace

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}

Metrics& Metrics::Global() {
  static Metrics* metrics = new Metrics;
  return *metrics;
}

void Metrics::Count(absl::string_view name, absl::string_view help, double by, const MetricLabels& labels) {
  prometheus::BuildCounter()
      .Name(FullName(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels)
      .Increment(by);
}

void Metrics::Set(absl::string_view name, absl::string_view help, double value, const MetricLabels& labels) {
  prometheus::BuildGauge()
      .Name(FullName(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels)
      .Set(value);
}

void Metrics::ObserveSeconds(absl::string_view name, absl::string_view help, double seconds,
                             const MetricLabels& labels) {
  prometheus::BuildHistogram()
      .Name(FullName(name))
      .Help(std::string(help))
      .Register(*registry_)
      .Add(labels, SecondsBuckets())
      .Observe(seconds);
}

std::string Metrics::Text() const { return prometheus::TextSerializer().Serialize(registry_->Collect()); }

}  // namespace narthex
