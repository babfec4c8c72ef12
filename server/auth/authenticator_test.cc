// Tokens: which are good, how soon a revoked one is not, and the administrator's first one in its file.

#include "server/auth/authenticator.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits_server.h"

namespace narthex::auth {
namespace {

using testing::SizeIs;

const Origin kHere{"10.0.0.1", ""};
const metadata::Change kChange{"test", "", ""};

class AuthenticatorTest : public testing::Test {
 protected:
  AuthenticatorTest() {
    folder_ = absl::StrCat(testing::TempDir(), "narthex-auth-", ::getpid(), "-",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    metadata::User user;
    user.name = "ann";
    EXPECT_TRUE(stores_->users().Create(user, kChange).ok());
    metadata::Project project;
    project.id = "P1";
    project.name = "P1";
    EXPECT_TRUE(stores_->projects().Create(project, kChange).ok());
    EXPECT_TRUE(stores_->members().Set({"P1", "ann", metadata::Role::kMember}, kChange).ok());
  }
  ~AuthenticatorTest() override { std::filesystem::remove_all(folder_); }

  // A token of ann's. `id`: what to revoke it by.
  std::string NewToken(std::string* id = nullptr, absl::Time expire_time = absl::InfiniteFuture()) {
    const std::string token = Authenticator::NewToken();
    metadata::Token row;
    row.user = "ann";
    row.expire_time = expire_time;
    const auto created = stores_->tokens().Create(row, Authenticator::Hash(token), kChange);
    EXPECT_TRUE(created.ok()) << created.status();
    if (id != nullptr) *id = created->id;
    return token;
  }

  void ExpectRefused(const std::string& token) {
    const auto identity = authenticator_.Authenticate(token);
    EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(ErrorReason(identity.status()), "UNAUTHENTICATED");
    EXPECT_FALSE(absl::StrContains(identity.status().message(), token.empty() ? "\1" : token));
  }

  std::string Reason(const std::string& token) {
    return ErrorReason(authenticator_.Authenticate(token, kHere).status());
  }
  void FailUntilLimited() {
    for (int i = 0; i <= limits::kAuthenticationFailuresMax; ++i) {
      if (Reason(Authenticator::NewToken()) == "TOO_MANY_FAILURES") return;
    }
    FAIL() << "failures are not limited";
  }

  std::string AdminFile() const { return absl::StrCat(folder_, "/admin.token"); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
  }

  std::string folder_;
  FakeClock clock_;
  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  Authenticator authenticator_{*stores_, clock_};
};

TEST_F(AuthenticatorTest, AGoodTokenSpeaksForItsUserAndRoles) {
  const auto identity = authenticator_.Authenticate(NewToken());
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->user.name, "ann");
  EXPECT_EQ(identity->roles.at("P1"), metadata::Role::kMember);
}

TEST_F(AuthenticatorTest, TokensAreLongAndAllDifferent) {
  EXPECT_TRUE(absl::StartsWith(Authenticator::NewToken(), "nx_"));
  EXPECT_GE(Authenticator::NewToken().size(), 3u + 32);
  EXPECT_NE(Authenticator::NewToken(), Authenticator::NewToken());
  EXPECT_THAT(Authenticator::Hash("x"), SizeIs(32));
}

TEST_F(AuthenticatorTest, WhatIsNoTokenIsRefused) {
  ExpectRefused("");
  ExpectRefused("nx_nobodyhasthisone");
  ExpectRefused(Authenticator::NewToken());
  ExpectRefused(Authenticator::Hash(NewToken()));
}

TEST_F(AuthenticatorTest, ATokenExpires) {
  const std::string token = NewToken(nullptr, clock_.Now() + absl::Minutes(1));
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  clock_.Advance(absl::Minutes(1));
  ExpectRefused(token);
}

TEST_F(AuthenticatorTest, AnExpiredTokenIsNotRememberedBeyondItsEnd) {
  const std::string token = NewToken(nullptr, clock_.Now() + absl::Seconds(2));
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  clock_.Advance(absl::Seconds(5));
  ExpectRefused(token);
}

TEST_F(AuthenticatorTest, ARevokedTokenIsRefusedAtOnceAfterForget) {
  std::string id;
  const std::string token = NewToken(&id);
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  ASSERT_TRUE(stores_->tokens().Revoke(id, kChange).ok());

  authenticator_.Forget();
  ExpectRefused(token);
}

TEST_F(AuthenticatorTest, ARevokedTokenIsRefusedAfterSecondsWithoutForget) {
  std::string id;
  const std::string token = NewToken(&id);
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  ASSERT_TRUE(stores_->tokens().Revoke(id, kChange).ok());
  EXPECT_TRUE(authenticator_.Authenticate(token).ok()) << "it is remembered, which spares the database";

  clock_.Advance(absl::Seconds(6));
  ExpectRefused(token);
}

TEST_F(AuthenticatorTest, ADisabledUsersTokenIsRefused) {
  const std::string token = NewToken();
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  metadata::User user = *stores_->users().Get("ann");
  user.disabled = true;
  ASSERT_TRUE(stores_->users().Update(user, kChange).ok());

  authenticator_.Forget();
  ExpectRefused(token);
}

TEST_F(AuthenticatorTest, AChangedRoleHoldsAfterForget) {
  const std::string token = NewToken();
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  ASSERT_TRUE(stores_->members().Remove("P1", "ann", kChange).ok());

  authenticator_.Forget();
  EXPECT_EQ(authenticator_.Authenticate(token)->roles.count("P1"), 0u);
}

TEST_F(AuthenticatorTest, WhoIsKnownGoesOnWhileOthersOfTheAddressFail) {
  const std::string token = NewToken();
  ASSERT_TRUE(authenticator_.Authenticate(token, kHere).ok());
  for (int minute = 0; minute < 120; ++minute) {
    clock_.Advance(absl::Minutes(1));
    FailUntilLimited();
    EXPECT_TRUE(authenticator_.Authenticate(token, kHere).ok()) << "in minute " << minute;
    EXPECT_EQ(Reason(Authenticator::NewToken()), "TOO_MANY_FAILURES");
  }
}

TEST_F(AuthenticatorTest, ATokenIsKnownFromTheStartOrFromWhenItWasMade) {
  std::string id;
  const std::string old = NewToken(), revoked = NewToken(&id);
  ASSERT_TRUE(stores_->tokens().Revoke(id, kChange).ok());
  ASSERT_TRUE(authenticator_.Load().ok());
  const std::string token = NewToken();
  FailUntilLimited();
  EXPECT_EQ(Reason(token), "TOO_MANY_FAILURES");
  EXPECT_EQ(Reason(revoked), "TOO_MANY_FAILURES");
  EXPECT_TRUE(authenticator_.Authenticate(old, kHere).ok());
  authenticator_.MakeKnown(Authenticator::Hash(token));
  EXPECT_TRUE(authenticator_.Authenticate(token, kHere).ok());
}

TEST_F(AuthenticatorTest, ATokenThatWasKnownIsLookedUpOnceMoreWhenItIsRevoked) {
  std::string id;
  const std::string token = NewToken(&id);
  ASSERT_TRUE(authenticator_.Authenticate(token, kHere).ok());
  ASSERT_TRUE(stores_->tokens().Revoke(id, kChange).ok());
  clock_.Advance(absl::Minutes(1));
  FailUntilLimited();
  EXPECT_EQ(Reason(token), "UNAUTHENTICATED");
  EXPECT_EQ(Reason(token), "TOO_MANY_FAILURES") << "it must not reach the database again";
}

TEST_F(AuthenticatorTest, AnInternalTokenSpeaksForAnAllDataAdministrator) {
  const std::string token = authenticator_.IssueInternal("gateway");
  authenticator_.Forget();
  const auto identity = authenticator_.Authenticate(token);
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity->user.name, "gateway");
  EXPECT_TRUE(identity->user.all_data_admin);
  EXPECT_FALSE(identity->user.site_admin);

