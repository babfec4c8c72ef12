// Merging over a real PostgreSQL and file systems in memory: what a merge does, what becomes of it whichever
// call fails and whenever the power goes, and what others meet that come in between.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/phantom/phantom.h"
#include "server/archive/archiver.h"
#include "server/archive/merge_plan.h"
#include "server/archive/scan_type_memory.h"
#include "storage/fs/faults.h"
#include "storage/fs/memory.h"
#include "storage/metadata/testing/test_database.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"
#include "storage/verify/archive_check.h"

namespace narthex::archiving {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class StillProgress : public operations::Progress {
 public:
  void Report(int64_t, int64_t) override {}
  bool cancelled() const override { return false; }
  bool SleepFor(absl::Duration) override { return false; }
};

class MergingTest : public testing::Test {
 protected:
  MergingTest() {
    metadata::Project project;
    project.id = "P1";
    EXPECT_TRUE(database_->projects().Create(project, {}).ok());
    EXPECT_TRUE(files_->MakeDirectories("/archive").ok());
    EXPECT_TRUE(files_->SyncDirectory("/").ok());
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = 0;
    auto store = staging::StagingStore::Open(options, *staging_files_);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto prearchive =
        prearchive::Prearchive::Open({.idle_build = absl::Seconds(600)}, *store_, *index_, Clock::Real());
    EXPECT_TRUE(prearchive.ok()) << prearchive.status();
    prearchive_ = *std::move(prearchive);
    checker_ = std::make_unique<Checker>(
        Checker::Dependencies{*prearchive_, *database_, session::TypeRegistry::BuiltIn(), nullptr});
    phantom::Options phantom;
    phantom.series = 2;
    phantom.slices = 4;
    phantom.rows = phantom.columns = 8;
    study_ = std::make_unique<phantom::Study>(phantom);
  }

  // An archiver of a server that has just started, over `files`.
  Archiver NewArchiver(fs::FileSystem& files) {
    return Archiver({*prearchive_, *database_, session::TypeRegistry::BuiltIn(), files, Clock::Real(),
                     "/archive", *checker_});
  }

  void Receive(const std::string& label, const std::string& bytes) {
    const auto facts = dicom::ScanWhole(bytes);
    ASSERT_TRUE(facts.ok()) << facts.status();
    prearchive::ArrivingObject object;
    object.key.set_project("P1");
    object.key.set_subject("S1");
    object.key.set_label(label);
    object.key.set_study_instance_uid(std::string(facts->study_instance_uid()));
    object.sop_instance_uid = std::string(facts->sop_instance_uid());
    object.series_instance_uid = std::string(facts->series_instance_uid());
    object.upload = "u1";
    object.sequence = ++sequence_;
    prearchive::Arrived arrived;
    auto reception = prearchive_->Begin(object);
    ASSERT_TRUE(reception.ok()) << reception.status();
    arrived.reception = *std::move(reception);
    arrived.outcome.set_upload("u1");
    arrived.outcome.set_sequence(object.sequence);
    arrived.outcome.set_outcome(static_cast<int>(prearchive::Outcome::kStored));
    ASSERT_EQ(arrived.reception->Decide(Xxh3(bytes), Xxh3(bytes)), prearchive::Reception::Verdict::kStore);
    ASSERT_TRUE(arrived.reception->Append(bytes).ok());
    prearchive::ObjectRow row;
    row.set_facts(facts->Encode());
    row.set_received_xxh3(Xxh3(bytes));
    row.set_stored_xxh3(Xxh3(bytes));
    row.set_data_set_xxh3(Xxh3(bytes));
    row.set_size_bytes(bytes.size());
    ASSERT_TRUE(arrived.reception->Finish(row).ok());
    std::vector<prearchive::Arrived> batch;
    batch.push_back(std::move(arrived));
    ASSERT_TRUE(prearchive_->Commit(std::move(batch)).ok());
  }

