// Storage commitment: data sets, and the service on an association and beside it.

#include <poll.h>

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/error.h"
#include "server/gateway/association_fixture.h"
#include "server/gateway/commitment_dataset.h"
#include "server/gateway/commitment_reporter.h"
#include "server/gateway/negotiation.h"
#include "server/gateway/raw_sender.h"

namespace narthex::gateway {
namespace {

constexpr char kMr[] = "1.2.840.10008.5.1.4.1.1.4";

std::string Le(uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
std::string Implicit(uint32_t tag, absl::string_view value) {
  return Le(tag >> 16, 2) + Le(tag, 2) + Le(static_cast<uint32_t>(value.size()), 4) + std::string(value);
}
std::string Undefined(uint32_t tag, absl::string_view items, uint32_t end) {
  return Le(tag >> 16, 2) + Le(tag, 2) + Le(0xffffffff, 4) + std::string(items) + Implicit(end, "");
}
std::string Item(absl::string_view instance) {
  return Implicit(0x00081150, kMr) + Implicit(0x00081155, instance);
}

TEST(CommitmentDatasetTest, ReadsDefinedAndUndefinedLengths) {
  const std::string defined =
      Implicit(0x00081195, "1.2.30") +
      Implicit(0x00081199, Implicit(0xfffee000, Item("1.1.10")) + Implicit(0xfffee000, Item("1.1.20")));
  const std::string undefined =
      Undefined(0x00081111, Undefined(0xfffee000, Item("9.9"), 0xfffee00d), 0xfffee0dd) +
      Implicit(0x00081195, "1.2.30") +
      Undefined(0x00081199,
                Undefined(0xfffee000, Item("1.1.10"), 0xfffee00d) + Implicit(0xfffee000, Item("1.1.20")),
                0xfffee0dd);
  for (const std::string& bytes : {defined, undefined}) {
    const auto request = ParseCommitmentRequest(bytes, false);
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(request->transaction_uid(), "1.2.30");
    ASSERT_EQ(request->instances_size(), 2);
    EXPECT_EQ(request->instances(1).sop_instance_uid(), "1.1.20");
    EXPECT_EQ(request->instances(0).sop_class_uid(), kMr);
  }
}

TEST(CommitmentDatasetTest, RefusesWhatIsCutOffAnywhere) {
  const std::string whole =
      Implicit(0x00081195, "1.2.30") +
      Undefined(0x00081199, Undefined(0xfffee000, Item("1.1.10"), 0xfffee00d), 0xfffee0dd);
  for (size_t size = 0; size < whole.size(); ++size) {
    if (size == 14) continue;  // behind the transaction UID: a request about nothing
    EXPECT_FALSE(ParseCommitmentRequest(whole.substr(0, size), false).ok()) << size;
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += Le(0x0008, 2) + Le(0x1111, 2) + Le(0xffffffff, 4);
  EXPECT_FALSE(ParseCommitmentRequest(deep, false).ok());
}

TEST(CommitmentDatasetTest, ReportsRoundTripInBothEncodings) {
  v1::CommitmentReport report;
  report.set_transaction_uid("1.2.30");
  for (int i = 0; i < 3; ++i) {
    v1::CommittedInstance& instance = *report.add_instances();
    instance.set_sop_class_uid(kMr);
    instance.set_sop_instance_uid("1.1." + std::to_string(i));
    instance.set_failure_reason(i == 1 ? 0x0112 : 0);
  }
  EXPECT_EQ(CommitmentReportCommand(report, 7).event_type_id, 2);
  for (bool explicit_vr : {false, true}) {
    const std::string bytes = EncodeCommitmentReport(report, explicit_vr);
    // What is committed stands where a request has what it asks about.
    const auto parsed = ParseCommitmentRequest(bytes, explicit_vr);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(parsed->instances_size(), 2);
    EXPECT_EQ(parsed->instances(1).sop_instance_uid(), "1.1.2");
    EXPECT_NE(bytes.find("1.1.1"), std::string::npos);
  }
}

// Answers that everything is durable. Thread-safe.
class FakeSource : public CommitmentSource {
 public:
  absl::StatusOr<v1::CommitmentReport> Request(const v1::RequestCommitmentRequest& request) override {
    v1::CommitmentReport report;
    report.set_name("commitmentReports/1");
    report.set_transaction_uid(request.transaction_uid());
    report.set_called_ae_title(request.called_ae_title());
    report.set_calling_ae_title(request.calling_ae_title());
    *report.mutable_instances() = request.instances();
    absl::MutexLock lock(&mutex_);
    report.set_address(address_);
    return report;
  }
  absl::StatusOr<std::vector<v1::CommitmentReport>> Claim() override {
    absl::MutexLock lock(&mutex_);
    return std::exchange(due_, {});
  }
  absl::Status Conclude(const v1::CommitmentReport& report, Delivery delivery, absl::string_view) override {
    absl::MutexLock lock(&mutex_);
    if (delivery == Delivery::kInterrupted) due_.push_back(report);
    deliveries_.push_back(delivery);
    return absl::OkStatus();
  }
  std::vector<Delivery> AwaitDeliveries(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return deliveries_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20));
    return deliveries_;
  }
  void set_address(std::string address) {
    absl::MutexLock lock(&mutex_);
    address_ = std::move(address);
  }

 private:
  absl::Mutex mutex_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CommitmentReport> due_ ABSL_GUARDED_BY(mutex_);
  std::vector<Delivery> deliveries_ ABSL_GUARDED_BY(mutex_);
};

class CommitmentTest : public AssociationFixture {
 protected:
  void StartWithSource() {
    GatewayOptions options = Options();
    options.commitments = source_;
    Start(std::move(options));
  }
  static Associate RequestForCommitment() {
    Associate request = RawSender::DefaultRequest();
    request.contexts.push_back({.id = 5,
                                .abstract_syntax = std::string(kCommitmentSopClass),
                                .transfer_syntaxes = {std::string(kImplicitLittleEndian)}});
    return request;
  }
  static std::string Action(uint16_t action_type = 1, absl::string_view instance = kCommitmentSopInstance) {
    Command command;
    command.field = kNActionRq;
    command.affected_sop_class_uid = std::string(kCommitmentSopClass);
    command.affected_sop_instance_uid = std::string(instance);
    command.message_id = 9;
    command.data_set_type = 1;
    command.action_type_id = action_type;
    std::string out;
    AppendPData(5, true, EncodeCommand(command), 0, out);
    AppendPData(5, false,
                Implicit(0x00081195, "1.2.30") + Implicit(0x00081199, Implicit(0xfffee000, Item("1.1.10"))),
                0, out);
    return out;
  }

