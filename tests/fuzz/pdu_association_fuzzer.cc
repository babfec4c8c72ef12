// A whole association, up to the data sets of C-STOREs: the input is what a sender writes, after a good
// request if its first byte is odd. Every object must be ended or abandoned, and every answer a whole PDU.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include <sys/socket.h>

#include "base/log.h"
#include "server/gateway/association.h"

namespace gateway = narthex::gateway;
namespace v1 = narthex::v1;

namespace {

// Counts, and calls everything stored.
class CountingSink : public gateway::ObjectSink {
 public:
  explicit CountingSink(gateway::SinkRequest request) : request_(std::move(request)) {}
  ~CountingSink() override {
    if (begun_) std::abort();
  }

  absl::StatusOr<int64_t> Begin() override {
    if (begun_) std::abort();
    begun_ = true;
    return ++sequence_;
  }
  absl::Status Append(absl::string_view data) override {
    if (!begun_) std::abort();
    return absl::OkStatus();
  }
  absl::Status End() override {
    if (!std::exchange(begun_, false)) std::abort();
    v1::ObjectOutcome outcome;
    outcome.set_sequence(sequence_);
    outcome.set_outcome(v1::ObjectOutcome::STORED);
    request_.on_outcome(outcome);
    return absl::OkStatus();
  }
  void Abandon() override { begun_ = false; }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  gateway::SinkRequest request_;
  bool begun_ = false;
  int64_t sequence_ = 0;
};

gateway::AssociationEnvironment& Environment() {
  static gateway::AssociationEnvironment* const environment = [] {
    narthex::SetLogLevel(narthex::LogLevel::kError);
    auto* made = new gateway::AssociationEnvironment;
    made->sinks = [](gateway::SinkRequest request) {
      return std::make_unique<CountingSink>(std::move(request));
    };
    made->admit = [](const gateway::Associate&, absl::string_view, uint16_t, absl::string_view) {
      return gateway::Admission();
    };
    made->artim_timeout = made->idle_timeout = made->progress_timeout = absl::Milliseconds(20);
    return made;
  }();
  return *environment;
}

std::string GoodRequest(bool asynchronous) {
  gateway::Associate request;
  request.called_ae_title = "NARTHEX";
  request.contexts = {
      {.id = 1, .abstract_syntax = "1.2.840.10008.5.1.4.1.1.4", .transfer_syntaxes = {"1.2.840.10008.1.2.1"}},
      {.id = 3, .abstract_syntax = "1.2.840.10008.1.1", .transfer_syntaxes = {"1.2.840.10008.1.2"}}};
  if (asynchronous) request.async_window = gateway::AsyncWindow{8, 1};
  return gateway::EncodeAssociate(gateway::PduType::kAssociateRq, request);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > (32 << 10)) return 0;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 0;
  gateway::UniqueFd sender(ends[0]);
  std::string bytes = (data[0] & 1) != 0 ? GoodRequest((data[0] & 2) != 0) : "";
  bytes.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (send(sender.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  shutdown(sender.get(), SHUT_WR);

  gateway::Association association(gateway::Socket(gateway::UniqueFd(ends[1])), 104, false, Environment());
  association.Run();

  std::string answers(1 << 20, '\0');
  const ssize_t received = recv(sender.get(), answers.data(), answers.size(), MSG_DONTWAIT);
  absl::string_view rest(answers.data(), received < 0 ? 0 : static_cast<size_t>(received));
  while (!rest.empty()) {
    if (rest.size() < gateway::kPduHeaderBytes) std::abort();
    const gateway::PduHeader pdu = gateway::ParsePduHeader(rest);
    if (pdu.type < 2 || pdu.type > 7 || pdu.length > rest.size() - gateway::kPduHeaderBytes) std::abort();
    rest.remove_prefix(gateway::kPduHeaderBytes + pdu.length);
  }
  return 0;
}
