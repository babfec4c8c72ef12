#include "server/gateway/socket.h"

#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/status.h"

namespace narthex::gateway {
namespace {

constexpr int kListenBacklog = 256;

absl::Status Broken(absl::string_view what, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("DICOM connection: ", what));
}

void SetOption(int fd, int level, int name, int value) {
  // Each is an improvement, none a condition: a socket pair has no TCP options at all.
  (void)setsockopt(fd, level, name, &value, sizeof(value));
}

// Waits until `events` come, or the stop signal, or the deadline.
absl::Status Wait(int fd, short events, absl::Time deadline, const StopSignal* stop) {
  pollfd waited[2] = {{fd, events, 0}, {stop == nullptr ? -1 : stop->fd(), POLLIN, 0}};
  while (true) {
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    const int64_t left_ms =
        std::min<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), 3'600'000);
    const int ready = poll(waited, 2, static_cast<int>(left_ms));
    if (ready < 0 && errno != EINTR) return Broken("poll", errno);
    if (ready > 0 && waited[0].revents != 0) return absl::OkStatus();
    if (ready > 0) return absl::CancelledError("the gateway is stopping");
    if (ready == 0 && absl::Now() >= deadline) {
      return absl::DeadlineExceededError("the peer did not go on in time");
    }
  }
}

struct AddressList {
  ~AddressList() {
    if (first != nullptr) freeaddrinfo(first);
  }
  addrinfo* first = nullptr;
};

absl::Status Resolve(const ListenAddress& address, int flags, AddressList& list) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  const bool any = address.host.empty() || address.host == "*";
  const int error = getaddrinfo(any ? nullptr : address.host.c_str(), absl::StrCat(address.port).c_str(),
                                &hints, &list.first);
  if (error == 0) return absl::OkStatus();
  return InvalidArgument("INVALID_FIELD", absl::StrCat("address ", address.host, ": ", gai_strerror(error)),
                         {{"field", "address"}, {"host", address.host}});
}

absl::StatusOr<UniqueFd> ListenOn(const addrinfo& where, uint16_t port, absl::string_view flag) {
  UniqueFd fd(socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const std::string what = absl::StrCat(flag, ": listening on port ", port);
  if (!fd.valid())
    return absl::UnavailableError(absl::StrCat(what, ": ", absl::ErrnoToStatus(errno, "socket").message()));
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (where.ai_family == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd.get(), where.ai_addr, where.ai_addrlen) != 0 || listen(fd.get(), kListenBacklog) != 0) {
    const absl::Status cause = absl::ErrnoToStatus(errno, what);
    const bool denied = absl::IsPermissionDenied(cause);
    return absl::Status(denied ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kUnavailable,
                        absl::StrCat(cause.message(), "; choose another address"));
  }
  return fd;
}

}  // namespace

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

StopSignal::StopSignal() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void StopSignal::Set() {
  set_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  (void)!write(fd_.get(), &one, sizeof(one));
}

