// /metrics in Prometheus' text format, /healthz (the process lives) and /readyz (it can work). Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace narthex::app {

class MetricsServer {
 public:
  // Listens on ADDR:PORT. `ready` is asked for every /readyz. UNAVAILABLE: the port is taken.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& address,
                                                              std::function<absl::Status()> ready);
  ~MetricsServer();

  const std::string& address() const { return address_; }

 private:
  struct Rep;
  explicit MetricsServer(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
  std::string address_;
};

}  // namespace narthex::app
