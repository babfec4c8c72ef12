#include "server/ingest/commitments.h"

#include "base/limits_gateway.h"
#include "server/ingest/ingest_fixture.h"

namespace narthex::ingest {
namespace {

class CommitmentsTest : public IngestTest {
 protected:
  CommitmentsTest() { Reopen(); }

  // As a server that starts: all that is known is what the index holds.
  void Reopen() {
    commitments_ = std::make_unique<Commitments>(Commitments::Dependencies{
        *prearchive_, index_, clock_,
        [this](const std::vector<std::string>& uids, const std::vector<std::string>& identities)
            -> absl::StatusOr<std::vector<Commitments::ArchivedInstance>> {
          std::vector<Commitments::ArchivedInstance> found;
          const auto among = [](const std::vector<std::string>& texts, const std::string& text) {
            return std::find(texts.begin(), texts.end(), text) != texts.end();
          };
          for (const auto& instance : archived_) {
            if (among(uids, instance.sop_instance_uid) || among(identities, instance.received_identity))
              found.push_back(instance);
          }
          return found;
        },
        [](absl::string_view uid) { return absl::StrCat("stands for ", uid); }});
  }

  static CommitmentRow Ask(const std::vector<std::pair<std::string, std::string>>& class_and_instance) {
    CommitmentRow row;
    row.set_transaction_uid("1.2.3");
    row.set_called_ae_title("NARTHEX");
    row.set_calling_ae_title("CT1");
    for (const auto& [sop_class, uid] : class_and_instance) {
      CommittedInstanceRow& instance = *row.add_instances();
      instance.set_sop_class_uid(sop_class);
      instance.set_sop_instance_uid(uid);
    }
    return row;
  }

  std::unique_ptr<Commitments> commitments_;
  std::vector<Commitments::ArchivedInstance> archived_;
};

constexpr char kMr[] = "1.2.840.10008.5.1.4.1.1.4";

TEST_F(CommitmentsTest, CommitsToArchivedObjectsByTheUidThatTheirSenderUsed) {
  archived_ = {{"2.25.1", kMr, "stands for 1.9"}};

  const auto answer = commitments_->Request(Ask({{kMr, "1.9"}, {kMr, "2.25.1"}, {kMr, "1.10"}}));

  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->row.instances(0).failure_reason(), 0);
  EXPECT_EQ(answer->row.instances(1).failure_reason(), 0);
  EXPECT_EQ(answer->row.instances(2).failure_reason(), Commitments::kNoSuchInstance);
}

TEST_F(CommitmentsTest, CommitsToWhatIsStagedOrArchivedAndToNothingElse) {
  const phantom::Study study = Study();
  const prearchive::OutcomeRow sent = SendOne(NewUpload(), 0, study.Instance(0, 0));
  archived_ = {{"1.9", kMr}, {"1.10", kMr}};

  const auto answer = commitments_->Request(Ask(
      {{kMr, sent.sop_instance_uid()}, {kMr, "1.9"}, {"1.2.840.10008.5.1.4.1.1.2", "1.10"}, {kMr, "1.11"}}));

  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->row.instances(0).failure_reason(), 0);
  EXPECT_EQ(answer->row.instances(1).failure_reason(), 0);
  EXPECT_EQ(answer->row.instances(2).failure_reason(), Commitments::kClassInstanceConflict);
  EXPECT_EQ(answer->row.instances(3).failure_reason(), Commitments::kNoSuchInstance);
  EXPECT_EQ(answer->sessions, std::vector<std::string>{sent.session()});
}

TEST_F(CommitmentsTest, KeepsAReportUntilItIsDelivered) {
  const auto answer = commitments_->Request(Ask({{kMr, "1.11"}}));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(commitments_->Claim(10)->empty()) << "its association has it";

  ASSERT_TRUE(commitments_->NotDelivered(answer->row.id(), false, "").ok());
  Reopen();
  const auto claimed = commitments_->Claim(10);
  ASSERT_EQ(claimed->size(), 1u);
  EXPECT_EQ(claimed->front().failures(), 0);
  EXPECT_TRUE(commitments_->Claim(10)->empty()) << "somebody delivers it";
  clock_.Advance(Commitments::kLease + absl::Seconds(1));
  EXPECT_EQ(commitments_->Claim(10)->size(), 1u) << "and did not say what became of it";

  ASSERT_TRUE(commitments_->Delivered(answer->row.id()).ok());
  clock_.Advance(absl::Hours(24));
  EXPECT_TRUE(commitments_->Claim(10)->empty());
}

TEST_F(CommitmentsTest, AStartMakesDueWhatWasClaimed) {
  ASSERT_TRUE(commitments_->Request(Ask({{kMr, "1.11"}})).ok());

  Reopen();
  ASSERT_TRUE(commitments_->ReleaseClaims().ok());

  EXPECT_EQ(commitments_->Claim(10)->size(), 1u);
}

TEST_F(CommitmentsTest, RestsLongerAfterEachFailureAndGivesUp) {
  const auto answer = commitments_->Request(Ask({{kMr, "1.11"}}));
  absl::Duration waited;
  for (int failures = 1; failures < limits::kCommitmentTriesMax; ++failures) {
    ASSERT_TRUE(commitments_->NotDelivered(answer->row.id(), true, "nobody answers").ok());
    EXPECT_TRUE(commitments_->Claim(10)->empty());
    absl::Duration rest;
    while (commitments_->Claim(10)->empty()) {
      clock_.Advance(absl::Minutes(1));
      rest += absl::Minutes(1);
      ASSERT_LE(rest, absl::Hours(6));
    }
    waited += rest;
  }

  ASSERT_TRUE(commitments_->NotDelivered(answer->row.id(), true, "nobody answers").ok());

  clock_.Advance(absl::Hours(24));
  EXPECT_TRUE(commitments_->Claim(10)->empty());
  EXPECT_EQ(ErrorReason(commitments_->NotDelivered(answer->row.id(), true, "")), "NOT_FOUND");
  EXPECT_GT(waited, absl::Hours(8));
}

}  // namespace
}  // namespace narthex::ingest
