// The gateway as a sender sees it: a raw sender on a real socket in front, an UploadService in memory behind.

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "base/limits.h"
#include "server/gateway/fake_upload_service.h"
#include "server/gateway/gateway.h"
#include "server/gateway/raw_sender.h"

namespace narthex::gateway {
namespace {

class AssociationTest : public testing::Test {
 protected:
  static GatewayOptions Options() {
    GatewayOptions options;
    options.listen.port = 0;
    return options;
  }

  void Start(GatewayOptions options = Options()) {
    absl::StatusOr<std::unique_ptr<Gateway>> gateway = Gateway::Start(std::move(options), service_.Connect());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }

  uint16_t port() const { return gateway_->port(); }

  // Asks for an association and expects it.
  std::unique_ptr<RawSender> Associated(const Associate& request = RawSender::DefaultRequest()) {
    auto sender = std::make_unique<RawSender>(port());
    const ReceivedPdu answer = sender->Request(request);
    EXPECT_TRUE(answer.Is(PduType::kAssociateAc));
    return sender;
  }

  // The bytes after the Part 10 header of object `index`.
  std::string DataSetKept(size_t index) const {
    const std::string bytes = service_.objects().at(index).bytes;
    if (bytes.substr(128, 4) != "DICM") return "no Part 10 header";
    const size_t group = static_cast<uint8_t>(bytes[140]) + 256u * static_cast<uint8_t>(bytes[141]);
    return bytes.substr(144 + group);
  }

  static void ExpectAbort(RawSender& sender, const Abort& abort) {
    const ReceivedPdu pdu = sender.Receive();
    ASSERT_TRUE(pdu.Is(PduType::kAbort)) << static_cast<int>(pdu.type);
    EXPECT_EQ(ParseAbort(pdu.body).value(), abort);
    EXPECT_EQ(sender.Receive().type, 0) << "the connection must be closed after an abort";
  }

