#include "server/app/metrics_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/metrics.h"

namespace narthex::app {
namespace {

class Page : public CivetHandler {
 public:
  // Returns the status code and fills in the body.
  explicit Page(std::function<int(std::string*)> make) : make_(std::move(make)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    std::string body;
    const int code = make_(&body);
    const std::string head = absl::StrCat(
        "HTTP/1.1 ", code, code == 200 ? " OK" : " Service Unavailable",
        "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: ", body.size(),
        "\r\n\r\n");
    mg_write(connection, head.data(), head.size());
    mg_write(connection, body.data(), body.size());
    return true;
  }

 private:
  const std::function<int(std::string*)> make_;
};

}  // namespace

struct MetricsServer::Rep {
  explicit Rep(std::function<absl::Status()> ready)
      : metrics([](std::string* body) {
          *body = Metrics::Global().Text();
          return 200;
        }),
        health([](std::string* body) {
          *body = "ok\n";
          return 200;
        }),
        ready([ready = std::move(ready)](std::string* body) {
          const absl::Status status = ready();
          *body = status.ok() ? "ok\n" : absl::StrCat(ErrorReason(status), "\n");
          return status.ok() ? 200 : 503;
        }) {}

  Page metrics, health, ready;
  std::unique_ptr<CivetServer> server;  // stops before its pages go
};

MetricsServer::MetricsServer(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& address,
                                                                    std::function<absl::Status()> ready) {
  std::unique_ptr<MetricsServer> server(new MetricsServer(std::make_unique<Rep>(std::move(ready))));
  Rep& rep = *server->rep_;
  try {
    rep.server = std::make_unique<CivetServer>(
        std::vector<std::string>{"listening_ports", address, "num_threads", "2"});
  } catch (const CivetException& error) {
    return Error(absl::StatusCode::kUnavailable, "STORAGE_ERROR", absl::StrCat("cannot listen on ", address));
  }
  rep.server->addHandler("/metrics", rep.metrics);
  rep.server->addHandler("/healthz", rep.health);
  rep.server->addHandler("/readyz", rep.ready);
  const std::vector<int> ports = rep.server->getListeningPorts();
  server->address_ =
      absl::StrCat(address.substr(0, address.rfind(':')), ":", ports.empty() ? 0 : ports.front());
  return server;
}

}  // namespace narthex::app
