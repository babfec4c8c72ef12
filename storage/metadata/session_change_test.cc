// What archived sessions can become, in a real PostgreSQL: moved, shared, changed inside, restored, purged.
#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "storage/metadata/access.h"
#include "storage/metadata/session_store_fixture.h"

namespace narthex::metadata {
namespace {

using ::testing::HasSubstr;

Visibility Only(const std::string& project) {
  Visibility visible;
  visible.projects = {project};
  return visible;
}

TEST_F(SessionStoreTest, MovingTakesEverythingAlong) {
  const std::string id = Commit(MakeSession("A"));
  ASSERT_TRUE(store().ReserveSubject("P2", "S7").ok());

  auto moved = store().Update(
      id, {.label = "B", .subject = "S7", .document = Phi<std::string>("<moved/>"), .project = "P2"},
      {.user = "ann", .note = "wrong project"});

  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(moved->project, "P2");
  EXPECT_EQ(moved->subject, "S7");
  EXPECT_EQ(moved->folder, "P1/arc001/A");  // the files stay where they are
  EXPECT_EQ(reader().Get("P2/B", Only("P2"))->accession_id, id);
  EXPECT_EQ(ErrorReason(reader().Get(id, Only("P1")).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(reader().ListScans(id)->size(), 2u);
  EXPECT_EQ(reader().ListResources(id)->size(), 2u);
  EXPECT_EQ(reader().ListFiles(id, {})->files.size(), 6u);
  EXPECT_EQ(reader().GetDocument(id)->Reveal(), "<moved/>");
  EXPECT_EQ(reader().ListHistory(id)->size(), 2u);
  EXPECT_THAT(reader().ListHistory(id)->at(1).old_json, HasSubstr("\"subject\": \"S1\""));
  EXPECT_EQ(database_->subjects().Get("P2", "S7")->session_count, 1);
  EXPECT_EQ(*database_->audit().Verify("P1"), 3);  // project, session, move
  EXPECT_EQ(*database_->audit().Verify("P2"), 2);  // project, move
  Commit(MakeSession("A"));                        // the label is free where it was
  EXPECT_EQ(ErrorReason(store().Update(id, {.label = "a", .project = "P1"}, {}).status()), "SESSION_EXISTS");
  EXPECT_EQ(ErrorReason(store().Update(id, {.project = "P9"}, {}).status()), "PROJECT_NOT_FOUND");
}

TEST_F(SessionStoreTest, WhatHeadersSaidIsForgottenWhenFilesAreAnonymized) {
  NewSession added = MakeSession("A");
  added.session.study_instance_uid = "1.2.3.4.5";
  added.session.scanner = "STATION";
  const std::string id = Commit(added);
  ASSERT_TRUE(store().ReserveSubject("P2", "S1").ok());
  ASSERT_TRUE(store().Update(id, {.project = "P2"}, {.user = "ann"}).ok());
  Session described = added.session;
  described.study_instance_uid = "2.25.1";

  SessionUpdate update{.label = "B"};
  update.described = described;
  ASSERT_TRUE(store().Update(id, update, {.user = "ann"}).ok());

  const auto history = *reader().ListHistory(id);
  ASSERT_EQ(history.size(), 3u);
  for (const HistoryEntry& entry : history) {
    EXPECT_THAT(entry.old_json + entry.new_json, ::testing::Not(HasSubstr("1.2.3.4.5")));
    EXPECT_THAT(entry.old_json + entry.new_json, HasSubstr("STATION"));  // it says so still
  }
  EXPECT_THAT(history[0].new_json, HasSubstr("\"study_instance_uid\": \"(anonymized)\""));
  EXPECT_THAT(history[2].new_json, HasSubstr("\"study_instance_uid\": \"2.25.1\""));
}

TEST_F(SessionStoreTest, OppositeMovesDoNotWaitForEachOther) {
  const std::string a = Commit(MakeSession("A"));
  const std::string b = Commit(MakeSession("B"));
  std::vector<absl::Status> results(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      const SystemScope scope;
      for (int n = 0; n < 10 && results[i].ok(); ++n) {
        const std::string project = (n + i) % 2 == 0 ? "P2" : "P1";
        results[i] = store().Update(i == 0 ? a : b, {.project = project}, {.user = "ann"}).status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_TRUE(results[0].ok()) << results[0];
  EXPECT_TRUE(results[1].ok()) << results[1];
  EXPECT_TRUE(database_->audit().Verify("P1").ok());
  EXPECT_TRUE(database_->audit().Verify("P2").ok());
}

TEST_F(SessionStoreTest, ASharedSessionIsFoundInItsOtherProject) {
  const std::string id = Commit(MakeSession("A"));

  auto shared = store().Update(id, {.share = Share{"P2", "OTHER"}, .action = "SHARE"}, {.user = "ann"});

  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_EQ(shared->shares, (std::vector<Share>{{"P2", "OTHER"}}));
  EXPECT_EQ(reader().Get("P2/other", Only("P2"))->accession_id, id);
  EXPECT_EQ(reader().Get(id, Only("P2"))->accession_id, id);
  EXPECT_EQ(Search("", Only("P2")), (Labels{"A"}));
  EXPECT_EQ(Search("project = \"P2\""), (Labels{"A"}));
  EXPECT_EQ(Search(""), (Labels{"A"}));  // once
  EXPECT_EQ(ErrorReason(store().Update(id, {.share = Share{"P2", "X"}}, {}).status()), "SESSION_SHARED");
  EXPECT_EQ(ErrorReason(store().Update(id, {.share = Share{"P9", "X"}}, {}).status()), "PROJECT_NOT_FOUND");

  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kQuarantine, "", {}).ok());
  EXPECT_TRUE(Search("", Only("P2")).empty());
  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kActive, "", {}).ok());
  ASSERT_TRUE(store().Update(id, {.unshare = "P2", .action = "UNSHARE"}, {.user = "ann"}).ok());
  EXPECT_TRUE(Search("", Only("P2")).empty());
  EXPECT_EQ(ErrorReason(reader().Get("P2/OTHER", Visibility::All()).status()), "SESSION_NOT_FOUND");
}

TEST_F(SessionStoreTest, LabelsOfSharesAndSessionsAreOfOneKind) {
  const std::string id = Commit(MakeSession("A"));
  NewSession other = MakeSession("TAKEN");
  other.session.project = "P2";
  const std::string taken = Commit(other);

  const absl::Status refused = store().Update(id, {.share = Share{"P2", "taken"}}, {}).status();
  EXPECT_EQ(ErrorReason(refused), "SESSION_EXISTS");
  EXPECT_EQ(ErrorMetadataOf(refused)["session"], taken);
  ASSERT_TRUE(store().Update(id, {.share = Share{"P2", "MINE"}}, {}).ok());
  NewSession late = MakeSession("mine");
  late.session.project = "P2";
  EXPECT_EQ(ErrorReason(store().Commit(late, {.request_id = "late"}).status()), "SESSION_EXISTS");
  EXPECT_EQ(ErrorReason(store().Update(taken, {.label = "Mine"}, {}).status()), "SESSION_EXISTS");
  // Into the project where it was shared: then it is simply there.
  ASSERT_TRUE(store().Update(id, {.label = "MINE", .project = "P2"}, {}).ok());
  EXPECT_TRUE(reader().Get(id, Visibility::All())->shares.empty());
}

TEST_F(SessionStoreTest, ASessionAndAShareRaceForALabelAndOneWins) {
  for (int round = 0; round < 5; ++round) {
    const std::string id = Commit(MakeSession(absl::StrCat("A", round)));
    const std::string label = absl::StrCat("L", round);
    absl::Status share, commit;
    std::thread one([&] {
      const SystemScope scope;
      share = store().Update(id, {.share = Share{"P2", label}}, {}).status();
    });
    std::thread two([&] {
      const SystemScope scope;
      NewSession late = MakeSession(label);
      late.session.project = "P2";
      commit = store().Commit(late, {.request_id = absl::StrCat("race-", round)}).status();
    });
    one.join();
    two.join();
    EXPECT_NE(share.ok(), commit.ok()) << share << " / " << commit;
    EXPECT_EQ(ErrorReason(share.ok() ? commit : share), "SESSION_EXISTS") << share << " / " << commit;
  }
}

TEST_F(SessionStoreTest, ChangesInsideASessionAreOneVersion) {
  const std::string id = Commit(MakeSession("A"));
  Scan scan = reader().ListScans(id)->at(0);
  scan.quality = "questionable";
  SessionUpdate update;
  update.note = "seen by ann";
  update.scans = {scan};
  update.resources = {{"2", "NOTES", "TXT", "", "SCANS/2/NOTES/NOTES_catalog.xml"}};
  File file = MakeFile("2", 7);
  file.path = "SCANS/2/NOTES/a.txt";
  file.resource = "NOTES";
  update.files = {file};
  update.before = {{"scans.2.quality", "usable"}};
  update.after = {{"scans.2.quality", "questionable"}};

  auto updated = store().Update(id, update, {.user = "ann", .request_id = "u1"});

  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->etag, "2");
  EXPECT_EQ(updated->note, "seen by ann");
  EXPECT_EQ(updated->file_count, 7);
  EXPECT_EQ(reader().ListScans(id)->at(0).quality, "questionable");
  EXPECT_EQ(reader().ListScans(id)->at(0).file_count, 4);
  EXPECT_EQ((*store().FindRequest("u1"))->accession_id, id);
  EXPECT_THAT(reader().ListHistory(id)->at(1).new_json, HasSubstr("\"scans.2.quality\": \"questionable\""));
  EXPECT_EQ(ErrorReason(store().Update(id, {.files = {file}}, {}).status()), "FILE_EXISTS");

