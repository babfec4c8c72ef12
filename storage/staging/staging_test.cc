// What staging promises, over the operating system's files and over memory.
#include "storage/staging/staging.h"

#include <dirent.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/limits_storage.h"
#include "storage/fs/memory.h"
#include "storage/staging/segment_format.h"
#include "storage/staging/staging_test_base.h"

namespace narthex::staging {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class StagingContract : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      root_ = NewTestDirectory();
      files_ = &fs::Posix();
    } else {
      memory_ = fs::NewInMemory();
      files_ = memory_.get();
      root_ = "/data";
    }
    options_.directory = fs::JoinPath(root_, "staging");
    options_.free_space_min_bytes = 0;
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    if (GetParam()) {
      EXPECT_TRUE(fs::Posix().RemoveTree(root_).ok());
    }
  }
  void Reopen() {
    store_.reset();
    store_ = OpenStore(*files_, options_);
    ASSERT_NE(store_, nullptr);
  }
  std::shared_ptr<SessionLog> Log(absl::string_view id) {
    auto log = store_->OpenSession(id);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *log : nullptr;
  }
  uint64_t FileCount(absl::string_view id) {
    auto list = files_->List(SessionPath(options_.directory, id));
    return list.ok() ? list->size() : 0;
  }

  std::unique_ptr<fs::InMemoryFileSystem> memory_;
  fs::FileSystem* files_ = nullptr;
  std::string root_;
  StagingStore::Options options_;
  std::unique_ptr<StagingStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Both, StagingContract, ::testing::Values(true, false),
                         [](const auto& info) { return info.param ? "Posix" : "Memory"; });

TEST_P(StagingContract, KeepsObjectsOfAllSizes) {
  std::shared_ptr<SessionLog> log = Log("abc");
  std::vector<std::pair<std::string, StoredObject>> objects;
  const size_t edge = limits::kSegmentBlockBytes - kHeadBytes;
  for (size_t size : {size_t{0}, size_t{1}, edge - 1, edge, edge + 1, size_t{130'000}, size_t{525'000},
                      size_t{kExtentMaxBytes} - 1, size_t{kExtentMaxBytes}, size_t{kExtentMaxBytes} + 1,
                      size_t{7'000'000}}) {
    const std::string bytes = Bytes(size, 1);
    auto stored = Put(*log, bytes, absl::StrCat("meta ", size));
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->size_bytes, size);
    if (size > 0 && size <= kExtentMaxBytes) {
      EXPECT_EQ(stored->extents.size(), 1u);
    }
    if (size % 2 == 0) {
      EXPECT_TRUE(log->Sync(stored->position).ok());
    }
    EXPECT_TRUE(Get(*log, *stored) == bytes) << size;
    objects.emplace_back(bytes, *stored);
  }
  ASSERT_TRUE(log->Sync(objects.back().second.position).ok());
  for (const auto& [bytes, stored] : objects) EXPECT_TRUE(Get(*log, stored) == bytes);

  const std::vector<FoundObject> live = ScanAll(*store_, "abc");
  log.reset();
  Reopen();
  const std::vector<FoundObject> found = ScanAll(*store_, "abc");
  ASSERT_EQ(found.size(), objects.size());
  ASSERT_EQ(live.size(), objects.size());
  log = Log("abc");
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].session_id, "abc");
    EXPECT_EQ(found[i].meta, absl::StrCat("meta ", objects[i].first.size()));
    EXPECT_EQ(found[i].object.extents, objects[i].second.extents);
    EXPECT_EQ(found[i].object.position, objects[i].second.position);
    EXPECT_EQ(live[i].object.extents, objects[i].second.extents);
    EXPECT_TRUE(Get(*log, found[i].object) == objects[i].first);
  }
}

