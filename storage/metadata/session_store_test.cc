// Sessions in a real PostgreSQL.
#include "storage/metadata/session_store.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "base/error.h"
#include "storage/metadata/connection.h"
#include "storage/metadata/session_store_fixture.h"
#include "storage/metadata/testing/test_database.h"

namespace narthex::metadata {
namespace {

TEST_F(SessionStoreTest, CommittedSessionComesBackWhole) {
  const NewSession made = MakeSession("S1_MR1");

  const std::string id = Commit(made);
  auto session = reader().Get("P1/s1_mr1", Visibility::All());

  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(id, "NARTHEX_E00001");
  EXPECT_EQ(session->accession_id, id);
  EXPECT_EQ(session->subject, "S1");
  EXPECT_EQ(session->subject_id, "NARTHEX_S00001");
  EXPECT_EQ(session->session_date, "2024-01-31");
  EXPECT_EQ(session->session_time, "14:30:01.5");
  EXPECT_EQ(session->fields, made.session.fields);
  EXPECT_EQ(session->scan_count, 2);
  EXPECT_EQ(session->file_count, 6);
  EXPECT_EQ(session->size_bytes, 6012);
  EXPECT_EQ(session->status, SessionStatus::kActive);
  EXPECT_EQ(session->uid.size(), 36u);
  auto scans = reader().ListScans(id);
  ASSERT_EQ(scans->size(), 2u);
  EXPECT_EQ(scans->at(0).id, "2");  // by number
  EXPECT_EQ(scans->at(0).parameters, made.scans[0].parameters);
  EXPECT_EQ(scans->at(1).file_count, 3);
  EXPECT_EQ(scans->at(1).size_bytes, 3006);
  EXPECT_EQ(reader().ListResources(id)->at(1).catalog_path, "SCANS/10/DICOM/scan_10_catalog.xml");
  auto files = reader().ListFiles(id, {});
  ASSERT_EQ(files->files.size(), 6u);
  EXPECT_EQ(files->files[5].path, made.files[5].path);
  EXPECT_EQ(files->files[5].sha256, made.files[5].sha256);
  EXPECT_EQ(files->files[5].xxh3_stored, made.files[5].xxh3_stored);
  EXPECT_EQ(reader().GetDocument(id)->Reveal(), made.document.Reveal());
  auto history = reader().ListHistory(id);
  ASSERT_EQ(history->size(), 1u);
  EXPECT_EQ(history->at(0).action, "CREATE");
  EXPECT_EQ(history->at(0).old_json, "");
  EXPECT_EQ(*database_->audit().Verify("P1"), 2);  // project, session
  EXPECT_EQ(database_->subjects().Get("P1", "s1")->session_count, 1);
}

TEST_F(SessionStoreTest, RepeatedRequestReturnsTheFirstAnswer) {
  const NewSession made = MakeSession("A");

  auto first = store().Commit(made, {.user = "ann", .request_id = "r"});
  auto second = store().Commit(made, {.user = "ann", .request_id = "r"});

  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->repeated);
  EXPECT_TRUE(second->repeated);
  EXPECT_EQ(first->accession_id, second->accession_id);
  EXPECT_EQ(first->uid, second->uid);
  EXPECT_EQ((*store().FindRequest("r"))->accession_id, first->accession_id);
  EXPECT_FALSE(store().FindRequest("s")->has_value());
  EXPECT_EQ(Search("").size(), 1u);
}

TEST_F(SessionStoreTest, SubjectsAreRenamedWithAllTheirSessions) {
  Commit(MakeSession("A"));
  Subject other = *database_->subjects().Create("P1", "S2", {});
  Subject subject = *database_->subjects().Get("P1", "S1");

  subject.label = "S1b";
  auto renamed = database_->subjects().Update(subject, {.user = "ann", .request_id = "r"});
  ASSERT_TRUE(renamed.ok()) << renamed.status();
  EXPECT_EQ(renamed->label, "S1b");
  EXPECT_EQ(renamed->id, subject.id);
  EXPECT_EQ(renamed->session_count, 1);
  EXPECT_EQ(*database_->subjects().FindUpdated("r"), subject.id);
  EXPECT_EQ(*database_->subjects().FindUpdated("s"), "");
  EXPECT_EQ(Search("subject = S1b"), Labels{"A"});
  EXPECT_EQ(ErrorReason(database_->subjects().Get("P1", "S1").status()), "SUBJECT_NOT_FOUND");
  EXPECT_NE(database_->projects().ListHistory("P1", subject.id)->at(0).new_json.find("S1b"),
            std::string::npos);

  renamed->label = "s1B";  // only its case
  EXPECT_TRUE(database_->subjects().Update(*renamed, {}).ok());
  other.label = "S1B";
  EXPECT_EQ(ErrorReason(database_->subjects().Update(other, {}).status()), "SUBJECT_EXISTS");
  for (const char* bad : {"", "a/b", "a b"}) {
    other.label = bad;
    EXPECT_EQ(ErrorReason(database_->subjects().Update(other, {}).status()), "SUBJECT_LABEL_INVALID");
  }
}

TEST_F(SessionStoreTest, SubjectsHaveFieldsAndTheirHistory) {
  Commit(MakeSession("A"));
  Subject subject = *database_->subjects().Get("P1", "S1");
  EXPECT_TRUE(subject.fields.empty());

  subject.fields = {{"hand", "left"}};
  auto updated = database_->subjects().Update(subject, {.user = "ann", .note = "asked", .request_id = "r"});
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->fields, subject.fields);
  EXPECT_NE(updated->etag, subject.etag);
  EXPECT_TRUE(database_->subjects().Update(subject, {.user = "ann", .request_id = "r"}).ok()) << "repeated";
  EXPECT_EQ(ErrorReason(database_->subjects().Update(subject, {}).status()), "ETAG_MISMATCH");
  subject.id = "NARTHEX_S99999";
  EXPECT_EQ(ErrorReason(database_->subjects().Update(subject, {}).status()), "SUBJECT_NOT_FOUND");

