// What a client sees of an error: code, message, and one ErrorInfo with a reason of the catalogue.

#include "server/rpc/status.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "narthex/v1/errors.pb.h"

namespace narthex::rpc {
namespace {

google::rpc::Status Parse(const std::string& bytes) {
  google::rpc::Status status;
  EXPECT_TRUE(status.ParseFromString(bytes));
  return status;
}

google::rpc::ErrorInfo InfoOf(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  EXPECT_EQ(status.details_size(), 1);
  EXPECT_TRUE(status.details_size() == 1 && status.details(0).UnpackTo(&info));
  return info;
}

google::rpc::ErrorInfo InfoOf(const absl::Status& status) {
  return InfoOf(Parse(ToGrpc(status).error_details()));
}

TEST(StatusTest, OkStaysOk) { EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok()); }

TEST(StatusTest, CodeMessageReasonAndMetadataReachTheClient) {
  const absl::Status status =
      NotFound("SESSION_NOT_FOUND", "there is no session s1", {{"session", "s1"}, {"project", "P1"}});

  const grpc::Status sent = ToGrpc(status);

  EXPECT_EQ(sent.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(sent.error_message(), "there is no session s1");
  const google::rpc::Status details = Parse(sent.error_details());
  EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::NOT_FOUND));
  EXPECT_EQ(details.message(), "there is no session s1");
  const google::rpc::ErrorInfo info = InfoOf(details);
  EXPECT_EQ(info.domain(), "narthex");
  EXPECT_EQ(info.reason(), "SESSION_NOT_FOUND");
  EXPECT_EQ(info.metadata().at("session"), "s1");
  EXPECT_EQ(info.metadata().at("project"), "P1");
}

TEST(StatusTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status = Error(static_cast<absl::StatusCode>(code), "INTERNAL", "x");
    EXPECT_EQ(static_cast<int>(ToGrpc(status).error_code()), code);
  }
}

TEST(StatusTest, AStatusWithoutReasonIsAnInternalOne) {
  const google::rpc::ErrorInfo info = InfoOf(absl::UnknownError("from a library"));
  EXPECT_EQ(info.reason(), "INTERNAL");
  EXPECT_EQ(info.domain(), "narthex");
}

TEST(StatusTest, AnOperationsErrorHasTheSameDetails) {
  const absl::Status status = FailedPrecondition("ARCHIVE_CONFLICT", "no", {{"code", "8"}});
  EXPECT_EQ(Parse(ToRpcStatus(status)).SerializeAsString(),
            Parse(ToGrpc(status).error_details()).SerializeAsString());
}

TEST(StatusTest, InnerReasonsBecomeThoseOfTheCatalogue) {
  EXPECT_EQ(WireReason("IO_ERROR"), "STORAGE_ERROR");
  EXPECT_EQ(WireReason("TOKEN_INVALID"), "UNAUTHENTICATED");
  EXPECT_EQ(WireReason("PAGE_TOKEN_INVALID"), "INVALID_PAGE_TOKEN");
  EXPECT_EQ(WireReason("SESSION_NOT_FOUND"), "SESSION_NOT_FOUND") << "what is in the catalogue stays";
  EXPECT_EQ(WireReason(""), "");
  EXPECT_EQ(InfoOf(DataLoss("IO_ERROR", "x")).reason(), "STORAGE_ERROR");
}

// Clients know the reasons of errors.proto and no others.
TEST(StatusTest, EveryInnerReasonLeadsToTheCatalogueAndStaysThere) {
  const std::map<std::string, std::string> inner = {
#define INNER(own, wire) {#own, #wire},
#include "server/rpc/inner_reasons.inc"
#undef INNER
  };
  EXPECT_GT(inner.size(), 50u);
  for (const auto& [own, wire] : inner) {
    v1::ErrorReason reason;
    EXPECT_TRUE(v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", wire), &reason)) << own << " -> " << wire;
    EXPECT_EQ(WireReason(wire), wire) << own;
    EXPECT_FALSE(v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", own), &reason))
        << own << " is in the catalogue itself";
  }
}

}  // namespace
}  // namespace narthex::rpc
