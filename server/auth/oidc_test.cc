// The issuer's keys over time, and its tokens as users of ours.
#include "server/auth/oidc.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/limits_server.h"
#include "server/auth/authenticator.h"
#include "server/auth/issuer_fixture.h"
#include "storage/metadata/database.h"

namespace narthex::auth {
namespace {

const IssuerKey& Old() {
  static const IssuerKey* const key = new IssuerKey("EC", "old");
  return *key;
}
const IssuerKey& New() {
  static const IssuerKey* const key = new IssuerKey("EC", "new");
  return *key;
}

std::string Publish(const IssuerKey& key) { return absl::StrCat(R"({"keys":[)", key.Jwk(), "]}"); }

class FakeSource : public JwksSource {
 public:
  absl::StatusOr<std::string> Read() override {
    ++reads;
    if (during_read) during_read();
    if (away) return Error(absl::StatusCode::kUnavailable, "JWKS_UNAVAILABLE", "away");
    return text;
  }
  std::string Stamp() override { return stamp; }

  std::string text = Publish(Old()), stamp;
  bool away = false;
  int reads = 0;
  std::function<void()> during_read;
};

class OidcTest : public testing::Test {
 protected:
  static std::string Claims(const std::string& user, const std::string& more = "") {
    return absl::StrCat(R"({"iss":"https://idp","aud":"narthex","exp":1100,"sub":")", user, "\"", more, "}");
  }
  std::unique_ptr<Oidc> Make(bool create_users = false) {
    Oidc::Options options;
    options.rules = {"https://idp", "narthex"};
    options.create_users = create_users;
    auto source = std::make_unique<FakeSource>();
    source_ = source.get();
    return std::make_unique<Oidc>(std::move(options), std::move(source), clock_);
  }

  FakeClock clock_{absl::FromUnixSeconds(1000)};
  FakeSource* source_ = nullptr;
};

TEST_F(OidcTest, RotatedKeysAreReadWhenATokenNamesThem) {
  const auto oidc = Make();
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok());
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok());
  EXPECT_EQ(source_->reads, 1);
  source_->text = Publish(New());
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(oidc->Verify(New().Token(Claims("ann"))).ok());
  EXPECT_EQ(source_->reads, 1) << "unknown keys must not make us ask all the time";