  const auto history = database_->projects().ListHistory("P1", updated->id);
  ASSERT_EQ(history->size(), 1u);
  EXPECT_EQ(history->at(0).user, "ann");
  EXPECT_EQ(history->at(0).note, "asked");
  EXPECT_NE(history->at(0).new_json.find("left"), std::string::npos);
  EXPECT_TRUE(database_->projects().ListHistory("P1", "")->empty());
  EXPECT_EQ(Search("subject.fields.hand = left"), Labels{"A"});
  EXPECT_TRUE(Search("subject.fields.hand = right").empty());
}

TEST_F(SessionStoreTest, ReservedIdsAreUsedAndNeverGivenTwice) {
  auto reserved = store().Reserve("P1", "S9", "op-1");
  auto again = store().Reserve("P1", "s9", "op-1");
  auto other = store().Reserve("P1", "S9", "op-2");
  ASSERT_TRUE(reserved.ok() && again.ok() && other.ok()) << reserved.status() << again.status();
  EXPECT_EQ(reserved->accession_id, again->accession_id);
  EXPECT_EQ(reserved->uid, again->uid);
  EXPECT_NE(reserved->accession_id, other->accession_id);
  EXPECT_EQ(reserved->subject_id, other->subject_id);
  EXPECT_EQ(ErrorReason(database_->subjects().Get("P1", "S9").status()), "SUBJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(store().Reserve("P9", "S", "op-3").status()), "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(store().Reserve("P2", "S", "op-1").status()), "REQUEST_ID_REUSED");

  NewSession made = MakeSession("A", 1, "S9");
  made.session.accession_id = reserved->accession_id;
  made.session.uid = reserved->uid;
  made.session.subject_id = reserved->subject_id;
  auto committed = store().Commit(made, {.user = "ann", .request_id = "op-1"});

  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(committed->accession_id, reserved->accession_id);
  EXPECT_EQ(database_->subjects().Get("P1", "S9")->id, reserved->subject_id);
}

TEST_F(SessionStoreTest, TakenLabelNamesTheSessionThatHasIt) {
  const std::string id = Commit(MakeSession("A"));

  const absl::Status status =
      store().Commit(MakeSession("a"), {.user = "ann", .request_id = "other"}).status();

  EXPECT_EQ(ErrorReason(status), "SESSION_EXISTS");
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_EQ(ErrorMetadataOf(status)["session"], id);
  EXPECT_EQ(Search("").size(), 1u);
  // Nothing of the refused one is left, so the same request id may try another label.
  EXPECT_TRUE(store().Commit(MakeSession("B"), {.user = "ann", .request_id = "other"}).ok());
}

TEST_F(SessionStoreTest, ConcurrentCommitsOfOneLabelLeaveOne) {
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(6);
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      const SystemScope scope;
      results[i] =
          store().Commit(MakeSession("A"), {.user = "ann", .request_id = absl::StrCat("c", i)}).status();
    });
  }
  for (std::thread& thread : threads) thread.join();

  int won = 0;
  for (const absl::Status& status : results) {
    if (status.ok()) ++won;
    EXPECT_EQ(ErrorReason(status), status.ok() ? "" : "SESSION_EXISTS") << status;
  }
  EXPECT_EQ(won, 1);
  EXPECT_EQ(Search("").size(), 1u);
  EXPECT_TRUE(database_->audit().Verify("P1").ok());
}

