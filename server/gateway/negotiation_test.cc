#include "server/gateway/negotiation.h"

#include "gtest/gtest.h"

#include "base/limits.h"

namespace narthex::gateway {
namespace {

Associate RequestOf(std::vector<PresentationContext> contexts) {
  Associate request;
  request.called_ae_title = "NARTHEX";
  request.contexts = std::move(contexts);
  return request;
}

// What becomes of a context with this abstract syntax.
ContextResult ResultOf(const std::string& abstract_syntax) {
  const Associate request =
      RequestOf({{.id = 1, .abstract_syntax = abstract_syntax, .transfer_syntaxes = {"1.2.840.10008.1.2"}}});
  return Negotiate(request).contexts.at(0).result;
}

TEST(NegotiationTest, AcceptsEveryStorageClassAlsoUnknownAndPrivateOnes) {
  EXPECT_EQ(ResultOf("1.2.840.10008.1.1"), ContextResult::kAccepted) << "verification";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.1.1.4"), ContextResult::kAccepted) << "MR";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.1.1.999.1"), ContextResult::kAccepted) << "not invented yet";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.34.7"), ContextResult::kAccepted)
      << "RT beams delivery instruction";
  EXPECT_EQ(ResultOf("1.3.12.2.1107.5.9.1"), ContextResult::kAccepted) << "Siemens CSA non-image";
  EXPECT_EQ(ResultOf("1.2.840.10008.1.20.1"), ContextResult::kAccepted) << "commitment";
}

// What XNAT's receiver takes by explicit lists (its SOP classes by the standard's names, Siemens's and
// Philips's private ones among them), and what it does not.
TEST(NegotiationTest, TakesAllThatXnatTakes) {
  for (const char* sop_class : {"1.2.840.10008.5.1.4.1.1.1",
                                "1.2.840.10008.5.1.4.1.1.1.1",
                                "1.2.840.10008.5.1.4.1.1.1.1.1",
                                "1.2.840.10008.5.1.4.1.1.1.2",
                                "1.2.840.10008.5.1.4.1.1.1.3",
                                "1.2.840.10008.5.1.4.1.1.2",
                                "1.2.840.10008.5.1.4.1.1.2.1",
                                "1.2.840.10008.5.1.4.1.1.2.2",
                                "1.2.840.10008.5.1.4.1.1.3",
                                "1.2.840.10008.5.1.4.1.1.3.1",
                                "1.2.840.10008.5.1.4.1.1.4",
                                "1.2.840.10008.5.1.4.1.1.4.1",
                                "1.2.840.10008.5.1.4.1.1.4.2",
                                "1.2.840.10008.5.1.4.1.1.4.3",
                                "1.2.840.10008.5.1.4.1.1.4.4",
                                "1.2.840.10008.5.1.4.1.1.5",
                                "1.2.840.10008.5.1.4.1.1.6",
                                "1.2.840.10008.5.1.4.1.1.6.1",
                                "1.2.840.10008.5.1.4.1.1.6.2",
                                "1.2.840.10008.5.1.4.1.1.7",
                                "1.2.840.10008.5.1.4.1.1.7.1",
                                "1.2.840.10008.5.1.4.1.1.7.4",
                                "1.2.840.10008.5.1.4.1.1.8",
                                "1.2.840.10008.5.1.4.1.1.9",
                                "1.2.840.10008.5.1.4.1.1.9.1.1",
                                "1.2.840.10008.5.1.4.1.1.11.1",
                                "1.2.840.10008.5.1.4.1.1.12.1",
                                "1.2.840.10008.5.1.4.1.1.12.2.1",
                                "1.2.840.10008.5.1.4.1.1.13.1.3",
                                "1.2.840.10008.5.1.4.1.1.20",
                                "1.2.840.10008.5.1.4.1.1.66",
                                "1.2.840.10008.5.1.4.1.1.66.4",
                                "1.2.840.10008.5.1.4.1.1.67",
                                "1.2.840.10008.5.1.4.1.1.77.1.1",
                                "1.2.840.10008.5.1.4.1.1.77.1.6",
                                "1.2.840.10008.5.1.4.1.1.88.11",
                                "1.2.840.10008.5.1.4.1.1.88.33",
                                "1.2.840.10008.5.1.4.1.1.88.59",
                                "1.2.840.10008.5.1.4.1.1.104.1",
                                "1.2.840.10008.5.1.4.1.1.128",
                                "1.2.840.10008.5.1.4.1.1.128.1",
                                "1.2.840.10008.5.1.4.1.1.130",
                                "1.2.840.10008.5.1.4.1.1.481.1",
                                "1.2.840.10008.5.1.4.1.1.481.9",
                                "1.2.840.10008.5.1.1.29",
                                "1.2.840.10008.5.1.1.30",
                                "1.3.12.2.1107.5.9.1",
                                "1.3.46.670589.11.0.0.12.1",
                                "1.3.46.670589.2.3.1.1",
                                "1.3.46.670589.5.0.1"}) {
    EXPECT_EQ(ResultOf(sop_class), ContextResult::kAccepted) << sop_class;
  }
  const std::string mr = "1.2.840.10008.5.1.4.1.1.4";
  for (const char* syntax :
       {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93",
        "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2",
        // Not XNAT: deflated, MPEG-4, HEVC, HTJ2K, JPEG XL.
        "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107",
        "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110"}) {
    const Associate answer =
        Negotiate(RequestOf({{.id = 1, .abstract_syntax = mr, .transfer_syntaxes = {syntax}}}));
    EXPECT_EQ(answer.contexts.at(0).result, ContextResult::kAccepted) << syntax;
  }
}

