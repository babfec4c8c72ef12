// Counters, gauges and histograms for Prometheus. Names are prefixed with narthex_. Labels never carry a
// patient value nor anything of unbounded variety. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prometheus {
class Registry;
}

namespace narthex {

using MetricLabels = std::map<std::string, std::string>;

// All metrics of the process. A metric is made at its first use and then found again by name and labels.
class Metrics {
 public:
  static Metrics& Global();

  // Adds `by` (>= 0) to the counter `name`.
  void Count(absl::string_view name, absl::string_view help, double by = 1, const MetricLabels& labels = {});
  // Sets the gauge `name`.
  void Set(absl::string_view name, absl::string_view help, double value, const MetricLabels& labels = {});
  // Adds an observation, in seconds, to the histogram `name` (buckets from 100 microseconds to 60 seconds).
  void ObserveSeconds(absl::string_view name, absl::string_view help, double seconds,
                      const MetricLabels& labels = {});

  // What is to be exposed, for an exposer.
  std::shared_ptr<prometheus::Registry> registry() { return registry_; }
  // All metrics in Prometheus' text format.
  std::string Text() const;

 private:
  Metrics();
  std::shared_ptr<prometheus::Registry> registry_;
};

}  // namespace narthex