  FakeUploadService service_;
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(AssociationTest, Echoes) {
  Start();
  auto sender = Associated();

  std::string echo;
  AppendPData(
      3, true,
      EncodeCommand({.field = kCEchoRq, .affected_sop_class_uid = "1.2.840.10008.1.1", .message_id = 9}), 0,
      echo);
  ASSERT_TRUE(sender->Send(echo));
  const Command response = sender->ReceiveResponse();

  EXPECT_EQ(response.field, kCEchoRsp);
  EXPECT_EQ(response.status, kStatusSuccess);
  EXPECT_EQ(response.responded_message_id, 9);
  EXPECT_TRUE(sender->Release());
  EXPECT_TRUE(service_.opens().empty()) << "an echo must not make an upload";
}

TEST_F(AssociationTest, StoresByteForByte) {
  Start();
  auto sender = Associated();
  const std::string data_set = RawSender::DataSet("1.2.3", 100'000);

  ASSERT_TRUE(sender->Send(RawSender::StoreBytes(5, "1.2.3", data_set)));
  const Command response = sender->ReceiveResponse();

  EXPECT_EQ(response.field, kCStoreRsp);
  EXPECT_EQ(response.status, kStatusSuccess);
  EXPECT_EQ(response.responded_message_id, 5);
  EXPECT_EQ(response.affected_sop_class_uid, RawSender::kMrImageStorage);
  EXPECT_EQ(response.affected_sop_instance_uid, "1.2.3");
  EXPECT_TRUE(sender->Release());
  ASSERT_EQ(service_.objects().size(), 1);
  EXPECT_EQ(DataSetKept(0), data_set);
  ASSERT_EQ(service_.opens().size(), 1);
  const v1::ArrivalSource source = service_.opens()[0].source();
  EXPECT_EQ(source.kind(), "dicom");
  EXPECT_EQ(source.called_ae_title(), "NARTHEX");
  EXPECT_EQ(source.calling_ae_title(), "RAW_SENDER");
  EXPECT_EQ(source.address(), "127.0.0.1");
}

TEST_F(AssociationTest, TakesEveryLegalFragmentation) {
  Start();
  auto sender = Associated();
  const std::string data_set = RawSender::DataSet("1.2.3", 3000);
  int stored = 0;

  for (const uint32_t max_pdu : {16u, 17u, 100u, 1000u, limits::kPduMaxBytes}) {
    for (const size_t piece : {size_t{1}, size_t{13}, SIZE_MAX}) {
      ASSERT_TRUE(sender->Send(RawSender::StoreBytes(1, "1.2.3", data_set, max_pdu), piece));
      ASSERT_EQ(sender->ReceiveResponse().status, kStatusSuccess) << max_pdu << " " << piece;
      EXPECT_EQ(DataSetKept(stored++), data_set) << max_pdu << " " << piece;
    }
  }
  EXPECT_TRUE(sender->Release());
}

// Several PDVs in one PDU: command and data set together, and empty fragments between.
TEST_F(AssociationTest, TakesManyDataValuesInOnePdu) {
  Start();
  auto sender = Associated();
  const std::string data_set = RawSender::DataSet("1.2.3", 400);
  const std::string pdus = RawSender::StoreBytes(1, "1.2.3", data_set, 64);
  std::string values;
  for (size_t at = 0; at < pdus.size();) {
    const PduHeader pdu = ParsePduHeader(absl::string_view(pdus).substr(at));
    const std::string value = pdus.substr(at + kPduHeaderBytes, pdu.length);
    const std::string empty = std::string("\0\0\0\2", 4) + value[4] + static_cast<char>(value[5] & 1);
    values += empty + value;
    at += kPduHeaderBytes + pdu.length;
  }
  std::string whole("\4\0\0\0", 4);
  whole += static_cast<char>(values.size() >> 8);
  whole += static_cast<char>(values.size());
  whole += values;

  ASSERT_TRUE(sender->Send(whole));

  EXPECT_EQ(sender->ReceiveResponse().status, kStatusSuccess);
  EXPECT_EQ(DataSetKept(0), data_set);
}

TEST_F(AssociationTest, FlowsLargeObjectsThrough) {
  Start();
  auto sender = Associated();
  const std::string data_set = RawSender::DataSet("1.2.3", 9 << 20);

  ASSERT_TRUE(sender->Send(RawSender::StoreBytes(1, "1.2.3", data_set, limits::kPduMaxBytes)));

  EXPECT_EQ(sender->ReceiveResponse().status, kStatusSuccess);
  EXPECT_TRUE(DataSetKept(0) == data_set);
}

TEST_F(AssociationTest, SplitsAnswersForTinyReceivers) {
  Start();
  Associate request = RawSender::DefaultRequest();
  request.max_pdu_bytes = 20;
  auto sender = Associated(request);

  ASSERT_TRUE(sender->Send(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 10))));