  SessionUpdate removal;
  removal.removed_files = {{.path = file.path, .stored_path = ".removed/u2/a.txt"}};
  removal.removed_resources = {{"2", "NOTES"}};
  ASSERT_TRUE(store().Update(id, removal, {.user = "ann", .request_id = "u2"}).ok());
  EXPECT_EQ(reader().Get(id, Visibility::All())->file_count, 6);
  EXPECT_EQ(reader().ListResources(id)->size(), 2u);
  auto removed = reader().ListRemovedFiles(id, "u2");
  ASSERT_EQ(removed->size(), 1u);
  EXPECT_EQ(removed->at(0).path, file.path);
  EXPECT_EQ(removed->at(0).stored_path, ".removed/u2/a.txt");
  EXPECT_EQ(removed->at(0).sha256, file.sha256);
  EXPECT_EQ(removed->at(0).number, 3);
  EXPECT_TRUE(reader().ListRemovedFiles(id, "u1")->empty());
}

TEST_F(SessionStoreTest, RestoringGivesTheFormerStatusBack) {
  const std::string id = Commit(MakeSession("A"));
  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kQuarantine, "", {}).ok());
  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kDeleted, "", {.user = "ann"}).ok());
  const std::string second = Commit(MakeSession("A"));

  const absl::Status taken = store().Restore(id, "", std::nullopt, {}).status();
  EXPECT_EQ(ErrorReason(taken), "SESSION_EXISTS");
  EXPECT_EQ(ErrorMetadataOf(taken)["session"], second);
  auto restored = store().Restore(id, "A2", Phi<std::string>("<a2/>"), {.user = "ann", .request_id = "r"});

  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->status, SessionStatus::kQuarantine);
  EXPECT_EQ(restored->label, "A2");
  EXPECT_EQ(reader().GetDocument(id)->Reveal(), "<a2/>");
  EXPECT_EQ(reader().ListHistory(id)->back().action, "RESTORE");
  EXPECT_TRUE(store().Restore(id, "A2", std::nullopt, {.request_id = "r"}).ok());
  EXPECT_EQ(ErrorReason(store().Restore("X", "", std::nullopt, {}).status()), "SESSION_NOT_FOUND");
}

