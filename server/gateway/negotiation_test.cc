#include "server/gateway/negotiation.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

#include "base/limits_gateway.h"
#include "imaging/dicom/sop_class.h"

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

// The storage classes that XNAT's receiver takes: those of the standard below 1.2.840.10008.5.1.4.1.1 ...
constexpr char kXnatStandard[] =
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 4.4 6.1 6.2 7 7.1 7.2 7.3 "
    "7.4 9.1.1 9.1.2 9.1.3 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 11.1 11.2 11.3 11.4 11.5 11.6 "
    "11.7 11.8 11.9 11.10 11.11 12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 "
    "14.1 14.2 20 30 66 66.1 66.2 66.3 66.4 66.5 66.6 67 68.1 68.2 77.1.1 77.1.1.1 77.1.2 "
    "77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.5.5 77.1.5.6 "
    "77.1.5.7 77.1.5.8 77.1.6 78.1 78.2 78.3 78.4 78.5 78.6 78.7 78.8 79.1 80.1 81.1 82.1 "
    "88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69 88.70 88.71 "
    "88.72 88.73 88.74 88.75 90.1 104.1 104.2 104.3 128 128.1 130 131 200.2 481.1 481.2 481.3 "
    "481.4 481.5 481.6 481.7 481.8 481.9 481.10 481.11";
// ... those elsewhere, and those of Siemens and Philips.
constexpr char kXnatOthers[] =
    "1.2.840.10008.5.1.4.34.7 1.2.840.10008.5.1.4.34.10 1.3.12.2.1107.5.9.1 1.3.46.670589.2.3.1.1 "
    "1.3.46.670589.2.4.1.1 1.3.46.670589.5.0.1 1.3.46.670589.5.0.2 1.3.46.670589.5.0.2.1 "
    "1.3.46.670589.5.0.3 1.3.46.670589.5.0.3.1 1.3.46.670589.5.0.4 1.3.46.670589.5.0.7 "
    "1.3.46.670589.5.0.8 1.3.46.670589.5.0.9 1.3.46.670589.5.0.10 1.3.46.670589.5.0.11 "
    "1.3.46.670589.5.0.12 1.3.46.670589.11.0.0.12.1 1.3.46.670589.11.0.0.12.2 1.3.46.670589.11.0.0.12.4";

TEST(NegotiationTest, TakesAllThatXnatTakes) {
  std::vector<std::string> classes = absl::StrSplit(kXnatOthers, ' ');
  for (absl::string_view end : absl::StrSplit(kXnatStandard, ' '))
    classes.push_back(absl::StrCat("1.2.840.10008.5.1.4.1.1.", end));
  EXPECT_EQ(classes.size(), 152);
  for (const std::string& sop_class : classes)
    EXPECT_EQ(ResultOf(sop_class), ContextResult::kAccepted) << sop_class;
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

// Every storage class that DCMTK's tables know, retired ones too.
TEST(NegotiationTest, TakesEveryKnownStorageClass) {
  EXPECT_GT(dicom::StorageSopClasses().size(), 150);
  for (const std::string& sop_class : dicom::StorageSopClasses()) {
    EXPECT_EQ(ResultOf(sop_class), ContextResult::kAccepted)
        << sop_class << " " << dicom::SopClassName(sop_class);
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
  EXPECT_EQ(answer.max_pdu_bytes, limits::kPduMaxBytes.get());
}

TEST(NegotiationTest, BoundsTheAsynchronousWindow) {
  Associate request = RequestOf({});
  EXPECT_FALSE(Negotiate(request).async_window);
  request.async_window = AsyncWindow{8, 5};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{8, 1}));
  request.async_window = AsyncWindow{0, 0};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{limits::kAsyncWindowMax.get(), 1}));
  request.async_window = AsyncWindow{1000, 1};
  EXPECT_EQ(Negotiate(request).async_window, (AsyncWindow{limits::kAsyncWindowMax.get(), 1}));
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