Socket::Socket(UniqueFd fd, std::unique_ptr<TlsSession> tls) : fd_(std::move(fd)), tls_(std::move(tls)) {
  SetOption(fd_.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd_.get(), IPPROTO_TCP, TCP_QUICKACK, 1);
  SetOption(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
}

absl::StatusOr<Socket> Socket::Connect(const ListenAddress& address, absl::Time deadline,
                                       const StopSignal* stop) {
  AddressList list;
  NX_RETURN_IF_ERROR(Resolve(address, 0, list));
  UniqueFd fd(socket(list.first->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = connect(fd.get(), list.first->ai_addr, list.first->ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    NX_RETURN_IF_ERROR(Wait(fd.get(), POLLOUT, deadline, stop));
    socklen_t size = sizeof(error);
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) return absl::UnavailableError(absl::ErrnoToStatus(error, "connecting").message());
  return Socket(std::move(fd));
}

absl::StatusOr<size_t> Socket::Receive(char* to, size_t size, absl::Time deadline, const StopSignal* stop) {
  while (tls_) {
    const TlsSession::Step step = tls_->Read(to, size);
    NX_RETURN_IF_ERROR(step.status);
    SetOption(fd_.get(), IPPROTO_TCP, TCP_QUICKACK, 1);
    if (step.want == TlsSession::Want::kNothing) return step.bytes;
    NX_RETURN_IF_ERROR(WaitFor(step.want, deadline, stop));
  }
  while (true) {
    const ssize_t count = recv(fd_.get(), to, size, MSG_DONTWAIT);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return absl::UnavailableError(Broken("receiving", errno).message());
    }
    // A sender that has TCP_NODELAY off keeps the end of its message back until the rest is acknowledged.
    SetOption(fd_.get(), IPPROTO_TCP, TCP_QUICKACK, 1);
    NX_RETURN_IF_ERROR(Wait(fd_.get(), POLLIN, deadline, stop));
  }
}

absl::Status Socket::Send(absl::string_view data, absl::Time deadline) {
  while (tls_ && !data.empty()) {
    const TlsSession::Step step = tls_->Write(data.data(), data.size());
    NX_RETURN_IF_ERROR(step.status);
    data.remove_prefix(step.bytes);
    if (step.want != TlsSession::Want::kNothing) NX_RETURN_IF_ERROR(WaitFor(step.want, deadline, nullptr));
  }
  while (!data.empty()) {
    const ssize_t count = send(fd_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      data.remove_prefix(static_cast<size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      return absl::UnavailableError(Broken("sending", errno).message());
    NX_RETURN_IF_ERROR(Wait(fd_.get(), POLLOUT, deadline, nullptr));
  }
  return absl::OkStatus();
}

absl::Status Socket::WaitFor(TlsSession::Want want, absl::Time deadline, const StopSignal* stop) const {
  return Wait(fd_.get(), want == TlsSession::Want::kWrite ? POLLOUT : POLLIN, deadline, stop);
}

absl::Status Socket::Handshake(absl::Time deadline, const StopSignal* stop) {
  while (tls_) {
    const TlsSession::Step step = tls_->Handshake();
    NX_RETURN_IF_ERROR(step.status);
    if (step.want == TlsSession::Want::kNothing) break;
    NX_RETURN_IF_ERROR(WaitFor(step.want, deadline, stop));
  }
  return absl::OkStatus();
}

void Socket::ShutdownWrite() {
  if (tls_) tls_->SayEnd();
  (void)shutdown(fd_.get(), SHUT_WR);
}
void Socket::ShutdownBoth() { (void)shutdown(fd_.get(), SHUT_RDWR); }

std::string Socket::PeerAddress() const {
  sockaddr_storage peer = {};
  socklen_t length = sizeof(peer);
  if (getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in&>(peer).sin_addr, text, sizeof(text));
  } else if (peer.ss_family == AF_INET6) {
    const in6_addr& address = reinterpret_cast<sockaddr_in6&>(peer).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      inet_ntop(AF_INET, address.s6_addr + 12, text, sizeof(text));
    } else {
      inet_ntop(AF_INET6, &address, text, sizeof(text));
    }
  }
  return text;
}

absl::StatusOr<UniqueFd> Listen(const ListenAddress& address, absl::string_view flag) {
  AddressList list;
  if (absl::Status resolved = Resolve(address, AI_PASSIVE, list); !resolved.ok())
    return Annotate(resolved, flag);
  const bool any = address.host.empty() || address.host == "*";
  // Of "any", IPv6 is tried first: with IPV6_V6ONLY off it takes IPv4, too.
  for (const addrinfo* where = list.first; any && where != nullptr; where = where->ai_next) {
    if (where->ai_family != AF_INET6) continue;
    absl::StatusOr<UniqueFd> both = ListenOn(*where, address.port, flag);
    if (both.ok()) return both;
  }
  return ListenOn(*list.first, address.port, flag);
}

uint16_t LocalPort(int fd) {
  sockaddr_storage local = {};
  socklen_t length = sizeof(local);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) != 0) return 0;
  if (local.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in&>(local).sin_port);
  if (local.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6&>(local).sin6_port);
  return 0;
}

}  // namespace narthex::gateway