  EXPECT_EQ(sender->ReceiveResponse().status, kStatusSuccess);
}

TEST_F(AssociationTest, AnswersOtherOperationsWithUnrecognized) {
  Start();
  auto sender = Associated();
  Command create{
      .field = 0x0140, .affected_sop_class_uid = "1.2.840.10008.1.1", .message_id = 3, .data_set_type = 1};
  std::string bytes;
  AppendPData(3, true, EncodeCommand(create), 0, bytes);
  AppendPData(3, false, std::string(70'000, 'x'), 1000, bytes);

  ASSERT_TRUE(sender->Send(bytes));
  const Command response = sender->ReceiveResponse();

  EXPECT_EQ(response.status, kStatusUnrecognizedOperation);
  EXPECT_EQ(response.field, 0x8140);
  EXPECT_TRUE(sender->Release()) << "the association must go on";
}

TEST_F(AssociationTest, RefusesObjectsThatContradictTheirCommand) {
  Start();
  auto sender = Associated();
  const auto status_of = [&](const std::string& bytes) {
    EXPECT_TRUE(sender->Send(bytes));
    return sender->ReceiveResponse();
  };

  const Command other_instance =
      status_of(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.4", 5000)));
  EXPECT_EQ(other_instance.status, kStatusDataSetMismatch);
  EXPECT_EQ(other_instance.error_comment, "SOP_INSTANCE_UID_DIFFERS");
  const std::string ct = "1.2.840.10008.5.1.4.1.1.2";
  EXPECT_EQ(status_of(RawSender::StoreBytes(2, "1.2.3", RawSender::DataSet("1.2.3", 10, ct))).status,
            kStatusDataSetMismatch);
  EXPECT_EQ(status_of(RawSender::StoreBytes(3, "1/2", RawSender::DataSet("1.2.3", 10))).status,
            kStatusDataSetMismatch);
  EXPECT_EQ(status_of(RawSender::StoreBytes(4, "1.2.3", RawSender::DataSet("1.2.3", 10), 0, 3)).status,
            kStatusSopClassNotSupported)
      << "on the context of verification";
  EXPECT_EQ(status_of(RawSender::StoreBytes(5, "1.2.3", RawSender::DataSet("1.2.3", 10))).status,
            kStatusSuccess);

  service_.AwaitAbandoned(2);
  EXPECT_EQ(service_.abandoned_count(), 2);
  EXPECT_EQ(service_.objects().size(), 1) << "nothing of a refused object may be kept";
}

TEST_F(AssociationTest, AnswersWithWhatTheServerSays) {
  service_.set_judge([](const FakeUploadService::Object& object) {
    v1::ObjectOutcome outcome;
    outcome.set_outcome(object.sequence == 0 ? v1::ObjectOutcome::REJECTED : v1::ObjectOutcome::CONFLICT);
    outcome.set_reason(object.sequence == 0 ? "DISK_FULL" : "SAME_INSTANCE");
    return outcome;
  });
  Start();
  auto sender = Associated();
  const std::string bytes = RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 10));

  ASSERT_TRUE(sender->Send(bytes));
  const Command full = sender->ReceiveResponse();
  ASSERT_TRUE(sender->Send(bytes));
  const Command conflict = sender->ReceiveResponse();

  EXPECT_EQ(full.status, kStatusOutOfResources);
  EXPECT_EQ(full.error_comment, "DISK_FULL");
  EXPECT_EQ(conflict.status, kStatusDuplicateSopInstance);
}

TEST_F(AssociationTest, OpensTheUploadAgainAfterItBroke) {
  Start();
  auto sender = Associated();
  const std::string bytes = RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 10));
  ASSERT_TRUE(sender->Send(bytes));
  ASSERT_EQ(sender->ReceiveResponse().status, kStatusSuccess);

