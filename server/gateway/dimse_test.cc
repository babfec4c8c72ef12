#include "server/gateway/dimse.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace narthex::gateway {
namespace {

std::string Bytes(absl::string_view hex) { return absl::HexStringToBytes(hex); }

// A C-ECHO-RQ put together by hand after PS3.7 9.3.5.1.
std::string HandMadeEcho() {
  return Bytes(
             "00000000"
             "04000000"
             "38000000") +  // group length 56
         Bytes(
             "00000200"
             "12000000") +
         "1.2.840.10008.1.1" + Bytes("00") +  // affected SOP class
         Bytes(
             "00000001"
             "02000000"
             "3000") +  // C-ECHO-RQ
         Bytes(
             "00001001"
             "02000000"
             "0700") +  // message id 7
         Bytes(
             "00000008"
             "02000000"
             "0101");  // no data set
}

TEST(DimseTest, ParsesHandMadeEcho) {
  absl::StatusOr<Command> command = ParseCommand(HandMadeEcho());

  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->field, kCEchoRq);
  EXPECT_EQ(command->affected_sop_class_uid, "1.2.840.10008.1.1");
  EXPECT_EQ(command->message_id, 7);
  EXPECT_FALSE(command->has_data_set());
  EXPECT_EQ(EncodeCommand(*command), HandMadeEcho());
}

TEST(DimseTest, RoundTripsStoreRequestAndResponse) {
  Command request;
  request.field = kCStoreRq;
  request.affected_sop_class_uid = "1.2.840.10008.5.1.4.1.1.4";
  request.affected_sop_instance_uid = "1.2.3.4";
  request.message_id = 65535;
  request.priority = 2;
  request.data_set_type = 1;
  EXPECT_EQ(ParseCommand(EncodeCommand(request)).value(), request);

  const Command response = ResponseTo(request, kStatusOutOfResources, "DISK_FULL");
  EXPECT_EQ(response.field, kCStoreRsp);
  EXPECT_EQ(response.responded_message_id, 65535);
  EXPECT_EQ(response.affected_sop_instance_uid, "1.2.3.4");
  EXPECT_FALSE(response.has_data_set());
  EXPECT_EQ(ParseCommand(EncodeCommand(response)).value(), response);
}

TEST(DimseTest, CutsLongComments) {
  const Command response = ResponseTo({.field = kCStoreRq}, kStatusCannotUnderstand, std::string(100, 'x'));
  EXPECT_EQ(response.error_comment.size(), 64);
}

TEST(DimseTest, ReadsRequestedUidsOfOtherServices) {
  const std::string bytes = Bytes(
                                "00000300"
                                "04000000") +
                            "1.2" + Bytes("00") +
                            Bytes(
                                "00000110"
                                "04000000") +
                            "1.3" + Bytes("00") +
                            Bytes(
                                "00000001"
                                "02000000"
                                "1001");
  absl::StatusOr<Command> command = ParseCommand(bytes);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->affected_sop_class_uid, "1.2");
  EXPECT_EQ(command->affected_sop_instance_uid, "1.3");
}

TEST(DimseTest, RefusesWhatIsNoCommandSet) {
  const std::string echo = HandMadeEcho();
  EXPECT_FALSE(ParseCommand("").ok());
  EXPECT_FALSE(ParseCommand(echo.substr(0, echo.size() - 1)).ok());
  EXPECT_FALSE(ParseCommand(echo.substr(0, 20)).ok());
  EXPECT_FALSE(ParseCommand(Bytes("08000001020000003000")).ok()) << "another group";
  EXPECT_FALSE(ParseCommand(Bytes("0000000104000000"
                                  "30000000"))
                   .ok())
      << "a number of four bytes";
  EXPECT_FALSE(ParseCommand(Bytes("00000001ffffffff3000")).ok()) << "an undefined length";
  EXPECT_FALSE(ParseCommand(Bytes("0000100102000000"
                                  "0700"))
                   .ok())
      << "no command field";
  EXPECT_FALSE(ParseCommand(echo + Bytes("0000001042000000") + std::string(66, '1')).ok()) << "a long UID";
}

TEST(DimseTest, SurvivesEveryChangedByte) {
  const std::string echo = HandMadeEcho();
  for (size_t at = 0; at < echo.size(); ++at) {
    std::string changed = echo;
    for (const char value : {'\0', '\x7f', '\xff'}) {
      changed[at] = value;
      absl::StatusOr<Command> command = ParseCommand(changed);
      EXPECT_TRUE(!command.ok() || ParseCommand(EncodeCommand(*command)).ok());
    }
  }
}

}  // namespace
}  // namespace narthex::gateway
