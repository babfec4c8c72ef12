// TCP sockets as the gateway needs them: no delays, deadlines on everything, and a way to be woken up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "server/gateway/receiver.h"
#include "server/gateway/tls.h"

namespace narthex::gateway {

// A file descriptor that is closed with its owner. Thread-compatible.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { Reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Becomes readable once and for all. Thread-safe.
class StopSignal {
 public:
  StopSignal();
  void Set();
  bool IsSet() const { return set_.load(std::memory_order_acquire); }
  // For poll. -1 if the system gave none; waiting then ends by deadlines only.
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::atomic<bool> set_ = false;
};

// A connected stream. One thread may receive while another sends.
class Socket {
 public:
  explicit Socket(UniqueFd fd) : Socket(std::move(fd), nullptr) {}
  // Encrypted: Handshake comes first.
  Socket(UniqueFd fd, std::unique_ptr<TlsSession> tls);

  // For clients. UNAVAILABLE: nobody answers. DEADLINE_EXCEEDED and CANCELLED as Receive.
  static absl::StatusOr<Socket> Connect(const ListenAddress& address,
                                        absl::Time deadline = absl::InfiniteFuture(),
                                        const StopSignal* stop = nullptr);

  // Receives 1 to `size` (> 0) bytes to `to` and returns how many; 0: the peer sent its last byte. Waits
  // until `deadline` (DEADLINE_EXCEEDED) and, if `stop` is given, until it is set (CANCELLED); bytes that are
  // there already are always taken. UNAVAILABLE: the connection broke. Acknowledges at once (TCP_QUICKACK,
  // re-armed every time, because the kernel forgets it): a sender with Nagle's algorithm would else wait 40
  // ms for each object.
  absl::StatusOr<size_t> Receive(char* to, size_t size, absl::Time deadline, const StopSignal* stop);

  // Sends everything. DEADLINE_EXCEEDED: the peer does not read. UNAVAILABLE: the connection broke.
  absl::Status Send(absl::string_view data, absl::Time deadline);

  // The client's side of TLS from here on: Handshake comes next.
  void Encrypt(std::shared_ptr<ssl_ctx_st> context) {
    tls_ = std::make_unique<TlsSession>(std::move(context), fd_.get(), TlsSession::Side::kClient);
  }
  // Agrees on keys with the peer; nothing to do without encryption. Errors as Receive.
  absl::Status Handshake(absl::Time deadline, const StopSignal* stop);
  // The common name of the peer's certificate; "" without one.
  std::string PeerCertificateName() const { return tls_ ? tls_->PeerName() : ""; }
  // Whether that certificate is for this host.
  bool PeerIsHost(const std::string& host) const { return tls_ && tls_->PeerIsHost(host); }

  // Says that nothing more will be sent.
  void ShutdownWrite();
  // Wakes up a thread that waits in Receive or Send, which then fails or sees the end. From any thread.
  void ShutdownBoth();

  // The peer's numeric address, without port; IPv4 as IPv4. "" for what is no network socket.
  std::string PeerAddress() const;
  int fd() const { return fd_.get(); }

 private:
  absl::Status WaitFor(TlsSession::Want want, absl::Time deadline, const StopSignal* stop) const;

  UniqueFd fd_;
  std::unique_ptr<TlsSession> tls_;  // null: plain text
};

// A listening socket of `address`, with the port that the system picked if it was 0. Host "" and "*" are IPv6
// and IPv4. `flag` is where an operator gave it; errors name it. INVALID_ARGUMENT: no such host. UNAVAILABLE:
// the port is in use. PERMISSION_DENIED: not for this user.
absl::StatusOr<UniqueFd> Listen(const ListenAddress& address, absl::string_view flag = "--dicom-listen");

// The port that a socket is bound to; 0 if none.
uint16_t LocalPort(int fd);

}  // namespace narthex::gateway