  std::shared_ptr<FakeSource> source_ = std::make_shared<FakeSource>();
};

TEST_F(CommitmentTest, ReportsOnTheSameAssociation) {
  StartWithSource();
  RawSender sender(gateway_->port());
  ASSERT_TRUE(sender.Request(RequestForCommitment()).Is(PduType::kAssociateAc));

  ASSERT_TRUE(sender.Send(Action()));

  const Command taken = sender.ReceiveResponse();
  EXPECT_EQ(taken.field, kNActionRsp);
  EXPECT_EQ(taken.status, kStatusSuccess);
  const Command report = sender.ReceiveResponse();
  EXPECT_EQ(report.field, kNEventReportRq);
  EXPECT_EQ(report.event_type_id, 1);
  const ReceivedPdu data_set = sender.Receive();
  EXPECT_TRUE(data_set.Is(PduType::kPData));
  std::string answer;
  AppendPData(5, true, EncodeCommand(ResponseTo(report, kStatusSuccess)), 0, answer);
  ASSERT_TRUE(sender.Send(answer));
  EXPECT_EQ(source_->AwaitDeliveries(1),
            std::vector<CommitmentSource::Delivery>{CommitmentSource::Delivery::kDone});
  EXPECT_TRUE(sender.Release());
}

TEST_F(CommitmentTest, ReportsOnAnAssociationOfItsOwnIfThatOneEnds) {
  // Another gateway plays the requester that waits for its report.
  StartWithSource();
  const auto listening = Listen({"127.0.0.1", 0});
  ASSERT_TRUE(listening.ok());
  source_->set_address("127.0.0.1:" + std::to_string(LocalPort(listening->get())));
  RawSender sender(gateway_->port());
  ASSERT_TRUE(sender.Request(RequestForCommitment()).Is(PduType::kAssociateAc));
  ASSERT_TRUE(sender.Send(Action()));
  sender.ReceiveResponse();
  ASSERT_TRUE(sender.Send(EncodeAbort(kAbortNoReason)));

  // Nobody answers the association request: the attempt fails, and that is said.
  pollfd waited{listening->get(), POLLIN, 0};
  ASSERT_EQ(poll(&waited, 1, 20'000), 1);
  UniqueFd accepted(accept(listening->get(), nullptr, nullptr));
  ASSERT_TRUE(accepted.valid());
  accepted.Reset();
  const auto deliveries = source_->AwaitDeliveries(2);
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0], CommitmentSource::Delivery::kInterrupted);
  EXPECT_EQ(deliveries[1], CommitmentSource::Delivery::kFailed);
}

TEST(CommitmentReporterTest, SendsPlainTextToThisMachineOnly) {
  const auto listening = Listen({"127.0.0.1", 0});
  ASSERT_TRUE(listening.ok());
  v1::CommitmentReport report;
  // The same socket by an address that need not be this machine.
  report.set_address("0.0.0.0:" + std::to_string(LocalPort(listening->get())));
  const StopSignal stop;
  const auto send = [&](const ReportTransport& transport) {
    return SendCommitmentReport(report, transport, absl::Milliseconds(200), stop);
  };
  pollfd waited{listening->get(), POLLIN, 0};

  EXPECT_EQ(ErrorReason(send({})), "PLAINTEXT_REFUSED");
  report.set_tls(true);
  EXPECT_TRUE(absl::IsFailedPrecondition(send({nullptr, true}))) << "plain text for a receiver with TLS";
  EXPECT_EQ(poll(&waited, 1, 0), 0) << "somebody was called";

  report.set_tls(false);
  EXPECT_TRUE(absl::IsDeadlineExceeded(send({nullptr, true})));
  EXPECT_EQ(poll(&waited, 1, 0), 1);
}

TEST_F(CommitmentTest, RefusesWhatIsNoRequestForCommitment) {
  StartWithSource();
  RawSender sender(gateway_->port());
  ASSERT_TRUE(sender.Request(RequestForCommitment()).Is(PduType::kAssociateAc));

  ASSERT_TRUE(sender.Send(Action(2)));
  EXPECT_EQ(sender.ReceiveResponse().status, kStatusNoSuchAction);
  ASSERT_TRUE(sender.Send(Action(1, "1.2.3")));
  EXPECT_EQ(sender.ReceiveResponse().status, kStatusNoSuchInstance);
  EXPECT_TRUE(sender.Release());
}

TEST_F(CommitmentTest, SaysSoWhereNobodyKnowsWhatIsDurable) {
  Start();
  RawSender sender(gateway_->port());
  ASSERT_TRUE(sender.Request(RequestForCommitment()).Is(PduType::kAssociateAc));
  ASSERT_TRUE(sender.Send(Action()));
  EXPECT_NE(sender.ReceiveResponse().status, kStatusSuccess);
  EXPECT_TRUE(sender.Release());
}

}  // namespace
}  // namespace narthex::gateway
