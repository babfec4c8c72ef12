// Senders that are unwelcome, break the protocol, stall or leave; and the gateway's own end.

#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "base/limits_gateway.h"
#include "server/gateway/association_fixture.h"

namespace narthex::gateway {
namespace {

using AssociationEndTest = AssociationFixture;

TEST_F(AssociationEndTest, AbandonsAnObjectThatIsCutOff) {
  Start();
  const std::string bytes = RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 3 << 20));
  auto aborting = Associated();
  ASSERT_TRUE(aborting->Send(bytes.substr(0, 10 * (128 << 10))));
  // In the middle of a PDU a peer cannot abort; so it ends a PDU first.
  auto leaving = Associated();
  ASSERT_TRUE(leaving->Send(bytes.substr(0, bytes.size() / 2)));
  leaving.reset();
  service_.AwaitAbandoned(1);
  aborting.reset();
  service_.AwaitAbandoned(2);

  auto polite = Associated();
  std::string start;
  Command command{.field = kCStoreRq,
                  .affected_sop_class_uid = std::string(RawSender::kMrImageStorage),
                  .affected_sop_instance_uid = "1.2.3",
                  .data_set_type = 1};
  AppendPData(1, true, EncodeCommand(command), 0, start);
  ASSERT_TRUE(polite->Send(start + EncodeAbort({0, 0})));
  EXPECT_EQ(polite->Receive().type, 0);
  service_.AwaitAbandoned(3);

  EXPECT_EQ(service_.abandoned_count(), 3);
  EXPECT_TRUE(service_.objects().empty());
}

TEST_F(AssociationEndTest, RejectsStrangers) {
  GatewayOptions options = Options();
  options.receivers = {{.ae_title = "NARTHEX", .allowed_callers = {"RAW_SENDER@127.0.0.0/8"}},
                       {.ae_title = "OTHER", .allowed_callers = {"10.0.0.0/8"}}};
  Start(options);
  const auto answer_to = [this](const Associate& request) {
    RawSender sender(port());
    const ReceivedPdu pdu = sender.Request(request);
    EXPECT_TRUE(pdu.Is(PduType::kAssociateRj)) << static_cast<int>(pdu.type);
    EXPECT_EQ(sender.Receive().type, 0);
    return ParseReject(pdu.body).value_or(Reject{0, 0, 0});
  };

  Associate request = RawSender::DefaultRequest();
  request.called_ae_title = "NOBODY";
  EXPECT_EQ(answer_to(request), kRejectCalledAe);
  request.called_ae_title = "OTHER";
  EXPECT_EQ(answer_to(request), kRejectCallingAe);
  request = RawSender::DefaultRequest();
  request.calling_ae_title = "ELSE";
  EXPECT_EQ(answer_to(request), kRejectCallingAe);
  request = RawSender::DefaultRequest();
  request.application_context = "1.2.3";
  EXPECT_EQ(answer_to(request), kRejectApplicationContext);
  request = RawSender::DefaultRequest();
  request.protocol_version = 0;
  EXPECT_EQ(answer_to(request), kRejectProtocolVersion);
  Associated();
}

TEST_F(AssociationEndTest, RejectsAboveTheLimitUntilSomebodyLeaves) {
  GatewayOptions options = Options();
  options.limits->associations_max = 2;
  Start(options);
  auto first = Associated();
  auto second = Associated();

  {
    RawSender third(port());
    const ReceivedPdu pdu = third.Request();
    ASSERT_TRUE(pdu.Is(PduType::kAssociateRj));
    EXPECT_EQ(ParseReject(pdu.body).value(), kRejectLocalLimit);
  }
  EXPECT_TRUE(first->Release());
  first.reset();
  while (gateway_->association_count() > 1) absl::SleepFor(absl::Milliseconds(1));

  EXPECT_TRUE(Associated()->Release());
  EXPECT_TRUE(second->Release());
}

