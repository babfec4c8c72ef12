#include "server/gateway/receiver.h"

#include "gtest/gtest.h"

#include "server/gateway/receiver_table.h"

namespace narthex::gateway {
namespace {

bool Matches(absl::string_view entry, absl::string_view title, absl::string_view address) {
  absl::StatusOr<AllowedCaller> caller = AllowedCaller::Parse(entry);
  EXPECT_TRUE(caller.ok()) << entry;
  return caller.ok() && caller->Matches(title, address);
}

TEST(ReceiverTest, ParsesListenAddresses) {
  const auto check = [](absl::string_view text, absl::string_view host, uint16_t port) {
    absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->host, host) << text;
    EXPECT_EQ(address->port, port) << text;
  };
  check("127.0.0.1:8104", "127.0.0.1", 8104);
  check("[::1]:0", "::1", 0);
  check(":104", "", 104);
  check("*:104", "", 104);
  check("localhost:65535", "localhost", 65535);
  for (const char* bad :
       {"", "8104", "a:", "a:65536", "a:-1", "a:+1", "::1:104", "[::1:104", "[]:1", "a:1b"}) {
    EXPECT_FALSE(ParseListenAddress(bad).ok()) << bad;
  }
}

TEST(ReceiverTest, KnowsAeTitles) {
  EXPECT_TRUE(IsAeTitle("NARTHEX"));
  EXPECT_TRUE(IsAeTitle("1234567890123456"));
  EXPECT_TRUE(IsAeTitle("CT 1"));
  for (const char* bad : {"", " ", "12345678901234567", "a\\b", "a\nb", " a", "a ", "\xc3\xa4"}) {
    EXPECT_FALSE(IsAeTitle(bad)) << bad;
  }
}

TEST(ReceiverTest, MatchesCallers) {
  EXPECT_TRUE(Matches("CT1", "CT1", "10.0.0.1"));
  EXPECT_FALSE(Matches("CT1", "ct1", "10.0.0.1"));
  EXPECT_TRUE(Matches("10.1.0.0/16", "ANY", "10.1.255.3"));
  EXPECT_FALSE(Matches("10.1.0.0/16", "ANY", "10.2.0.1"));
  EXPECT_TRUE(Matches("10.1.2.3", "ANY", "10.1.2.3"));
  EXPECT_FALSE(Matches("10.1.2.3", "ANY", "10.1.2.4"));
  EXPECT_TRUE(Matches("10.1.2.3", "ANY", "::ffff:10.1.2.3"));
  EXPECT_TRUE(Matches("0.0.0.0/0", "ANY", "10.1.2.4"));
  EXPECT_FALSE(Matches("0.0.0.0/0", "ANY", "::1"));
  EXPECT_TRUE(Matches("10.1.2.128/25", "ANY", "10.1.2.129"));
  EXPECT_FALSE(Matches("10.1.2.128/25", "ANY", "10.1.2.127"));
  EXPECT_TRUE(Matches("2001:db8::/33", "ANY", "2001:db8:7fff::1"));
  EXPECT_FALSE(Matches("2001:db8::/33", "ANY", "2001:db8:8000::1"));
  EXPECT_TRUE(Matches("CT1@10.0.0.0/8", "CT1", "10.9.9.9"));
  EXPECT_FALSE(Matches("CT1@10.0.0.0/8", "CT2", "10.9.9.9"));
  EXPECT_FALSE(Matches("CT1@10.0.0.0/8", "CT1", "11.9.9.9"));
  EXPECT_FALSE(Matches("10.0.0.0/8", "CT1", "")) << "an unknown address";
  for (const char* bad :
       {"", "a\\b", "CT1@", "CT1@host", "@10.0.0.1", "10.0.0.1/33", "10.0.0.1/-1", "::/129"}) {
    EXPECT_FALSE(AllowedCaller::Parse(bad).ok()) << bad;
  }
}

TEST(ReceiverTest, RefusesDoubledReceivers) {
  EXPECT_TRUE(CheckReceivers({{.ae_title = "A"}, {.ae_title = "B"}, {.ae_title = "A", .port = 11112}}).ok());
  EXPECT_FALSE(CheckReceivers({{.ae_title = "A"}, {.ae_title = "A"}}).ok());
  EXPECT_FALSE(CheckReceivers({{.ae_title = ""}}).ok());
  EXPECT_FALSE(CheckReceivers({{.ae_title = "A", .allowed_callers = {"a\\b"}}}).ok());
}

TEST(ReceiverTest, AdmitsByPortTitleAndCaller) {
  ReceiverConfig open{.ae_title = "OPEN", .port = 1};
  open.destination.set_project("P1");
  const ReceiverConfig closed{.ae_title = "CLOSED", .port = 1, .allowed_callers = {"CT1"}};
  absl::StatusOr<ReceiverTable> table = ReceiverTable::Make({open, closed});
  ASSERT_TRUE(table.ok());
  const auto admit = [&](const char* called, const char* calling, uint16_t port) {
    Associate request;
    request.called_ae_title = called;
    request.calling_ae_title = calling;
    return table->Admit(request, "10.0.0.1", port);
  };

  EXPECT_EQ(std::get<Admission>(admit("OPEN", "X", 1)).destination.project(), "P1");
  EXPECT_TRUE(std::holds_alternative<Admission>(admit("OPEN", "", 1)));
  EXPECT_TRUE(std::holds_alternative<Admission>(admit("CLOSED", "CT1", 1)));
  EXPECT_EQ(std::get<Refusal>(admit("CLOSED", "CT2", 1)).reject, kRejectCallingAe);
  EXPECT_EQ(std::get<Refusal>(admit("OPEN", "a\nb", 1)).reject, kRejectCallingAe);
  EXPECT_EQ(std::get<Refusal>(admit("OTHER", "CT1", 1)).reject, kRejectCalledAe);
  EXPECT_EQ(std::get<Refusal>(admit("OPEN", "X", 2)).reject, kRejectCalledAe);
}

}  // namespace
}  // namespace narthex::gateway