TEST_P(StagingContract, ReadsRanges) {
  std::shared_ptr<SessionLog> log = Log("abc");
  const std::string bytes = Bytes(5'000'000, 1);
  auto stored = Put(*log, bytes, "");
  ASSERT_TRUE(stored.ok());
  const auto range = [&](uint64_t offset, uint64_t length) {
    std::string result;
    EXPECT_TRUE(log->ReadRange(*stored, offset, length,
                               [&](absl::string_view piece) {
                                 result.append(piece.data(), piece.size());
                                 return absl::OkStatus();
                               })
                    .ok());
    return result;
  };
  EXPECT_EQ(range(10, 20), bytes.substr(10, 20));
  EXPECT_TRUE(range(kExtentMaxBytes - 5, 10) == bytes.substr(kExtentMaxBytes - 5, 10));
  EXPECT_TRUE(range(1'000'000, 3'500'000) == bytes.substr(1'000'000, 3'500'000));
  EXPECT_EQ(range(4'999'990, UINT64_MAX), bytes.substr(4'999'990));
  EXPECT_EQ(range(5'000'000, 1), "");
  EXPECT_EQ(range(0, 0), "");
  int calls = 0;
  const absl::Status stopped = log->Read(*stored, [&](absl::string_view) {
    ++calls;
    return absl::CancelledError("enough");
  });
  EXPECT_TRUE(absl::IsCancelled(stopped));
  EXPECT_EQ(calls, 1);
}