TEST_F(SessionStoreTest, PurgingLeavesTheRecordOfWhatWasThere) {
  const std::string id = Commit(MakeSession("A"));
  EXPECT_EQ(ErrorReason(store().BeginPurge(id, {}).status()), "SESSION_NOT_DELETED");
  ASSERT_TRUE(store().SetStatus(id, SessionStatus::kDeleted, "", {}).ok());
  EXPECT_EQ(ErrorReason(store().EndPurge(id, {})), "SESSION_NOT_DELETED");

  auto begun = store().BeginPurge(id, {.user = "root", .note = "consent withdrawn"});

  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_EQ(begun->state, PurgeState::kPurging);
  EXPECT_EQ(begun->folder, "P1/arc001/A");
  EXPECT_EQ(begun->file_count, 6);
  EXPECT_EQ(begun->size_bytes, 6012);
  EXPECT_EQ(begun->manifest_sha256.size(), 64u);
  EXPECT_EQ(*reader().ListPurging(), std::vector<std::string>{id});
  EXPECT_EQ(ErrorReason(store().Restore(id, "", std::nullopt, {}).status()), "SESSION_PURGED");
  EXPECT_EQ(store().BeginPurge(id, {})->manifest_sha256, begun->manifest_sha256);
  ASSERT_TRUE(store().EndPurge(id, {.user = "root"}).ok());
  ASSERT_TRUE(store().EndPurge(id, {.user = "root"}).ok());
  EXPECT_TRUE(reader().ListPurging()->empty());
  EXPECT_EQ(reader().Get(id, Visibility::All(true))->purge_state, PurgeState::kPurged);
  EXPECT_EQ(store().BeginPurge(id, {})->state, PurgeState::kPurged);
  EXPECT_EQ(reader().ListFiles(id, {})->files.size(), 6u);  // with their digests
  EXPECT_THAT(reader().ListHistory(id)->back().new_json, HasSubstr("\"purge.files\": \"0\""));
  EXPECT_THAT(reader().ListHistory(id)->back().old_json, HasSubstr(begun->manifest_sha256));
  EXPECT_EQ(reader().ListHistory(id)->size(), 4u);  // create, delete, begin, end
  EXPECT_FALSE(store().SetStatus(id, SessionStatus::kActive, "", {}).ok());
}

