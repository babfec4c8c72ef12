// The DICOM gateway: a verification, storage and storage commitment service class provider that turns every
// association that stores into an Upload of narthexd. It is a client of the service, over the network or over
// gRPC's in-process channel.
//
//   NX_ASSIGN_OR_RETURN(auto gateway, Gateway::Start({.listen = {"127.0.0.1", 0}}, connection));
//   Log(LogLevel::kInfo, "gateway serves", {{"dicom", gateway->address()}});
//   ...
//   gateway->Stop();
//
// A C-STORE is answered with 0x0000 only after the server's outcome, so only when the object is durable. The
// upload of an association is never committed: the session is built when nothing more comes for it (idle
// timer).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/limits_gateway.h"
#include "clients/cpp/connection.h"
#include "server/gateway/commitment_source.h"
#include "server/gateway/object_sink.h"
#include "server/gateway/receiver.h"
#include "server/gateway/tls.h"

namespace narthex::gateway {

// Limits that may change while a gateway runs. Thread-safe.
struct GatewayLimits {
  // More associations at once are rejected: transient, local limit exceeded.
  std::atomic<int> associations_max{limits::kAssociationsMax};
  // As many of one address are rejected alike, so that one sender leaves room for others.
  std::atomic<int> associations_per_address_max{limits::kAssociationsPerAddressMax};
};

struct GatewayOptions {
  // All receivers listen on this host; those of port 0 on this port, too.
  ListenAddress listen = {};
  // None: nothing is listened to until SetReceivers (but see keep_default_port).
  std::vector<ReceiverConfig> receivers = {ReceiverConfig()};
  std::shared_ptr<GatewayLimits> limits = std::make_shared<GatewayLimits>();
  // Listen on `listen`'s port also while no receiver is there; callers are then told so.
  bool keep_default_port = false;
  // An association that says nothing for so long is aborted.
  absl::Duration idle_timeout = absl::Seconds(limits::kAssociationIdleSeconds.get());
  // PS3.8's ARTIM timer: from connecting to the whole A-ASSOCIATE-RQ, and from the last word to the
  // disconnect.
  absl::Duration artim_timeout = absl::Seconds(limits::kArtimSeconds.get());
  // Within a message each 64 KiB, or the rest of it, must come within so long; else the association is
  // aborted.
  absl::Duration progress_timeout = absl::Seconds(limits::kMessageProgressSeconds.get());
  // The certificates of receivers with `tls`; null: there can be none.
  std::shared_ptr<TlsServer> tls = nullptr;
  // Whether plain text may go over the network: to receivers without TLS that other machines reach, and in
  // storage commitment reports to other machines.
  bool plaintext_allowed = false;
  // What answers storage commitment; null: narthexd (Start), nobody (StartWithSinks).
  std::shared_ptr<CommitmentSource> commitments = nullptr;
  // How often reports are looked for that could not be delivered on their association.
  absl::Duration commitment_poll = absl::Seconds(10);
  // Stop lets objects that are under way finish for so long.
  absl::Duration drain_timeout = absl::Seconds(limits::kGatewayDrainSeconds.get());
};

// Thread-safe.
class Gateway {
 public:
  // Listens. INVALID_ARGUMENT: options. UNAVAILABLE or PERMISSION_DENIED: a port cannot be listened to.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(GatewayOptions options,
                                                        std::shared_ptr<client::Connection> connection);
  // As Start, with other sinks than Uploads: for measuring.
  static absl::StatusOr<std::unique_ptr<Gateway>> StartWithSinks(GatewayOptions options, SinkFactory sinks);
  // As Stop.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // The port of the first receiver; 0 if there is none.
  uint16_t port() const;
  // The port of the receiver of this AE title (the first, if several ports have one); 0 if there is none.
  uint16_t port(absl::string_view ae_title) const;
  // HOST:PORT of the kept default port, else of the first receiver, an IPv6 host in brackets; "" if there is
  // none.
  std::string address() const;

  // Replaces the receivers: opens and closes ports as needed; associations that exist go on. Receivers of
  // port 0 keep the port that they have. Nothing changes if it fails (errors as Start). With `errors`:
  // receivers whose port cannot be listened to are left out, and the reason is found there by AE title.
  absl::Status SetReceivers(std::vector<ReceiverConfig> receivers,
                            std::map<std::string, absl::Status>* errors = nullptr);

  // Associations at this moment.
  int association_count() const;

  // Accepts nothing more, lets the objects under way finish within options.drain_timeout, aborts the
  // associations and waits for their threads. Safe to repeat.
  void Stop();

 private:
  class Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace narthex::gateway
