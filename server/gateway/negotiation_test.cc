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
}

TEST(NegotiationTest, RefusesOtherServices) {
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.1.2.2.1"), ContextResult::kAbstractSyntaxNotSupported) << "C-FIND";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.4.31"), ContextResult::kAbstractSyntaxNotSupported) << "worklist";
  EXPECT_EQ(ResultOf("1.2.840.10008.3.1.2.3.3"), ContextResult::kAbstractSyntaxNotSupported) << "MPPS";
  EXPECT_EQ(ResultOf("1.2.840.10008.5.1.1.9"), ContextResult::kAbstractSyntaxNotSupported) << "print";
  EXPECT_EQ(ResultOf("1.2.840.10008.1.20.1"), ContextResult::kAbstractSyntaxNotSupported) << "commitment";
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
