#include "server/gateway/pdu.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace narthex::gateway {
namespace {

std::string Bytes(absl::string_view hex) { return absl::HexStringToBytes(hex); }

// An A-ASSOCIATE-RQ put together by hand after PS3.8 9.3.2.
std::string HandMadeRequestBody() {
  std::string body = Bytes("00010000");
  body += "NARTHEX         ";
  body += "STORESCU        ";
  body += std::string(32, '\0');
  body += Bytes("10000015") + "1.2.840.10008.3.1.1.1";
  // Context 1: abstract syntax 1.2.840.10008.1.1, transfer syntaxes 1.2.840.10008.1.2 and .1.2.1.
  body += Bytes("2000") + Bytes("0045") + Bytes("01000000");
  body += Bytes("30000011") + "1.2.840.10008.1.1";
  body += Bytes("40000011") + "1.2.840.10008.1.2";
  body += Bytes("40000013") + "1.2.840.10008.1.2.1";
  body += Bytes("50000036");
  body += Bytes("5100000400004000");    // maximum length 16384
  body += Bytes("52000005") + "1.2.3";  // implementation class
  body += Bytes("5300000400050003");    // asynchronous window 5, 3
  body += Bytes("54000009") + Bytes("0005") + "1.2.4" + Bytes("0100");
  body += Bytes("55000004") + "ABCD";
  body += Bytes("5800000401000000");  // user identity, ignored
  return body;
}

TEST(PduTest, ParsesHandMadeRequest) {
  const std::string body = HandMadeRequestBody();

  absl::StatusOr<Associate> request = ParseAssociate(PduType::kAssociateRq, body);

  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->protocol_version, 1);
  EXPECT_EQ(request->called_ae_title, "NARTHEX");
  EXPECT_EQ(request->calling_ae_title, "STORESCU");
  EXPECT_EQ(request->application_context, kApplicationContextUid);
  ASSERT_EQ(request->contexts.size(), 1);
  EXPECT_EQ(request->contexts[0].id, 1);
  EXPECT_EQ(request->contexts[0].abstract_syntax, "1.2.840.10008.1.1");
  EXPECT_EQ(request->contexts[0].transfer_syntaxes,
            (std::vector<std::string>{"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}));
  EXPECT_EQ(request->max_pdu_bytes, 16384);
  EXPECT_EQ(request->implementation_class_uid, "1.2.3");
  EXPECT_EQ(request->implementation_version, "ABCD");
  EXPECT_EQ(request->async_window, (AsyncWindow{5, 3}));
  EXPECT_EQ(request->roles, (std::vector<RoleSelection>{{"1.2.4", true, false}}));
}

TEST(PduTest, EncodesWhatItParsed) {
  absl::StatusOr<Associate> request = ParseAssociate(PduType::kAssociateRq, HandMadeRequestBody());
  ASSERT_TRUE(request.ok());

  const std::string pdu = EncodeAssociate(PduType::kAssociateRq, *request);
  const PduHeader header = ParsePduHeader(pdu);

  EXPECT_EQ(header.type, 1);
  EXPECT_EQ(header.length, pdu.size() - kPduHeaderBytes);
  EXPECT_EQ(ParseAssociate(PduType::kAssociateRq, pdu.substr(kPduHeaderBytes)).value(), *request);
}

TEST(PduTest, SurvivesEveryTruncationAndEveryChangedByte) {
  const std::string body = HandMadeRequestBody();

  for (size_t length = 0; length < body.size(); ++length) {
    (void)ParseAssociate(PduType::kAssociateRq, absl::string_view(body).substr(0, length)).ok();
  }
  for (size_t at = 0; at < body.size(); ++at) {
    std::string changed = body;
    for (const char value : {'\0', '\x7f', '\xff'}) {
      changed[at] = value;
      (void)ParseAssociate(PduType::kAssociateRq, changed).ok();
    }
  }
  EXPECT_FALSE(ParseAssociate(PduType::kAssociateRq, absl::string_view(body).substr(0, 67)).ok());
  EXPECT_FALSE(ParseAssociate(PduType::kAssociateRq, absl::string_view(body).substr(0, 70)).ok());
}

TEST(PduTest, RefusesBadContexts) {
  Associate request;
  request.contexts = {{.id = 1, .abstract_syntax = "1.2", .transfer_syntaxes = {"1.2.3"}}};
  const auto parses = [](const Associate& associate) {
    const std::string pdu = EncodeAssociate(PduType::kAssociateRq, associate);
    return ParseAssociate(PduType::kAssociateRq, absl::string_view(pdu).substr(kPduHeaderBytes)).ok();
  };
  ASSERT_TRUE(parses(request));

  Associate even = request;
  even.contexts[0].id = 2;
  EXPECT_FALSE(parses(even));
  Associate doubled = request;
  doubled.contexts.push_back(doubled.contexts[0]);
  EXPECT_FALSE(parses(doubled));
  Associate without_abstract = request;
  without_abstract.contexts[0].abstract_syntax = "";
  EXPECT_FALSE(parses(without_abstract));
  Associate without_transfer = request;
  without_transfer.contexts[0].transfer_syntaxes.clear();
  EXPECT_FALSE(parses(without_transfer));
  Associate many = request;
  many.contexts[0].transfer_syntaxes.assign(257, "1.2");
  EXPECT_FALSE(parses(many));
}

TEST(PduTest, TakesAllContextIds) {
  Associate request;
  for (int id = 1; id < 256; id += 2) {
    request.contexts.push_back(
        {.id = static_cast<uint8_t>(id), .abstract_syntax = "1.2", .transfer_syntaxes = {"1.2.3"}});
  }

  const std::string pdu = EncodeAssociate(PduType::kAssociateRq, request);
  absl::StatusOr<Associate> parsed = ParseAssociate(PduType::kAssociateRq, pdu.substr(kPduHeaderBytes));

  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->contexts.size(), 128);
}

TEST(PduTest, EncodesAnswerAndShortPdus) {
  Associate answer;
  answer.contexts = {
      {.id = 1, .transfer_syntaxes = {"1.2.3"}},
      {.id = 3, .result = ContextResult::kAbstractSyntaxNotSupported, .transfer_syntaxes = {"1.2"}}};
  const std::string pdu = EncodeAssociate(PduType::kAssociateAc, answer);
  EXPECT_EQ(ParseAssociate(PduType::kAssociateAc, pdu.substr(kPduHeaderBytes)).value(), answer);

  EXPECT_EQ(EncodeReject(kRejectCalledAe), Bytes("03000000000400010107"));
  EXPECT_EQ(EncodeReject(kRejectLocalLimit), Bytes("03000000000400020302"));
  EXPECT_EQ(EncodeAbort(kAbortUnexpectedPdu), Bytes("07000000000400000202"));
  EXPECT_EQ(EncodeReleaseRp(), Bytes("06000000000400000000"));
  EXPECT_EQ(ParseReject(Bytes("00010107")).value(), kRejectCalledAe);
  EXPECT_EQ(ParseAbort(Bytes("00000202")).value(), kAbortUnexpectedPdu);
  EXPECT_FALSE(ParseAbort(Bytes("0000")).ok());
}

TEST(PduTest, SplitsDataByThePeersMaximum) {
  std::string out;
  AppendPData(5, true, "abcdefghijklmno", 16, out);

  EXPECT_EQ(out,
            Bytes("0400000000100000000c0501") + "abcdefghij" + Bytes("04000000000b000000070503") + "klmno");
}

TEST(PduTest, KeepsDataWholeWithoutMaximum) {
  std::string out;
  AppendPData(1, false, std::string(100'000, 'x'), 0, out);
  EXPECT_EQ(out.size(), 100'012);

  std::string empty;
  AppendPData(1, false, "", 0, empty);
  EXPECT_EQ(empty, Bytes("040000000006000000020102"));
}

TEST(PduTest, ParsesPdvHeaders) {
  absl::StatusOr<PdvHeader> pdv = ParsePdvHeader(Bytes("000000120703"));
  ASSERT_TRUE(pdv.ok());
  EXPECT_EQ(pdv->data_length, 16);
  EXPECT_EQ(pdv->context_id, 7);
  EXPECT_TRUE(pdv->command);
  EXPECT_TRUE(pdv->last);
  EXPECT_FALSE(ParsePdvHeader(Bytes("000000010703")).ok());
}

}  // namespace
}  // namespace narthex::gateway