TEST_F(SessionStoreTest, ConcurrentRepetitionsOfOneRequestGiveOneSession) {
  std::vector<std::thread> threads;
  std::vector<std::string> ids(6);
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      const SystemScope scope;
      auto committed = store().Commit(MakeSession("A"), {.user = "ann", .request_id = "same"});
      if (committed.ok()) ids[i] = committed->accession_id;
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 1u);
  EXPECT_FALSE(ids[0].empty());
}

TEST_F(SessionStoreTest, RefusesWhatCannotBeFiled) {
  NewSession made = MakeSession("A");
  made.session.session_date = "31.01.2024";
  EXPECT_EQ(ErrorReason(store().Commit(made, {.request_id = "1"}).status()), "SESSION_INVALID");
  made = MakeSession("A");
  made.files[0].path = "../../etc/passwd";
  EXPECT_EQ(ErrorReason(store().Commit(made, {.request_id = "2"}).status()), "SESSION_INVALID");
  made = MakeSession("A");
  made.scans[1].id = made.scans[0].id;
  EXPECT_EQ(ErrorReason(store().Commit(made, {.request_id = "3"}).status()), "SESSION_INVALID");
  made = MakeSession("A");
  made.document = Phi<std::string>("<not closed>");
  EXPECT_TRUE(absl::IsInvalidArgument(store().Commit(made, {.request_id = "4"}).status()));
  made = MakeSession("A");
  made.session.project = "P9";
  EXPECT_EQ(ErrorReason(store().Commit(made, {.request_id = "5"}).status()), "PROJECT_NOT_FOUND");
  EXPECT_EQ(ErrorReason(store().Commit(MakeSession("A"), {}).status()), "REQUEST_ID_MISSING");
  EXPECT_TRUE(Search("").empty());
}

TEST_F(SessionStoreTest, BytesThatAreNotTextDoNotKeepASessionOut) {
  NewSession made = MakeSession("A");
  made.session.description = std::string(
      "Sch\xe4"
      "del\0x",
      9);
  made.scans[0].series_description = "\xff\xfe";
  made.scans[0].parameters["n\xe4me"] = std::string("a\0b", 3);

  const std::string id = Commit(made);

  EXPECT_EQ(reader().Get(id, Visibility::All())->description, "Sch?del?x");
  EXPECT_EQ(reader().ListScans(id)->at(0).series_description, "??");
}

TEST_F(SessionStoreTest, MergeAddsReplacesAndCounts) {
  const std::string id = Commit(MakeSession("A"));
  SessionAddition addition;
  addition.accession_id = id;
  addition.etag = reader().Get(id, Visibility::All())->etag;
  Scan scan;
  scan.id = "3";
  scan.type = "T2";
  addition.scans = {scan};
  addition.resources = {{"3", "DICOM", "DICOM", "RAW", "c.xml"}};
  addition.files = {MakeFile("3", 1), MakeFile("2", 9), MakeFile("2", 1)};
  addition.removed_paths = {MakeFile("2", 1).path};
  addition.document = Phi<std::string>("<b/>");

  auto merged = store().Merge(addition, {.user = "bob", .request_id = "m"});
  auto again = store().Merge(addition, {.user = "bob", .request_id = "m"});

  ASSERT_TRUE(merged.ok()) << merged.status();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(merged->accession_id, id);
  auto session = reader().Get(id, Visibility::All());
  EXPECT_EQ(session->scan_count, 3);
  EXPECT_EQ(session->file_count, 8);
  EXPECT_EQ(reader().ListScans(id)->at(0).file_count, 4);
  EXPECT_EQ(reader().ListScans(id)->at(1).id, "3");
  EXPECT_EQ(reader().GetDocument(id)->Reveal(), "<b/>");
  EXPECT_EQ(reader().ListHistory(id)->at(1).action, "MERGE");
  EXPECT_EQ(ErrorReason(store().Merge(addition, {.request_id = "m2"}).status()), "ETAG_MISMATCH");
  addition.etag = "";
  addition.removed_paths.clear();
  EXPECT_EQ(ErrorReason(store().Merge(addition, {.request_id = "m3"}).status()), "FILE_EXISTS");
  EXPECT_EQ(reader().Get(id, Visibility::All())->file_count, 8);
  addition.accession_id = "NARTHEX_E09999";
  EXPECT_EQ(ErrorReason(store().Merge(addition, {.request_id = "m4"}).status()), "SESSION_NOT_FOUND");
}