  // An operation that archives the prearchive session which `objects` make.
  operations::Operation Stage(const std::string& label, const std::vector<std::string>& objects,
                              ConflictPolicy policy) {
    for (const std::string& bytes : objects) Receive(label, bytes);
    operations::Operation operation;
    operation.id = absl::StrCat("op", ++operations_);
    operation.kind = "archive";
    operation.user = "ann";
    operation.arguments["policy"] = absl::StrCat(static_cast<int>(policy));
    operation.create_time = absl::Now();
    const auto rows = prearchive_->List({});
    for (const auto& row : *rows) {
      if (row.key().label() != label || row.state() != static_cast<int>(prearchive::State::kReceiving))
        continue;
      operation.target = row.id();
      EXPECT_TRUE(prearchive_->Apply(row.id(), prearchive::Event::kBuild).ok());
      const auto built = prearchive::Build(*prearchive_, session::TypeRegistry::BuiltIn(), row.id());
      EXPECT_TRUE(built.ok()) << built.status();
      EXPECT_TRUE(prearchive_->Apply(row.id(), prearchive::Event::kArchive).ok());
    }
    return operation;
  }

  ArchiveResult Archive(const operations::Operation& operation) {
    const auto result = NewArchiver(*files_).Archive(operation, progress_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? ArchiveResult::FromText(*result) : ArchiveResult();
  }

  metadata::Session Session(const std::string& label) {
    const auto session =
        database_->session_reader().Get(absl::StrCat("P1/", label), metadata::Visibility::All());
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *session : metadata::Session();
  }

  // What narthex-verify finds: "KIND where" of damage; `unfinished` counts what a crash left.
  std::vector<std::string> Damage(size_t* unfinished = nullptr) {
    verify::Report report;
    EXPECT_TRUE(verify::CheckArchive(*database_, *files_, "/archive", {}, report).ok());
    std::vector<std::string> kinds;
    for (const auto& finding : report.findings)
      kinds.push_back(absl::StrCat(finding.kind, " ", finding.where));
    if (unfinished != nullptr) *unfinished = report.unfinished.size();
    return kinds;
  }

  // The same instance with other pixels.
  std::string Changed(int series, int slice) {
    std::string bytes = study_->Instance(series, slice);
    bytes.back() = static_cast<char>(bytes.back() ^ 0x55);
    return bytes;
  }

  metadata::TestDatabase database_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  std::unique_ptr<fs::InMemoryFileSystem> staging_files_ = fs::NewInMemory();
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  std::unique_ptr<staging::StagingStore> store_;
  std::unique_ptr<prearchive::Prearchive> prearchive_;
  std::unique_ptr<phantom::Study> study_;
  StillProgress progress_;
  std::unique_ptr<Checker> checker_;
  int64_t sequence_ = 0;
  int operations_ = 0;
};

TEST_F(MergingTest, AMergedSessionIsDescribedAsIfAllHadComeAtOnce) {
  const auto part = [&](int from, int to) {
    std::vector<std::string> objects;
    for (int series : {0, 1}) {
      for (int slice = from; slice < to; ++slice) objects.push_back(study_->Instance(series, slice));
    }
    return objects;
  };
  Archive(Stage("ONCE", part(0, 4), ConflictPolicy::kNone));
  Archive(Stage("PARTS", part(0, 1), ConflictPolicy::kNone));

  const ArchiveResult merged = Archive(Stage("PARTS", part(1, 4), ConflictPolicy::kAppend));

  EXPECT_TRUE(merged.merged);
  EXPECT_EQ(merged.counts, (metadata::MergeCounts{.added = 6, .replaced = 0, .kept = 0}));
  const metadata::Session once = Session("ONCE"), parts = Session("PARTS");
  EXPECT_EQ(parts.file_count, 8);
  EXPECT_EQ(parts.size_bytes, once.size_bytes);
  std::string first = database_->session_reader().GetDocument(once.accession_id)->Reveal();
  std::string second = database_->session_reader().GetDocument(parts.accession_id)->Reveal();
  second = absl::StrReplaceAll(second, {{parts.accession_id, once.accession_id}, {"PARTS", "ONCE"}});
  EXPECT_EQ(first, second);
  const auto scans_once = database_->session_reader().ListScans(once.accession_id);
  const auto scans_parts = database_->session_reader().ListScans(parts.accession_id);
  ASSERT_EQ(scans_once->size(), scans_parts->size());
  for (size_t i = 0; i < scans_once->size(); ++i) {
    EXPECT_EQ(scans_once->at(i).parameters, scans_parts->at(i).parameters);
    EXPECT_EQ(scans_once->at(i).frames, scans_parts->at(i).frames);
  }
  EXPECT_THAT(Damage(), IsEmpty());
  EXPECT_TRUE(prearchive_->List({})->empty());
  EXPECT_TRUE(database_->holds().ListHolds()->empty());
}

TEST_F(MergingTest, AppendKeepsAndOverwriteReplaces) {
  Archive(Stage("A", {study_->Instance(0, 0), study_->Instance(0, 1)}, ConflictPolicy::kNone));
  const std::vector<std::string> again = {Changed(0, 0), study_->Instance(0, 1), study_->Instance(0, 2)};

  const ArchiveResult appended = Archive(Stage("A", again, ConflictPolicy::kAppend));
  const ArchiveResult overwritten = Archive(Stage("A", again, ConflictPolicy::kOverwrite));

  EXPECT_EQ(appended.counts, (metadata::MergeCounts{.added = 1, .replaced = 0, .kept = 2}));
  // The very bytes that are there need no replacing.
  EXPECT_EQ(overwritten.counts, (metadata::MergeCounts{.added = 0, .replaced = 1, .kept = 2}));
  EXPECT_EQ(Session("A").file_count, 3);
  EXPECT_THAT(Damage(), IsEmpty());
  const auto history = database_->session_reader().ListHistory(Session("A").accession_id);
  ASSERT_EQ(history->size(), 3u);
  EXPECT_EQ(history->at(2).action, "MERGE");
  EXPECT_EQ(history->at(2).user, "ann");
  EXPECT_EQ(history->at(2).note, "merged: 0 files added, 1 replaced, 2 kept as they were");
}

TEST_F(MergingTest, AnInstanceThatMovesToAnotherSeriesLeavesNoEmptyScan) {
  Archive(Stage("A", {study_->Instance(0, 0), study_->Instance(1, 0)}, ConflictPolicy::kNone));
  const std::string series = study_->SeriesInstanceUid(0);
  std::string other = series;
  other.back() = other.back() == '7' ? '8' : '7';
  const std::string moved = absl::StrReplaceAll(study_->Instance(0, 0), {{series, other}});

  const ArchiveResult result = Archive(Stage("A", {moved}, ConflictPolicy::kOverwrite));

  EXPECT_EQ(result.counts.replaced, 1);
  const auto scans = database_->session_reader().ListScans(result.accession_id);
  ASSERT_EQ(scans->size(), 2u);
  const auto moved_scan = std::find_if(scans->begin(), scans->end(),
                                       [&](const auto& scan) { return scan.series_instance_uid == other; });
  ASSERT_NE(moved_scan, scans->end());
  EXPECT_TRUE(testing::Matches(testing::EndsWith("-MR1"))(moved_scan->id)) << moved_scan->id;
  EXPECT_THAT(Damage(), IsEmpty());
}

TEST_F(MergingTest, WhatPeopleSaidOfAScanStays) {
  Archive(Stage("A", {study_->Instance(0, 0)}, ConflictPolicy::kNone));
  metadata::SessionAddition said;
  said.accession_id = Session("A").accession_id;
  said.scans = *database_->session_reader().ListScans(said.accession_id);
  said.scans[0].type = "MPRAGE";
  said.scans[0].quality = "questionable";
  said.scans[0].note = "moved";
  ASSERT_TRUE(database_->sessions().Merge(said, {.user = "bob", .request_id = "said"}).ok());

  Archive(Stage("A", {study_->Instance(0, 1)}, ConflictPolicy::kAppend));

  const auto scans = database_->session_reader().ListScans(said.accession_id);
  EXPECT_EQ(scans->at(0).type, "MPRAGE");
  EXPECT_EQ(scans->at(0).quality, "questionable");
  EXPECT_EQ(scans->at(0).note, "moved");
  EXPECT_THAT(database_->session_reader().GetDocument(said.accession_id)->Reveal(),
              testing::HasSubstr("MPRAGE"));
}

TEST_F(MergingTest, ScansAreCalledWhatPeopleCalledThemBefore) {
  Archive(Stage("A", {study_->Instance(0, 0)}, ConflictPolicy::kNone));
  metadata::SessionAddition said;
  said.accession_id = Session("A").accession_id;
  said.scans = *database_->session_reader().ListScans(said.accession_id);
  const std::string description = said.scans[0].series_description;
  said.scans[0].type = "MPRAGE";
  ASSERT_TRUE(database_->sessions().Merge(said, {.user = "bob", .request_id = "said"}).ok());
  prearchive_->SetBuildOptions([&](const std::string& project) {
    session::BuildOptions options;
    options.scan_type = ChosenScanTypes(*database_, project);
    return options;
  });
  const auto type_in = [&](const std::string& label) {
    return database_->session_reader().ListScans(Session(label).accession_id)->at(0).type;
  };

  Archive(Stage("B", {study_->Instance(0, 1)}, ConflictPolicy::kNone));
  prearchive_->SetBuildOptions(nullptr);
  Archive(Stage("C", {study_->Instance(0, 2)}, ConflictPolicy::kNone));

  EXPECT_EQ(type_in("B"), "MPRAGE");
  EXPECT_EQ(type_in("C"), description);
}

// Goal: whatever call fails and whenever the power goes, the archived session is as before or as after,
// nothing that it names is missing, and repeating the operation completes it. Method: fail each call of a
// merge that adds and replaces, lose power, look, repeat, look.
TEST_F(MergingTest, EveryFailingCallLeavesTheOldStateOrTheNew) {
  for (uint64_t n = 1; n < 400; ++n) {
    const std::string label = absl::StrCat("L", n);
    Archive(Stage(label, {study_->Instance(0, 0), study_->Instance(0, 1)}, ConflictPolicy::kNone));
    const operations::Operation merge = Stage(
        label, {Changed(0, 0), study_->Instance(0, 2), study_->Instance(1, 0)}, ConflictPolicy::kOverwrite);
    fs::FaultInjector faults(*files_);
    const bool power = n % 2 == 1;
    faults.FailCall(n, power ? fs::FaultInjector::Fault::kPowerCut : fs::FaultInjector::Fault::kShortWrite);

    const auto result = NewArchiver(faults).Archive(merge, progress_);

    if (!faults.fired()) {
      ASSERT_TRUE(result.ok()) << result.status();
      GTEST_LOG_(INFO) << n - 1 << " calls failed in turn";
      EXPECT_THAT(Damage(), IsEmpty());
      return;
    }
    if (power) files_->LosePower(n);
    EXPECT_THAT(Damage(), IsEmpty()) << "call " << n << ": " << result.status();
    const int64_t seen = Session(label).file_count;
    EXPECT_TRUE(seen == 2 || seen == 4) << "call " << n << ": " << seen;

    // The operation goes on at the next start; or, where it failed for good, somebody asks again.
    if (prearchive_->Get(merge.target).ok()) {
      operations::Operation again = merge;
      if (prearchive_->Get(merge.target)->state() != static_cast<int>(prearchive::State::kArchiving)) {
        ASSERT_TRUE(
            NewArchiver(*files_).RemoveLeftovers([&](const std::string& id) { return id == merge.id; }).ok());
        if (seen == 2) again.id = absl::StrCat(merge.id, "-again");
        ASSERT_TRUE(prearchive_->Apply(merge.target, prearchive::Event::kArchive).ok());
      }
      const auto repeated = NewArchiver(*files_).Archive(again, progress_);
      ASSERT_TRUE(repeated.ok()) << "call " << n << ": " << repeated.status();
    }
    EXPECT_EQ(Session(label).file_count, 4) << "call " << n;
    size_t unfinished = 0;
    EXPECT_THAT(Damage(&unfinished), IsEmpty()) << "call " << n;
    EXPECT_EQ(unfinished, 0u) << "call " << n;
    EXPECT_TRUE(database_->holds().ListHolds()->empty()) << "call " << n;
  }
  FAIL() << "the scenario never ends";
}

TEST_F(MergingTest, ASessionThatIsWorkedOnIsWaitedFor) {
  Archive(Stage("A", {study_->Instance(0, 0)}, ConflictPolicy::kNone));
  const std::string id = Session("A").accession_id;
  ASSERT_TRUE(database_->holds().Hold(id, "a-rename", "rename").ok());
  const operations::Operation merge = Stage("A", {study_->Instance(0, 1)}, ConflictPolicy::kAppend);

  const auto waits = NewArchiver(*files_).Archive(merge, progress_);

  EXPECT_TRUE(operations::IsPostponed(waits.status())) << waits.status();
  EXPECT_EQ(prearchive_->Get(merge.target)->state(), static_cast<int>(prearchive::State::kArchiving));
  ASSERT_TRUE(database_->holds().Release("a-rename").ok());
  EXPECT_EQ(Archive(merge).counts.added, 1);
}

// A file system in whose calls something happens, as if another client had been faster.
class Interrupted : public fs::FaultInjector {
 public:
  Interrupted(fs::FileSystem& files, std::function<void()> what)
      : fs::FaultInjector(files), what_(std::move(what)) {}
  absl::Status Link(absl::string_view from, absl::string_view to) override {
    if (what_) std::exchange(what_, nullptr)();
    return fs::FaultInjector::Link(from, to);
  }

