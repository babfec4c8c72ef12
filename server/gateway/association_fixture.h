// What the tests of associations share: a gateway between a raw sender on a real socket and an UploadService
// in memory.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "server/gateway/fake_upload_service.h"
#include "server/gateway/gateway.h"
#include "server/gateway/raw_sender.h"

namespace narthex::gateway {

class AssociationFixture : public testing::Test {
 protected:
  static GatewayOptions Options() {
    GatewayOptions options;
    options.listen.port = 0;
    return options;
  }

  void Start(GatewayOptions options = Options()) {
    Start(std::move(options), UploadSinks(service_.Connect()));
  }
  void Start(GatewayOptions options, SinkFactory sinks) {
    absl::StatusOr<std::unique_ptr<Gateway>> gateway =
        Gateway::StartWithSinks(std::move(options), std::move(sinks));
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

}  // namespace narthex::gateway
