#include "server/gateway/gateway.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/limits_gateway.h"
#include "base/local_address.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "server/gateway/association.h"
#include "server/gateway/commitment_reporter.h"
#include "server/gateway/receiver_table.h"

namespace narthex::gateway {
namespace {

// Connections above a limit that are told so; those above that, too, are closed without a word. They take no
// place of others: who is told so is no association, and one address is told so many times at once.
// After an accept that failed for want of descriptors or memory.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(50);

struct Listener {
  Listener(UniqueFd given, uint16_t bound) : fd(std::move(given)), port(bound) {}

  UniqueFd fd;
  uint16_t port = 0;
  std::atomic<bool> tls = false;
};
using Listeners =
    std::map<uint16_t, std::shared_ptr<Listener>>;  // by the port that was asked for, 0 included

}  // namespace

// One thread accepts, and each association has its own. Associations are owned by connections_; a thread that
// ends hands itself over to finished_, and the accepting thread joins it.
class Gateway::Impl {
 public:
  Impl(GatewayOptions options, SinkFactory sinks) : options_(std::move(options)) {
    environment_.sinks = std::move(sinks);
    environment_.artim_timeout = options_.artim_timeout;
    environment_.idle_timeout = options_.idle_timeout;
    environment_.progress_timeout = options_.progress_timeout;
    environment_.commitments = options_.commitments;
    environment_.on_interrupted_report = [this] {
      if (reporter_) reporter_->Wake();
    };
    environment_.admit = [this](const Associate& request, absl::string_view address, uint16_t port,
                                absl::string_view certificate_name) {
      return table()->Admit(request, address, port, certificate_name);
    };
  }

  absl::Status Start() {
    wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_.valid()) return absl::ErrnoToStatus(errno, "eventfd");
    NX_RETURN_IF_ERROR(SetReceivers(options_.receivers, nullptr));
    if (options_.commitments) {
      reporter_ = std::make_unique<CommitmentReporter>(
          options_.commitments, ReportTransport{options_.tls, options_.plaintext_allowed},
          options_.commitment_poll, environment_.stop);
    }
    acceptor_ = std::thread([this] { AcceptLoop(); });
    return absl::OkStatus();
  }

  absl::Status SetReceivers(std::vector<ReceiverConfig> receivers,
                            std::map<std::string, absl::Status>* errors);
  void Stop();

  std::shared_ptr<const ReceiverTable> table() const {
    absl::MutexLock lock(&mutex_);
    return table_;
  }
  const GatewayOptions& options() const { return options_; }
  // The port that is listened to though no receiver may be there; 0: there is none.
  uint16_t kept_port() const {
    absl::MutexLock lock(&mutex_);
    const auto found = listeners_.find(options_.listen.port);
    return options_.keep_default_port && found != listeners_.end() ? found->second->port : 0;
  }
  int association_count() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(connections_.size());
  }

 private:
  struct Connection {
    std::string address;
    bool rejected = false;
    std::unique_ptr<Association> association;
    std::thread thread;
  };

  void AcceptLoop();
  void AcceptFrom(const Listener& listener);
  void StartAssociation(UniqueFd fd, const Listener& listener);
  absl::Status CheckTransport(const ReceiverConfig& receiver) const;
  void Serve(int64_t id, Association* association);
  void Join();
  void Wake() {
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
  }
  bool NoneLeft() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connections_.empty(); }

  const GatewayOptions options_;
  AssociationEnvironment environment_;
  UniqueFd wake_;
  std::unique_ptr<CommitmentReporter> reporter_;
  std::thread acceptor_;
  absl::Mutex stop_mutex_;       // one Stop at a time
  absl::Mutex receivers_mutex_;  // one SetReceivers at a time

  mutable absl::Mutex mutex_;
  std::shared_ptr<const ReceiverTable> table_ ABSL_GUARDED_BY(mutex_);
  Listeners listeners_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<Connection> finished_ ABSL_GUARDED_BY(mutex_);
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
};

namespace {

// The listener of `port` in `listeners`, opened if it is not there.
absl::StatusOr<std::shared_ptr<Listener>> ListenerOf(const std::string& host, uint16_t port,
                                                     Listeners& listeners) {
  if (const auto found = listeners.find(port); found != listeners.end()) return found->second;
  NX_ASSIGN_OR_RETURN(UniqueFd fd, Listen({host, port}));
  const uint16_t bound = LocalPort(fd.get());
  return listeners[port] = std::make_shared<Listener>(std::move(fd), bound);
}

}  // namespace

