// Series import filters, receivers and study routes, as they decide at arrival.

#include "base/limits.h"
#include "server/ingest/ingest_fixture.h"

namespace narthex::ingest {
namespace {

class StudyTable : public identify::StudyRoutingTable {
 public:
  std::optional<identify::StudyRoute> Find(absl::string_view) const override { return route; }
  std::optional<identify::StudyRoute> route;
};

// A policy that tests set up; Current() gives what `next` is.
class TestPolicy : public PolicySource {
 public:
  TestPolicy() {
    next.attributes = std::make_shared<dicom::AttributeSet>(dicom::AttributeSet::Default());
    next.router = NewRouter({});
    next.object_max_bytes = limits::kObjectMaxBytes;
  }
  static std::shared_ptr<const identify::Router> NewRouter(const identify::RoutingConfig& config) {
    auto router = identify::Router::Create(config);
    EXPECT_TRUE(router.ok()) << router.status();
    return std::make_shared<identify::Router>(*std::move(router));
  }
  void Filter(absl::string_view project, absl::string_view deny) {
    auto filters = std::make_shared<identify::FilterSet>();
    filters->Set(project, *identify::SeriesFilter::Parse(identify::FilterMode::kDenyList, deny));
    next.filters = std::move(filters);
  }
  std::shared_ptr<const Policy> Current() const override { return std::make_shared<Policy>(next); }

  Policy next;
};

class ObjectStreamFilterTest : public IngestTest {
 protected:
  ObjectStreamFilterTest() {
    auto policy = std::make_unique<TestPolicy>();
    policy_ = policy.get();
    policies_ = std::move(policy);
  }
  prearchive::UploadRow NewDicomUpload(const std::string& receiver) {
    prearchive::UploadRow row;
    row.set_user("tester");
    row.set_kind("dicom");
    row.set_receiver(receiver);
    auto created = uploads_.Create(row, "");
    EXPECT_TRUE(created.ok()) << created.status();
    return *created;
  }

  TestPolicy* policy_;
};

TEST_F(ObjectStreamFilterTest, FilteredObjectsMakeNoSessionAndAreListedWithTheUpload) {
  const prearchive::UploadRow upload = NewUpload();
  policy_->Filter("", "[Modality]\n.");

  const prearchive::OutcomeRow outcome = SendOne(upload, 0, Study().Instance(0, 0));

  EXPECT_EQ(Told(), "0:FILTERED/SERIES_FILTER");
  EXPECT_EQ(outcome.detail(), "site filter: deny-list line 2 (Modality)");
  EXPECT_FALSE(outcome.sop_instance_uid().empty());
  EXPECT_EQ(outcome.session(), "");
  ExpectNothingIsKept();
  const auto listed = uploads_.ListOutcomes(upload.id(), -1, 10);
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(uploads_.Progress(upload.id())->settled_count, 1u) << "it need not be sent again";
}

TEST_F(ObjectStreamFilterTest, FilteredObjectsCountInASessionThatExists) {
  const prearchive::UploadRow upload = NewUpload();
  const phantom::Study study = Study();
  SendOne(upload, 0, study.Instance(0, 0));
  policy_->Filter("P1", "[Modality]\n.");

  const prearchive::OutcomeRow outcome = SendOne(upload, 1, study.Instance(0, 1));

  ASSERT_EQ(Sessions().size(), 1u);
  const prearchive::SessionRow session = Sessions().front();
  EXPECT_EQ(outcome.session(), session.id());
  EXPECT_EQ(outcome.detail(), "project filter: deny-list line 2 (Modality)");
  EXPECT_EQ(session.object_count(), 1u);
  EXPECT_EQ(session.outcome_counts().at(static_cast<int>(prearchive::Outcome::kFiltered)), 1u);
  EXPECT_EQ(prearchive_->ListOutcomes(session.id(), 0, 10)->size(), 2u);
}

TEST_F(ObjectStreamFilterTest, LargeFilteredObjectsAreReadToTheirEndAndHaveTheirDigest) {
  const prearchive::UploadRow upload = NewUpload();
  policy_->Filter("", "[Modality]\n.");
  const std::string large = LargeObject();
  auto stream = NewStream(upload);

  ASSERT_TRUE(SendChunks(*stream, 0, large, 640 << 10).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:FILTERED/SERIES_FILTER");
  EXPECT_EQ(outcomes_.front().digest(), Xxh3(large));
  EXPECT_EQ(outcomes_.front().size_bytes(), large.size());
  EXPECT_TRUE(uploads_.Commit(upload.id(), 1, {Xxh3(large)}).ok());
  ExpectNothingIsKept();
}

TEST_F(ObjectStreamFilterTest, ReceiversRouteWhatComesThroughThem) {
  ReceiverPolicy receiver;
  identify::RoutingConfig config;
  config.fixed_project = "P2";
  config.receiver_session = "Modality:(.*)";
  receiver.router = TestPolicy::NewRouter(config);
  policy_->next.receivers["MR"] = receiver;

  SendOne(NewDicomUpload("MR"), 0, Study(3, 16, "P1").Instance(0, 0));

  ASSERT_EQ(Sessions().size(), 1u);
  EXPECT_EQ(Sessions().front().key().project(), "P2");
  EXPECT_EQ(Sessions().front().key().label(), "MR");
}

TEST_F(ObjectStreamFilterTest, ADeletedReceiverLeavesItsObjectsToNoOtherRules) {
  ReceiverPolicy receiver;
  identify::RoutingConfig config;
  config.fixed_project = "P2";
  receiver.router = TestPolicy::NewRouter(config);
  policy_->next.receivers["MR"] = receiver;
  const prearchive::UploadRow upload = NewDicomUpload("MR");
  const phantom::Study study = Study(3, 16, "P1");
  auto stream = NewStream(upload);
  ASSERT_TRUE(SendWhole(*stream, 0, study.Instance(0, 0)).ok());

  policy_->next.receivers.clear();
  ASSERT_TRUE(SendWhole(*stream, 1, study.Instance(0, 1)).ok());
  ASSERT_TRUE(stream->Finish().ok());

  EXPECT_EQ(Told(), "0:STORED 1:STORED") << "an open association goes on";
  ASSERT_EQ(Sessions().size(), 1u);
  EXPECT_EQ(Sessions().front().key().project(), "P2");
  SendOne(upload, 2, study.Instance(0, 2));
  EXPECT_EQ(Told(), "2:REJECTED/NOT_FOUND") << "another stream does not";
}

TEST_F(ObjectStreamFilterTest, TheStudyRoutingTableDecides) {
  StudyTable table;
  table.route = identify::StudyRoute{"P2", "S7", "L7"};
  policy_->next.studies = &table;

  SendOne(NewUpload(""), 0, Study(3, 16, "P1").Instance(0, 0));

  ASSERT_EQ(Sessions().size(), 1u);
  EXPECT_EQ(Sessions().front().key().project(), "P2");
  EXPECT_EQ(Sessions().front().key().subject(), "S7");
  EXPECT_EQ(Sessions().front().key().label(), "L7");
}

TEST_F(ObjectStreamFilterTest, AProjectThatIsGoneIsAnErrorAndNoFallingBack) {
  SendOne(NewUpload("P9"), 0, Study(3, 16, "P1").Instance(0, 0));

  EXPECT_EQ(Told(), "0:REJECTED/PROJECT_NOT_FOUND");
  ExpectNothingIsKept();
}

}  // namespace
}  // namespace narthex::ingest
