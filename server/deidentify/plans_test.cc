// Scripts become plans: what may be put in force, what is in force then, and what is not kept when it fails.

#include "server/deidentify/plans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/metadata/database.h"

namespace narthex::deidentify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const metadata::Change kBy{.user = "admin"};

class PlansTest : public testing::Test {
 protected:
  PlansTest() {
    metadata::Project project;
    project.id = "P1";
    EXPECT_TRUE(stores_->projects().Create(project, kBy).ok());
    Open();
  }
  void Open() {
    auto plans = Plans::Open(stores_->scripts(), {});
    ASSERT_TRUE(plans.ok()) << plans.status();
    plans_ = *std::move(plans);
  }
  absl::Status Set(const std::string& project, const std::string& text, bool enabled,
                   const std::string& profile = "") {
    metadata::Script script;
    script.project = project;
    script.text = text;
    script.enabled = enabled;
    script.profile = profile;
    return plans_->Set(script, kBy).status();
  }

  std::unique_ptr<metadata::AdminStores> stores_ = metadata::NewInMemoryAdminStores();
  std::unique_ptr<Plans> plans_;
};

constexpr char kScript[] = "version \"6.1\"\n(0010,0010) := subject\n";

TEST_F(PlansTest, AFreshServerHasNothingInForce) {
  EXPECT_EQ(*plans_->Site(), nullptr);
  EXPECT_EQ(*plans_->Project("P1"), nullptr);
  EXPECT_EQ(plans_->Get("P1")->version, 0);
}

TEST_F(PlansTest, WhatIsSetIsInForceAtOnceAndAfterARestart) {
  ASSERT_TRUE(Set("", kScript, true).ok());
  ASSERT_EQ(*plans_->Project("P1"), nullptr);
  ASSERT_TRUE(Set("P1", kScript, true, "basic").ok());

  for (int start = 0; start < 2; ++start) {
    const auto site = plans_->Site();
    ASSERT_TRUE(site.ok() && *site != nullptr);
    EXPECT_EQ((*site)->version, 1);
    EXPECT_THAT((*site)->summary, ElementsAre(HasSubstr("site script ")));
    const auto project = plans_->Project("P1");
    ASSERT_TRUE(project.ok() && *project != nullptr);
    EXPECT_THAT((*project)->summary, ElementsAre("project profile basic", HasSubstr("project script ")));
    EXPECT_NE((*project)->steps.secret, (*site)->steps.secret);
    Open();
  }
  ASSERT_TRUE(Set("", kScript, false).ok());
  EXPECT_EQ(*plans_->Site(), nullptr);
}

TEST_F(PlansTest, AScriptWithErrorsIsKeptButNotPutInForce) {
  const std::string bad = "version \"6.1\"\n(0010,0010) := nosuch[subject]\n";

  EXPECT_EQ(ErrorReason(Set("", bad, true)), "INVALID_SCRIPT");
  EXPECT_EQ(plans_->Get("")->version, 0);
  EXPECT_TRUE(Set("", bad, false).ok());
  EXPECT_EQ(plans_->Get("")->text, bad);
  EXPECT_EQ(*plans_->Site(), nullptr);
  EXPECT_TRUE(anonymize::HasErrors(plans_->Check(bad)));
}

TEST_F(PlansTest, NothingAndUnknownWordsAreRefused) {
  EXPECT_EQ(ErrorReason(Set("", "", true)), "INVALID_FIELD");
  EXPECT_EQ(ErrorReason(Set("", "", false, "basic,retain-everything")), "INVALID_SCRIPT");
  EXPECT_EQ(ErrorReason(Set("P2", kScript, true)), "PROJECT_NOT_FOUND");
  metadata::Script script;
  script.leftovers = "ignore";
  EXPECT_EQ(ErrorReason(plans_->Set(script, kBy).status()), "INVALID_FIELD");
}

TEST_F(PlansTest, AScriptThatMayNoLongerRunStopsEverything) {
  const std::string asks = "version \"6.1\"\n(0010,0010) := getURL[\"https://a.example/x\"]\n";
  ASSERT_TRUE(plans_->SetUrlHosts({"a.example"}).ok());
  ASSERT_TRUE(Set("", asks, true).ok());
  ASSERT_TRUE(plans_->Site().ok());

  ASSERT_TRUE(plans_->SetUrlHosts({}).ok());

  EXPECT_EQ(ErrorReason(plans_->Site().status()), "ANONYMIZATION_FAILED");
}

TEST_F(PlansTest, FingerprintsHangOnTheSitesSecret) {
  const std::string print = plans_->Fingerprint("1.2.3");

  EXPECT_EQ(print.size(), 16u);
  EXPECT_NE(print, plans_->Fingerprint("1.2.4"));
  Open();
  EXPECT_EQ(print, plans_->Fingerprint("1.2.3"));
  stores_ = metadata::NewInMemoryAdminStores();
  Open();
  EXPECT_NE(print, plans_->Fingerprint("1.2.3"));
}

}  // namespace
}  // namespace narthex::deidentify