TEST_F(SessionStoreTest, AMergeTellsItsCountsAgainAndQuarantinesWhatCameIn) {
  const std::string id = Commit(MakeSession("A"));
  SessionAddition addition;
  addition.accession_id = id;
  addition.removed_scans = {"2"};
  for (int i = 1; i <= 3; ++i) addition.removed_paths.push_back(MakeFile("2", i).path);
  addition.files = {MakeFile("10", 7)};
  addition.modality = "PT";
  addition.session_type = "xnat:petmrSessionData";
  addition.quarantine = true;
  addition.counts = {.added = 1, .replaced = 0, .kept = 5};

  ASSERT_TRUE(store().Merge(addition, {.user = "bob", .note = "merged", .request_id = "m"}).ok());

  const auto answer = store().FindRequest("m");
  ASSERT_TRUE(answer.ok() && answer->has_value());
  EXPECT_TRUE((*answer)->merged);
  EXPECT_EQ((*answer)->counts, addition.counts);
  const auto session = reader().Get(id, Visibility::All());
  EXPECT_EQ(session->status, SessionStatus::kQuarantine);
  EXPECT_EQ(session->modality, "PT");
  EXPECT_EQ(session->session_type, "xnat:petmrSessionData");
  EXPECT_EQ(session->scan_count, 1);
  EXPECT_EQ(session->file_count, 4);
  EXPECT_EQ(reader().ListScans(id)->at(0).id, "10");
  EXPECT_EQ(reader().ListResources(id)->size(), 1u);
  EXPECT_FALSE((*store().FindRequest("commit-1"))->merged);
}

TEST_F(SessionStoreTest, AMergeThatAddsNothingReleasesNothingIntoQuarantine) {
  const std::string id = Commit(MakeSession("A"));
  SessionAddition addition;
  addition.accession_id = id;
  addition.quarantine = true;

  ASSERT_TRUE(store().Merge(addition, {.user = "bob", .request_id = "m"}).ok());

  EXPECT_EQ(reader().Get(id, Visibility::All())->status, SessionStatus::kActive);
}

TEST_F(SessionStoreTest, ChosenScanTypesAreRememberedByProject) {
  NewSession first = MakeSession("A"), second = MakeSession("B");
  first.scans[0].series_description = "INVALID: t1_mpr-1 *mm";
  first.scans[0].type = "MPRAGE";
  first.scans[1].type = first.scans[1].series_description;  // nobody chose it
  second.scans[0].series_description = "T1 MPR 1MM";
  second.scans[0].type = "T1w";
  second.scans[1].type = "unknown";
  Commit(first);

  const auto one = reader().ListChosenScanTypes("P1");
  Commit(second);
  const auto two = reader().ListChosenScanTypes("P1");

  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(one->at(0).key, "T1MPR1MM");
  EXPECT_EQ(one->at(0).modality, "MR");
  EXPECT_EQ(one->at(0).frames, 3);
  EXPECT_EQ(one->at(0).type, "MPRAGE");
  ASSERT_EQ(two->size(), 1u);  // the newest choice counts
  EXPECT_EQ(two->at(0).type, "T1w");
  EXPECT_TRUE(reader().ListChosenScanTypes("P2")->empty());
}

TEST_F(SessionStoreTest, UpdateKeepsTheFormerStateInHistory) {
  const std::string id = Commit(MakeSession("A"));
  Commit(MakeSession("B"));

  auto updated = store().Update(id, {.label = "C", .subject = "S2", .session_date = ""},
                                {.user = "ann", .note = "typo"});

  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->label, "C");
  EXPECT_EQ(updated->subject, "S2");
  EXPECT_EQ(updated->session_date, "");
  auto history = reader().ListHistory(id);
  ASSERT_EQ(history->size(), 2u);
  EXPECT_EQ(history->at(1).note, "typo");
  EXPECT_NE(history->at(1).old_json.find("\"label\": \"A\""), std::string::npos) << history->at(1).old_json;
  EXPECT_NE(history->at(1).new_json.find("\"label\": \"C\""), std::string::npos);
  EXPECT_EQ(ErrorReason(store().Update(id, {.label = "b"}, {}).status()), "SESSION_EXISTS");
  EXPECT_EQ(ErrorReason(store().Update(id, {.label = "x y"}, {}).status()), "SESSION_INVALID");
  EXPECT_EQ(ErrorReason(store().Update(id, {.label = "D", .etag = "1"}, {}).status()), "ETAG_MISMATCH");
  EXPECT_EQ(ErrorReason(store().Update("X", {.label = "D"}, {}).status()), "SESSION_NOT_FOUND");
}