absl::Status Gateway::Impl::SetReceivers(std::vector<ReceiverConfig> receivers,
                                         std::map<std::string, absl::Status>* errors) {
  absl::MutexLock one_at_a_time(&receivers_mutex_);
  NX_RETURN_IF_ERROR(CheckReceivers(receivers));
  Listeners wanted;
  {
    absl::MutexLock lock(&mutex_);
    wanted = listeners_;
  }
  const std::string& host = options_.listen.host;
  std::set<uint16_t> asked;
  uint16_t kept = 0;  // where the default port is known under another number (0)
  if (options_.keep_default_port) {
    asked.insert(options_.listen.port);
    NX_ASSIGN_OR_RETURN(const auto listener, ListenerOf(host, options_.listen.port, wanted));
    kept = listener->port;
  }
  std::vector<ReceiverConfig> listened;
  std::map<std::shared_ptr<Listener>, bool> encrypted;
  for (ReceiverConfig& receiver : receivers) {
    const bool by_default = receiver.port == 0 || receiver.port == kept;
    const uint16_t port = by_default ? options_.listen.port : receiver.port;
    const absl::Status allowed = CheckTransport(receiver);
    const auto listener = allowed.ok() ? ListenerOf(host, port, wanted) : allowed;
    if (!listener.ok() && errors != nullptr) {
      (*errors)[receiver.ae_title] = listener.status();
      continue;
    }
    NX_RETURN_IF_ERROR(listener.status());
    asked.insert(port);
    receiver.port = (*listener)->port;
    encrypted[*listener] = receiver.tls;
    listened.push_back(std::move(receiver));
  }
  for (auto it = wanted.begin(); it != wanted.end();) {
    it = asked.count(it->first) != 0 ? std::next(it) : wanted.erase(it);
  }
  NX_ASSIGN_OR_RETURN(ReceiverTable table, ReceiverTable::Make(listened));
  for (const auto& [listener, tls] : encrypted) listener->tls = tls;
  {
    absl::MutexLock lock(&mutex_);
    table_ = std::make_shared<const ReceiverTable>(std::move(table));
    listeners_.swap(wanted);
  }
  Wake();
  return absl::OkStatus();
}

absl::Status Gateway::Impl::CheckTransport(const ReceiverConfig& receiver) const {
  if (receiver.tls && options_.tls == nullptr) {
    return absl::FailedPreconditionError("it wants TLS, and no certificate was given (--dicom-tls-cert)");
  }
  if (!receiver.tls && !options_.plaintext_allowed && !IsLocalHost(options_.listen.host)) {
    return absl::FailedPreconditionError(
        "it would offer plain text to other machines; give it TLS, or the program --allow-plaintext");
  }
  return absl::OkStatus();
}

void Gateway::Impl::AcceptLoop() {
  while (!environment_.stop.IsSet()) {
    std::vector<std::shared_ptr<Listener>> listeners;
    {
      absl::MutexLock lock(&mutex_);
      for (const auto& [asked, listener] : listeners_) listeners.push_back(listener);
    }
    std::vector<pollfd> waited = {{wake_.get(), POLLIN, 0}, {environment_.stop.fd(), POLLIN, 0}};
    for (const auto& listener : listeners) waited.push_back({listener->fd.get(), POLLIN, 0});
    if (poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) absl::SleepFor(kAcceptPause);
    uint64_t count = 0;
    (void)!read(wake_.get(), &count, sizeof(count));
    Join();
    for (size_t i = 0; i < listeners.size() && !environment_.stop.IsSet(); ++i) {
      if ((waited[i + 2].revents & POLLIN) != 0) AcceptFrom(*listeners[i]);
    }
  }
}

void Gateway::Impl::AcceptFrom(const Listener& listener) {
  UniqueFd fd(accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (fd.valid()) {
    StartAssociation(std::move(fd), listener);
    return;
  }
  if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
    Log(LogLevel::kError, "dicom connection cannot be accepted",
        {{"status", absl::ErrnoToStatus(errno, "accept")}});
    absl::SleepFor(kAcceptPause);
  }
}