TEST_P(StagingContract, WritersInterleaveAndUnfinishedObjectsDoNotExist) {
  std::shared_ptr<SessionLog> log = Log("abc");
  const std::string a = Bytes(5'000'000, 1), b = Bytes(3'000'000, 2);
  auto writer_a = log->StartObject(), writer_b = log->StartObject(), abandoned = log->StartObject();
  for (size_t at = 0; at < a.size(); at += 50'000) {
    ASSERT_TRUE((*writer_a)->Append(absl::string_view(a).substr(at, 50'000)).ok());
    if (at < b.size()) {
      ASSERT_TRUE((*writer_b)->Append(absl::string_view(b).substr(at, 50'000)).ok());
    }
    ASSERT_TRUE((*abandoned)->Append(absl::string_view(a).substr(at, 50'000)).ok());
  }
  auto stored_b = (*writer_b)->Finish("b");
  auto stored_a = (*writer_a)->Finish("a");
  EXPECT_EQ(ErrorReason((*writer_a)->Append("x")), "OBJECT_FINISHED");
  EXPECT_EQ(ErrorReason((*writer_a)->Finish("x").status()), "OBJECT_FINISHED");
  abandoned->reset();
  writer_a->reset();
  writer_b->reset();
  ASSERT_TRUE(log->Sync(stored_a->position).ok());
  EXPECT_TRUE(Get(*log, *stored_a) == a);
  EXPECT_TRUE(Get(*log, *stored_b) == b);

  log.reset();
  Reopen();
  const std::vector<FoundObject> found = ScanAll(*store_, "abc");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].meta, "b");
  EXPECT_EQ(found[1].object.extents, stored_a->extents);
  SessionReport report;
  ASSERT_TRUE(store_->VerifySession("abc", report).ok());
  EXPECT_EQ(report.object_count, 2u);
  EXPECT_EQ(report.object_bytes, a.size() + b.size());
  EXPECT_EQ(report.unfinished_record_count, 2u);
  EXPECT_EQ(report.damage_count, 0u);
  EXPECT_EQ(report.torn_bytes, 0u);
}

TEST_P(StagingContract, ScansBehindAPosition) {
  std::shared_ptr<SessionLog> log = Log("abc");
  std::vector<Position> ends;
  for (int i = 0; i < 5; ++i) {
    auto stored = Put(*log, Bytes(i == 3 ? 5'000'000 : 1000, i), absl::StrCat(i));
    ASSERT_TRUE(stored.ok());
    ends.push_back(stored->position);
  }
  ASSERT_TRUE(log->Sync(ends.back()).ok());
  EXPECT_EQ(ScanAll(*store_, "abc", ends[1]).size(), 3u);
  EXPECT_EQ(ScanAll(*store_, "abc", ends[4]).size(), 0u);
  // In the middle of the fourth object, and at no record at all.
  EXPECT_EQ(ScanAll(*store_, "abc", {0, ends[2].offset + 4096}).size(), 2u);
  EXPECT_EQ(ScanAll(*store_, "abc", {7, 4096}).size(), 0u);
  EXPECT_EQ(store_->EndOf("abc").value_or(Position()), ends[4]);
  EXPECT_EQ(log->SizeBytes(), ends[4].offset);
}

TEST_P(StagingContract, MetaUpToOneMebibyte) {
  std::shared_ptr<SessionLog> log = Log("abc");
  const std::string meta = Bytes(kMetaMaxBytes, 9);
  for (size_t size : {size_t{0}, size_t{100'000}, size_t{kExtentMaxBytes}}) {
    auto stored = Put(*log, Bytes(size, 1), meta);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_TRUE(Get(*log, *stored) == Bytes(size, 1));
  }
  EXPECT_EQ(ErrorReason(Put(*log, "x", meta + "y").status()), "META_TOO_LARGE");
  const std::vector<FoundObject> found = ScanAll(*store_, "abc");
  ASSERT_EQ(found.size(), 3u);
  for (const FoundObject& object : found) EXPECT_TRUE(object.meta == meta);
}

TEST_P(StagingContract, FullSegmentsAreFollowedByOthers) {
  options_.segment_max_bytes = 1 << 20;
  Reopen();
  std::shared_ptr<SessionLog> log = Log("abc");
  std::vector<StoredObject> stored;
  for (int i = 0; i < 30; ++i) {
    auto object = Put(*log, Bytes(i == 20 ? 5'000'000 : 100'000, i), absl::StrCat(i));
    ASSERT_TRUE(object.ok());
    stored.push_back(*object);
  }
  ASSERT_TRUE(log->Sync(stored.back().position).ok());
  EXPECT_GT(FileCount("abc"), 3u);
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(Get(*log, stored[i]) == Bytes(i == 20 ? 5'000'000 : 100'000, i));
  }
  log.reset();
  Reopen();
  EXPECT_EQ(ScanAll(*store_, "abc").size(), 30u);
  EXPECT_EQ(ScanAll(*store_, "abc", stored[20].position).size(), 9u);
  EXPECT_EQ(ScanAll(*store_, "abc", stored[19].position).size(), 10u);  // its records begin before
}

TEST_P(StagingContract, ReopenedLogsGoOnBehindWhatIsThere) {
  StoredObject first, second, third;
  {
    std::shared_ptr<SessionLog> log = Log("abc");
    first = Put(*log, Bytes(1000, 1), "1").value();
    EXPECT_EQ(Log("abc"), log);
  }
  {
    std::shared_ptr<SessionLog> log = Log("abc");
    second = Put(*log, Bytes(2000, 2), "2").value();
    EXPECT_TRUE(log->Sync(first.position).ok());
    EXPECT_TRUE(log->Sync(second.position).ok());
  }
  EXPECT_EQ(second.position.segment, 0u);  // the same process goes on in the same file
  Reopen();
  {
    std::shared_ptr<SessionLog> log = Log("abc");
    EXPECT_EQ(log->SizeBytes(), second.position.offset);
    EXPECT_TRUE(log->Sync(second.position).ok());
    third = Put(*log, Bytes(3000, 3), "3").value();
    EXPECT_GT(third.position, second.position);
    EXPECT_TRUE(log->Sync(third.position).ok());
    EXPECT_EQ(Get(*log, first), Bytes(1000, 1));
    EXPECT_EQ(Get(*log, third), Bytes(3000, 3));
  }
  EXPECT_EQ(ScanAll(*store_, "abc").size(), 3u);
}

TEST_P(StagingContract, RemovesSessionsWhileTheyAreRead) {
  std::shared_ptr<SessionLog> log = Log("abc");
  const std::string bytes = Bytes(3'000'000, 1);
  auto stored = Put(*log, bytes, "");
  ASSERT_TRUE(stored.ok());
  auto writer = log->StartObject();
  ASSERT_TRUE(store_->Remove("abc").ok());
  ASSERT_TRUE(store_->Remove("abc").ok());
  EXPECT_TRUE(Get(*log, *stored) == bytes);
  ASSERT_TRUE((*writer)->Append("x").ok());
  EXPECT_EQ(ErrorReason((*writer)->Finish("").status()), "SESSION_REMOVED");
  EXPECT_EQ(ErrorReason(log->StartObject().status()), "SESSION_REMOVED");
  EXPECT_EQ(ErrorReason(store_->EndOf("abc").status()), "SESSION_NOT_STAGED");
  EXPECT_THAT(store_->ListSessions().value(), ElementsAre());

  std::shared_ptr<SessionLog> fresh = Log("abc");
  EXPECT_NE(fresh, log);
  EXPECT_EQ(fresh->SizeBytes(), 0u);
  auto again = Put(*fresh, "new", "");
  ASSERT_TRUE(fresh->Sync(again->position).ok());
  writer->reset();
  log.reset();
  EXPECT_EQ(Log("abc"), fresh);
  EXPECT_EQ(Get(*fresh, *again), "new");
}

TEST_P(StagingContract, ListsAndRejectsIds) {
  for (const char* id : {"abc", "def", "0"}) Log(id);
  EXPECT_THAT(store_->ListSessions().value(), UnorderedElementsAre("abc", "def", "0"));
  EXPECT_EQ(store_->EndOf("abc").value_or(Position{9, 9}), Position());
  for (const std::string& id : {std::string(), std::string("../x"), std::string("A"), std::string(65, 'a')}) {
    EXPECT_EQ(ErrorReason(store_->OpenSession(id).status()), "BAD_SESSION_ID");
    EXPECT_EQ(ErrorReason(store_->Remove(id)), "BAD_SESSION_ID");
  }
  EXPECT_EQ(ErrorReason(store_->EndOf("none").status()), "SESSION_NOT_STAGED");
  SessionReport report;
  EXPECT_EQ(ErrorReason(store_->VerifySession("none", report)), "SESSION_NOT_STAGED");
  EXPECT_EQ(ErrorReason(store_->Scan("none", {}, [](FoundObject) { return absl::OkStatus(); })),
            "SESSION_NOT_STAGED");
}

TEST_P(StagingContract, RefusesObjectsBelowTheWatermark) {
  options_.free_space_min_bytes = 1ull << 60;
  Reopen();
  const absl::Status status = Log("abc")->StartObject().status();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(ErrorReason(status), "DISK_FULL");
}

TEST_P(StagingContract, ManyWritersShareASmallPool) {
  options_.buffer_pool_bytes = 4 << 20;
  for (int threads : {0, 2}) {
    options_.writer_threads = threads;
    Reopen();
    std::vector<std::shared_ptr<SessionLog>> logs;
    std::vector<std::unique_ptr<ObjectWriter>> writers;
    for (int i = 0; i < 40; ++i) {
      if (i % 2 == 0) logs.push_back(Log(absl::StrCat("s", threads, "x", i)));
      writers.push_back(*logs.back()->StartObject());
    }
    // 40 objects of 300 kB begun at once: three times what the pool holds.
    std::vector<std::string> contents;
    for (int i = 0; i < 40; ++i) contents.push_back(Bytes(300'000, i));
    for (size_t at = 0; at < 300'000; at += 60'000) {
      for (int i = 0; i < 40; ++i) {
        ASSERT_TRUE(writers[i]->Append(absl::string_view(contents[i]).substr(at, 60'000)).ok());
      }
    }
    for (int i = 0; i < 40; ++i) {
      auto stored = writers[i]->Finish(Bytes(50'000, i));
      ASSERT_TRUE(stored.ok()) << stored.status();
      ASSERT_TRUE(logs[i / 2]->Sync(stored->position).ok());
      EXPECT_TRUE(Get(*logs[i / 2], *stored) == contents[i]);
    }
    writers.clear();
    EXPECT_EQ(ScanAll(*store_, absl::StrCat("s", threads, "x", 0)).size(), 2u);
  }
}

TEST_P(StagingContract, RefusesPositionsBehindTheEnd) {
  std::shared_ptr<SessionLog> log = Log("abc");
  auto stored = Put(*log, "x", "");
  EXPECT_EQ(ErrorReason(log->Sync({0, stored->position.offset + 1})), "BAD_POSITION");
  EXPECT_TRUE(log->Sync({}).ok());
}

TEST(StagingTest, IdleSessionsKeepNoDescriptorsAndNoSpareSpace) {
  // In memory if possible: a thousand syncs take their time on a busy disk, and O_DIRECT is refused there.
  std::string root = "/dev/shm/narthex_staging_XXXXXX";
  if (::mkdtemp(root.data()) == nullptr) root = NewTestDirectory();
  {
    // Without writer threads: one of them could hold the last reference to a log and close it later than we
    // look.
    auto store = OpenStore(fs::Posix(), {.directory = root, .free_space_min_bytes = 0, .writer_threads = 0});
    const auto open_files = [] {
      size_t count = 0;
      DIR* directory = ::opendir("/proc/self/fd");
      while (::readdir(directory) != nullptr) ++count;
      ::closedir(directory);
      return count;
    };
    const size_t before = open_files();
    std::vector<std::shared_ptr<SessionLog>> logs;
    for (int i = 0; i < 1000; ++i) {
      logs.push_back(*store->OpenSession(absl::StrCat(i)));
      auto stored = Put(*logs.back(), Bytes(10'000, i), "");
      if (i % 10 == 0) {
        ASSERT_TRUE(logs.back()->Sync(stored->position).ok());
      }
      if (i % 10 != 0) logs.back().reset();
    }
    EXPECT_LE(open_files(), before + 256);
    auto info = fs::Posix().Stat(SegmentPath(SessionPath(root, "10"), 0));
    EXPECT_EQ(info->size_bytes, 12288u);
    EXPECT_LE(info->allocated_bytes, 12288u);
    EXPECT_EQ(store->ListSessions()->size(), 1000u);

    // A large one preallocates while it is open and gives it back when it is closed.
    auto large = *store->OpenSession("large");
    auto stored = Put(*large, Bytes(10'000'000, 1), "");
    ASSERT_TRUE(large->Sync(stored->position).ok());
    large.reset();
    info = fs::Posix().Stat(SegmentPath(SessionPath(root, "large"), 0));
    EXPECT_LE(info->allocated_bytes, info->size_bytes + 65536);
  }
  EXPECT_TRUE(fs::Posix().RemoveTree(root).ok());
}

TEST(StagingTest, OpenFinishesInterruptedRemovals) {
  auto memory = fs::NewInMemory();
  ASSERT_TRUE(memory->MakeDirectories("/s/ab/x.gone7").ok());
  auto store = OpenStore(*memory, {.directory = "/s", .free_space_min_bytes = 0});
  EXPECT_EQ(memory->List("/s/ab")->size(), 0u);
}

TEST(SegmentFormatTest, HeadsRoundTrip) {
  RecordHead head;
  head.completes = true;
  head.epoch = 0x0102030405060708;
  head.object = 7;
  head.extent_index = 3;
  head.at = {2, 8192};
  head.previous = {1, 4096};
  head.durable = {2, 4096};
  head.object_offset = 3 * kExtentMaxBytes;
  head.payload_length = 1000;
  head.payload_crc32c = 0xE3069283;
  head.meta_length = 10;
  head.meta_crc32c = 5;
  head.session_id = std::string(64, 'z');
  std::string bytes(kHeadBytes, 'x');
  EncodeHead(head, bytes.data());
  auto decoded = DecodeHead(bytes);
  ASSERT_TRUE(decoded.has_value());
  std::string again(kHeadBytes, 'y');
  EncodeHead(*decoded, again.data());
  EXPECT_EQ(again, bytes);
  EXPECT_EQ(decoded->session_id, head.session_id);
  EXPECT_EQ(decoded->End(), (Position{2, 12288}));
  for (size_t i = 0; i < kHeadBytes; ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 1;
    EXPECT_FALSE(DecodeHead(damaged).has_value()) << i;
  }
  EXPECT_FALSE(DecodeHead(absl::string_view(bytes).substr(1)).has_value());
}

// The example of docs/formats/segment.md. If this fails, old segments cannot be read any more.
TEST(SegmentFormatTest, WorkedExample) {
  RecordHead head;
  head.completes = true;
  head.epoch = 0x1122334455667788;
  head.object = 5;
  head.at = {0, 4096};
  head.durable = {0, 4096};
  head.payload_length = 9;
  head.payload_crc32c = Crc32c("123456789");
  head.meta_length = 4;
  head.meta_crc32c = Crc32c("meta");
  head.session_id = "abc";
  std::string bytes(kHeadBytes, 'x');
  EncodeHead(head, bytes.data());

  // clang-format off
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "4e58534547524543" "0100" "0100" "1bd886d2"         // magic, version, flags, head checksum
            "8877665544332211" "0500000000000000"               // epoch, object
            "00000000" "00000000" "0010000000000000"            // extent index, segment, offset
            "0000000000000000" "00000000"                       // previous record: offset, segment
            "00000000" "0010000000000000"                       // durable: segment, offset
            "0000000000000000"                                  // object offset
            "09000000" "839206e3" "04000000" "9510071b"         // payload length, CRC; meta length, CRC
            "03000000" +                                        // length of the session id
                std::string(2 * 28, '0') + "616263" + std::string(2 * 61, '0'));
  // clang-format on
  EXPECT_EQ(SessionPath("staging", "abc"), "staging/b7/abc");
}

TEST(SegmentFormatTest, FileNames) {
  EXPECT_EQ(SegmentPath("/s", 12), "/s/000012.seg");
  EXPECT_EQ(SegmentNumber("000012.seg"), 12u);
  EXPECT_EQ(SegmentNumber("1234567.seg"), 1234567u);
  for (const char* name : {"12.seg", "000012.seg~", "-00012.seg", ".seg", "99999999999.seg"}) {
    EXPECT_FALSE(SegmentNumber(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace narthex::staging
