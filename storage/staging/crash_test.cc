// What staging promises must hold wherever the power goes, whatever call fails, whoever is killed: everything
// for which Sync returned OK is there with identical bytes, nothing half-written is reported, nothing
// acknowledged is harmed by what comes later.
#include <signal.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "storage/fs/faults.h"
#include "storage/fs/memory.h"
#include "storage/staging/segment_format.h"
#include "storage/staging/staging_test_base.h"

namespace narthex::staging {
namespace {

using Fault = fs::FaultInjector::Fault;

constexpr const char* kSession = "abc";

// The meta of object n is its number; its bytes and size follow from the number.
size_t SizeOf(int n) {
  constexpr size_t kSizes[] = {3000, 40'000, 0, 200'000, 5000, 2'300'000, 4096 - kHeadBytes, 700};
  return kSizes[n % 8];
}
std::string BytesOf(int n) { return Bytes(SizeOf(n), n); }

struct Outcome {
  std::map<int, StoredObject> finished;  // Finish returned OK
  std::map<int, StoredObject> synced;    // Sync returned OK
};

// Stores objects [first, first + count), syncing after every third and at the end, ignoring errors as a
// server does that goes on serving. Leaves one object unfinished.
void StoreObjects(StagingStore& store, int first, int count, Outcome& outcome) {
  auto log = store.OpenSession(kSession);
  if (!log.ok()) return;
  std::map<int, StoredObject> waiting;
  const auto sync = [&] {
    for (const auto& [n, object] : waiting) {
      if ((*log)->Sync(object.position).ok()) outcome.synced[n] = object;
    }
    waiting.clear();
  };
  auto unfinished = (*log)->StartObject();
  for (int n = first; n < first + count; ++n) {
    if (unfinished.ok()) (*unfinished)->Append(Bytes(1000, n)).IgnoreError();
    auto stored = Put(**log, BytesOf(n), absl::StrCat(n));
    if (stored.ok()) outcome.finished[n] = waiting[n] = *stored;
    if (n % 3 == 2) sync();
  }
  sync();
}

StagingStore::Options SmallOptions() {
  // Small segments, so that every run crosses into others; no threads, so that runs repeat exactly.
  return {.directory = "/s",
          .free_space_min_bytes = 0,
          .segment_max_bytes = 1 << 20,
          .buffer_pool_bytes = 4 << 20,
          .writer_threads = 0};
}

// Checks a session after a restart against what happened before.
void CheckRecovered(fs::FileSystem& files, const Outcome& outcome, const std::string& context) {
  SCOPED_TRACE(context);
  auto store = OpenStore(files, SmallOptions());
  ASSERT_NE(store, nullptr);
  auto sessions = store->ListSessions();
  ASSERT_TRUE(sessions.ok());
  if (sessions->empty()) {
    EXPECT_TRUE(outcome.synced.empty());
    return;
  }
  std::map<int, StoredObject> found;
  for (const FoundObject& object : ScanAll(*store, kSession)) {
    int n = -1;
    ASSERT_TRUE(absl::SimpleAtoi(object.meta, &n));
    found[n] = object.object;
  }
  auto log = store->OpenSession(kSession);
  ASSERT_TRUE(log.ok()) << log.status();
  for (const auto& [n, object] : outcome.synced) {
    ASSERT_TRUE(found.contains(n)) << "lost acknowledged object " << n;
    EXPECT_EQ(found[n].extents, object.extents) << n;
  }
  for (const auto& [n, object] : found) {
    EXPECT_TRUE(Get(**log, object) == BytesOf(n)) << "object " << n;
  }
  SessionReport report;
  ASSERT_TRUE(store->VerifySession(kSession, report).ok());
  EXPECT_EQ(report.damage_count, 0u) << (report.damages.empty() ? "" : report.damages[0].what);
  EXPECT_EQ(report.object_count, found.size());
}

// Life goes on after the crash, and a second crash right after loses nothing either.
void CheckGoesOn(fs::InMemoryFileSystem& memory, Outcome outcome, const std::string& context) {
  SCOPED_TRACE(context);
  {
    auto store = OpenStore(memory, SmallOptions());
    ASSERT_NE(store, nullptr);
    Outcome more;
    StoreObjects(*store, 100, 4, more);
    EXPECT_EQ(more.synced.size(), 4u);
    outcome.synced.merge(more.synced);
  }
  memory.LosePower();
  CheckRecovered(memory, outcome, "after going on");
}

class CrashTest : public ::testing::TestWithParam<int> {};

// Cuts the power at every call that changes something. Parameter: the seed of what unsynced bytes survive.
TEST_P(CrashTest, PowerCutAtEveryCall) {
  const int seed = GetParam();
  for (uint64_t k = 1;; ++k) {
    auto memory = fs::NewInMemory();
    Outcome outcome;
    bool fired = false;
    {
      fs::FaultInjector faults(*memory);
      faults.FailCall(k, Fault::kPowerCut);
      auto store = StagingStore::Open(SmallOptions(), faults);
      if (store.ok()) StoreObjects(**store, 0, 9, outcome);
      fired = faults.fired();
      store = absl::UnknownError("closed");
    }
    memory->LosePower(seed == 0 ? 0 : seed * 1000 + k);
    const std::string context = absl::StrCat("call ", k, " seed ", seed);
    CheckRecovered(*memory, outcome, context);
    CheckGoesOn(*memory, outcome, context);
    if (HasFailure()) return;
    if (!fired) {
      EXPECT_EQ(outcome.synced.size(), 9u);
      EXPECT_GT(k, 15u);
      break;
    }
  }
}

// The same over a store that had been closed and opened again, whose first log's tail was cut.
TEST_P(CrashTest, PowerCutAtEveryCallOfASecondRun) {
  const int seed = GetParam();
  for (uint64_t k = 1;; ++k) {
    auto memory = fs::NewInMemory();
    Outcome outcome;
    {
      auto store = OpenStore(*memory, SmallOptions());
      StoreObjects(*store, 0, 4, outcome);
    }
    memory->LosePower();
    bool fired = false;
    {
      fs::FaultInjector faults(*memory);
      faults.FailCall(k, Fault::kPowerCut);
      auto store = StagingStore::Open(SmallOptions(), faults);
      if (store.ok()) {
        (*store)->Scan(kSession, {}, [](FoundObject) { return absl::OkStatus(); }).IgnoreError();
        StoreObjects(**store, 4, 5, outcome);
      }
      fired = faults.fired();
      store = absl::UnknownError("closed");
    }
    memory->LosePower(seed == 0 ? 0 : seed * 1000 + k);
    CheckRecovered(*memory, outcome, absl::StrCat("call ", k, " seed ", seed));
    if (HasFailure() || !fired) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CrashTest, ::testing::Values(0, 1, 2, 3));

class FaultTest : public ::testing::TestWithParam<Fault> {};

INSTANTIATE_TEST_SUITE_P(Faults, FaultTest,
                         ::testing::Values(Fault::kIoError, Fault::kNoSpace, Fault::kShortWrite));

// Fails every call once. The process lives on and stores more; then the power goes.
TEST_P(FaultTest, EveryCallFailsOnce) {
  for (uint64_t n = 1;; ++n) {
    auto memory = fs::NewInMemory();
    Outcome outcome;
    bool fired = false;
    {
      fs::FaultInjector faults(*memory, /*count_reads=*/true);
      faults.FailCall(n, GetParam());
      auto store = StagingStore::Open(SmallOptions(), faults);
      if (store.ok()) {
        StoreObjects(**store, 0, 6, outcome);
        auto log = (*store)->OpenSession(kSession);
        if (log.ok()) {
          for (const auto& [number, object] : outcome.synced) {
            const std::string got = Get(**log, object);
            EXPECT_TRUE(got == BytesOf(number) || got == "IO_ERROR" || got == "DISK_FULL") << got;
          }
        }
        log = absl::UnknownError("closed");
        const size_t before = outcome.synced.size();
        const bool fired_before = faults.fired();
        StoreObjects(**store, 6, 3, outcome);
        if (fired_before) {
          EXPECT_EQ(outcome.synced.size(), before + 3) << "the log did not go on";
        }
      }
      fired = faults.fired();
      store = absl::UnknownError("closed");
    }
    const std::string context = absl::StrCat("call ", n);
    CheckRecovered(*memory, outcome, context + ", process restarted");
    memory->LosePower(n % 2 == 0 ? 0 : n);
    CheckRecovered(*memory, outcome, context + ", power lost");
    if (HasFailure() || !fired) break;
  }
}

TEST(SyncFailureTest, UnsyncedObjectsFailAndTheLogGoesOnInANewSegment) {
  auto memory = fs::NewInMemory();
  fs::FaultInjector faults(*memory);
  StagingStore::Options options = SmallOptions();
  options.segment_max_bytes = 64 << 20;
  auto store = OpenStore(faults, options);
  auto log = *store->OpenSession(kSession);
  auto first = Put(*log, BytesOf(0), "0");
  ASSERT_TRUE(log->Sync(first->position).ok());
  auto second = Put(*log, BytesOf(1), "1");
  auto third = Put(*log, BytesOf(3), "3");
  auto open_writer = log->StartObject();
  ASSERT_TRUE((*open_writer)->Append(Bytes(3'000'000, 1)).ok());  // one record is in the segment already
  auto fresh_writer = log->StartObject();
  ASSERT_TRUE((*fresh_writer)->Append("abc").ok());

  faults.FailCall(2, Fault::kIoError);  // the write passes, the sync fails
  EXPECT_EQ(ErrorReason(log->Sync(second->position)), "SEGMENT_FAILED");

  EXPECT_EQ(ErrorReason(log->Sync(third->position)), "SEGMENT_FAILED");
  EXPECT_EQ(ErrorReason(log->Sync(second->position)), "SEGMENT_FAILED");  // never tried again
  EXPECT_TRUE(log->Sync(first->position).ok());
  EXPECT_EQ(Get(*log, *first), BytesOf(0));
  EXPECT_EQ(Get(*log, *second), "SEGMENT_FAILED");
  const absl::Status finished = (*open_writer)->Finish("").status();
  EXPECT_EQ(ErrorReason(finished), "SEGMENT_FAILED");
  EXPECT_TRUE(absl::IsDataLoss(finished));
  auto fresh = (*fresh_writer)->Finish("7");
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(fresh->position.segment, 1u);
  auto again = Put(*log, BytesOf(1), "1");
  EXPECT_TRUE(log->Sync(again->position).ok());
  EXPECT_TRUE(log->Sync(fresh->position).ok());
  EXPECT_EQ(ErrorReason(log->Sync(second->position)), "SEGMENT_FAILED");  // also after later ones are durable
  EXPECT_EQ(ScanAll(*store, kSession).size(), 3u);
}

// Callers may sync only the last of several objects; that must not pass if an earlier one was lost.
TEST(SyncFailureTest, LaterPositionsFailForLostObjectsThatNobodyAskedFor) {
  auto memory = fs::NewInMemory();
  fs::FaultInjector faults(*memory);
  auto store = OpenStore(faults, SmallOptions());
  auto log = *store->OpenSession(kSession);
  auto first = Put(*log, "first", "0");
  ASSERT_TRUE(log->Sync(first->position).ok());
  auto lost = Put(*log, "lost", "1");
  faults.FailCall(1, Fault::kIoError);
  EXPECT_EQ(Get(*log, *lost), "SEGMENT_FAILED");  // reading writes it out first
  auto later = Put(*log, "later", "2");
  ASSERT_GT(later->position, lost->position);

  EXPECT_EQ(ErrorReason(log->Sync(later->position)), "SEGMENT_FAILED");
  EXPECT_EQ(ErrorReason(log->Sync(lost->position)), "SEGMENT_FAILED");

  EXPECT_TRUE(log->Sync(later->position).ok());  // now everybody knows
  EXPECT_TRUE(log->Sync(first->position).ok());
  EXPECT_EQ(Get(*log, *later), "later");
}

TEST(SyncTest, NeverRewritesSyncedBlocks) {
  auto memory = fs::NewInMemory();
  auto store = OpenStore(*memory, SmallOptions());
  auto log = *store->OpenSession(kSession);
  const std::string path = SegmentPath(SessionPath("/s", kSession), 0);
  auto writer = log->StartObject();  // keeps the open slab in use
  std::string before;
  for (int n = 0; n < 20; ++n) {
    auto stored = Put(*log, Bytes(100 + 500 * n, n), "");
    ASSERT_TRUE(log->Sync(stored->position).ok());
    const std::string now = *fs::ReadFile(*memory, path, 1 << 20);
    ASSERT_GT(now.size(), before.size());
    EXPECT_EQ(now.size() % 4096, 0u);
    EXPECT_TRUE(now.compare(0, before.size(), before) == 0);
    before = now;
  }
}

TEST(DamageTest, FlippedBitsAreSeenAndHarmNothingElse) {
  auto memory = fs::NewInMemory();
  StagingStore::Options options = SmallOptions();
  options.segment_max_bytes = 64 << 20;
  std::vector<StoredObject> stored;
  {
    auto store = OpenStore(*memory, options);
    auto log = *store->OpenSession(kSession);
    for (int n = 0; n < 6; ++n) {
      stored.push_back(*Put(*log, BytesOf(n), absl::StrCat(n)));
      ASSERT_TRUE(log->Sync(stored.back().position).ok());
    }
  }
  const std::string path = SegmentPath(SessionPath("/s", kSession), 0);
  ASSERT_TRUE(memory->FlipBit(path, stored[1].extents[0].offset + 30'000, 3).ok());           // payload
  ASSERT_TRUE(memory->FlipBit(path, stored[3].extents[0].offset - kHeadBytes + 50, 0).ok());  // head

  auto store = OpenStore(*memory, options);
  SessionReport report;
  ASSERT_TRUE(store->VerifySession(kSession, report).ok());
  EXPECT_EQ(report.object_count, 4u);
  ASSERT_EQ(report.damage_count, 2u);
  std::vector<std::string> metas;
  const absl::Status status = store->Scan(kSession, {}, [&](FoundObject object) {
    metas.push_back(object.meta);
    return absl::OkStatus();
  });
  EXPECT_EQ(ErrorReason(status), "STAGED_BYTES_CORRUPT");
  EXPECT_EQ(metas,
            (std::vector<std::string>{"0", "1", "2", "4", "5"}));  // heads only: the payload is not read
  auto log = *store->OpenSession(kSession);
  EXPECT_EQ(Get(*log, stored[1]), "STAGED_BYTES_CORRUPT");
  // A part is not compared.
  EXPECT_TRUE(log->ReadRange(stored[1], 0, 100, [](absl::string_view) { return absl::OkStatus(); }).ok());
  EXPECT_EQ(Get(*log, stored[2]), BytesOf(2));
  EXPECT_TRUE(Get(*log, stored[5]) == BytesOf(5));
  StoredObject forged = stored[0];
  forged.extents[0].length = 1ull << 40;
  forged.size_bytes = 1ull << 40;
  EXPECT_EQ(Get(*log, forged), "STAGED_BYTES_CORRUPT");
  forged.extents[0] = {9, 0, 100, 0};
  EXPECT_EQ(Get(*log, forged), "STAGED_BYTES_CORRUPT");
}

// A payload that contains a record head must not be taken for a record.
TEST(DamageTest, HeadsInsidePayloadsAreNotRecords) {
  auto memory = fs::NewInMemory();
  auto store = OpenStore(*memory, SmallOptions());
  {
    auto log = *store->OpenSession(kSession);
    std::string evil(20'000, 'x');
    RecordHead head;
    head.completes = true;
    head.session_id = kSession;
    head.at = {0, 4096};
    head.durable = {9, 0};
    EncodeHead(head, evil.data() + 4096 - kHeadBytes);
    auto stored = Put(*log, evil, "evil");
    ASSERT_TRUE(log->Sync(stored->position).ok());
  }
  ASSERT_EQ(ScanAll(*store, kSession).size(), 1u);
  ASSERT_EQ(ScanAll(*store, kSession, {0, 24'576}).size(), 0u);
}

TEST(DiskFullTest, AcknowledgedObjectsStayAndLaterOnesAreRefused) {
  auto memory = fs::NewInMemory();
  memory->SetCapacity(1'000'000);
  auto store = OpenStore(*memory, SmallOptions());
  auto log = *store->OpenSession(kSession);
  Outcome outcome;
  int refused = 0;
  for (int n = 0; n < 40; ++n) {
    auto stored = Put(*log, Bytes(100'000, n), absl::StrCat(n));
    const absl::Status status = stored.ok() ? log->Sync(stored->position) : stored.status();
    if (status.ok()) {
      outcome.synced[n] = *stored;
    } else {
      EXPECT_EQ(ErrorReason(status), "DISK_FULL");
      ++refused;
    }
  }
  EXPECT_GE(outcome.synced.size(), 8u);
  EXPECT_GT(refused, 0);
  for (const auto& [n, object] : outcome.synced) EXPECT_TRUE(Get(*log, object) == Bytes(100'000, n));
  // Nothing is tried while it is full: no new segment for each object.
  EXPECT_LE(memory->List(SessionPath(SmallOptions().directory, kSession))->size(), 3u);
  memory->SetCapacity(100'000'000);
  store->SetFreeSpaceMin(0);  // looks again at once
  auto stored = Put(*log, "more", "99");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(log->Sync(stored->position).ok());
}

class RealFilesTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(fs::Posix().RemoveTree(root_).ok()); }
  const std::string root_ = NewTestDirectory();
};

TEST_F(RealFilesTest, EightWritersOnThreeSessions) {
  constexpr int kWriters = 8, kObjects = 40;
  StagingStore::Options options = {
      .directory = root_, .free_space_min_bytes = 0, .segment_max_bytes = 8 << 20};
  options.buffer_pool_bytes = 4 << 20;
  absl::Mutex mutex;
  std::map<std::string, std::map<int, StoredObject>> stored;
  {
    auto store = OpenStore(fs::Posix(), options);
    std::vector<std::thread> threads;
    for (int w = 0; w < kWriters; ++w) {
      threads.emplace_back([&, w] {
        const std::string id = absl::StrCat("s", w % 3);
        for (int i = 0; i < kObjects; ++i) {
          const int n = w * kObjects + i;
          auto log = store->OpenSession(id);  // opened and closed again and again
          ASSERT_TRUE(log.ok()) << log.status();
          auto object = Put(**log, BytesOf(n), absl::StrCat(n), 30'000);
          ASSERT_TRUE(object.ok()) << object.status();
          if (i % 4 == 0) {
            EXPECT_TRUE(Get(**log, *object) == BytesOf(n));
          }
          ASSERT_TRUE((*log)->Sync(object->position).ok());
          absl::MutexLock lock(&mutex);
          stored[id][n] = *object;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  auto store = OpenStore(fs::Posix(), options);
  for (const auto& [id, objects] : stored) {
    std::map<int, StoredObject> found;
    for (const FoundObject& object : ScanAll(*store, id)) found[std::stoi(object.meta)] = object.object;
    ASSERT_EQ(found.size(), objects.size());
    auto log = *store->OpenSession(id);
    for (const auto& [n, object] : objects) {
      EXPECT_EQ(found[n].extents, object.extents);
      EXPECT_TRUE(Get(*log, object) == BytesOf(n)) << n;
    }
    SessionReport report;
    ASSERT_TRUE(store->VerifySession(id, report).ok());
    EXPECT_EQ(report.damage_count, 0u);
    EXPECT_EQ(report.object_count, objects.size());
  }
}

// The child stores objects with two threads and tells each acknowledged one over a pipe.
[[noreturn]] void RunChild(const StagingStore::Options& options, int first, int pipe) {
  auto store = StagingStore::Open(options, fs::Posix());
  if (!store.ok()) ::_exit(2);
  const auto work = [&](int begin) {
    for (int n = begin;; n += 2) {
      auto log = (*store)->OpenSession(kSession);
      auto stored = Put(**log, BytesOf(n), absl::StrCat(n));
      if (!stored.ok() || !(*log)->Sync(stored->position).ok()) ::_exit(3);
      if (::write(pipe, &n, sizeof(n)) != sizeof(n)) ::_exit(4);
    }
  };
  std::thread other(work, first + 1);
  work(first);
  other.join();
  ::_exit(0);
}

TEST_F(RealFilesTest, KilledProcessLosesNothingItAcknowledged) {
  const StagingStore::Options options = {
      .directory = root_, .free_space_min_bytes = 0, .segment_max_bytes = 8 << 20};
  std::vector<int> acknowledged;
  for (int round = 0; round < 6; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) RunChild(options, round * 1'000'000, ends[1]);
    ::close(ends[1]);
    const size_t enough = acknowledged.size() + 5 + 7 * round;
    int n = 0;
    while (acknowledged.size() < enough && ::read(ends[0], &n, sizeof(n)) == sizeof(n))
      acknowledged.push_back(n);
    ASSERT_EQ(acknowledged.size(), enough);
    ::kill(child, SIGKILL);
    while (::read(ends[0], &n, sizeof(n)) == sizeof(n)) acknowledged.push_back(n);
    ::close(ends[0]);
    int state = 0;
    ASSERT_EQ(::waitpid(child, &state, 0), child);

    auto store = OpenStore(fs::Posix(), options);
    auto log = *store->OpenSession(kSession);
    std::map<int, StoredObject> found;
    for (const FoundObject& object : ScanAll(*store, kSession)) {
      const int number = std::stoi(object.meta);
      found[number] = object.object;
      EXPECT_TRUE(Get(*log, object.object) == BytesOf(number)) << number;
    }
    for (int number : acknowledged) EXPECT_TRUE(found.contains(number)) << number;
  }
}

}  // namespace
}  // namespace narthex::staging