TEST_F(SessionStoreTest, DeletingHidesAndRestoringBringsBack) {
  const std::string id = Commit(MakeSession("A"));

  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kDeleted, "", {.user = "ann"}).ok());

  EXPECT_EQ(ErrorReason(reader().Get(id, Visibility::All()).status()), "SESSION_NOT_FOUND");
  EXPECT_TRUE(reader().Get(id, Visibility::All(true)).ok());
  EXPECT_TRUE(Search("").empty());
  EXPECT_EQ(ErrorReason(store().Update(id, {.label = "Z"}, {}).status()), "SESSION_DELETED");
  EXPECT_EQ(reader().ListFiles(id, {})->files.size(), 6u);
  const std::string second = Commit(MakeSession("A"));  // the label is free
  EXPECT_NE(second, id);
  EXPECT_EQ(ErrorReason(store().SetStatus(id, SessionStatus::kActive, "", {}).status()), "SESSION_EXISTS");
  EXPECT_EQ(reader().Get("P1/A", Visibility::All(true))->accession_id, second);
  ASSERT_TRUE(store().Update(second, {.label = "B"}, {}).ok());
  EXPECT_TRUE(store().SetStatus(id, SessionStatus::kActive, "", {}).ok());
  EXPECT_EQ(Search(""), (Labels{"A", "B"}));
}

TEST_F(SessionStoreTest, HistoryAndAuditCannotBeRewritten) {
  Commit(MakeSession("A"));
  auto connection = Connection::Connect(database_.conninfo(), absl::Seconds(5), absl::Seconds(5));
  ASSERT_TRUE(connection.ok());

  for (const char* sql :
       {"UPDATE audit_events SET user_name = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events",
        "DELETE FROM session_history", "UPDATE session_history SET user_name = 'x'",
        "UPDATE session_history SET new_row = new_row || '{\"label\": \"(anonymized)\"}'",
        "UPDATE session_history SET new_row = new_row || '{\"scanner\": \"x\"}'",
        "UPDATE session_history SET new_row = new_row - 'scanner'"}) {
    EXPECT_EQ(ErrorReason((*connection)->RunScript(sql)), "AUDIT_APPEND_ONLY") << sql;
  }
  // Whoever gets around that is found.
  ASSERT_TRUE(
      (*connection)
          ->RunScript(
              "ALTER TABLE audit_events DISABLE TRIGGER USER; UPDATE audit_events SET user_name = 'x' "
              "WHERE project_id = 'P1' AND sequence = 2")
          .ok());
  const absl::Status broken = database_->audit().Verify("P1").status();
  EXPECT_EQ(ErrorReason(broken), "AUDIT_CHAIN_BROKEN");
  EXPECT_EQ(ErrorMetadataOf(broken)["sequence"], "2");
  ASSERT_TRUE(
      (*connection)->RunScript("DELETE FROM audit_events WHERE project_id = 'P1' AND sequence = 2").ok());
  EXPECT_EQ(ErrorReason(database_->audit().Verify("P1").status()), "AUDIT_CHAIN_BROKEN");
}

TEST_F(SessionStoreTest, TwoThousandObjectsAreOneRoundTrip) {
  Commit(MakeSession("warm", 10));
  const NewSession made = MakeSession("big", 1000);
  NewSession reserved = made;
  auto ids = store().Reserve("P1", "S1", "big");
  ASSERT_TRUE(ids.ok());
  reserved.session.accession_id = ids->accession_id;
  reserved.session.uid = ids->uid;
  reserved.session.subject_id = ids->subject_id;
  const int64_t before = database_->round_trips();
  const absl::Time start = absl::Now();

  ASSERT_TRUE(store().Commit(reserved, {.user = "ann", .request_id = "big"}).ok());

  const double ms = absl::ToDoubleMilliseconds(absl::Now() - start);
  RecordProperty("milliseconds", absl::StrCat(ms));
  printf("commit of 2,000 objects: %.1f ms\n", ms);
  EXPECT_EQ(database_->round_trips() - before, 1);
  EXPECT_LT(ms, 2000);  // far above what it takes; machines are shared
}

}  // namespace
}  // namespace narthex::metadata