// PostgreSQL itself lets readers of the other project read, and nothing more.
TEST_F(SessionStoreTest, ASharesReadersChangeNothing) {
  const std::string id = Commit(MakeSession("A"));
  for (const char* name : {"pam", "quinn"}) {
    ASSERT_TRUE(database_->users().Create({.name = name}, {.user = "admin"}).ok());
  }
  ASSERT_TRUE(database_->members().Set({"P1", "pam", Role::kOwner}, {.user = "admin"}).ok());
  ASSERT_TRUE(database_->members().Set({"P2", "pam", Role::kMember}, {.user = "admin"}).ok());
  ASSERT_TRUE(database_->members().Set({"P2", "quinn", Role::kOwner}, {.user = "admin"}).ok());
  {
    const UserScope quinn("quinn");
    EXPECT_EQ(ErrorReason(reader().Get(id, Visibility::All()).status()), "SESSION_NOT_FOUND");
  }
  {
    const UserScope pam("pam");
    auto shared = store().Update(id, {.share = Share{"P2", "THERE"}, .action = "SHARE"}, {.user = "pam"});
    ASSERT_TRUE(shared.ok()) << shared.status();
    EXPECT_EQ(shared->shares.size(), 1u);
  }
  const UserScope quinn("quinn");
  auto seen = reader().Get("P2/THERE", Only("P2"));
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(seen->subject, "");  // it is not shared
  EXPECT_EQ(reader().ListFiles(id, {})->files.size(), 6u);
  EXPECT_EQ(reader().ListScans(id)->size(), 2u);
  EXPECT_FALSE(store().Update(id, {.label = "MINE"}, {.user = "quinn"}).ok());
  EXPECT_FALSE(store().SetStatus(id, SessionStatus::kDeleted, "", {.user = "quinn"}).ok());
  EXPECT_EQ(reader().Get(id, Only("P2"))->label, "A");
}

}  // namespace
}  // namespace narthex::metadata