TEST(NegotiationTest, TakesCommitmentInTheSyntaxesThatAreReadHere) {
  const auto syntax_of = [](std::vector<std::string> proposed) {
    const Associate answer = Negotiate(RequestOf(
        {{.id = 1, .abstract_syntax = "1.2.840.10008.1.20.1", .transfer_syntaxes = std::move(proposed)}}));
    return answer.contexts.at(0).result == ContextResult::kAccepted
               ? answer.contexts[0].transfer_syntaxes.at(0)
               : "";
  };
  EXPECT_EQ(syntax_of({"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1"}), "1.2.840.10008.1.2.1");
  EXPECT_EQ(syntax_of({"1.2.840.10008.1.2"}), "1.2.840.10008.1.2");
  EXPECT_EQ(syntax_of({"1.2.840.10008.1.2.2"}), "");
}

TEST(NegotiationTest, RefusesOtherServices) {
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.1.2.2.1"), ContextResult::kAbstractSyntaxNotSupported) << "C-FIND";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.31"), ContextResult::kAbstractSyntaxNotSupported) << "worklist";
  EXPECT_EQ(ResultOf("1.2.840.10008.3.1.2.3.3"), ContextResult::kAbstractSyntaxNotSupported) << "MPPS";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.1.9"), ContextResult::kAbstractSyntaxNotSupported) << "print";
  EXPECT_EQ(ResultOf("1.2.840.10008.1.3.10"), ContextResult::kAbstractSyntaxNotSupported) << "DICOMDIR";
  EXPECT_EQ(ResultOf("not a uid"), ContextResult::kAbstractSyntaxNotSupported);
}

TEST(NegotiationTest, TakesTheSendersFirstTransferSyntaxWhateverItIs) {
  const std::string mr = "1.2.840.10008.5.1.4.1.1.4";
  const Associate answer = Negotiate(RequestOf({
      {.id = 1, .abstract_syntax = mr, .transfer_syntaxes = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"}},
      {.id = 3, .abstract_syntax = mr, .transfer_syntaxes = {"1.2.840.10008.1.2.2"}},
      {.id = 5, .abstract_syntax = mr, .transfer_syntaxes = {"1.2.840.10008.1.2.1.99"}},
      {.id = 7, .abstract_syntax = mr, .transfer_syntaxes = {"1.3.46.670589.33.1.4.1"}},
      {.id = 9, .abstract_syntax = mr, .transfer_syntaxes = {"bad", "1.2.840.10008.1.2"}},
      {.id = 11, .abstract_syntax = mr, .transfer_syntaxes = {"bad"}},
  }));

  ASSERT_EQ(answer.contexts.size(), 6);
  EXPECT_EQ(answer.contexts[0].transfer_syntaxes, std::vector<std::string>{"1.2.840.10008.1.2.4.90"});
  EXPECT_EQ(answer.contexts[1].transfer_syntaxes, std::vector<std::string>{"1.2.840.10008.1.2.2"});
  EXPECT_EQ(answer.contexts[2].transfer_syntaxes, std::vector<std::string>{"1.2.840.10008.1.2.1.99"});
  EXPECT_EQ(answer.contexts[3].transfer_syntaxes, std::vector<std::string>{"1.3.46.670589.33.1.4.1"});
  EXPECT_EQ(answer.contexts[4].transfer_syntaxes, std::vector<std::string>{"1.2.840.10008.1.2"});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(answer.contexts[i].result, ContextResult::kAccepted) << i;
  EXPECT_EQ(answer.contexts[5].result, ContextResult::kTransferSyntaxesNotSupported);
  EXPECT_EQ(answer.max_pdu_bytes, limits::kPduMaxBytes);
}

TEST(NegotiationTest, BoundsTheAsynchronousWindow) {
  Associate request = RequestOf({});
  EXPECT_FALSE(Negotiate(request).async_window);
  request.async_window = AsyncWindow{8, 5};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{8, 1}));
  request.async_window = AsyncWindow{0, 0};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{limits::kAsyncWindowMax, 1}));
  request.async_window = AsyncWindow{1000, 1};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{limits::kAsyncWindowMax, 1}));
}

TEST(NegotiationTest, GrantsNobodyTheRoleOfAProvider) {
  const std::string mr = "1.2.840.10008.5.1.4.1.1.4";
  const std::string ct = "1.2.840.10008.5.1.4.1.1.2";
  Associate request =
      RequestOf({{.id = 1, .abstract_syntax = mr, .transfer_syntaxes = {"1.2.840.10008.1.2"}},
                 {.id = 3, .abstract_syntax = ct, .transfer_syntaxes = {"1.2.840.10008.1.2"}}});
  request.roles = {{mr, true, true}, {ct, false, true}};

  const Associate answer = Negotiate(request);

  EXPECT_EQ(answer.roles, (std::vector<RoleSelection>{{mr, true, false}, {ct, false, false}}));
  EXPECT_EQ(answer.contexts[0].result, ContextResult::kAccepted);
  EXPECT_EQ(answer.contexts[1].result, ContextResult::kUserRejection);
}

TEST(NegotiationTest, ChecksTheProtocol) {
  Associate request;
  EXPECT_EQ(CheckProtocol(request), std::nullopt);
  request.protocol_version = 2;
  EXPECT_EQ(CheckProtocol(request), kRejectProtocolVersion);
  request.protocol_version = 3;
  request.application_context = "1.2";
  EXPECT_EQ(CheckProtocol(request), kRejectApplicationContext);
}

TEST(NegotiationTest, LogsNoStrangeTitles) {
  EXPECT_EQ(LoggedAeTitle("CT 1"), "CT 1");
  EXPECT_EQ(LoggedAeTitle("a\nb"), "(invalid)");
  EXPECT_EQ(LoggedAeTitle(""), "");
}

}  // namespace
}  // namespace narthex::gateway
