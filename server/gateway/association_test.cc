// What a sender that keeps to the standard gets.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/limits_gateway.h"
#include "server/gateway/association_fixture.h"

namespace narthex::gateway {
namespace {

using AssociationTest = AssociationFixture;

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

  for (const uint32_t max_pdu : {16u, 17u, 100u, 1000u, limits::kPduMaxBytes.get()}) {
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

// Refuses every object at its first bytes, and ignores the rest.
class EarlySink : public ObjectSink {
 public:
  explicit EarlySink(SinkRequest request) : request_(std::move(request)) {}
  absl::StatusOr<int64_t> Begin() override {
    told_ = false;
    return ++sequence_;
  }
  absl::Status Append(absl::string_view) override {
    if (std::exchange(told_, true)) return absl::OkStatus();
    v1::ObjectOutcome outcome;
    outcome.set_sequence(sequence_);
    outcome.set_outcome(v1::ObjectOutcome::REJECTED);
    outcome.set_reason("DISK_FULL");
    request_.on_outcome(outcome);
    return absl::OkStatus();
  }
  absl::Status End() override { return absl::OkStatus(); }
  void Abandon() override {}
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  const SinkRequest request_;
  int64_t sequence_ = 0;
  bool told_ = false;
};

TEST_F(AssociationTest, AnswersAtTheEndWhatWasRefusedBefore) {
  Start(Options(), [](SinkRequest request) { return std::make_unique<EarlySink>(std::move(request)); });
  auto sender = Associated();
  for (int i = 1; i <= 2; ++i) {
    ASSERT_TRUE(sender->Send(RawSender::StoreBytes(i, "1.2.3", RawSender::DataSet("1.2.3", 1 << 20))));

    const Command answer = sender->ReceiveResponse();

    EXPECT_EQ(answer.status, kStatusOutOfResources);
    EXPECT_EQ(answer.error_comment, "DISK_FULL");
  }
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
  options.plaintext_allowed = true;
  Start(options);
  EXPECT_TRUE(Associated()->Release());
  if (!Socket::Connect({"::1", port()}).ok()) GTEST_SKIP() << "THIS MACHINE HAS NO IPv6 LOOPBACK";
}

}  // namespace
}  // namespace narthex::gateway