  Authenticator other(*stores_, clock_);
  EXPECT_FALSE(other.Authenticate(token).ok()) << "another process does not know it";
}

TEST_F(AuthenticatorTest, TheFirstStartMakesTheAdministratorsToken) {
  const auto token = authenticator_.EnsureAdministrator(AdminFile());
  ASSERT_TRUE(token.ok()) << token.status();

  EXPECT_EQ(Read(AdminFile()), *token);
  struct stat info {};
  ASSERT_EQ(::stat(AdminFile().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto identity = authenticator_.Authenticate(*token);
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity->user.name, "admin");
  EXPECT_TRUE(identity->user.site_admin);
}

TEST_F(AuthenticatorTest, ASecondStartKeepsTheToken) {
  const auto first = authenticator_.EnsureAdministrator(AdminFile());
  ASSERT_TRUE(first.ok());
  Authenticator again(*stores_, clock_);
  EXPECT_EQ(*again.EnsureAdministrator(AdminFile()), *first);
  EXPECT_THAT(*stores_->tokens().ListTokens("admin"), SizeIs(1));
}

TEST_F(AuthenticatorTest, ADamagedFileGetsANewToken) {
  const auto first = authenticator_.EnsureAdministrator(AdminFile());
  ASSERT_TRUE(first.ok());
  for (const std::string& content : {std::string(), std::string("\n"), first->substr(0, first->size() - 1),
                                     std::string(1 << 20, 'x'), std::string("\0\1\2", 3)}) {
    std::ofstream(AdminFile(), std::ios::trunc) << content;
    const auto token = authenticator_.EnsureAdministrator(AdminFile());
    ASSERT_TRUE(token.ok()) << token.status();
    EXPECT_NE(*token, *first);
    EXPECT_EQ(Read(AdminFile()), *token);
    EXPECT_TRUE(authenticator_.Authenticate(*token).ok());
  }
}

TEST_F(AuthenticatorTest, AnotherUsersTokenInTheFileIsNotTheAdministrators) {
  const std::string anns = NewToken();
  std::ofstream(AdminFile()) << anns;
  const auto token = authenticator_.EnsureAdministrator(AdminFile());
  ASSERT_TRUE(token.ok());
  EXPECT_NE(*token, anns);
  EXPECT_TRUE(authenticator_.Authenticate(*token)->user.site_admin);
}

TEST_F(AuthenticatorTest, AFileThatCannotBeWrittenIsAnError) {
  EXPECT_EQ(ErrorReason(authenticator_.EnsureAdministrator(absl::StrCat(folder_, "/none/admin")).status()),
            "STORAGE_ERROR");
}

}  // namespace
}  // namespace narthex::auth