TEST_F(AssociationEndTest, AbortsWhatBreaksTheProtocol) {
  Start();
  const auto refused = [this](const std::string& bytes, const Abort& abort) {
    auto sender = Associated();
    ASSERT_TRUE(sender->Send(bytes));
    ExpectAbort(*sender, abort);
  };
  using std::string;
  string store;  // a command that announces a data set
  AppendPData(1, true, EncodeCommand({.field = kCStoreRq, .data_set_type = 1}), 0, store);

  refused(string("\x63\0\0\0\0\4\0\0\0\0", 10), kAbortUnrecognizedPdu);
  refused(EncodeAssociate(PduType::kAssociateRq, RawSender::DefaultRequest()), kAbortUnexpectedPdu);
  refused(EncodeReleaseRp(), kAbortUnexpectedPdu);
  refused(string("\4\0\x7f\xff\xff\xff", 6), kAbortInvalidParameter);       // longer than what we offered
  refused(string("\4\0\0\0\0\3\0\0\0", 9), kAbortInvalidParameter);         // no room for a PDV's header
  refused(string("\4\0\0\0\0\6\0\0\0\1\1\3", 12), kAbortInvalidParameter);  // a PDV shorter than its header
  refused(string("\4\0\0\0\0\6\0\0\0\7\1\3", 12), kAbortInvalidParameter);  // a PDV beyond its PDU
  refused(string("\4\0\0\0\0\6\0\0\0\2\5\3", 12), kAbortInvalidParameter);  // an unknown context
  refused(string("\4\0\0\0\0\6\0\0\0\2\1\3", 12), kAbortInvalidParameter);  // an empty command set
  refused(string("\4\0\0\0\0\6\0\0\0\2\1\2", 12), kAbortUnexpectedPdu);     // data without command
  refused(store + EncodeReleaseRq(), kAbortUnexpectedPdu);
  refused(store + store, kAbortUnexpectedPdu);
  string endless;
  while (endless.size() <= 2 * limits::kCommandMaxBytes)
    endless += string("\4\0\0\0\1\6\0\0\1\2\1\1", 12) + string(256, 'x');
  refused(endless, kAbortInvalidParameter);
  string response;
  AppendPData(1, true, EncodeCommand({.field = kCStoreRsp}), 0, response);
  refused(response, kAbortUnexpectedPdu);
}

TEST_F(AssociationEndTest, AbortsWhatIsNoRequest) {
  Start();
  const auto refused = [this](const std::string& bytes, const Abort& abort) {
    RawSender sender(port());
    ASSERT_TRUE(sender.Send(bytes));
    ExpectAbort(sender, abort);
  };

  refused("GET / HTTP/1.1\r\n\r\n", kAbortUnrecognizedPdu);
  refused(EncodeReleaseRq(), kAbortUnexpectedPdu);
  refused(std::string("\1\0\x7f\xff\xff\xff", 6), kAbortInvalidParameter);
  refused(std::string("\1\0\0\0\0\4abcd", 10), kAbortInvalidParameter);
}

TEST_F(AssociationEndTest, LimitsTheTimeOfEverything) {
  GatewayOptions options = Options();
  options.artim_timeout = absl::Milliseconds(100);
  options.idle_timeout = absl::Milliseconds(100);
  options.progress_timeout = absl::Milliseconds(100);
  Start(options);

  RawSender silent(port());
  ExpectAbort(silent, kAbortNoReason);
  RawSender slow(port());
  ASSERT_TRUE(slow.Send(EncodeAssociate(PduType::kAssociateRq, RawSender::DefaultRequest()).substr(0, 100)));
  ExpectAbort(slow, kAbortNoReason);
  ExpectAbort(*Associated(), kAbortNoReason);
  auto stalled = Associated();
  ASSERT_TRUE(
      stalled->Send(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 1000)).substr(0, 800)));
  ExpectAbort(*stalled, kAbortNoReason);
  service_.AwaitAbandoned(1);
  EXPECT_EQ(service_.abandoned_count(), 1);
}

TEST_F(AssociationEndTest, StopLetsTheCurrentObjectFinish) {
  Start();
  auto idle = Associated();
  auto busy = Associated();
  const std::string bytes = RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 1000));
  ASSERT_TRUE(busy->Send(bytes.substr(0, 700)));
  // The gateway has begun the object when the upload is open.
  while (service_.opens().empty()) absl::SleepFor(absl::Milliseconds(1));

  std::thread stopping([this] { gateway_->Stop(); });
  ExpectAbort(*idle, kAbortNoReason);
  idle.reset();
  ASSERT_TRUE(busy->Send(bytes.substr(700)));
  EXPECT_EQ(busy->ReceiveResponse().status, kStatusSuccess);
  ExpectAbort(*busy, kAbortNoReason);
  busy.reset();
  stopping.join();

  EXPECT_EQ(service_.objects().size(), 1);
  EXPECT_EQ(gateway_->association_count(), 0);
}

TEST_F(AssociationEndTest, StopBreaksOffWhoDoesNotFinish) {
  GatewayOptions options = Options();
  options.drain_timeout = absl::Milliseconds(50);
  Start(options);
  auto busy = Associated();
  ASSERT_TRUE(
      busy->Send(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 1000)).substr(0, 700)));
  while (service_.opens().empty()) absl::SleepFor(absl::Milliseconds(1));  // else it is idle, and aborted

  gateway_->Stop();

  EXPECT_EQ(busy->Receive().type, 0);
  EXPECT_TRUE(service_.objects().empty());
}

}  // namespace
}  // namespace narthex::gateway