  service_.FailOnce(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"), false);
  ASSERT_TRUE(sender->Send(bytes));
  EXPECT_EQ(sender->ReceiveResponse().status, kStatusOutOfResources);
  service_.FailOnce(grpc::Status(grpc::StatusCode::UNAVAILABLE, "still gone"), true);
  ASSERT_TRUE(sender->Send(bytes));
  EXPECT_EQ(sender->ReceiveResponse().status, kStatusOutOfResources);
  ASSERT_TRUE(sender->Send(bytes));
  EXPECT_EQ(sender->ReceiveResponse().status, kStatusSuccess);

  ASSERT_EQ(service_.opens().size(), 2);
  EXPECT_EQ(service_.opens()[1].name(), "uploads/1") << "the same upload goes on";
  EXPECT_EQ(service_.objects().back().sequence, 2);
}

TEST_F(AssociationTest, AbandonsAnObjectThatIsCutOff) {
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

TEST_F(AssociationTest, RejectsStrangers) {
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

TEST_F(AssociationTest, RejectsAboveTheLimitUntilSomebodyLeaves) {
  GatewayOptions options = Options();
  options.associations_max = 2;
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

TEST_F(AssociationTest, AbortsWhatBreaksTheProtocol) {
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

TEST_F(AssociationTest, AbortsWhatIsNoRequest) {
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

TEST_F(AssociationTest, LimitsTheTimeOfEverything) {
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

TEST_F(AssociationTest, StopLetsTheCurrentObjectFinish) {
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

TEST_F(AssociationTest, StopBreaksOffWhoDoesNotFinish) {
  GatewayOptions options = Options();
  options.drain_timeout = absl::Milliseconds(50);
  Start(options);
  auto busy = Associated();
  ASSERT_TRUE(
      busy->Send(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 1000)).substr(0, 700)));

  gateway_->Stop();

  EXPECT_EQ(busy->Receive().type, 0);
  EXPECT_TRUE(service_.objects().empty());
}

TEST_F(AssociationTest, PipelinesWithinTheAsynchronousWindow) {
  Start();
  Associate request = RawSender::DefaultRequest();
  request.async_window = AsyncWindow{4, 1};
  RawSender sender(port());
  const ReceivedPdu answer = sender.Request(request);
  ASSERT_TRUE(answer.Is(PduType::kAssociateAc));
  EXPECT_EQ(ParseAssociate(PduType::kAssociateAc, answer.body)->async_window, (AsyncWindow{4, 1}));

  std::string all;
  for (int i = 1; i <= 20; ++i) {
    const std::string uid = absl::StrCat("1.2.", i);
    all += RawSender::StoreBytes(static_cast<uint16_t>(i), uid, RawSender::DataSet(uid, 2000));
  }
  ASSERT_TRUE(sender.Send(all));
  std::vector<bool> answered(21);
  for (int i = 1; i <= 20; ++i) {
    const Command response = sender.ReceiveResponse();
    EXPECT_EQ(response.status, kStatusSuccess);
    EXPECT_EQ(response.affected_sop_instance_uid, absl::StrCat("1.2.", response.responded_message_id));
    answered.at(response.responded_message_id) = true;
  }

  EXPECT_TRUE(sender.Release());
  EXPECT_EQ(service_.objects().size(), 20);
  EXPECT_EQ(std::count(answered.begin(), answered.end(), true), 20);
}

TEST_F(AssociationTest, AnswersAllThatWaitWhenThePipelineBreaks) {
  Start();
  Associate request = RawSender::DefaultRequest();
  request.async_window = AsyncWindow{0, 0};
  auto sender = Associated(request);
  service_.FailOnce(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"), false);
  std::string all;
  for (int i = 1; i <= 5; ++i) {
    all += RawSender::StoreBytes(static_cast<uint16_t>(i), "1.2.3", RawSender::DataSet("1.2.3", 2000));
  }

  ASSERT_TRUE(sender->Send(all));
  int success = 0;
  for (int i = 1; i <= 5; ++i) success += sender->ReceiveResponse().status == kStatusSuccess ? 1 : 0;

  EXPECT_LT(success, 5);
  EXPECT_EQ(service_.objects().size(), success) << "0x0000 for what is kept, and for nothing else";
}

TEST_F(AssociationTest, ReceiversCanBeReplaced) {
  Start();
  auto old = Associated();
  const uint16_t first_port = port();
  ReceiverConfig other{.ae_title = "OTHER"};
  other.destination.set_project("P9");

  ASSERT_TRUE(gateway_->SetReceivers({other}).ok());

  EXPECT_EQ(port(), first_port);
  EXPECT_EQ(gateway_->port("NARTHEX"), 0);
  RawSender refused(first_port);
  EXPECT_TRUE(refused.Request().Is(PduType::kAssociateRj));
  Associate request = RawSender::DefaultRequest();
  request.called_ae_title = "OTHER";
  auto sender = Associated(request);
  ASSERT_TRUE(sender->Send(RawSender::StoreBytes(1, "1.2.3", RawSender::DataSet("1.2.3", 10))));
  EXPECT_EQ(sender->ReceiveResponse().status, kStatusSuccess);
  EXPECT_EQ(service_.opens().at(0).destination().project(), "P9");
  EXPECT_TRUE(old->Release()) << "associations that exist go on";
  EXPECT_FALSE(gateway_->SetReceivers({other, other}).ok());
  EXPECT_TRUE(gateway_->SetReceivers({}).ok());
  EXPECT_EQ(gateway_->address(), "");
}

TEST_F(AssociationTest, ListensOnBothFamilies) {
  GatewayOptions options = Options();
  options.listen.host = "";
  Start(options);
  EXPECT_TRUE(Associated()->Release());
  if (!Socket::Connect({"::1", port()}).ok()) GTEST_SKIP() << "THIS MACHINE HAS NO IPv6 LOOPBACK";
}

}  // namespace
}  // namespace narthex::gateway