  clock_.Advance(absl::Seconds(limits::kJwksMissSeconds.get()));
  EXPECT_TRUE(oidc->Verify(New().Token(Claims("ann"))).ok());
  EXPECT_FALSE(oidc->Verify(Old().Token(Claims("ann"))).ok()) << "the old key is gone";
}

TEST_F(OidcTest, AKeyThatWasWithdrawnEnds) {
  const auto oidc = Make();
  const std::string token = Old().Token(Claims("ann", R"(,"iat":1)"));
  EXPECT_TRUE(oidc->Verify(token).ok());
  source_->text = Publish(New());
  clock_.Advance(absl::Seconds(limits::kJwksSeconds.get()));
  const auto late =
      oidc->Verify(Old().Token(R"({"iss":"https://idp","aud":"narthex","exp":9000,"sub":"ann"})"));
  EXPECT_TRUE(absl::IsUnauthenticated(late.status())) << late.status();
}

TEST_F(OidcTest, AChangedFileIsReadAtOnce) {
  const auto oidc = Make();
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok());
  source_->text = "half of a";
  source_->stamp = "2";
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok()) << "what was good goes on";
  source_->text = Publish(New());
  source_->stamp = "3";
  EXPECT_TRUE(oidc->Verify(New().Token(Claims("ann"))).ok());
  EXPECT_FALSE(oidc->Verify(Old().Token(Claims("ann"))).ok());
}

TEST_F(OidcTest, AnIssuerThatIsAwayLocksNobodyOutWhomWeCanCheck) {
  const auto oidc = Make();
  source_->away = true;
  EXPECT_EQ(ErrorReason(oidc->Load()), "JWKS_UNAVAILABLE");
  EXPECT_EQ(ErrorReason(oidc->Verify(Old().Token(Claims("ann"))).status()), "JWKS_UNAVAILABLE");
  EXPECT_EQ(source_->reads, 1);
  source_->away = false;
  clock_.Advance(absl::Seconds(limits::kJwksMissSeconds.get()));
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok());
  source_->away = true;
  clock_.Advance(absl::Seconds(limits::kJwksSeconds.get()));
  EXPECT_TRUE(
      oidc->Verify(Old().Token(R"({"iss":"https://idp","aud":"narthex","exp":9000,"sub":"ann"})")).ok());
}

TEST_F(OidcTest, WhoNeedsTheAnswerWaitsForItAndOthersDoNot) {
  const auto oidc = Make();
  ASSERT_TRUE(oidc->Load().ok());
  source_->text = absl::StrCat(R"({"keys":[)", Old().Jwk(), ",", New().Jwk(), "]}");
  clock_.Advance(absl::Seconds(limits::kJwksMissSeconds.get()));
  absl::Notification reading, go_on;
  source_->during_read = [&] {
    reading.Notify();
    go_on.WaitForNotification();
  };
  bool first = false, second = false;
  std::thread one([&] { first = oidc->Verify(New().Token(Claims("ann"))).ok(); });
  reading.WaitForNotification();
  std::thread two([&] { second = oidc->Verify(New().Token(Claims("ann"))).ok(); });
  EXPECT_TRUE(oidc->Verify(Old().Token(Claims("ann"))).ok()) << "its key is known";
  go_on.Notify();
  one.join();
  two.join();
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(source_->reads, 2);
}

class IssuerTest : public OidcTest {
 protected:
  IssuerTest() {
    for (const char* name : {"ann", "bob"}) {
      metadata::User user;
      user.name = name;
      EXPECT_TRUE(stores_->users().Create(user, {}).ok());
    }
    metadata::Project project;
    project.id = "P1";
    EXPECT_TRUE(stores_->projects().Create(project, {}).ok());
    EXPECT_TRUE(stores_->members().Set({"P1", "ann", metadata::Role::kMember}, {}).ok());
    authenticator_.Accept(Make());
  }
  absl::Status Refusal(const std::string& token, const Origin& origin = {}) {
    const absl::Status status = authenticator_.Authenticate(token, origin).status();
    EXPECT_FALSE(absl::StrContains(status.message(), token));
    return status;
  }
  void Disable(const std::string& name) {
    metadata::User user = *stores_->users().Get(name);
    user.disabled = true;
    EXPECT_TRUE(stores_->users().Update(user, {}).ok());
    authenticator_.Forget();
  }

  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  Authenticator authenticator_{*stores_, clock_};
};

TEST_F(IssuerTest, ATokenSpeaksForTheUserOfThatNameWithTheRolesHere) {
  const auto ann = authenticator_.Authenticate(Old().Token(Claims("ann", R"(,"roles":["admin"])")));
  ASSERT_TRUE(ann.ok()) << ann.status();
  EXPECT_EQ(ann->user.name, "ann");
  EXPECT_FALSE(ann->user.site_admin);
  EXPECT_EQ(ann->roles, (std::map<std::string, metadata::Role>{{"P1", metadata::Role::kMember}}));
  EXPECT_TRUE(authenticator_.Authenticate(Old().Token(Claims("bob")))->roles.empty());
}

TEST_F(IssuerTest, DisabledAndUnknownUsersAreRefusedAndSoAreNamesOfTheServer) {
  const std::string token = Old().Token(Claims("ann"));
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  Disable("ann");
  EXPECT_TRUE(absl::StrContains(Refusal(token).message(), "disabled"));
  for (const char* name : {"eve", "guest", "system", "dicom-receiver", "Ann", "ann\\u0000", "a b"}) {
    EXPECT_EQ(ErrorReason(Refusal(Old().Token(Claims(name)))), "UNAUTHENTICATED") << name;
  }
  EXPECT_TRUE(absl::IsNotFound(stores_->users().Get("eve").status()))
      << "nobody is made unless so configured";
}

TEST_F(IssuerTest, UsersAreMadeWhereSoConfigured) {
  authenticator_.Accept(Make(true));
  const auto eve = authenticator_.Authenticate(Old().Token(Claims("eve", R"(,"name":"Eve Other")")));
  ASSERT_TRUE(eve.ok()) << eve.status();
  EXPECT_TRUE(eve->roles.empty());
  EXPECT_FALSE(eve->user.site_admin || eve->user.all_data_read || eve->user.all_data_admin);
  EXPECT_EQ(stores_->users().Get("eve")->display_name, "Eve Other");
  Disable("eve");
  EXPECT_TRUE(absl::IsUnauthenticated(Refusal(Old().Token(Claims("eve"))))) << "and not made again";
  EXPECT_TRUE(absl::IsUnauthenticated(Refusal(Old().Token(Claims("guest")))));
}

TEST_F(IssuerTest, ARememberedTokenEndsWithItsTime) {
  const std::string token = Old().Token(Claims("ann"));
  clock_.Advance(absl::Seconds(158));  // two seconds before its end with the leeway
  ASSERT_TRUE(authenticator_.Authenticate(token).ok());
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(absl::StrContains(Refusal(token).message(), "time is over"));
}

TEST_F(IssuerTest, FailuresAreCountedByAddress) {
  const Origin here{"10.0.0.1", ""};
  const std::string wrong = Old().Token(R"({"iss":"https://other","aud":"narthex","exp":1100,"sub":"ann"})");
  for (int i = 0; i < limits::kAuthenticationFailuresMax; ++i)
    EXPECT_TRUE(absl::IsUnauthenticated(Refusal(wrong, here)));
  EXPECT_EQ(ErrorReason(Refusal(Old().Token(Claims("ann")), here)), "TOO_MANY_FAILURES");
  EXPECT_TRUE(authenticator_.Authenticate(Old().Token(Claims("ann")), {"10.0.0.2", ""}).ok())
      << "who did not prove to be ann does not lock ann out";
}

TEST_F(IssuerTest, FailuresAreCountedByProvenUserWhateverTheAddress) {
  Disable("ann");
  const std::string token = Old().Token(Claims("ann"));
  for (int i = 0; i < limits::kAuthenticationFailuresMax; ++i) {
    EXPECT_TRUE(absl::IsUnauthenticated(Refusal(token, {absl::StrCat("10.0.0.", i), ""})));
  }
  EXPECT_EQ(ErrorReason(Refusal(token, {"10.0.1.1", ""})), "TOO_MANY_FAILURES");
  EXPECT_TRUE(authenticator_.Authenticate(Old().Token(Claims("bob")), {"10.0.1.1", ""}).ok());
}

TEST_F(IssuerTest, FailuresAreCountedByCertificateWhateverTheAddress) {
  for (int i = 0; i < limits::kAuthenticationFailuresMax; ++i)
    EXPECT_TRUE(absl::IsUnauthenticated(Refusal("nx_guessed", {absl::StrCat("10.0.0.", i), "bob"})));
  EXPECT_EQ(ErrorReason(Refusal("nx_guessed", {"10.0.1.1", "bob"})), "TOO_MANY_FAILURES");
  EXPECT_TRUE(absl::IsUnauthenticated(Refusal("nx_guessed", {"10.0.1.1", "ann"})));
}

TEST_F(IssuerTest, WithoutAnIssuerItsTokensAreNone) {
  Authenticator closed(*stores_, clock_);
  const auto status = closed.Authenticate(Old().Token(Claims("ann"))).status();
  EXPECT_EQ(ErrorReason(status), "UNAUTHENTICATED");
  EXPECT_FALSE(absl::StrContains(status.message(), "issuer"));
}

TEST(JwksSourceTest, UrlsAreHttpsOrOfThisMachine) {
  for (const char* good :
       {"https://idp/keys", "http://127.0.0.1:80/keys", "http://localhost/k", "http://[::1]:9/k"})
    EXPECT_TRUE(IsJwksUrl(good)) << good;
  for (const char* bad :
       {"http://idp/keys", "http://127.0.0.1.evil.org/", "http://localhost@evil.org/",
        "http://localhost:x@evil.org/", "ftp://127.0.0.1/", "file:///etc/passwd", "/etc/keys", ""})
    EXPECT_FALSE(IsJwksUrl(bad)) << bad;
}

TEST(JwksSourceTest, FilesAreReadWithinBoundsAndTheirChangesSeen) {
  const std::string path = absl::StrCat(testing::TempDir(), "narthex-jwks-", ::getpid());
  std::filesystem::remove(path);
  const auto source = NewJwksSource(path);
  EXPECT_EQ(ErrorReason(source->Read().status()), "JWKS_UNAVAILABLE");
  const std::string absent = source->Stamp();
  std::ofstream(path) << "{}";
  EXPECT_EQ(*source->Read(), "{}");
  const std::string first = source->Stamp();
  EXPECT_NE(first, absent);
  EXPECT_EQ(source->Stamp(), first);
  std::ofstream(path) << std::string(limits::kJwksMaxBytes + 1, ' ');
  EXPECT_NE(source->Stamp(), first);
  EXPECT_EQ(ErrorReason(source->Read().status()), "JWKS_UNAVAILABLE");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace narthex::auth