void Gateway::Impl::StartAssociation(UniqueFd fd, const Listener& listener) {
  const uint16_t port = listener.port;
  std::unique_ptr<TlsSession> tls;
  if (listener.tls) tls = std::make_unique<TlsSession>(options_.tls->Current(), fd.get());
  Socket socket(std::move(fd), std::move(tls));
  const std::string address = socket.PeerAddress();
  absl::MutexLock lock(&mutex_);
  const auto count = [&](bool rejected, bool of_address) ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::count_if(connections_.begin(), connections_.end(), [&](const auto& entry) {
      return entry.second.rejected == rejected && (!of_address || entry.second.address == address);
    });
  };
  const bool over_limit = count(false, false) >= options_.limits->associations_max ||
                          count(false, true) >= options_.limits->associations_per_address_max;
  if (over_limit && (count(true, false) >= limits::kRejectionsMax ||
                     count(true, true) >= limits::kRejectionsPerAddressMax)) {
    Metrics::Global().Count("gateway_rejected_total", "associations rejected", 1,
                            {{"reason", "connection limit"}});
    return;
  }
  const int64_t id = next_id_++;
  Connection& connection = connections_[id];
  connection.address = address;
  connection.rejected = over_limit;
  connection.association = std::make_unique<Association>(std::move(socket), port, over_limit, environment_);
  Association* association = connection.association.get();
  try {
    connection.thread = std::thread([this, id, association] { Serve(id, association); });
  } catch (const std::system_error& error) {
    Log(LogLevel::kError, "dicom association gets no thread", {{"error", error.what()}});
    connections_.erase(id);
  }
}

void Gateway::Impl::Serve(int64_t id, Association* association) {
  association->Run();
  {
    absl::MutexLock lock(&mutex_);
    finished_.push_back(std::move(connections_.at(id)));
    connections_.erase(id);
  }
  Wake();
}

void Gateway::Impl::Join() {
  std::vector<Connection> finished;
  {
    absl::MutexLock lock(&mutex_);
    finished.swap(finished_);
  }
  for (Connection& connection : finished) connection.thread.join();
}

void Gateway::Impl::Stop() {
  absl::MutexLock stop_lock(&stop_mutex_);
  environment_.stop.Set();
  if (acceptor_.joinable()) acceptor_.join();
  {
    absl::MutexLock lock(&mutex_);
    listeners_.clear();
    if (!mutex_.AwaitWithTimeout(absl::Condition(this, &Impl::NoneLeft), options_.drain_timeout)) {
      Log(LogLevel::kWarning, "dicom associations are broken off", {{"associations", connections_.size()}});
      for (auto& [id, connection] : connections_) connection.association->Break();
      mutex_.Await(absl::Condition(this, &Impl::NoneLeft));
    }
  }
  Join();
  reporter_.reset();
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(GatewayOptions options,
                                                        std::shared_ptr<client::Connection> connection) {
  if (!options.commitments) options.commitments = ServerCommitments(connection);
  return StartWithSinks(std::move(options), UploadSinks(std::move(connection)));
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::StartWithSinks(GatewayOptions options, SinkFactory sinks) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(sinks));
  NX_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gateway::~Gateway() { Stop(); }

uint16_t Gateway::port() const {
  const auto table = impl_->table();
  return table->configs().empty() ? 0 : table->configs().front().port;
}

uint16_t Gateway::port(absl::string_view ae_title) const {
  const auto table = impl_->table();
  for (const ReceiverConfig& config : table->configs()) {
    if (config.ae_title == ae_title) return config.port;
  }
  return 0;
}

std::string Gateway::address() const {
  const uint16_t kept = impl_->kept_port();
  const uint16_t port = kept != 0 ? kept : this->port();
  if (port == 0) return "";
  const std::string& host = impl_->options().listen.host;
  const bool bracketed = host.find(':') != std::string::npos;
  return absl::StrCat(bracketed ? "[" : "", host.empty() ? "*" : host, bracketed ? "]" : "", ":", port);
}

absl::Status Gateway::SetReceivers(std::vector<ReceiverConfig> receivers,
                                   std::map<std::string, absl::Status>* errors) {
  return impl_->SetReceivers(std::move(receivers), errors);
}

int Gateway::association_count() const { return impl_->association_count(); }
void Gateway::Stop() { impl_->Stop(); }

}  // namespace narthex::gateway
