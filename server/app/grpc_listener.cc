#include "server/app/grpc_listener.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"

namespace narthex::app {
namespace {

constexpr char kFlag[] = "--grpc-listen";

// While descriptors or memory are short.
constexpr absl::Duration kPause = absl::Milliseconds(100);

void CountRefused(const char* limit) {
  Metrics::Global().Count("refused_total", "What was refused for want of room, by limit.", 1,
                          {{"limit", limit}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcListener>> GrpcListener::Open(const std::string& address) {
  std::unique_ptr<GrpcListener> listener(new GrpcListener());
  NX_ASSIGN_OR_RETURN(const gateway::ListenAddress to, gateway::ParseListenAddress(address, kFlag));
  NX_ASSIGN_OR_RETURN(listener->fd_, gateway::Listen(to, kFlag));
  // Between poll and accept a connection may be gone again: that must not block.
  const int flags = ::fcntl(listener->fd_.get(), F_GETFL);
  ::fcntl(listener->fd_.get(), F_SETFL, flags | O_NONBLOCK);
  listener->address_ =
      absl::StrCat(address.substr(0, address.rfind(':')), ":", gateway::LocalPort(listener->fd_.get()));
  return listener;
}

GrpcListener::~GrpcListener() {
  stop_.Set();
  if (thread_.joinable()) thread_.join();
}

void GrpcListener::Serve(std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor) {
  acceptor_ = std::move(acceptor);
  thread_ = std::thread([this] { Run(); });
}

void GrpcListener::Run() {
  while (!stop_.IsSet()) {
    pollfd waited[] = {{fd_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
    if (::poll(waited, 2, -1) < 0 && errno != EINTR) absl::SleepFor(kPause);
    if ((waited[0].revents & POLLIN) != 0) Accept();
  }
}

bool GrpcListener::Fits(const std::string& address) {
  const auto fits = [&] {
    const auto it = by_address_.find(address);
    return static_cast<int>(known_.size()) < connections_max_ &&
           (it == by_address_.end() || it->second < per_address_max_);
  };
  if (fits()) return true;
  for (auto it = known_.begin(); it != known_.end();) {
    struct stat now = {};
    if (::fstat(it->first, &now) == 0 && S_ISSOCK(now.st_mode) && now.st_ino == it->second.inode) {
      ++it;
      continue;
    }
    if (--by_address_[it->second.address] == 0) by_address_.erase(it->second.address);
    it = known_.erase(it);
  }
  return fits();
}

void GrpcListener::Accept() {
  gateway::UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.valid()) {
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    CountRefused("descriptors");
    Log(LogLevel::kError, "a connection cannot be accepted",
        {{"error", absl::ErrnoToStatus(errno, "accept")}});
    absl::SleepFor(kPause);
    return;
  }
  struct stat made = {};
  if (::fstat(fd.get(), &made) != 0) return;
  const gateway::Socket peer(gateway::UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)));
  const std::string address = peer.PeerAddress();
  // A descriptor that is used again was closed.
  if (const auto old = known_.find(fd.get()); old != known_.end()) {
    if (--by_address_[old->second.address] == 0) by_address_.erase(old->second.address);
    known_.erase(old);
  }
  if (!Fits(address)) {
    CountRefused("connections");
    return;  // closed without a word: there is no protocol yet to say it in
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  known_[fd.get()] = {made.st_ino, address};
  ++by_address_[address];
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.listener_fd = fd_.get();
  connection.fd = fd.Release();
  acceptor_->HandleNewConnection(&connection);
}

}  // namespace narthex::app