 private:
  std::function<void()> what_;
};

TEST_F(MergingTest, ADeleteDuringAMergeLeavesTheDeletedSessionAsItWas) {
  Archive(Stage("A", {study_->Instance(0, 0)}, ConflictPolicy::kNone));
  const std::string id = Session("A").accession_id;
  const operations::Operation merge = Stage("A", {study_->Instance(0, 1)}, ConflictPolicy::kAppend);
  Interrupted files(*files_, [&] {
    ASSERT_TRUE(
        database_->sessions().SetStatus(id, metadata::SessionStatus::kDeleted, "", {.user = "bob"}).ok());
  });

  const auto first = NewArchiver(files).Archive(merge, progress_);
  EXPECT_TRUE(operations::IsPostponed(first.status())) << first.status();
  const ArchiveResult second = Archive(merge);

  EXPECT_FALSE(second.merged);
  EXPECT_NE(second.accession_id, id);
  EXPECT_EQ(database_->session_reader().Get(id, metadata::Visibility::All(true))->file_count, 1);
  EXPECT_EQ(Session("A").file_count, 1);
  EXPECT_THAT(Damage(), IsEmpty());
}

TEST_F(MergingTest, AChangeDuringAMergeIsNotLost) {
  Archive(Stage("A", {study_->Instance(0, 0)}, ConflictPolicy::kNone));
  const std::string id = Session("A").accession_id;
  const operations::Operation merge = Stage("A", {study_->Instance(0, 1)}, ConflictPolicy::kAppend);
  Interrupted files(*files_, [&] {
    metadata::SessionUpdate update;
    update.fields = std::map<std::string, std::string>{{"dose", "5"}};
    ASSERT_TRUE(database_->sessions().Update(id, update, {.user = "bob"}).ok());
  });

  EXPECT_TRUE(operations::IsPostponed(NewArchiver(files).Archive(merge, progress_).status()));
  EXPECT_EQ(Session("A").file_count, 1);
  Archive(merge);

  EXPECT_EQ(Session("A").file_count, 2);
  EXPECT_EQ(Session("A").fields.at("dose"), "5");
  EXPECT_THAT(database_->session_reader().GetDocument(id)->Reveal(), testing::HasSubstr("dose"));
  EXPECT_THAT(Damage(), IsEmpty());
}

TEST_F(MergingTest, EveryCodeUnderEveryPolicy) {
  const auto refuses = [](int code, ConflictType type) {
    std::vector<prearchive::ConflictRow> rows(1);
    rows[0].set_code(code);
    rows[0].set_type(static_cast<int>(type));
    std::string text;
    for (const auto policy : {ConflictPolicy::kNone, ConflictPolicy::kAppend, ConflictPolicy::kOverwrite})
      text += Checker::Refuses(rows, policy) ? 'x' : '.';
    return text;
  };
  for (int code = 1; code <= 22; ++code) {
    EXPECT_EQ(refuses(code, ConflictType::kFail), "xxx") << code;
    EXPECT_EQ(refuses(code, ConflictType::kWarn), "...") << code;
    const bool resolved = code == 1 || code == 10 || code == 14 || code == 16 || code == 17 || code == 18;
    EXPECT_EQ(refuses(code, ConflictType::kConflict), resolved ? "x.." : "xxx") << code;
  }
}

}  // namespace
}  // namespace narthex::archiving
